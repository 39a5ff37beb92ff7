"""Log lines, one event each, by a thread of their own: a reader that stopped must not stop the agent.

A call names the event and its fields in its template, `event=attached interface=%s mode=%s`: under systemd they go to the journal as fields
beside the text, elsewhere to standard error as key=value. tests/law holds every call to that form.
"""

import logging
import queue
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from l4lb_agent.system import journal
from l4lb_agent.system.journal import Journal

WAITING = 4096  # lines; when so many wait, new ones are lost and counted
IDENTIFIER = "l4lb-agent"
_FIELD = re.compile(r"(?P<name>\w+)=(?P<value>%[srd]|'[^']*'|\S*)")
_PRIORITIES = ((logging.CRITICAL, "2"), (logging.ERROR, "3"), (logging.WARNING, "4"), (logging.INFO, "6"))  # of syslog(3)
_SERVICE = re.compile(r"services/([a-z0-9-]+)(?:/backends/([a-z0-9-]+))?")
RESOURCES = ("resource", "backend", "service")  # names of fields that hold names of resources


@dataclass(frozen=True)
class Line:
    """What happened, as text and as fields of the journal."""

    text: str  # key=value, without time and level
    level: str
    part: str
    when: float
    fields: dict[str, str]

    @property
    def named(self) -> dict[str, str]:
        """The event's fields by name, `event` among them."""
        prefix = "L4LB_"
        return {name.removeprefix(prefix).lower(): value for name, value in self.fields.items() if name.startswith(prefix)}

    def as_text(self) -> str:
        """As it is written to standard error."""
        milliseconds = int(self.when * 1000) % 1000
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.when)) + f".{milliseconds:03d}Z"
        return f"time={stamp} level={self.level} part={self.part} {self.text}"


class _Lines(logging.Handler):
    def __init__(self, to_journal: Journal | None) -> None:
        super().__init__()
        self._journal = to_journal
        self._queue: queue.Queue[Line] = queue.Queue(WAITING)
        self._lost = 0
        self.least = logging.NOTSET  # what is less than that is not written, unless its logger has a level of its own
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Never blocks, never raises."""
        if record.levelno < self.least and not logging.getLogger(record.name).level:
            return
        lost, self._lost = self._lost, 0
        try:
            if lost:
                record_of_loss = logging.LogRecord(__name__, logging.WARNING, "", 0, "event=log_lines_lost count=%d", (lost,), None)
                self._queue.put_nowait(line(record_of_loss))
            self._queue.put_nowait(line(record))
        except queue.Full:
            self._lost = lost + 1

    def _write(self) -> None:
        while True:
            waiting = self._queue.get()
            try:
                self._put(waiting)
            except (OSError, ValueError):
                pass  # nobody reads: forwarding is more important
            finally:
                self._queue.task_done()

    def _put(self, waiting: Line) -> None:
        if self._journal:
            try:
                self._journal.send(waiting.fields)
                return
            except OSError:
                pass  # the journal is being restarted: its stream takes the line
        sys.stderr.write(waiting.as_text() + "\n")
        sys.stderr.flush()

    def drain(self, seconds: float) -> None:
        """Gives the lines that wait so long to be written."""
        until = time.monotonic() + seconds
        while self._queue.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.005)


def line(record: logging.LogRecord) -> Line:
    """What a call says. Text that is no event, from libraries, is the event `message`; a traceback is one more field."""
    text, named = record.getMessage(), _named(record)
    if not named:
        named = {"event": "message", "message": text}
        text = f"message={text!r}"
    if record.exc_info:
        named["traceback"] = logging.Formatter().formatException(record.exc_info)
        text += f" traceback={named['traceback']!r}"
    level, part = record.levelname.lower(), record.name.removeprefix("l4lb_agent.")
    priority = next((number for least, number in _PRIORITIES if record.levelno >= least), "7")
    fields = {"MESSAGE": text, "PRIORITY": priority, "SYSLOG_IDENTIFIER": IDENTIFIER, "MESSAGE_ID": journal.message_id(named["event"])}
    fields |= {"L4LB_PART": part, **{f"L4LB_{name.upper()}": value for name, value in (named | _resource(named)).items()}}
    return Line(text, level, part, record.created, fields)


def _named(record: logging.LogRecord) -> dict[str, str]:
    """Values by name, as the template says; empty when it does not begin with an event."""
    template = str(record.msg)
    if not template.startswith("event="):
        return {}
    values = iter(record.args if isinstance(record.args, tuple) else ())
    found = {}
    for field in _FIELD.finditer(template):
        value = field["value"]
        found[field["name"]] = str(next(values, "")) if value.startswith("%") else value.strip("'")
    return found


def _resource(named: dict[str, str]) -> dict[str, str]:
    """`service` and `backend` of the resource that a line is about, without the rest of its name."""
    for name in RESOURCES:
        if match := _SERVICE.fullmatch(named.get(name, "")):
            return {"service": match[1], **({"backend": match[2]} if match[2] else {})}
    return {}


class _Listener(logging.Handler):
    """Hands on what is logged from INFO on, whether the log itself takes it or not."""

    def __init__(self, tell: Callable[[Line], None]) -> None:
        super().__init__(logging.INFO)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises."""
        try:
            self._tell(line(record))
        except Exception:
            self.handleError(record)


def listen(tell: Callable[[Line], None]) -> Callable[[], None]:
    """Calls `tell` for each line from INFO on, one at a time, in the thread that logs; ends when what this returns is called."""
    root, listener = logging.getLogger(), _Listener(tell)
    root.addHandler(listener)
    root.setLevel(min(root.level, logging.INFO))
    return lambda: root.removeHandler(listener)


def set_level(level: str) -> None:
    """What is logged from now on: debug, info, warning or error, and whatever is worse."""
    root, least = logging.getLogger(), logging.getLevelNamesMapping()[level.upper()]
    for handler in root.handlers:
        if isinstance(handler, _Lines):
            handler.least = least
    listened = any(isinstance(handler, _Listener) for handler in root.handlers)
    root.setLevel(min(least, logging.INFO) if listened else least)


def start(level: str) -> _Lines:
    """Sends every log line of this process to the journal, when standard error is connected to it, else to standard error. `level` is
    debug, info, warning or error."""
    lines = _Lines(Journal() if journal.is_stderr() else None)
    root = logging.getLogger()
    root.handlers[:] = [lines]
    set_level(level)
    logging.getLogger("pyroute2").setLevel("WARNING")
    logging.getLogger("asyncio").setLevel("WARNING")
    return lines
