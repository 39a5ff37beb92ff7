"""Virtual services: requests become commands, views become resources."""

from typing import cast

from google.protobuf.duration_pb2 import Duration

from l4lb.v1 import service_pb2, virtual_service_pb2
from l4lb_agent.api import fields
from l4lb_agent.api.convert.health import health_check, shown_check
from l4lb_agent.api.convert.parts import address, moment
from l4lb_agent.api.convert.policies import limit, list_name, shown_limit
from l4lb_agent.control.facade import Control, ServiceView
from l4lb_agent.model.address import Address
from l4lb_agent.model.changes import commands
from l4lb_agent.model.choice.affinity import DEFAULT_SECONDS, MAX_SECONDS, NO_AFFINITY, Affinity, longest_prefix
from l4lb_agent.model.service import (
    ANY_PORT,
    DEFAULT_DOWN_GRACE_SECONDS,
    DEFAULT_ENCAP_PORT,
    DEFAULT_IDLE_SECONDS,
    DEFAULT_RING_SIZE,
    MAX_DOWN_GRACE_SECONDS,
    MAX_IDLE_SECONDS,
    Hash,
    Mode,
    MssClamp,
    OnEmpty,
    OuterSource,
    Protocol,
    Tracking,
    VirtualService,
)  # fmt: skip

SERVICE_CHANGEABLE = frozenset({
    "idle_timeout", "change_window", "down_grace", "on_empty", "mss_clamp", "mss", "new_flow_limit", "allow_list", "deny_list", "affinity",
    "health_check", "annotations",
})  # fmt: skip
SERVICE_FIXED = frozenset({
    "vip", "port", "port_end", "any_port", "protocol", "forwarding_mode", "client_address", "ring_size", "encap", "flow_tracking", "hash"
})  # fmt: skip
_ENCAPSULATIONS = {
    virtual_service_pb2.ENCAPSULATION_UNSPECIFIED: Mode.IPIP,
    virtual_service_pb2.ENCAPSULATION_IPIP: Mode.IPIP,
    virtual_service_pb2.ENCAPSULATION_GUE: Mode.GUE,
    virtual_service_pb2.ENCAPSULATION_GUE_VARIANT_1: Mode.FOU,
}
_CLIENT_ADDRESSES = {Mode.NAT: virtual_service_pb2.CLIENT_ADDRESS_TRANSLATE, Mode.KEEP: virtual_service_pb2.CLIENT_ADDRESS_KEEP}


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
    mode = _mode(message, view.service.mode) if touched & {"forwarding_mode", "client_address", "encap"} else None
    clamp = _mss_clamp(message) if "mss_clamp" in touched else None
    no_mss = 0 if clamp not in (None, MssClamp.FIXED) else None
    ports = _ports(message) if touched & {"port", "port_end", "any_port"} else (0, 0)
    encap = "encap" in touched and mode is not None and mode.encapsulates
    return commands.UpdateService(
        name,
        idle_seconds=_idle(message, view.service.protocol) if "idle_timeout" in touched else None,
        window_seconds=_window(message, view.service.idle_seconds) if "change_window" in touched else None,
        down_grace_seconds=_down_grace(message) if "down_grace" in touched else None,
        on_empty=_on_empty(message) if "on_empty" in touched else None,
        mss_clamp=clamp,
        mss=message.mss if "mss" in touched else no_mss,
        new_flow_limit=limit(message) if "new_flow_limit" in touched else None,
        allow_list=list_name(message.allow_list, "service.allow_list") if "allow_list" in touched else None,
        deny_list=list_name(message.deny_list, "service.deny_list") if "deny_list" in touched else None,
        affinity=_affinity(message, view.service.vip) if "affinity" in touched else None,
        health_check=health_check(message) if "health_check" in touched else None,
        without_health_check="health_check" in touched and not message.HasField("health_check"),
        annotations=dict(message.annotations) if "annotations" in touched else None,
        etag=message.etag,
        vip=address(message.vip, "service.vip") if "vip" in touched else None,
        port=ports[0] if touched & {"port", "any_port"} else None,
        port_end=ports[1] if touched & {"port_end", "any_port"} else None,
        protocol=_protocol(message) if "protocol" in touched else None,
        ring_size=message.ring_size or DEFAULT_RING_SIZE if "ring_size" in touched else None,
        mode=mode,
        tracking=_tracking(message, view.service.mode) if "flow_tracking" in touched else None,
        encap_port=_encap_port(message, mode) if encap and mode else None,
        outer_source=_outer_source(message, mode) if encap and mode else None,
        outer_checksum=message.encap.outer_checksum if encap else None,
        hash=_hash(message) if "hash" in touched else None,
    )


def delete_service(request: service_pb2.DeleteVirtualServiceRequest) -> commands.DeleteService:
    """The command of a deletion."""
    name = fields.name(request.name, fields.SERVICE_NAME, "name")
    return commands.DeleteService(name, request.etag, request.force, request.allow_missing)


def _service(name: str, message: virtual_service_pb2.VirtualService) -> VirtualService:
    vip = address(message.vip, "service.vip")
    protocol = _protocol(message)
    mode = _mode(message, None)
    if mode is Mode.IPIP:
        _without_udp(message)
    idle = _idle(message, protocol)
    port, port_end = _ports(message)
    return VirtualService(
        name, vip, port, protocol, message.ring_size or DEFAULT_RING_SIZE, idle, mode, _tracking(message, mode),
        _window(message, idle), _down_grace(message), _encap_port(message, mode), _outer_source(message, mode),
        message.encap.outer_checksum, _hash(message), _on_empty(message), _mss_clamp(message), message.mss, limit(message),
        list_name(message.allow_list, "service.allow_list"), list_name(message.deny_list, "service.deny_list"),
        _affinity(message, vip), port_end, health_check(message), dict(message.annotations),
    )  # fmt: skip


def _ports(message: virtual_service_pb2.VirtualService) -> tuple[int, int]:
    """`port` and `port_end` of the model."""
    if message.any_port:
        if message.port or message.port_end:
            raise fields.contradiction("service.any_port", "is for every port: leave out service.port and service.port_end")
        return ANY_PORT
    if message.port_end and not message.port:
        raise fields.contradiction("service.port_end", "needs service.port, the first of the range; for every port set service.any_port")
    return message.port, message.port_end


def _protocol(message: virtual_service_pb2.VirtualService) -> Protocol:
    if not message.protocol:
        raise fields.required("service.protocol")
    return Protocol(message.protocol)


def _mode(message: virtual_service_pb2.VirtualService, present: Mode | None) -> Mode:
    """The mode that `forwarding_mode`, `client_address` and `encap` make together; without the first or second that of a service that has
    one already."""
    asked, client = message.forwarding_mode, message.client_address
    if not asked and present is not None and (present.encapsulates or (client and not present.translates)):
        asked = _forwarding_mode(present)
    if client and asked not in (virtual_service_pb2.FORWARDING_MODE_UNSPECIFIED, virtual_service_pb2.FORWARDING_MODE_NAT):
        raise fields.contradiction("service.client_address", "is for FORWARDING_MODE_NAT, the other modes change none: leave it out")
    if asked == virtual_service_pb2.FORWARDING_MODE_ENCAP:
        return _ENCAPSULATIONS[message.encap.encapsulation]
    if message.HasField("encap"):
        raise fields.contradiction("service.encap", "is for FORWARDING_MODE_ENCAP: leave it out or set service.forwarding_mode to it")
    if asked == virtual_service_pb2.FORWARDING_MODE_DSR:
        return Mode.DSR
    keeps = client == virtual_service_pb2.CLIENT_ADDRESS_KEEP or (not client and present is Mode.KEEP)
    return Mode.KEEP if keeps else Mode.NAT


def _without_udp(message: virtual_service_pb2.VirtualService) -> None:
    """Refuses what is said of UDP headers where there are none: IPIP is also what no encapsulation means."""
    for field, asked in (("port", message.encap.port), ("outer_checksum", message.encap.outer_checksum)):
        if asked:
            raise fields.contradiction(
                f"service.encap.{field}", "is of GUE, and the encapsulation is IPIP: leave it out or set service.encap.encapsulation"
            )


def _hash(message: virtual_service_pb2.VirtualService) -> Hash:
    return Hash(message.hash or Hash.TUPLE)


def _on_empty(message: virtual_service_pb2.VirtualService) -> OnEmpty:
    return OnEmpty(message.on_empty or OnEmpty.DROP)


def _mss_clamp(message: virtual_service_pb2.VirtualService) -> MssClamp:
    return MssClamp(message.mss_clamp or MssClamp.OFF)


def _affinity(message: virtual_service_pb2.VirtualService, vip: Address) -> Affinity:
    if not message.HasField("affinity"):
        return NO_AFFINITY
    asked, field = message.affinity, "service.affinity.timeout"
    seconds = fields.whole(fields.seconds(asked.timeout, 1, MAX_SECONDS, field), field) if asked.HasField("timeout") else DEFAULT_SECONDS
    return Affinity(seconds, asked.prefix_length or longest_prefix(vip.family))


def _tracking(message: virtual_service_pb2.VirtualService, mode: Mode) -> Tracking:
    default = Tracking.ALL if message.HasField("affinity") else Tracking.CHANGES
    return Tracking(message.flow_tracking or (Tracking.NONE if mode.translates else default))


def _encap_port(message: virtual_service_pb2.VirtualService, mode: Mode) -> int:
    return message.encap.port or DEFAULT_ENCAP_PORT if mode in (Mode.GUE, Mode.FOU) else 0


def _outer_source(message: virtual_service_pb2.VirtualService, mode: Mode) -> OuterSource:
    return OuterSource(message.encap.outer_source or OuterSource.REAL) if mode.encapsulates else OuterSource.NONE


def _window(message: virtual_service_pb2.VirtualService, idle: int) -> int:
    if not message.HasField("change_window"):
        return idle
    value = fields.seconds(message.change_window, 1, MAX_IDLE_SECONDS, "service.change_window")
    return fields.whole(value, "service.change_window")


def _down_grace(message: virtual_service_pb2.VirtualService) -> int:
    if not message.HasField("down_grace"):
        return DEFAULT_DOWN_GRACE_SECONDS
    value = fields.seconds(message.down_grace, 0, MAX_DOWN_GRACE_SECONDS, "service.down_grace")
    return fields.whole(value, "service.down_grace")


def _idle(message: virtual_service_pb2.VirtualService, protocol: Protocol) -> int:
    if not message.HasField("idle_timeout"):
        return DEFAULT_IDLE_SECONDS[protocol]
    value = fields.seconds(message.idle_timeout, 1, MAX_IDLE_SECONDS, "service.idle_timeout")
    return fields.whole(value, "service.idle_timeout")


def service(view: ServiceView) -> virtual_service_pb2.VirtualService:
    """A virtual service as the API shows it."""
    of = view.service
    tracked = not of.mode.translates
    return virtual_service_pb2.VirtualService(
        name=of.name, vip=str(of.vip), port=of.port, port_end=0 if of.any_port else of.port_end,
        any_port=of.any_port, protocol=f"PROTOCOL_{of.protocol.name}", forwarding_mode=_forwarding_mode(of.mode),
        client_address=_CLIENT_ADDRESSES.get(of.mode, virtual_service_pb2.CLIENT_ADDRESS_UNSPECIFIED),
        encap=_encap(of) if of.mode.encapsulates else None, flow_tracking=cast("virtual_service_pb2.FlowTracking", int(of.tracking)),
        hash=cast("virtual_service_pb2.Hash", int(of.hash)), on_empty=cast("virtual_service_pb2.OnEmpty", int(of.on_empty)),
        mss_clamp=cast("virtual_service_pb2.MssClamp", int(of.mss_clamp)), mss=of.mss,
        change_window=Duration(seconds=of.window_seconds) if tracked else None,
        down_grace=Duration(seconds=of.down_grace_seconds) if tracked or of.health_check else None, ring_size=of.ring_size,
        idle_timeout=Duration(seconds=of.idle_seconds), new_flow_limit=shown_limit(of.new_flow_limit),
        allow_list=of.allow_list, deny_list=of.deny_list, affinity=_shown_affinity(of.affinity),
        health_check=shown_check(of.health_check),
        annotations=of.annotations, etag=of.etag,
        reconciling=bool(view.reconciling), reconciling_reason=view.reconciling, revision=of.revision, create_time=moment(of.created),
        update_time=moment(of.updated), ring_digest=view.ring_digest,
        before_ring_digest=view.before_ring_digest, differing_slots=view.differing_slots, at_risk_slots=view.at_risk_slots,
        settle_time=moment(view.settle_time or None),
    )  # fmt: skip


def _shown_affinity(of: Affinity) -> virtual_service_pb2.Affinity | None:
    return virtual_service_pb2.Affinity(timeout=Duration(seconds=of.seconds), prefix_length=of.prefix) if of else None


def _forwarding_mode(mode: Mode) -> virtual_service_pb2.ForwardingMode:
    if mode.encapsulates:
        return virtual_service_pb2.FORWARDING_MODE_ENCAP
    return virtual_service_pb2.FORWARDING_MODE_DSR if mode is Mode.DSR else virtual_service_pb2.FORWARDING_MODE_NAT


def _encap(of: VirtualService) -> virtual_service_pb2.Encap:
    kind = next(number for number, mode in _ENCAPSULATIONS.items() if number and mode is of.mode)
    return virtual_service_pb2.Encap(
        encapsulation=kind, port=of.encap_port, outer_source=cast("virtual_service_pb2.OuterSource", int(of.outer_source)),
        outer_checksum=of.outer_checksum,
    )  # fmt: skip
