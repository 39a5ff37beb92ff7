"""Reads counters when somebody wants them, and sweeps the flow table again and again."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from l4lb_agent.control.applying.windows import Asked
from l4lb_agent.control.pause import heard
from l4lb_agent.control.ports import Clock, Datapath
from l4lb_agent.model.observed import Counters, FlowCounts

CACHE_SECONDS = 0.05
SHORTEST, LONGEST = 1.0, 30.0  # seconds between sweeps
SHARE = 0.04  # of one core that sweeping may take when the flow table is large
DRAINING_SHARE = 0.25  # while somebody waits for a drain

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sweep:
    """One look at the whole flow table."""

    counts: FlowCounts
    began: float  # monotonic
    seconds: float  # of a CPU


class Sampler:
    """Calls each of `listeners` after every sweep. `draining` says whether a drain runs, `asked` of which rings `pinned` is wanted."""

    def __init__(self, datapath: Datapath, clock: Clock, draining: Callable[[], bool], asked: Callable[[], Asked]) -> None:
        self.last: Sweep | None = None
        self.listeners: list[Callable[[Sweep], None]] = []
        self._datapath, self._clock, self._draining, self._asked = datapath, clock, draining, asked
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._counters: tuple[float, Counters] | None = None

    @property
    def counts(self) -> FlowCounts:
        """Of the last sweep."""
        return self.last.counts if self.last else FlowCounts()

    async def counted(self) -> Counters:
        """Read now, or at most 50 ms ago, by a thread: with ten thousand backends that takes a while. Raises OSError."""
        now = self._clock.monotonic()
        if self._counters is None or now - self._counters[0] >= CACHE_SECONDS:
            self._counters = (now, await asyncio.to_thread(self._datapath.counters))
        return self._counters[1]

    async def fresh(self) -> Sweep:
        """A sweep that begins from now on; callers that wait together share one. Raises OSError."""
        asked = self._clock.monotonic()
        async with self._lock:
            if self.last is None or self.last.began < asked:
                self.last = await self._sweep()
            return self.last

    def hurry(self) -> None:
        """Sweeps soon: a drain has begun."""
        self._wake.set()

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            try:
                await self.fresh()
            except OSError as error:
                _log.error("event=sweep_failed error=%r", str(error))
            await heard(self._wake, self.pause())

    def pause(self) -> float:
        """Seconds until the next sweep."""
        took = self.last.seconds if self.last else 0.0
        return min(LONGEST, max(SHORTEST, took / (DRAINING_SHARE if self._draining() else SHARE)))

    async def _sweep(self) -> Sweep:
        began = self._clock.monotonic()
        counts, seconds = await asyncio.to_thread(self._timed, self._asked())
        sweep = self.last = Sweep(counts, began, seconds)
        for listener in self.listeners:
            listener(sweep)
        return sweep

    def _timed(self, asked: Asked) -> tuple[FlowCounts, float]:
        """In a thread: a sweep, and what it took of a CPU. Until it is that thread's turn a busy host may have done other things."""
        began = self._clock.worked()
        counts = self._datapath.sweep(asked)
        return counts, self._clock.worked() - began
