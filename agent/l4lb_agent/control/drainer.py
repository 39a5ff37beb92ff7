"""Ends drains: when no flow is left, or at the deadline."""

import asyncio
import logging
from collections.abc import Callable, Iterator

from l4lb_agent.control.applying.reconciler import GRACE_SECONDS, Reconciler
from l4lb_agent.control.pause import heard
from l4lb_agent.control.ports import Clock
from l4lb_agent.control.sampler import Sampler
from l4lb_agent.control.store import Store
from l4lb_agent.model import drain
from l4lb_agent.model.backend import AdminState, Backend, Drain
from l4lb_agent.model.changes.commands import EndDrain
from l4lb_agent.model.changes.decide import Decision
from l4lb_agent.model.errors import Refused

RETRY_SECONDS = 1.0  # after the journal refused the end of a drain

_log = logging.getLogger(__name__)


class Drainer:
    """Looks after every sweep, at every deadline and when asked to."""

    def __init__(self, store: Store, reconciler: Reconciler, sampler: Sampler, clock: Clock, lost: Callable[[Drain], bool]) -> None:
        """`lost` says whether the flow table that a drain began with is gone."""
        self._store, self._reconciler, self._sampler, self._clock, self._lost = store, reconciler, sampler, clock, lost
        self.listeners: list[Callable[[Decision], None]] = []  # called for each drain that has been ended
        self._wake = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._deadlines: dict[str, tuple[float, float]] = {}  # by name: the deadline in Unix seconds, and on the monotonic clock

    def wake(self) -> None:
        """Something has changed that may end a drain."""
        self._wake.set()

    def draining(self) -> Iterator[Backend]:
        """Backends whose drain runs."""
        return (b for b in self._store.desired.backends.values() if b.admin is AdminState.DRAINING)

    async def run(self) -> None:
        """Ends drains until cancelled."""
        while True:
            pause = await self.check()
            await heard(self._wake, pause)

    async def settle(self, name: str) -> None:
        """Counts the flows of a drain that has just been published, so that one without flows ends at once. Raises OSError."""
        backend = self._store.desired.backends.get(name)
        since = self._reconciler.without_slots.get(self._number(backend)) if backend else None
        if since is not None:
            await asyncio.sleep(max(0.0, since + GRACE_SECONDS - self._clock.monotonic()))
            await self._sampler.fresh()
        await self.check()

    async def check(self) -> float | None:
        """Ends what can end; seconds until the next deadline, None without one."""
        async with self._one_at_a_time:
            return await self._check()

    async def _check(self) -> float | None:
        pauses = []
        for backend in list(self.draining()):
            if backend.drain is None:
                continue
            left = self._left(backend.name, backend.drain)
            live = self.live_flows(backend)
            if live is None and left is not None and left <= 0 and not self._lost(backend.drain):
                live = await self._count(backend)
            expired, lost, uncounted = left is not None and left <= 0, self._lost(backend.drain), self._uncounted(backend)
            result = drain.ending(backend.drain, live_flows=live, uncounted=uncounted, expired=expired, state_lost=lost)
            if result is not None and not await self._end(EndDrain(backend.name, result, live or 0)):
                pauses.append(RETRY_SECONDS)
            elif result is None and left is not None:
                pauses.append(max(left, 0.01))
        self._deadlines = {name: kept for name, kept in self._deadlines.items() if name in self._store.desired.backends}
        return min(pauses, default=None)

    def live_flows(self, backend: Backend) -> int | None:
        """Flows counted by a sweep that began after the ring without the backend was published; None without such a sweep."""
        since, sweep = self._reconciler.without_slots.get(self._number(backend)), self._sampler.last
        if since is None or sweep is None or sweep.began < since + GRACE_SECONDS:
            return None
        return self.count(backend)

    def count(self, backend: Backend) -> int:
        """Flows by the last sweep."""
        return self._sampler.counts.live.get(self._number(backend), 0)

    def _number(self, backend: Backend) -> int:
        return self._reconciler.ids.number(self._store.desired, backend)

    def _uncounted(self, backend: Backend) -> bool:
        """Whether flows without an entry may go on there, as far as the last sweep can say: a flow that has spoken within the idle timeout
        has got one only if the ring without the backend was there when it spoke."""
        service, sweep = self._store.desired.services[backend.service], self._sampler.last
        counted = self._reconciler.counted_from(service, self._number(backend))
        return counted is not None and (sweep is None or sweep.began < counted)

    async def _count(self, backend: Backend) -> int:
        try:
            await self._sampler.fresh()
        except OSError as error:
            _log.error("event=sweep_failed error=%r", str(error))
        return self.count(backend)

    def _left(self, name: str, running: Drain) -> float | None:
        """Seconds to the deadline. The wall clock is read once for each deadline: a step of it must not end a drain early."""
        if running.deadline is None:
            return None
        known = self._deadlines.get(name)
        if known is None or known[0] != running.deadline:
            known = (running.deadline, self._clock.monotonic() + running.deadline - self._clock.time())
            self._deadlines[name] = known
        return known[1] - self._clock.monotonic()

    async def _end(self, command: EndDrain) -> bool:
        try:
            decision = await self._store.change(command)
        except Refused as error:
            _log.warning("event=drain_end_refused backend=%s reason=%s", command.name, error.reason)
            return False
        _log.info("event=drain_ended backend=%s result=%s remaining=%d", command.name, command.result.name, command.remaining_flows)
        for listener in self.listeners:
            listener(decision)
        return True
