"""What happened, as short sentences: from what was seen of an agent before and what is seen now. Pure; cli/events.py looks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from l4lb import counting, names
from l4lb.v1 import agent_pb2, backend_pb2
from l4lb.v1.backend_pb2 import Backend
from l4lb.v1.stats_pb2 import Stats
from l4lb.v1.virtual_service_pb2 import VirtualService


@dataclass(frozen=True)
class News:
    """One thing that happened. `kind` is agent, interface, warning, service, backend or drops."""

    kind: str
    subject: str
    text: str


def of_backend(before: Backend | None, after: Backend | None) -> Iterator[News]:
    """What became of a backend; None is one that does not exist."""
    one = after or before
    if one is None:
        return
    subject = names.short(one.name)
    if before is None or after is None:
        words = f"added at {one.address} port {one.port}, weight {one.weight}" if before is None else "removed"
        yield News("backend", subject, words)
    if after is None:
        return
    if after.admin_state != (before.admin_state if before is not None else backend_pb2.ADMIN_STATE_ENABLED):
        yield News("backend", subject, _state(after))
    yield from (News("backend", subject, text) for text in _changes(before, after))


def _changes(before: Backend | None, after: Backend) -> Iterator[str]:
    if before is not None and before.weight != after.weight:
        yield f"weight {before.weight} -> {after.weight}"
    if before is not None and (before.address, before.port) != (after.address, after.port):
        yield f"address {before.address} port {before.port} -> {after.address} port {after.port}"
    if after.reconciling and (before is None or before.reconciling_reason != after.reconciling_reason):
        yield f"waits: {after.reconciling_reason}"
    if before is not None and before.reconciling and not after.reconciling:
        yield "the kernel forwards to it as asked"
    if before is not None and before.next_hop.mac and after.next_hop.mac and before.next_hop != after.next_hop:
        yield f"next hop {before.next_hop.interface} {before.next_hop.mac} -> {after.next_hop.interface} {after.next_hop.mac}"


def _state(backend: Backend) -> str:
    word = backend_pb2.AdminState.Name(backend.admin_state).removeprefix("ADMIN_STATE_")
    drain = backend.drain
    if backend.admin_state == backend_pb2.ADMIN_STATE_DRAINING:
        until = f", until {drain.deadline.ToJsonString()}" if drain.HasField("deadline") else ""
        return f"{word}, {drain.remaining_flows} flows{until}"
    if backend.admin_state == backend_pb2.ADMIN_STATE_DRAINED and drain.result:
        result = backend_pb2.DrainResult.Name(drain.result).removeprefix("DRAIN_RESULT_")
        return f"{word}, {result}, {drain.remaining_flows} flows left"
    return word


def of_services(before: Mapping[str, VirtualService], after: Mapping[str, VirtualService]) -> Iterator[News]:
    """Which virtual services came, went and changed."""
    for name in sorted({*before, *after}):
        subject = names.short(name)
        if name not in before:
            yield News("service", subject, f"created at {after[name].vip} port {after[name].port}")
        elif name not in after:
            yield News("service", subject, "deleted")
        elif before[name].etag != after[name].etag:
            changed = [f for f in after[name].DESCRIPTOR.fields_by_name if _asked(before[name], f) != _asked(after[name], f)]
            yield News("service", subject, f"changed: {', '.join(changed) or 'nothing that shows'}")


_SEEN = {"etag", "update_time", "ring_digest", "before_ring_digest", "differing_slots", "at_risk_slots", "settle_time", "reconciling"}


def _asked(service: VirtualService, name: str) -> object:
    return None if name in _SEEN or name == "reconciling_reason" else str(getattr(service, name))


def of_agent(before: agent_pb2.Agent, after: agent_pb2.Agent) -> Iterator[News]:
    """What the agent says of itself that it did not say before."""
    if before.start_time != after.start_time:
        yield News("agent", after.version, f"started at {after.start_time.ToJsonString()}, {after.map_writes} map writes since")
    if before.ready != after.ready or before.not_ready_reason != after.not_ready_reason:
        yield News("agent", after.version, "ready" if after.ready else f"not ready: {after.not_ready_reason}")
    known = {interface.name: interface for interface in before.interfaces}
    for interface in after.interfaces:
        was = known.get(interface.name, agent_pb2.Interface())
        if (was.mode, was.program_tag) != (interface.mode, interface.program_tag):
            mode = agent_pb2.XdpMode.Name(interface.mode).removeprefix("XDP_MODE_").lower() if interface.mode else "not attached"
            program = f", program {interface.program_tag}" if interface.mode else ""
            yield News("interface", interface.name, f"{mode}: {interface.mode_reason}{program}")
    old, new = ({warning.reason: warning.message for warning in agent.warnings} for agent in (before, after))
    yield from (News("warning", reason, new[reason]) for reason in new if reason not in old)
    yield from (News("warning", reason, "is over") for reason in old if reason not in new)


@dataclass
class Drops:
    """Tells when packets of one reason begin to be lost at `limit` a second or more, and when none is any more."""

    limit: float
    _before: Stats | None = None
    _told: set[str] = field(default_factory=set)

    def feed(self, sample: Stats) -> Iterator[News]:
        """What began and ended since the sample before."""
        before, self._before = self._before, sample
        past = counting.seconds(sample, before)
        if before is None or past <= 0:
            return
        old = counting.dropped(before)
        for reason, packets in counting.dropped(sample).items():
            rate = counting.grown(packets, old.get(reason, 0)) / past
            if rate >= self.limit and reason not in self._told:
                self._told.add(reason)
                yield News("drops", reason, f"{rate:.0f} packets a second are dropped: docs/reasons.md")
            elif not rate and reason in self._told:
                self._told.discard(reason)
                yield News("drops", reason, "no packets are dropped any more")
