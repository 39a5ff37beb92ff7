"""The single writer of the desired state: decides, journals, publishes, in that order, for many callers at once.

Callers queue. The writer takes all that wait, decides on them one after the other, appends every change by one fsync (group commit), then
publishes and answers. What is in the journal is promised: nobody's cancellation reaches it any more. When the journal refuses, nothing of
the batch has happened, and every caller of it is told so.
"""

import asyncio
import errno
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from l4lb_agent.control.ports import JournalFile
from l4lb_agent.model import records
from l4lb_agent.model.changes import difference
from l4lb_agent.model.changes.commands import Command
from l4lb_agent.model.changes.decide import Decision, Facts, decide_once
from l4lb_agent.model.desired import Change, Desired
from l4lb_agent.model.errors import Refused, ResourceExhausted, Unavailable
from l4lb_agent.model.records import Note, Replayed
from l4lb_agent.model.windows.kept import Kept

MAX_BATCH = 256
PIECE = 8  # decisions in one go: each takes up to half a millisecond with ten thousand backends
MIN_SNAPSHOT_BYTES = 1 << 20  # of changes since the last snapshot
Published = Callable[[Desired, Change], None]  # the state before, the change

_log = logging.getLogger(__name__)


class _Kept:
    """In the queue: there are notes to be journaled."""


@dataclass
class _Ask:
    command: Command
    request_id: str
    request_hash: str
    validate_only: bool
    answer: asyncio.Future[Decision] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Store:
    """The desired state. `facts` gives what decisions on these commands must know of the world now."""

    def __init__(self, journal: JournalFile, replayed: Replayed, facts: Callable[[Sequence[Command]], Facts]) -> None:
        self.desired = replayed.desired
        self.journal_error = ""  # of the last append or snapshot, "" when it went well
        self._journal, self._secrets, self._facts = journal, replayed.secrets, facts
        self._kept: dict[str, Note] = {**replayed.kept, **replayed.flaps}  # by the name of what they are about
        self._unwritten: dict[str, Note] = {}  # of them
        self._queue: asyncio.Queue[_Ask | _Kept | None] = asyncio.Queue()
        self._listeners: list[Published] = []
        self._bytes = 0  # of changes since the last snapshot
        self._snapshot_bytes = 0
        self._errno: int | None = None
        self._ended = False

    def listen(self, listener: Published) -> None:
        """Calls `listener` for each change, in order, once it is in the journal."""
        self._listeners.append(listener)

    def warnings(self) -> list[tuple[str, str]]:
        """What the operator should know of the journal."""
        found = []
        if self._journal.damage:
            found.append(("JOURNAL_DAMAGED", f"at the start the journal was not whole: {self._journal.damage}"))
        if self.journal_error:
            found.append(("JOURNAL_FAILED", f"the journal cannot be written: {self.journal_error}"))
        return found

    async def change(self, command: Command, *, request_id: str = "", request_hash: str = "", validate_only: bool = False) -> Decision:
        """The decision on `command`, journaled unless `validate_only`. Raises Refused."""
        if self._ended:
            raise _stopping()
        ask = _Ask(command, request_id, request_hash, validate_only)
        self._queue.put_nowait(ask)
        return await ask.answer

    def keep(self, notes: Iterable[Note]) -> None:
        """Journals them, soon: nobody waits for it. What the journal refuses is tried again with the next records."""
        news = {_about(one): one for one in notes}
        if news:
            self._kept.update(news)
            self._unwritten.update(news)
            self._queue.put_nowait(_Kept())

    async def run(self) -> None:
        """Writes until stop(). Whoever waits for an answer when it ends gets one."""
        batch: list[_Ask | _Kept | None] = []
        try:
            while None not in batch:
                await self._snapshot_when_due()
                batch = [await self._queue.get()]
                while len(batch) < MAX_BATCH and not self._queue.empty():
                    batch.append(self._queue.get_nowait())
                await self._commit([ask for ask in batch if isinstance(ask, _Ask) and not ask.answer.done()])
                await self._write_kept()
        finally:
            self._ended = True
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            for ask in batch:
                if isinstance(ask, _Ask):
                    _answer(ask, _stopping())

    def stop(self) -> None:
        """Ends run() after what is queued already."""
        self._queue.put_nowait(None)

    async def _commit(self, batch: list[_Ask]) -> None:
        if not batch:
            return
        facts, desired = self._facts([ask.command for ask in batch]), self.desired
        decided: list[tuple[_Ask, Decision | Exception]] = []
        for number, ask in enumerate(batch, 1):
            if not number % PIECE:
                await asyncio.sleep(0)  # nobody else changes anything meanwhile: this is the only writer
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
        changes = [(d.change, d.desired) for ask, d in decided if isinstance(d, Decision) and d.change and not ask.validate_only]
        if changes and not await self._append([records.change(change) for change, _ in changes]):
            for ask in batch:
                _answer(ask, self._refusal())
            return
        for change, after in changes:
            before, self.desired = self.desired, after
            for listener in self._listeners:
                listener(before, change)
        for ask, outcome in decided:
            _answer(ask, outcome)

    async def _write_kept(self) -> None:
        kept, self._unwritten = self._unwritten, {}
        there = [one for name, one in kept.items() if _there(name, self.desired)]
        if there and not await self._append(await asyncio.to_thread(_records, there, self.desired, self._facts(()).now)):
            self._unwritten = kept | self._unwritten
        for name in [name for name in self._kept if not _there(name, self.desired)]:
            del self._kept[name]

    async def _append(self, written: list[records.Record]) -> bool:
        """Whether the records are in the journal. One that somebody removed or cut, or whose disk lost something, is made anew first."""
        if not await self._written(written):
            await self.snapshot()
            if not await self._written(written):
                return False
        self.journal_error = ""
        return True

    async def _written(self, written: list[records.Record]) -> bool:
        try:
            self._bytes += await asyncio.to_thread(self._journal.append, written)
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
            self._snapshot_bytes = await asyncio.to_thread(self._write_snapshot, self.desired, tuple(self._kept.values()))
        except OSError as error:
            self._failed("snapshot", error)
        self._bytes = 0  # also after a failure: the next try comes after as many changes

    def _write_snapshot(self, desired: Desired, notes: Sequence[Note]) -> int:
        return self._journal.snapshot(records.snapshot(desired, self._secrets, [one for one in notes if _there(_about(one), desired)]))

    def _failed(self, what: str, error: OSError) -> None:
        self.journal_error = f"{what}: {error}"
        self._errno = error.errno
        _log.error("event=journal_failed what=%s error=%r", what, str(error))

    def _refusal(self) -> Refused:
        message = f"the journal cannot be written ({self.journal_error}): nothing has changed, try again when that is mended"
        if self._errno in (errno.ENOSPC, errno.EDQUOT):
            return ResourceExhausted(message, reason="JOURNAL_FULL")
        return Unavailable(message, reason="JOURNAL_FAILED")


def _records(notes: Sequence[Note], desired: Desired, now: float) -> list[records.Record]:
    return [records.note(one, desired, now) for one in notes]


def _about(note: Note) -> str:
    return note.service if isinstance(note, Kept) else note.backend


def _there(name: str, desired: Desired) -> bool:
    return name in desired.services or name in desired.backends


def _stopping() -> Unavailable:
    return Unavailable(
        "the agent stops: it is not known whether the change was kept; ask its next start with the same request_id", reason="AGENT_STOPPING"
    )


def _answer(ask: _Ask, outcome: Decision | Exception) -> None:
    if ask.answer.done():
        return  # the caller has gone; the change stays
    if isinstance(outcome, Exception):
        ask.answer.set_exception(outcome)
    else:
        ask.answer.set_result(outcome)
