"""One look at the agent becomes samples."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from l4lb_agent.control.applying.applies import BOUNDS
from l4lb_agent.control.facade import AgentView
from l4lb_agent.control.measure import BackendRow, Measured, ServiceRow
from l4lb_agent.metrics import families as f
from l4lb_agent.metrics.families import Family
from l4lb_agent.metrics.text import Sheet, histogram, labels, sample
from l4lb_agent.model.backend import AdminState
from l4lb_agent.model.health.check import ProbeTarget
from l4lb_agent.model.health.outcome import Why
from l4lb_agent.model.health.standing import Standing
from l4lb_agent.model.health.state import State
from l4lb_agent.model.observed import TrafficCount
from l4lb_agent.model.reasons import Reason, Verdict

MODES = ("native", "generic")
DIGEST_DIGITS = 12  # of the ring's digest, in hex: a sample is a double and holds 53 bits
FIRST_REFUSAL = Reason.MALFORMED  # the numbers from here on
ROWS = 100  # of backends between two breaths


@dataclass(frozen=True)
class About:
    """One look at the agent, and what api/ adds to it: warnings (reason, message), and calls that have ended by method and status."""

    look: Measured
    warnings: Sequence[tuple[str, str]]
    calls: Mapping[tuple[str, str], int]
    version: str


def sheet(about: About, *, backends: bool, breathe: Callable[[], None]) -> Sheet:
    """All samples. Without `backends` those of single backends are left out, but for drains. `breathe` is called again and again, for
    a thread that must let others run."""
    made, look = Sheet(), about.look
    _agent(made, look, about.version)
    for reason, count in sorted(Counter(reason for reason, _ in (*look.agent.warnings, *about.warnings)).items()):
        made.put(f.WARNINGS, count, reason)
    for call, count in sorted(about.calls.items()):
        made.put(f.RPCS, count, *call)
    _datapath(made, look)
    rows = 0
    for row in look.services():
        _service(made, row)
        for one in row.backends:
            if backends:
                _backend(made, one, _directions(row))
            _drain(made, one)
            rows += 1
            if rows % ROWS == 0:
                breathe()
    return made


def _agent(made: Sheet, look: Measured, version: str) -> None:
    agent = look.agent
    for tag in sorted({interface.program_tag for interface in agent.interfaces if interface.mode} or {""}):
        made.put(f.BUILD, 1, version, tag, str(agent.layout_version), agent.kernel)
    made.put(f.READY, int(agent.ready))
    made.put(f.STARTED, agent.started)
    made.put(f.HEARTBEATS, look.heartbeats)
    made.put(f.REVISION, agent.revision)
    made.put(f.APPLIED, agent.applied_revision)
    made.put(f.MAP_WRITES, agent.map_writes)
    made.put(f.RETRIES, agent.reconcile_retries)
    made.put(f.DISAGREEMENTS, agent.explain_disagreements)
    took = look.applies
    made.lines(f.APPLY).extend(histogram(f.APPLY, BOUNDS, took.within, took.count, took.seconds))
    if look.sweep:
        made.put(f.SWEPT, look.sweep.counts.at)
        made.put(f.SWEEP, look.sweep.seconds)
    _interfaces(made, agent)


def _interfaces(made: Sheet, agent: AgentView) -> None:
    for interface in agent.interfaces:
        for mode in MODES:
            made.put(f.ATTACHED, int(interface.mode == mode), interface.name, mode)


def _datapath(made: Sheet, look: Measured) -> None:
    # What refuses packets begins at zero: a first drop is an increase only of a series that was there before it.
    counted = dict.fromkeys(((reason, Verdict.DROP) for reason in Reason if reason >= FIRST_REFUSAL or not reason), (0, 0))
    for (reason, verdict), (packets, size) in sorted((counted | dict(look.counters.reasons)).items()):
        words = (_word(Reason, reason), _word(Verdict, verdict))
        made.put(f.PACKETS, packets, *words)
        made.put(f.BYTES, size, *words)
    for state, entries in look.agent.maps:
        made.put(f.MAP_ENTRIES, entries, state.name)
        made.put(f.MAP_MAX, state.max_entries, state.name)
        made.put(f.MAP_BYTES, state.bytes, state.name)
    for name, elements in look.restored.items():
        made.put(f.MAP_DRIFT, elements, name)


def _word(names: type[Reason] | type[Verdict], number: int) -> str:
    """The name of a number; a datapath that is newer than this agent may count others."""
    try:
        return names(number).name
    except ValueError:
        return str(number)


def _service(made: Sheet, row: ServiceRow) -> None:
    service, traffic = row.service, row.traffic
    name = _short(service.name)
    made.put(f.SERVICE, 1, name, str(service.vip), str(service.port), service.protocol.name, service.mode.name)
    _traffic(made, f.SERVICE_PACKETS, f.SERVICE_BYTES, traffic, _directions(row), labels(("service",), name))
    made.put(f.SERVICE_FLOWS, traffic.flows, name)
    made.put(f.SERVICE_ACTIVE, sum(one.live for one in row.backends), name)
    if not service.mode.translates:
        made.put(f.SERVICE_READS, traffic.table_reads, name)
        made.put(f.SERVICE_ENTRIES, traffic.pinned, name)
        made.put(f.SERVICE_EVICTIONS, traffic.evicted, name)
        made.put(f.SERVICE_DIFFERING, row.differing_slots, name)
        made.put(f.SERVICE_AT_RISK, row.at_risk_slots, name)
    states = Counter(one.backend.admin for one in row.backends)
    for state in AdminState:
        made.put(f.SERVICE_BACKENDS, states[state], name, state.name.lower())
    made.put(f.SERVICE_ELIGIBLE, sum(one.slot_share > 0 for one in row.backends), name)
    made.put(f.SERVICE_UNREACHABLE, sum(not one.reachable for one in row.backends), name)
    if row.ring_digest:
        made.put(f.SERVICE_DIGEST, int(row.ring_digest[:DIGEST_DIGITS], 16), name)
    if row.standing:
        _health(made, row, row.standing, name)


def _health(made: Sheet, row: ServiceRow, standing: Standing, name: str) -> None:
    """Of a service with a check."""
    states = Counter(one.health.state for one in row.backends if one.health)
    for state in State:
        made.put(f.SERVICE_HEALTH, states[state], name, state.name.lower())
    for target in ProbeTarget:
        asked = row.service.health_check is not None and row.service.health_check.target is target
        made.put(f.SERVICE_TARGET, int(asked), name, target.name.lower())
    made.put(f.SERVICE_ALL_DOWN, int(standing.all_down), name)
    made.put(f.SERVICE_KEPT, len(standing.kept), name)
    made.put(f.SERVICE_FLAPPING, sum(one.flapping for one in row.backends), name)
    made.put(f.SERVICE_TRANSITIONS, row.probes.transitions, name)
    for why in Why:
        made.put(f.SERVICE_PROBES, row.probes.outcomes[why], name, why.name.lower())


def _directions(row: ServiceRow) -> tuple[str, ...]:
    """Answers of DSR and ENCAP do not come by here."""
    return ("in", "out") if row.service.mode.translates else ("in",)


def _traffic(made: Sheet, packets: Family, size: Family, traffic: TrafficCount, directions: tuple[str, ...], labelled: str) -> None:
    found = {"in": (traffic.packets_in, traffic.bytes_in), "out": (traffic.packets_out, traffic.bytes_out)}
    for direction in directions:
        directed = f'{labelled},direction="{direction}"'
        made.lines(packets).append(sample(packets, directed, found[direction][0]))
        made.lines(size).append(sample(size, directed, found[direction][1]))


def _backend(made: Sheet, row: BackendRow, directions: tuple[str, ...]) -> None:
    labelled = labels(("service", "backend"), *_names(row))
    _traffic(made, f.BACKEND_PACKETS, f.BACKEND_BYTES, row.traffic, directions, labelled)
    for family, value in (
        (f.BACKEND_FLOWS, row.traffic.flows), (f.BACKEND_ACTIVE, row.live), (f.BACKEND_WEIGHT, row.backend.weight),
        (f.BACKEND_WANTED, row.wanted_share), (f.BACKEND_SHARE, row.slot_share), (f.BACKEND_REACHABLE, int(row.reachable)),
    ):  # fmt: skip
        made.lines(family).append(sample(family, labelled, value))
    if row.health:
        for state in State:
            made.lines(f.BACKEND_HEALTH).append(
                sample(f.BACKEND_HEALTH, f'{labelled},state="{state.name.lower()}"', int(row.health.state is state))
            )
        if row.health.last:
            made.lines(f.BACKEND_PROBE).append(sample(f.BACKEND_PROBE, labelled, row.health.last.outcome.latency_seconds))


def _drain(made: Sheet, row: BackendRow) -> None:
    drain = row.backend.drain
    if row.backend.admin is not AdminState.DRAINING or drain is None:
        return
    names = _names(row)
    made.put(f.DRAIN_STARTED, drain.started, *names)
    if drain.deadline is not None:
        made.put(f.DRAIN_DEADLINE, drain.deadline, *names)
    made.put(f.DRAIN_INITIAL, drain.initial_flows, *names)
    made.put(f.DRAIN_REMAINING, row.live, *names)


def _names(row: BackendRow) -> tuple[str, str]:
    service, _, backend = row.backend.name.partition("/backends/")
    return _short(service), backend


def _short(service: str) -> str:
    """Names without `services/`, as people say them."""
    return service.removeprefix("services/")
