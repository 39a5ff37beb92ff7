"""Backends and their drains: requests become commands, views become resources."""

from l4lb.v1 import backend_pb2, service_pb2
from l4lb_agent.api import fields
from l4lb_agent.api.convert.health import shown_effective, shown_health
from l4lb_agent.api.convert.parts import address, moment
from l4lb_agent.control.facade import BackendEvent, BackendView, Control
from l4lb_agent.model import backend as model
from l4lb_agent.model.changes import commands

MAX_DRAIN_SECONDS = 30 * 24 * 3600
BACKEND_CHANGEABLE = frozenset({"address", "port", "weight", "admin_state", "mtu", "annotations"})


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
        address=address(message.address, "backend.address") if "address" in touched else None,
        port=message.port if "port" in touched else None,
        weight=_weight(message) if "weight" in touched else None,
        admin=_admin(message) if "admin_state" in touched else None,
        mtu=message.mtu if "mtu" in touched else None,
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


def _backend(name: str, message: backend_pb2.Backend) -> model.Backend:
    return model.Backend(
        name, address(message.address, "backend.address"), message.port, _weight(message), _admin(message), None, message.mtu,
        dict(message.annotations),
    )  # fmt: skip


def _weight(message: backend_pb2.Backend) -> int:
    return message.weight if message.HasField("weight") else 1


def _admin(message: backend_pb2.Backend) -> model.AdminState:
    return model.AdminState(message.admin_state or model.AdminState.ENABLED)


def backend(view: BackendView, *, history: bool = False) -> backend_pb2.Backend:
    """A backend as the API shows it; with the probes that are remembered when `history` is asked for."""
    of = view.backend
    return backend_pb2.Backend(
        name=of.name, address=str(of.address), port=of.port, weight=of.weight, admin_state=f"ADMIN_STATE_{of.admin.name}",
        mtu=of.mtu, annotations=of.annotations, drain=_drain(of.drain, view) if of.drain else None, etag=of.etag,
        reconciling=bool(view.reconciling), reconciling_reason=view.reconciling, revision=of.revision,
        create_time=moment(of.created), update_time=moment(of.updated),
        wanted_share=view.wanted_share, slot_share=view.slot_share, datapath_id=view.datapath_id, next_hop=_next_hop(view),
        health=shown_health(view.health, history=history), effective_state=shown_effective(view.effective),
    )  # fmt: skip


def _drain(drain: model.Drain, view: BackendView) -> backend_pb2.Drain:
    ended = drain.ended is not None
    return backend_pb2.Drain(
        start_time=moment(drain.started), deadline=moment(drain.deadline), deadline_action=f"DEADLINE_ACTION_{drain.action.name}",
        remaining_flows=drain.remaining_flows if ended else view.live_flows, initial_flows=drain.initial_flows,
        counted_time=moment(drain.ended if ended else view.counted), end_time=moment(drain.ended),
        result=f"DRAIN_RESULT_{drain.result.name}" if drain.result else None,
        earliest_empty_time=None if ended else moment(view.uncounted_until or None),
    )  # fmt: skip


def _next_hop(view: BackendView) -> backend_pb2.NextHop | None:
    if (hop := view.next_hop) is None:
        return None
    gateway = str(hop.gateway) if hop.gateway else ""
    mac = hop.destination_mac.hex(":")
    return backend_pb2.NextHop(
        interface=hop.interface, gateway=gateway, mac=mac, mtu=hop.mtu, vlan=hop.vlan, outer_vlan=hop.outer_vlan
    )  # fmt: skip


def event(of: BackendEvent) -> service_pb2.WatchBackendsResponse:
    """One message of a watch."""
    return service_pb2.WatchBackendsResponse(event=f"EVENT_{of.kind}", backend=backend(of.view) if of.view else None, revision=of.revision)
