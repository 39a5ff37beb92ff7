"""The one file that knows both protobuf and model: requests become commands, views become resources.

Every function that takes a request raises model.errors.Refused with the request's own field path for what cannot be a value of the model;
whether the value may be is control's to decide. Fields that only the agent writes are not read at all, but for `etag` on updates (AIP-203,
AIP-154).
"""

from collections.abc import Container, Iterable
from typing import cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from l4lb.v1 import agent_pb2, backend_pb2, reason_pb2, service_pb2, stats_pb2, virtual_service_pb2
from l4lb_agent.api import fields
from l4lb_agent.control.facade import AgentView, BackendEvent, BackendView, Control, ServiceView, Snapshot, StatsSample
from l4lb_agent.model import backend as model
from l4lb_agent.model import commands
from l4lb_agent.model.address import Address
from l4lb_agent.model.observed import TrafficCount
from l4lb_agent.model.service import DEFAULT_IDLE_SECONDS, DEFAULT_RING_SIZE, MAX_IDLE_SECONDS, Protocol, VirtualService

MAX_DRAIN_SECONDS = 30 * 24 * 3600
SERVICE_CHANGEABLE = frozenset({"idle_timeout", "annotations"})
SERVICE_FIXED = frozenset({"vip", "port", "protocol", "forwarding_mode", "ring_size"})
BACKEND_CHANGEABLE = frozenset({"address", "port", "weight", "admin_state", "annotations"})
_MODES = {"": agent_pb2.XDP_MODE_UNSPECIFIED, "native": agent_pb2.XDP_MODE_NATIVE, "generic": agent_pb2.XDP_MODE_GENERIC}


def create_service(request: service_pb2.CreateVirtualServiceRequest) -> commands.CreateService:
    """The command of a creation."""
    name = f"services/{request.service_id}"
    if not request.HasField("service"):
        raise fields.required("service")
    return commands.CreateService(_service(name, request.service))


def update_service(request: service_pb2.UpdateVirtualServiceRequest, control: Control) -> commands.UpdateService:
    """The command of an update. Fields fixed at creation may be sent as they are: control compares them."""
    message = request.service
    name = fields.name(message.name, fields.SERVICE_NAME, "service.name")
    view = control.service(name)
    touched = fields.masked(message, request.update_mask, SERVICE_CHANGEABLE, SERVICE_FIXED, "update_mask")
    if view is None:
        return commands.UpdateService(name, etag=message.etag, create=_service(name, message) if request.allow_missing else None)
    if "forwarding_mode" in touched:
        _forwarding_mode(message)
    return commands.UpdateService(
        name,
        idle_seconds=_idle(message, view.service.protocol) if "idle_timeout" in touched else None,
        annotations=dict(message.annotations) if "annotations" in touched else None,
        etag=message.etag,
        vip=_address(message.vip, "service.vip") if "vip" in touched else None,
        port=message.port if "port" in touched else None,
        protocol=_protocol(message) if "protocol" in touched else None,
        ring_size=message.ring_size or DEFAULT_RING_SIZE if "ring_size" in touched else None,
    )


def delete_service(request: service_pb2.DeleteVirtualServiceRequest) -> commands.DeleteService:
    """The command of a deletion."""
    name = fields.name(request.name, fields.SERVICE_NAME, "name")
    return commands.DeleteService(name, request.etag, request.force, request.allow_missing)


def add_backend(request: service_pb2.AddBackendRequest) -> commands.AddBackend:
    """The command of an addition."""
    parent = fields.name(request.parent, fields.SERVICE_NAME, "parent")
    name = f"{parent}/backends/{request.backend_id}"
    if not request.HasField("backend"):
        raise fields.required("backend")
    return commands.AddBackend(_backend(name, request.backend))


def update_backend(request: service_pb2.UpdateBackendRequest, control: Control) -> commands.UpdateBackend:
    """The command of an update."""
    message = request.backend
    name = fields.name(message.name, fields.BACKEND_NAME, "backend.name")
    view = control.backend(name)
    touched = fields.masked(message, request.update_mask, BACKEND_CHANGEABLE, frozenset(), "update_mask")
    if view is None:
        return commands.UpdateBackend(name, etag=message.etag, create=_backend(name, message) if request.allow_missing else None)
    return commands.UpdateBackend(
        name,
        address=_address(message.address, "backend.address") if "address" in touched else None,
        port=message.port if "port" in touched else None,
        weight=_weight(message) if "weight" in touched else None,
        admin=_admin(message) if "admin_state" in touched else None,
        annotations=dict(message.annotations) if "annotations" in touched else None,
        etag=message.etag,
    )


def remove_backend(request: service_pb2.RemoveBackendRequest) -> commands.RemoveBackend:
    """The command of a removal."""
    name = fields.name(request.name, fields.BACKEND_NAME, "name")
    return commands.RemoveBackend(name, request.etag, request.force, request.allow_missing)


def drain_backend(request: service_pb2.DrainBackendRequest) -> commands.DrainBackend:
    """The command that begins a drain."""
    name = fields.name(request.name, fields.BACKEND_NAME, "name")
    timeout = None
    if request.policy.HasField("timeout"):
        timeout = fields.seconds(request.policy.timeout, 1, MAX_DRAIN_SECONDS, "policy.timeout")
    action = model.DeadlineAction(request.policy.deadline_action or model.DeadlineAction.KEEP)
    return commands.DrainBackend(name, timeout, action, request.etag, request.allow_empty)


def undrain_backend(request: service_pb2.UndrainBackendRequest) -> commands.UndrainBackend:
    """The command that ends a drain."""
    return commands.UndrainBackend(fields.name(request.name, fields.BACKEND_NAME, "name"), request.etag)


def _service(name: str, message: virtual_service_pb2.VirtualService) -> VirtualService:
    vip = _address(message.vip, "service.vip")
    protocol = _protocol(message)
    _forwarding_mode(message)
    ring_size = message.ring_size or DEFAULT_RING_SIZE
    return VirtualService(name, vip, message.port, protocol, ring_size, _idle(message, protocol), dict(message.annotations))


def _protocol(message: virtual_service_pb2.VirtualService) -> Protocol:
    if not message.protocol:
        raise fields.required("service.protocol")
    return Protocol(message.protocol)


def _forwarding_mode(message: virtual_service_pb2.VirtualService) -> None:
    if message.forwarding_mode > virtual_service_pb2.FORWARDING_MODE_NAT:
        raise fields.not_yet("service.forwarding_mode", virtual_service_pb2.ForwardingMode.Name(message.forwarding_mode))


def _idle(message: virtual_service_pb2.VirtualService, protocol: Protocol) -> int:
    if not message.HasField("idle_timeout"):
        return DEFAULT_IDLE_SECONDS[protocol]
    value = fields.seconds(message.idle_timeout, 1, MAX_IDLE_SECONDS, "service.idle_timeout")
    return fields.whole(value, "service.idle_timeout")


def _backend(name: str, message: backend_pb2.Backend) -> model.Backend:
    address = _address(message.address, "backend.address")
    return model.Backend(name, address, message.port, _weight(message), _admin(message), None, dict(message.annotations))


def _weight(message: backend_pb2.Backend) -> int:
    return message.weight if message.HasField("weight") else 1


def _admin(message: backend_pb2.Backend) -> model.AdminState:
    return model.AdminState(message.admin_state or model.AdminState.ENABLED)


def _address(text: str, field: str) -> Address:
    if not text:
        raise fields.required(field)
    return Address.parse(text, field)


def service(view: ServiceView) -> virtual_service_pb2.VirtualService:
    """A virtual service as the API shows it."""
    of = view.service
    return virtual_service_pb2.VirtualService(
        name=of.name, vip=str(of.vip), port=of.port, protocol=f"PROTOCOL_{of.protocol.name}", forwarding_mode="FORWARDING_MODE_NAT",
        ring_size=of.ring_size, idle_timeout=Duration(seconds=of.idle_seconds), annotations=of.annotations, etag=of.etag,
        reconciling=bool(view.reconciling), reconciling_reason=view.reconciling, revision=of.revision, create_time=_time(of.created),
        update_time=_time(of.updated), ring_digest=view.ring_digest,
    )  # fmt: skip


def backend(view: BackendView) -> backend_pb2.Backend:
    """A backend as the API shows it."""
    of = view.backend
    return backend_pb2.Backend(
        name=of.name, address=str(of.address), port=of.port, weight=of.weight, admin_state=f"ADMIN_STATE_{of.admin.name}",
        annotations=of.annotations, drain=_drain(of.drain, view) if of.drain else None, etag=of.etag, reconciling=bool(view.reconciling),
        reconciling_reason=view.reconciling, revision=of.revision, create_time=_time(of.created), update_time=_time(of.updated),
        wanted_share=view.wanted_share, slot_share=view.slot_share, datapath_id=view.datapath_id, next_hop=_next_hop(view),
    )  # fmt: skip


def _drain(drain: model.Drain, view: BackendView) -> backend_pb2.Drain:
    ended = drain.ended is not None
    return backend_pb2.Drain(
        start_time=_time(drain.started), deadline=_time(drain.deadline), deadline_action=f"DEADLINE_ACTION_{drain.action.name}",
        remaining_flows=drain.remaining_flows if ended else view.live_flows, initial_flows=drain.initial_flows,
        counted_time=_time(drain.ended if ended else view.counted), end_time=_time(drain.ended),
        result=f"DRAIN_RESULT_{drain.result.name}" if drain.result else None,
    )  # fmt: skip


def _next_hop(view: BackendView) -> backend_pb2.NextHop | None:
    if (hop := view.next_hop) is None:
        return None
    gateway = str(hop.gateway) if hop.gateway else ""
    return backend_pb2.NextHop(interface=hop.interface, gateway=gateway, mac=hop.destination_mac.hex(":"))


def event(of: BackendEvent) -> service_pb2.WatchBackendsResponse:
    """One message of a watch."""
    return service_pb2.WatchBackendsResponse(event=f"EVENT_{of.kind}", backend=backend(of.view) if of.view else None, revision=of.revision)


def config(snapshot: Snapshot) -> agent_pb2.Config:
    """All desired state."""
    return agent_pb2.Config(
        revision=snapshot.revision, services=map(service, snapshot.services), backends=map(backend, snapshot.backends)
    )  # fmt: skip


def agent(view: AgentView, version: str) -> agent_pb2.Agent:
    """The agent as the API shows it."""
    interfaces = (
        agent_pb2.Interface(
            name=i.name, ifindex=i.ifindex, mode=_MODES[i.mode], mode_reason=i.reason, link_id=i.link_id, program_id=i.program_id,
            program_tag=i.program_tag,
        ) for i in view.interfaces
    )  # fmt: skip
    maps = [
        agent_pb2.MapInfo(
            stats=stats_pb2.MapStats(map=m.name, entries=entries, max_entries=m.max_entries, bytes=m.bytes), map_id=m.map_id
        ) for m, entries in view.maps
    ]  # fmt: skip
    return agent_pb2.Agent(
        version=version, ready=view.ready, not_ready_reason=view.not_ready_reason, revision=view.revision,
        applied_revision=view.applied_revision, interfaces=interfaces, capabilities=view.capabilities, maps=maps,
        map_bytes=sum(m.bytes for m, _ in view.maps), start_time=_time(view.started), map_writes=view.map_writes,
        warnings=(agent_pb2.Warning(reason=reason, message=message) for reason, message in view.warnings),
        snat_addresses=view.snat_addresses, layout_version=view.layout_version, kernel=view.kernel,
        reconcile_retries=view.reconcile_retries,
    )  # fmt: skip


def stats(sample: StatsSample, wanted: Container[str], omit_backends: bool) -> stats_pb2.Stats:
    """One sample of the `wanted` services, or of all when there are none."""
    live = sample.counts.live
    active: dict[str, int] = {}
    ids = sorted((name, i) for name, i in sample.backend_ids.items() if not wanted or name.split("/backends/")[0] in wanted)
    for name, i in ids:
        owner = name.split("/backends/")[0]
        active[owner] = active.get(owner, 0) + live.get(i, 0)
    counts = sample.counters
    return stats_pb2.Stats(
        sample_time=_time(counts.at),
        services=(
            stats_pb2.ServiceStats(service=name, traffic=_traffic(counts.services.get(i), active.get(name, 0)))
            for name, i in sorted(sample.service_ids.items()) if not wanted or name in wanted
        ),
        backends=(
            stats_pb2.BackendStats(backend=name, traffic=_traffic(counts.backends.get(i), live.get(i, 0)))
            for name, i in ids if not omit_backends
        ),
        reasons=(
            stats_pb2.ReasonStats(reason=cast("reason_pb2.Reason", r), verdict=cast("reason_pb2.Verdict", v), packets=packets, bytes=size)
            for (r, v), (packets, size) in sorted(counts.reasons.items())
        ),
        maps=_fill(sample),
    )  # fmt: skip


def _traffic(count: TrafficCount | None, active: int) -> stats_pb2.Traffic:
    return stats_pb2.Traffic(**vars(count or TrafficCount()), active_flows=active)


def _fill(sample: StatsSample) -> Iterable[stats_pb2.MapStats]:
    """The maps whose fill traffic decides, counted by the sweep."""
    entries = {"flows": sample.counts.flows, "replies": sample.counts.replies}
    for m in sample.maps:
        if m.name in entries:
            yield stats_pb2.MapStats(map=m.name, entries=entries[m.name], max_entries=m.max_entries, bytes=m.bytes)


def _time(seconds: float | None) -> Timestamp | None:
    """`seconds` since 1970; None for "never", which is None or 0."""
    if not seconds:
        return None
    whole, micros = divmod(round(seconds * 1e6), 1_000_000)
    return Timestamp(seconds=whole, nanos=micros * 1000)
