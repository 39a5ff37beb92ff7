"""Log lines on standard error, one key=value line an event, by a thread of their own: a reader that stopped must not stop the agent."""

import logging
import queue
import sys
import threading
import time

WAITING = 4096  # lines; when so many wait, new ones are lost and counted


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._queue: queue.Queue[str] = queue.Queue(WAITING)
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Never blocks, never raises."""
        lost, self._lost = self._lost, 0
        try:
            if lost:
                self._queue.put_nowait(f"level=warning event=log_lines_lost count={lost}")
            self._queue.put_nowait(self.format(record))
        except queue.Full:
            self._lost = lost + 1

    def _write(self) -> None:
        while True:
            line = self._queue.get()
            try:
                sys.stderr.write(line + "\n")
                sys.stderr.flush()
            except (OSError, ValueError):
                pass  # nobody reads: forwarding is more important
            finally:
                self._queue.task_done()

    def drain(self, seconds: float) -> None:
        """Gives the lines that wait so long to be written."""
        until = time.monotonic() + seconds
        while self._queue.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.005)


class _KeyValue(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """time, level, part, then the message; a traceback follows in one quoted field."""
        message = record.getMessage()
        if "=" not in message.split(" ", 1)[0]:
            message = f"message={message!r}"
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        part = record.name.removeprefix("l4lb_agent.")
        line = f"time={when} level={record.levelname.lower()} part={part} {message}"
        return f"{line} traceback={self.formatException(record.exc_info)!r}" if record.exc_info else line


def set_level(level: str) -> None:
    """What is logged from now on: debug, info, warning or error, and whatever is worse."""
    logging.getLogger().setLevel(level.upper())


def start(level: str) -> _Lines:
    """Sends every log line of this process to standard error. `level` is debug, info, warning or error."""
    lines = _Lines()
    lines.setFormatter(_KeyValue())
    root = logging.getLogger()
    root.handlers[:] = [lines]
    set_level(level)
    logging.getLogger("pyroute2").setLevel("WARNING")
    logging.getLogger("asyncio").setLevel("WARNING")
    return lines
