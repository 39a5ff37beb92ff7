"""One look at everything that is measured, at one time: what StreamStats tells and more, for whoever writes it down.

Taking it costs the event loop microseconds, whatever is configured: only references to values that never change are taken there. Counters
are read, and rows are made, by the thread that asks for them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from l4lb_agent.control.applying.applies import Applies, Durations
from l4lb_agent.control.applying.reconciler import Reconciler
from l4lb_agent.control.applying.rings import Images, identity
from l4lb_agent.control.applying.windows import Held
from l4lb_agent.control.facade import AgentView
from l4lb_agent.control.health.checker import Checker, Looked
from l4lb_agent.control.health.tally import Tally
from l4lb_agent.control.ports import Clock
from l4lb_agent.control.sampler import Sampler, Sweep
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.changes.decide import Decision
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.health.standing import Standing
from l4lb_agent.model.health.state import Health
from l4lb_agent.model.ids import Ids
from l4lb_agent.model.observed import Counters, FlowCounts, TrafficCount
from l4lb_agent.model.service import VirtualService

_NOTHING = TrafficCount()
_NONE = Tally()


class BackendRow(NamedTuple):
    """One backend. Times are Unix seconds."""

    backend: Backend
    traffic: TrafficCount
    live: int  # flows that have not ended, by the last sweep
    wanted_share: float
    slot_share: float
    reachable: bool  # its next hop is resolved, as far as the datapath needs it
    health: Health | None = None  # None without a check
    flapping: bool = False


class ServiceRow(NamedTuple):
    """One virtual service."""

    service: VirtualService
    traffic: TrafficCount
    backends: tuple[BackendRow, ...]  # by name
    ring_digest: str  # "" without a ring
    differing_slots: int
    at_risk_slots: int
    standing: Standing | None = None  # None without a check
    probes: Tally = _NONE


@dataclass(frozen=True)
class Measured:
    """Values that never change. `agent` comes without warnings of api/."""

    agent: AgentView
    heartbeats: int
    applies: Durations
    sweep: Sweep | None
    counters: Counters
    desired: Desired
    ids: Ids
    images: Images
    held: Mapping[int, Held]
    with_way: frozenset[str]
    health: Looked
    restored: Mapping[str, int]  # elements by map that somebody else had changed, and this process has put right

    @property
    def counts(self) -> FlowCounts:
        """Of the last sweep."""
        return self.sweep.counts if self.sweep else FlowCounts()

    def services(self) -> Iterator[ServiceRow]:
        """By name. Each row is made when it is asked for."""
        for name, service in sorted(self.desired.services.items()):
            number = self.ids.services.get(service.identity, 0)
            held = self.held.get(number) if service.has_window else None
            image = self.images.by_service.get(name)
            yield ServiceRow(
                service,
                self.counters.services.get(number, _NOTHING),
                tuple(self._backends(service)),
                image.ring.digest if image else "",
                held.pair.differing if held else 0,
                held.pair.at_risk if held else 0,
                self.health.standings.get(name),
                self.health.tallies.get(name, _NONE),
            )

    def _backends(self, service: VirtualService) -> Iterator[BackendRow]:
        backends = self.desired.by_service.get(service.name, {})
        image, key = self.images.by_service.get(service.name), service.identity
        shares: Mapping[str, float] = image.shares if image else {}
        total = sum(backend.weight for backend in backends.values() if backend.wants_new_flows)
        watched, now = self.health.watched, self.health.time
        live, traffic, numbers = self.counts.live, self.counters.backends, self.ids.backends
        for name, backend in sorted(backends.items()):
            number = numbers.get((key, backend.address, backend.port), 0)
            health = watched[name].health if name in watched else None
            yield BackendRow(
                backend,
                traffic.get(number, _NOTHING),
                live.get(number, 0),
                backend.weight / total if total and backend.wants_new_flows else 0.0,
                shares.get(identity(backend), 0.0),
                name in self.with_way,
                health,
                health is not None and health.flapping(now),
            )


class Measure:
    """Takes looks, and times changes."""

    def __init__(self, sampler: Sampler, reconciler: Reconciler, checker: Checker, clock: Clock) -> None:
        self._sampler, self._reconciler, self._checker, self._clock = sampler, reconciler, checker, clock
        self._applies = Applies()

    def came(self, decision: Decision, when: float) -> None:
        """A change that was asked for at `when` (monotonic) has been decided and journaled; what was answered before is none."""
        if decision.answered is None and decision.differences.revision:
            self._applies.came(decision.differences.revision, when)

    def passed(self) -> None:
        """The reconciler made a pass."""
        self._applies.applied(self._reconciler.applied_revision, self._clock.monotonic())

    async def take(self, desired: Desired, agent: AgentView) -> Measured:
        """One look. Raises OSError when the kernel does not give the counters."""
        counters = await self._sampler.counted()
        of = self._reconciler
        return Measured(
            agent, of.turns, self._applies.durations, self._sampler.last, counters, desired, of.ids, of.images,
            dict(of.windows.held), of.with_way, self._checker.looked(), dict(of.drift.restored),
        )  # fmt: skip
