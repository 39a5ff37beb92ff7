"""What was asked for together with what is seen of it: the views that the API answers with."""

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from l4lb_agent.control.applying import rings
from l4lb_agent.control.applying.reconciler import Reconciler
from l4lb_agent.control.captures import Names
from l4lb_agent.control.facade import AgentView, BackendView, ListView, Outcome, RingView, ServiceView, Snapshot, StatsSample
from l4lb_agent.control.health.checker import Checker
from l4lb_agent.control.ports import Clock
from l4lb_agent.control.sampler import Sampler
from l4lb_agent.control.seen import ring_view
from l4lb_agent.control.seen.looks import Looks
from l4lb_agent.control.surroundings import Surroundings
from l4lb_agent.model.access.lists import PrefixList
from l4lb_agent.model.backend import AdminState, Backend
from l4lb_agent.model.changes import lists
from l4lb_agent.model.changes.decide import Decision
from l4lb_agent.model.config import DatapathConfig
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.doctor.ways import vip_is_local
from l4lb_agent.model.health.effective import effective
from l4lb_agent.model.ids import backend_keys
from l4lb_agent.model.observed import Answers, Counters, InterfaceState, MapState
from l4lb_agent.model.service import Mode, VirtualService
from l4lb_agent.model.ways.way import missing
from l4lb_agent.model.windows import settle

SLOTS_FOR_EACH = 100  # fewer slots a backend make shares and disruption worse
FILLING = 0.75  # of the flow table
WAYS = 4  # entries of a bucket of flow_table

Warnings = list[tuple[str, str]]


class Views:
    """Reads the newest state of every part."""

    def __init__(
        self, config: DatapathConfig, reconciler: Reconciler, surroundings: Surroundings, sampler: Sampler, checker: Checker, clock: Clock
    ) -> None:
        self._config, self._reconciler, self._surroundings, self._sampler = config, reconciler, surroundings, sampler
        self._checker, self._clock = checker, clock
        self._weights: tuple[Desired, dict[str, int]] = (Desired(), {})  # by service name, of that state

    def outcome(self, decision: Decision) -> Outcome:
        """What came of a decision."""
        return Outcome(
            decision.revision,
            self.service(decision.desired, decision.service) if decision.service else None,
            self.backend(decision.desired, decision.backend) if decision.backend else None,
            self.prefix_list(decision.desired, decision.prefix_list) if decision.prefix_list else None,
            decision.differences,
            decision.answered is not None,
        )

    def service(self, desired: Desired, service: VirtualService) -> ServiceView:
        """One virtual service."""
        image = self._reconciler.images.by_service.get(service.name)
        view = ServiceView(service, self._service_waits(desired, service), image.ring.digest if image else "")
        held = self._reconciler.windows.held.get(self._reconciler.ids.services.get(service.identity, 0))
        if held is None or not service.has_window:
            return view
        settles = settle.ends(held.pair, held.rules) if held.rules else None
        return replace(
            view,
            before_ring_digest=self._reconciler.before_digest(desired, held) if held.pair.open else view.ring_digest,
            differing_slots=held.pair.differing,
            at_risk_slots=held.pair.at_risk,
            settle_time=self._unix(settles) if settles is not None else 0.0,
        )

    def backend(self, desired: Desired, backend: Backend) -> BackendView:
        """One backend."""
        image = self._reconciler.images.by_service.get(backend.service)
        total = self._weight(desired, backend.service)
        number, counts = self._reconciler.ids.number(desired, backend), self._sampler.counts
        counted = self._counted_from(desired, backend) if backend.admin is AdminState.DRAINING else None
        health = self._checker.view(backend.name)
        state, kept = (health.health.state, health.kept) if health else (None, False)
        return BackendView(
            backend,
            reconciling=self.backend_waits(desired, backend),
            datapath_id=number,
            wanted_share=backend.weight / total if backend.wants_new_flows and total else 0.0,
            slot_share=image.shares.get(rings.identity(backend), 0.0) if image else 0.0,
            next_hop=self._surroundings.next_hops.get(backend.address),
            live_flows=counts.live.get(number, 0),
            counted=counts.at,
            health=health,
            effective=effective(backend, state, kept=kept, with_way=backend.name in self._reconciler.with_way),
            uncounted_until=self._unix(counted) if counted is not None and counted != math.inf else 0.0,
        )

    def snapshot(self, desired: Desired) -> Snapshot:
        """Everything."""
        return Snapshot(
            desired.revision,
            Looks(desired.services, lambda name: self.service(desired, desired.services[name])),
            Looks(desired.backends, lambda name: self.backend(desired, desired.backends[name])),
            Looks(desired.lists, lambda name: self._with_members(desired, desired.lists[name])),
        )

    def prefix_list(self, desired: Desired, one: PrefixList) -> ListView:
        """One list, without its prefixes."""
        return ListView(one, services=lists.users(desired, one.name), reconciling=self._behind(one.revision))

    def list_named(self, desired: Desired, name: str) -> ListView | None:
        """The list of that name with its prefixes, if there is one."""
        one = desired.lists.get(name)
        return self._with_members(desired, one) if one else None

    def _with_members(self, desired: Desired, one: PrefixList) -> ListView:
        return replace(self.prefix_list(desired, one), members=desired.members[one.name])

    def service_named(self, desired: Desired, name: str) -> ServiceView | None:
        """The virtual service of that name, if there is one."""
        service = desired.services.get(name)
        return self.service(desired, service) if service else None

    def backend_named(self, desired: Desired, name: str) -> BackendView | None:
        """The backend of that name, if there is one."""
        backend = desired.backends.get(name)
        return self.backend(desired, backend) if backend else None

    def sample(self, desired: Desired, counters: Counters, maps: Sequence[MapState]) -> StatsSample:
        """Counters with the names of the ids in them."""
        names = self.names(desired)
        return StatsSample(counters, self._sampler.counts, names.services, names.backends, maps)

    def names(self, desired: Desired, interfaces: Iterable[InterfaceState] = ()) -> Names:
        """What the datapath's numbers are called."""
        ids = self._reconciler.ids
        services = {name: ids.services[one.identity] for name, one in desired.services.items() if one.identity in ids.services}
        backends = {name: number for name, backend in desired.backends.items() if (number := ids.number(desired, backend))}
        lists = {name: one.number for name, one in desired.lists.items()}
        return Names(services, backends, {state.name: state.ifindex for state in interfaces if state.ifindex}, lists)

    async def ring(self, desired: Desired, name: str, *, slots: bool) -> RingView | None:
        """The ring of the virtual service of that name, if there is one."""
        service = desired.services.get(name)
        if service is None:
            return None
        held = self._reconciler.windows.held.get(self._reconciler.ids.services.get(service.identity, 0)) if service.has_window else None
        backends = [self.backend(desired, backend) for _, backend in sorted(desired.by_service.get(name, {}).items())]
        image, pair = self._reconciler.images.by_service.get(name), held.pair if held else None
        return await asyncio.to_thread(ring_view.look, self.service(desired, service), backends, image, pair, slots=slots)

    def _weight(self, desired: Desired, service: str) -> int:
        """Of all backends of the service that want new flows; added up once, since a list asks for each of them."""
        of, known = self._weights
        if of is not desired:
            known = {}
            self._weights = (desired, known)
        if service not in known:
            known[service] = sum(backend.weight for backend in desired.backends_of(service) if backend.wants_new_flows)
        return known[service]

    def _counted_from(self, desired: Desired, backend: Backend) -> float | None:
        service = desired.services.get(backend.service)
        return self._reconciler.counted_from(service, self._reconciler.ids.number(desired, backend)) if service else None

    def _unix(self, time: float) -> float:
        """A time of the monotonic clock in Unix seconds, whole ones: what is shown must not flicker."""
        return float(math.ceil(time - self._clock.monotonic() + self._clock.time()))

    def uncounted(self, desired: Desired) -> frozenset[str]:
        """Names of backends with which flows may go on that the last sweep has not counted, because they have no entry."""
        began = self._sampler.last.began if self._sampler.last else 0.0
        return frozenset(name for name, backend in desired.backends.items() if (self._counted_from(desired, backend) or began) > began)

    def live_flows(self, desired: Desired) -> dict[str, int]:
        """Flows by backend name, by the last sweep; only those with any."""
        live, numbers = self._sampler.counts.live, self._reconciler.ids.backends
        return {name: live[numbers[key]] for name, key in backend_keys(desired).items() if live.get(numbers.get(key, 0))}

    def backend_waits(self, desired: Desired, backend: Backend) -> str:
        """What is missing until the kernel forwards as asked for this backend, "" when it does."""
        near, own = self._surroundings, self._config.outer_source
        if backend.name not in self._reconciler.with_way:
            why = missing(backend, desired.services[backend.service], near.next_hops, near.local, own)
            return why or self._behind(backend.revision) or "being written"
        if backend.name in self._reconciler.deferred:
            return "no datapath id is free until the flows of removed backends have gone"
        return self._behind(backend.revision)

    def _service_waits(self, desired: Desired, service: VirtualService) -> str:
        if service.mode is Mode.NAT and not self._config.snat_of(service.vip.family):
            return f"no SNAT address of IPv{service.vip.family} is configured: [datapath] snat in agent.toml"
        if service.name in self._reconciler.deferred:
            return f"no ring of {service.ring_size} slots is free"
        return self._behind(service.revision)

    def _behind(self, revision: int) -> str:
        if self._reconciler.error:
            return f"the kernel refused a write, which is tried again: {self._reconciler.error}"
        return "" if self._reconciler.applied_revision >= revision else "being written"

    def maps(self, states: tuple[MapState, ...]) -> tuple[tuple[MapState, int], ...]:
        """Each map with its entries in use: by the last sweep for flows, by what was written for the others."""
        counts, numbers, actual = self._sampler.counts, self._reconciler.ids, self._reconciler.actual
        known = {
            "flows": counts.flows,
            "flow_table": -(-counts.tracked // WAYS),
            "service_counters": len(numbers.services),
            "backend_in": len(numbers.backends),
            "backend_out": len(numbers.backends),
        }
        return tuple((state, known.get(state.name, len(actual.get(state.name, ())))) for state in states)

    async def answers(self, desired: Desired) -> dict[str, Answers]:
        """What backends have answered, by name, as far as it is seen; counted now. Raises OSError."""
        counts = (await self._sampler.fresh()).counts.answers
        names = self._reconciler.backend_names(desired)
        return {names[number]: seen for number, seen in counts.items() if number in names}

    def warnings(self, desired: Desired, agent: AgentView) -> Warnings:
        """What the operator should know."""
        found: Warnings = []
        for service in desired.services.values():
            if service.vip in self._surroundings.local:
                found.append(("VIP_IS_LOCAL", vip_is_local(service)))
            if service.mode is Mode.NAT and not self._config.snat_of(service.vip.family):
                found.append(("NO_SNAT_ADDRESS", f"{service.name} forwards nothing: {self._service_waits(desired, service)}"))
            if service.allow_list and service.vip.family not in desired.members[service.allow_list].families:
                why = f"{service.allow_list} has no prefix of IPv{service.vip.family}"
                found.append(("ALLOW_LIST_EMPTY", f"{service.name} lets nobody in: {why}"))
            backends = len(desired.backends_of(service.name))
            if backends * SLOTS_FOR_EACH > service.ring_size:
                found.append(
                    (
                        "RING_SMALL",
                        f"{service.name} has {backends} backends on {service.ring_size} slots: advised are {SLOTS_FOR_EACH} for each",
                    )
                )
        for state, used in agent.maps:
            if state.name == "flows" and used > FILLING * state.max_entries:
                found.append(("FLOW_TABLE_FILLING", f"{used} of {state.max_entries} flow entries are in use: raise [sizes] flows"))
            if state.name == "flow_table" and used > FILLING * state.max_entries:
                text = f"{self._sampler.counts.tracked} of {WAYS * state.max_entries} entries are in use: raise [sizes] tracked_flows"
                found.append(("FLOW_TABLE_FILLING", text))
        return found


def seen(view: BackendView) -> tuple[object, ...]:
    """What watchers are told of when it changes without anybody asking for it."""
    draining = view.backend.admin is AdminState.DRAINING
    state = view.health.health.state if view.health else None
    flows = view.live_flows if draining else 0
    return (view.reconciling, view.next_hop, view.datapath_id, view.slot_share, flows, state, view.effective)
