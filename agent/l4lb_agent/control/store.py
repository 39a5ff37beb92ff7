"""The single writer of the desired state: decides, journals, publishes, in that order, for many callers at once.

Callers queue. The writer takes all that wait, decides on them one after the other, appends every change by one fsync (group commit), then
publishes and answers. What is in the journal is promised: nobody's cancellation reaches it any more. When the journal refuses, nothing of
the batch has happened, and every caller of it is told so.
"""

import asyncio
import errno
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from l4lb_agent.control.ports import JournalFile
from l4lb_agent.model import records
from l4lb_agent.model.changes import difference
from l4lb_agent.model.changes.commands import Command
from l4lb_agent.model.changes.decide import Decision, Facts, decide_once
from l4lb_agent.model.config import Secrets
from l4lb_agent.model.desired import Change, Desired
from l4lb_agent.model.errors import Refused, ResourceExhausted, Unavailable

MAX_BATCH = 256
MIN_SNAPSHOT_BYTES = 1 << 20  # of changes since the last snapshot
Published = Callable[[Desired, Change], None]  # the state before, the change

_log = logging.getLogger(__name__)


@dataclass
class _Ask:
    command: Command
    request_id: str
    request_hash: str
    validate_only: bool
    answer: asyncio.Future[Decision] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Store:
    """The desired state. `facts` gives what decisions on these commands must know of the world now."""

    def __init__(self, journal: JournalFile, desired: Desired, secrets: Secrets, facts: Callable[[Sequence[Command]], Facts]) -> None:
        self.desired = desired
        self.journal_error = ""  # of the last append or snapshot, "" when it went well
        self._journal, self._secrets, self._facts = journal, secrets, facts
        self._queue: asyncio.Queue[_Ask | None] = asyncio.Queue()
        self._listeners: list[Published] = []
        self._bytes = 0  # of changes since the last snapshot
        self._snapshot_bytes = 0
        self._errno: int | None = None

    def listen(self, listener: Published) -> None:
        """Calls `listener` for each change, in order, once it is in the journal."""
        self._listeners.append(listener)

    async def change(self, command: Command, *, request_id: str = "", request_hash: str = "", validate_only: bool = False) -> Decision:
        """The decision on `command`, journaled unless `validate_only`. Raises Refused."""
        ask = _Ask(command, request_id, request_hash, validate_only)
        self._queue.put_nowait(ask)
        return await ask.answer

    async def run(self) -> None:
        """Writes until stop()."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < MAX_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._commit([ask for ask in batch if ask and not ask.answer.done()])
            if None in batch:
                return
            await self._snapshot_when_due()

    def stop(self) -> None:
        """Ends run() after what is queued already."""
        self._queue.put_nowait(None)

    async def _commit(self, batch: list[_Ask]) -> None:
        facts, desired = self._facts([ask.command for ask in batch]), self.desired
        decided: list[tuple[_Ask, Decision | Exception]] = []
        for ask in batch:
            try:
                decision = decide_once(desired, ask.command, facts, ask.request_id, ask.request_hash)
            except Refused as error:
                decided.append((ask, error))
                continue
            except Exception as error:  # a mistake of ours in one decision must not take the writer away from all others
                _log.exception("event=decision_failed command=%s", type(ask.command).__name__)
                decided.append((ask, error))
                continue
            decided.append((ask, replace(decision, differences=difference.between(desired, decision.change))))
            if not ask.validate_only:
                desired = decision.desired
        changes = [d.change for ask, d in decided if isinstance(d, Decision) and d.change and not ask.validate_only]
        if changes and not await self._append(changes):
            for ask in batch:
                _answer(ask, self._refusal())
            return
        for change in changes:
            before, self.desired = self.desired, self.desired.apply(change)
            for listener in self._listeners:
                listener(before, change)
        for ask, outcome in decided:
            _answer(ask, outcome)

    async def _append(self, changes: list[Change]) -> bool:
        """Whether the changes are in the journal. One that somebody removed or cut, or whose disk lost something, is made anew first."""
        written = [records.change(change) for change in changes]
        if not await self._written(written):
            await self.snapshot()
            if not await self._written(written):
                return False
        self.journal_error = ""
        self._bytes += sum(len(json.dumps(record)) for record in written)
        return True

    async def _written(self, changes: list[records.Record]) -> bool:
        try:
            await asyncio.to_thread(self._journal.append, changes)
        except OSError as error:
            self._failed("append", error)
            return False
        return True

    async def _snapshot_when_due(self) -> None:
        if self._bytes > max(MIN_SNAPSHOT_BYTES, 2 * self._snapshot_bytes):
            await self.snapshot()

    async def snapshot(self) -> None:
        """Replaces the journal by one record. A failure is logged; the journal goes on growing then."""
        try:
            self._snapshot_bytes = await asyncio.to_thread(self._write_snapshot, self.desired)
        except OSError as error:
            self._failed("snapshot", error)
        self._bytes = 0  # also after a failure: the next try comes after as many changes

    def _write_snapshot(self, desired: Desired) -> int:
        record = records.snapshot(desired, self._secrets)
        self._journal.snapshot(record)
        return len(json.dumps(record))

    def _failed(self, what: str, error: OSError) -> None:
        self.journal_error = f"{what}: {error}"
        self._errno = error.errno
        _log.error("event=journal_failed what=%s error=%r", what, str(error))

    def _refusal(self) -> Refused:
        message = f"the journal cannot be written ({self.journal_error}): nothing has changed, try again when that is mended"
        if self._errno in (errno.ENOSPC, errno.EDQUOT):
            return ResourceExhausted(message, reason="JOURNAL_FULL")
        return Unavailable(message, reason="JOURNAL_FAILED")


def _answer(ask: _Ask, outcome: Decision | Exception) -> None:
    if ask.answer.done():
        return  # the caller has gone; the change stays
    if isinstance(outcome, Exception):
        ask.answer.set_exception(outcome)
    else:
        ask.answer.set_result(outcome)
