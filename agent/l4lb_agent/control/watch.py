"""Tells watchers what happens to backends. A watcher that is slow gets fewer, newer events: at most one waits for each backend."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from l4lb_agent.control.facade import BackendEvent, BackendView
from l4lb_agent.control.pause import heard
from l4lb_agent.control.views import seen
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.desired import Change, Desired
from l4lb_agent.model.errors import OutOfRange

REMEMBERED = 4096  # changes of backends that a watcher can resume from
BOOKMARK_SECONDS = 15.0

ADDED, MODIFIED, DELETED, SYNCED, BOOKMARK = "ADDED", "MODIFIED", "DELETED", "SYNCED", "BOOKMARK"


@dataclass(frozen=True)
class Happened:
    """One change of one backend; `backend` is as it was last when it is DELETED."""

    kind: str
    revision: int
    backend: Backend


def happenings(before: Desired, change: Change) -> list[Happened]:
    """What `change` does to backends."""
    found = [Happened(DELETED, change.revision, before.backends[name]) for name in change.deleted if name in before.backends]
    found += [Happened(MODIFIED if b.name in before.backends else ADDED, change.revision, b) for b in change.backends]
    return found


# What two events of one backend, of which the first has not been sent, are together; None: nothing.
_TOGETHER: dict[tuple[str, str], str | None] = {
    (ADDED, MODIFIED): ADDED,
    (ADDED, DELETED): None,
    (MODIFIED, MODIFIED): MODIFIED,
    (MODIFIED, DELETED): DELETED,
    (DELETED, ADDED): MODIFIED,
}


@dataclass(eq=False)
class _Watcher:
    service: str
    waiting: dict[str, Happened] = field(default_factory=dict)  # by backend name, oldest first
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    revision: int = 0
    told: dict[str, tuple[object, ...]] = field(default_factory=dict)  # by backend name: how this watcher was told that it is seen

    def tell(self, event: Happened) -> None:
        """Puts `event` with what waits already."""
        if self.service and event.backend.service != self.service:
            return
        waits = self.waiting.pop(event.backend.name, None)
        kind = _TOGETHER.get((waits.kind, event.kind), event.kind) if waits else event.kind
        if kind is not None:
            self.waiting[event.backend.name] = Happened(kind, event.revision, event.backend)
        self.wake.set()


class Watchers:
    """All watchers and what they may resume from. `view` says how a backend is seen now; `desired` is the newest state."""

    def __init__(self, desired: Callable[[], Desired], view: Callable[[Backend], BackendView]) -> None:
        self._desired, self._view = desired, view
        self._watchers: set[_Watcher] = set()
        self._history: deque[Happened] = deque()
        self._from = desired().revision  # changes after this revision are remembered

    def __bool__(self) -> bool:
        """Whether anybody watches."""
        return bool(self._watchers)

    def replay(self, base: Desired, changes: Iterable[Change]) -> None:
        """Remembers what the journal tells, so that watchers resume across restarts of the agent."""
        self._from = base.revision
        for change in changes:
            self.published(base, change)
            base = base.apply(change)

    def published(self, before: Desired, change: Change) -> None:
        """Tells every watcher of a change."""
        for event in happenings(before, change):
            self._history.append(event)
            while len(self._history) > REMEMBERED:
                self._from = self._history.popleft().revision
            for watcher in self._watchers:
                watcher.tell(event)

    def looked(self, now: Mapping[str, tuple[object, ...]]) -> None:
        """Tells each watcher of the backends that are seen otherwise than it was told, although nobody changed what was asked."""
        desired = self._desired()
        for watcher in self._watchers:
            for name in [name for name, told in watcher.told.items() if now.get(name, told) != told]:
                if name in desired.backends:
                    watcher.tell(Happened(MODIFIED, desired.revision, desired.backends[name]))

    async def watch(self, service: str, resume_revision: int) -> AsyncGenerator[BackendEvent, None]:
        """Everything (or what came after `resume_revision`), SYNCED, then changes; BOOKMARK while nothing happens. Raises OutOfRange."""
        watcher = _Watcher(service)
        begun = self._begin(watcher, resume_revision)
        self._watchers.add(watcher)
        try:
            for event in self._drain(watcher):
                yield event
            watcher.revision = max(watcher.revision, begun)
            yield BackendEvent(SYNCED, watcher.revision)
            while True:
                if not await heard(watcher.wake, BOOKMARK_SECONDS):
                    watcher.revision = self._desired().revision
                    yield BackendEvent(BOOKMARK, watcher.revision)
                for event in self._drain(watcher):
                    yield event
        finally:
            self._watchers.discard(watcher)

    def _begin(self, watcher: _Watcher, resume_revision: int) -> int:
        """Puts what exists, or happened since, before the watcher; the revision that it will be at then. Until everything that exists
        has been sent its events carry revision 0: a stream that breaks meanwhile has to begin again."""
        desired = self._desired()
        watcher.revision = resume_revision
        if not resume_revision:
            for name in sorted(desired.backends):
                watcher.tell(Happened(ADDED, 0, desired.backends[name]))
            return desired.revision
        if not self._from <= resume_revision <= desired.revision:
            raise OutOfRange(
                f"resume_revision: {resume_revision} is not remembered, {self._from} to {desired.revision} are: watch again from 0",
                reason="REVISION_FORGOTTEN",
                field="resume_revision",
                metadata={"oldest": str(self._from), "newest": str(desired.revision)},
            )
        watcher.told = {name: seen(self._view(backend)) for name, backend in desired.backends.items()}
        for event in self._history:
            if event.revision > resume_revision:
                watcher.tell(event)
        return desired.revision

    def _drain(self, watcher: _Watcher) -> Iterable[BackendEvent]:
        """Sends what waits, one at a time: more may come, and coalesce, between two."""
        while watcher.waiting:
            event = watcher.waiting.pop(next(iter(watcher.waiting)))
            now = self._desired().backends.get(event.backend.name)
            if event.kind == DELETED or now is None:
                view = BackendView(event.backend)
                watcher.told.pop(event.backend.name, None)
            else:
                view = self._view(now)
                watcher.told[event.backend.name] = seen(view)
            watcher.revision = max(watcher.revision, event.revision)
            yield BackendEvent(event.kind, watcher.revision, view)
