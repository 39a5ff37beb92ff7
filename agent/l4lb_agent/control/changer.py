"""A change from being asked for to being answered: what must be known to decide on it, and what its answer promises."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from l4lb_agent.control.applying.reconciler import Reconciler
from l4lb_agent.control.applying.waiters import pending
from l4lb_agent.control.drainer import Drainer
from l4lb_agent.control.host import Host
from l4lb_agent.control.measure import Measure
from l4lb_agent.control.ports import Clock
from l4lb_agent.control.sampler import Sampler
from l4lb_agent.control.store import Store
from l4lb_agent.control.surroundings import Surroundings
from l4lb_agent.control.views import Views
from l4lb_agent.model import build
from l4lb_agent.model.backend import AdminState
from l4lb_agent.model.changes import commands
from l4lb_agent.model.changes.decide import Decision, Facts
from l4lb_agent.model.errors import Unavailable

NEXT_HOP_SECONDS = 2.0  # how long AddBackend and UpdateBackend wait for one
COUNTING = (commands.RemoveBackend, commands.DrainBackend)  # decided by how many flows there are now

_log = logging.getLogger(__name__)


class Changer:
    """Waits before a decision for what it needs, and after it for what its answer promises."""

    def __init__(
        self, store: Store, reconciler: Reconciler, sampler: Sampler, drainer: Drainer, surroundings: Surroundings, views: Views,
        measure: Measure, clock: Clock, host: Callable[[], Host],
    ) -> None:  # fmt: skip
        self._store, self._reconciler, self._sampler, self._drainer = store, reconciler, sampler, drainer
        self._surroundings, self._views, self._measure, self._clock, self._host = surroundings, views, measure, clock, host

    async def change(self, command: commands.Command, request_id: str, request_hash: str, *, validate_only: bool) -> Decision:
        """The decision; unless `validate_only` it is journaled, and the kernel forwards accordingly. Raises Refused."""
        came = self._clock.monotonic()
        if isinstance(command, COUNTING):
            await self._count_flows()
        decision = await self._store.change(command, request_id=request_id, request_hash=request_hash, validate_only=validate_only)
        if not validate_only:
            self._measure.came(decision, came)
            await self._reconciler.applied(decision.revision)
            decision = await self._settle(command, decision)
        return decision

    def facts(self, asked: Sequence[commands.Command]) -> Facts:
        """What decisions on these commands must know of the world now."""
        near, host = self._surroundings, self._host()
        facts = Facts(self._clock.time(), host.boot_id, host.config, local=near.local)
        if not any(isinstance(command, COUNTING) for command in asked):
            return facts
        desired = self._store.desired
        slotless = build.without_way(desired, near.next_hops, near.local, host.config.outer_source) | self._reconciler.verdict().out
        live, uncounted = self._views.live_flows(desired), self._views.uncounted(desired)
        return replace(facts, live_flows=live, uncounted=uncounted, slotless=slotless)

    async def _settle(self, command: commands.Command, decision: Decision) -> Decision:
        """Waits for what an answer promises besides the writes: a next hop, or the end of a drain without flows."""
        backend = decision.backend
        if backend and commands.places(command):
            await self._reconciler.until(lambda: not self._waits(backend.name), NEXT_HOP_SECONDS)
            if self._reconciler.error:
                raise pending(self._reconciler.error)
        if isinstance(command, commands.DrainBackend) and backend and backend.drain and not backend.drain.initial_flows:
            try:
                await self._drainer.settle(backend.name)
            except OSError as error:
                _log.warning("event=sweep_failed error=%r", str(error))
            now = self._store.desired.backends.get(backend.name)
            if decision.answered is None and now is not None and now.admin is AdminState.DRAINED:
                await self._reconciler.applied(now.revision)
                return replace(decision, desired=self._store.desired, backend=now)
        return decision

    def _waits(self, name: str) -> str:
        backend = self._store.desired.backends.get(name)
        return self._views.backend_waits(self._store.desired, backend) if backend else ""

    async def _count_flows(self) -> None:
        try:
            await self._sampler.fresh()
        except OSError as error:
            raise Unavailable(f"the flow table cannot be read: {error}", reason="FLOWS_UNREADABLE") from error
