"""Who changed what: an entry for each change that was asked for, refused ones too, in a file and in the log.

An entry is on the disk before the answer goes out: what was answered is in the audit. A change whose agent was killed before that is in
the journal all the same; its caller got no answer, and the next agent writes an entry without the caller.
"""

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from l4lb_agent.api.caller import Caller
from l4lb_agent.control.facade import Outcome
from l4lb_agent.control.ports import AuditFile
from l4lb_agent.model.changes.difference import Differences

REFUSED_BURST, REFUSED_RATE = 100.0, 10.0  # entries of refused calls at once, and a second: they must not fill the disk
LONGEST = 300  # characters of a name that the caller chose

NOBODY = Caller(None, "unknown")

_log = logging.getLogger(__name__)
_log.setLevel(logging.INFO)  # whatever the level of the rest
_outcome: ContextVar[list[Outcome]] = ContextVar("outcome")


@dataclass
class Entry:
    """One line."""

    caller: Caller
    rpc: str  # "" for what the agent does by itself
    resource: str = ""
    request_id: str = ""
    status: str = "OK"
    reason: str = ""
    message: str = ""  # of a refusal, for the log
    outcome: Outcome | None = None  # None for what was refused
    suppressed: int = 0  # refused calls that have no entry, since the entry before
    when: float = field(default_factory=time.time)

    def record(self) -> dict[str, Any]:
        """As JSON knows it. What does not apply is left out."""
        caller, outcome = self.caller, self.outcome
        found: dict[str, Any] = {
            "time": datetime.fromtimestamp(self.when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "who": caller.who[:LONGEST], "role": caller.role_name, "peer": caller.peer, "subject": caller.subject[:LONGEST],
            "certificate": caller.fingerprint, "rpc": self.rpc, "resource": self.resource[:LONGEST],
            "request_id": self.request_id[:LONGEST], "outcome": self.status, "reason": self.reason, "suppressed": self.suppressed,
        }  # fmt: skip
        if outcome is not None:
            what = outcome.differences  # of a drain that ended at once the answer has a later revision
            found |= {"revision": what.revision or outcome.revision, "repeated": outcome.repeated, "more": what.more}
            found["diff"] = [{"resource": d.resource, "change": d.kind, "fields": d.fields} for d in what.told]
        return {name: value for name, value in found.items() if value or name in ("outcome", "diff", "revision", "role", "who")}


@contextlib.contextmanager
def noting() -> Iterator[list[Outcome]]:
    """What note() is told inside."""
    found: list[Outcome] = []
    token = _outcome.set(found)
    try:
        yield found
    finally:
        _outcome.reset(token)


def note(outcome: Outcome) -> None:
    """Tells the audit what became of the change that the current task makes."""
    if (found := _outcome.get(None)) is not None:
        found.append(outcome)


class Audit:
    """Writes entries: those that wait at the same time by one write and one fdatasync."""

    def __init__(self, audit_file: AuditFile) -> None:
        self._file = audit_file
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._tokens, self._filled = REFUSED_BURST, 0.0
        self._suppressed = 0
        self._problem = ""

    async def write(self, entry: Entry) -> None:
        """Returns when the entry is on the disk, or cannot be: then it is in the log alone, and a warning stays until one can be."""
        if entry.status != "OK" and not self._may_refuse():
            self._suppressed += 1
            return
        entry.suppressed, self._suppressed = self._suppressed, 0
        record = entry.record()
        _tell(record if not entry.message else {**record, "message": entry.message})
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((json.dumps(record, separators=(",", ":")).encode() + b"\n", done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="audit")
        await done

    async def missing(self, changes: Iterable[tuple[str, Differences]]) -> None:
        """Writes entries of changes (request id, differences) of which nobody knows any more who asked for them."""
        for request_id, differences in changes:
            outcome = Outcome(differences.revision, differences=differences)
            await self.write(Entry(NOBODY, "", request_id=request_id, reason="AGENT_WAS_KILLED", outcome=outcome))

    def _may_refuse(self) -> bool:
        now = time.monotonic()
        self._tokens = min(REFUSED_BURST, self._tokens + (now - self._filled) * REFUSED_RATE)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._file.append, [line for line, _ in batch])
                self._problem = ""
            except OSError as error:
                if not self._problem:
                    _log.error("event=audit_failed error=%r", str(error.strerror or error))
                self._problem = str(error.strerror or error)
            for _, done in batch:
                if not done.done():
                    done.set_result(None)
        self._writer = None

    def warnings(self) -> list[tuple[str, str]]:
        """(reason, message) for GetAgent."""
        if not self._problem:
            return []
        return [("AUDIT_FAILED", f"the audit cannot be written, its entries are in the log alone: {self._problem}")]


def _tell(record: dict[str, Any]) -> None:
    """The log's line: values are one word, or quoted."""
    told = {name: v if isinstance(v, str) else json.dumps(v, separators=(",", ":")) for name, v in record.items() if name != "time"}
    template = " ".join(f"{name}=%s" if re.fullmatch(r"[\w.:/@+-]+", text, re.ASCII) else f"{name}=%r" for name, text in told.items())
    _log.info(f"event=audit {template}", *told.values())
