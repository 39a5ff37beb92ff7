"""Calls about virtual services."""

from collections.abc import Mapping, Sequence
from typing import Any

from l4lb import names
from l4lb.calls import health
from l4lb.calls.call import Call, Listing, duration, mask, own_id, present
from l4lb.v1 import ring_pb2, service_pb2, virtual_service_pb2
from l4lb.v1.virtual_service_pb2 import VirtualService


def create_service(
    name: str, *, vip: str, port: int = 0, port_end: int = 0, any_port: bool = False, protocol: str = "tcp", forwarding_mode: str = "",
    client_address: str = "", encap: Mapping[str, Any] | None = None, flow_tracking: str = "", hash: str = "", ring_size: int = 0,
    idle_timeout: float | None = None, change_window: float | None = None, down_grace: float | None = None, on_empty: str = "",
    mss_clamp: str = "", mss: int = 0, new_flow_limit: Mapping[str, Any] | None = None, allow_list: str = "", deny_list: str = "",
    affinity: Mapping[str, Any] | None = None, health_check: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None, request_id: str = "", validate_only: bool = False,
) -> Call[VirtualService]:  # fmt: skip
    """Creates a virtual service without backends. It has `port`, those from `port` to `port_end`, or with `any_port` all. `encap` has the
    fields of Encap: encapsulation, port, outer_source, outer_checksum; `new_flow_limit` those of NewFlowLimit: per_service and per_source,
    each with flows_per_second and burst, prefix_v4, prefix_v6; `affinity` those of Affinity: timeout in seconds, prefix_length;
    `health_check` those of HealthCheck: one of tcp, http, grpc and udp with the fields of that kind, interval and timeout in seconds, rise,
    fall, port, on_all_down, min_up_percent."""
    service = _service(
        vip=vip, port=port, port_end=port_end, any_port=any_port, protocol=protocol, forwarding_mode=forwarding_mode,
        client_address=client_address, encap=encap, flow_tracking=flow_tracking, hash=hash, ring_size=ring_size,
        idle_timeout=idle_timeout, change_window=change_window,
        down_grace=down_grace, on_empty=on_empty, mss_clamp=mss_clamp, mss=mss, new_flow_limit=new_flow_limit, allow_list=allow_list,
        deny_list=deny_list, affinity=affinity, health_check=health_check, annotations=annotations,
    )  # fmt: skip
    service_id = names.split(names.service(name))[1]
    request = service_pb2.CreateVirtualServiceRequest(
        service_id=service_id, service=service, request_id=own_id(request_id), validate_only=validate_only
    )  # fmt: skip
    return Call("CreateVirtualService", request, lambda response: response.service)


def get_service(name: str) -> Call[VirtualService]:
    """Reads a virtual service."""
    request = service_pb2.GetVirtualServiceRequest(name=names.service(name))
    return Call("GetVirtualService", request, lambda response: response.service)


def list_services(*, page_size: int = 0) -> Listing[VirtualService]:
    """Reads all virtual services by name, page by page."""

    def page(token: str) -> Call[tuple[Sequence[VirtualService], str]]:
        request = service_pb2.ListVirtualServicesRequest(page_size=page_size, page_token=token)
        return Call("ListVirtualServices", request, lambda response: (response.services, response.next_page_token))

    return Listing(page)


def update_service(
    name: str, *, vip: str | None = None, port: int | None = None, port_end: int | None = None, any_port: bool | None = None,
    protocol: str | None = None, forwarding_mode: str | None = None, client_address: str | None = None,
    encap: Mapping[str, Any] | None = None, flow_tracking: str | None = None, hash: str | None = None,
    ring_size: int | None = None, idle_timeout: float | None = None,
    change_window: float | None = None, down_grace: float | None = None, on_empty: str | None = None, mss_clamp: str | None = None,
    mss: int | None = None, new_flow_limit: Mapping[str, Any] | None = None, allow_list: str | None = None,
    deny_list: str | None = None, affinity: Mapping[str, Any] | None = None, health_check: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None,
    etag: str = "", allow_missing: bool = False, request_id: str = "", validate_only: bool = False,
) -> Call[VirtualService]:  # fmt: skip
    """Changes what is given; an empty `affinity` or `health_check` ends it. With `allow_missing` creates it when it does not exist; what is
    fixed at creation is compared otherwise."""
    given = {
        "vip": vip, "port": port, "port_end": port_end, "any_port": any_port, "protocol": protocol, "forwarding_mode": forwarding_mode,
        "client_address": client_address, "encap": encap, "flow_tracking": flow_tracking, "hash": hash, "ring_size": ring_size,
        "idle_timeout": idle_timeout,
        "change_window": change_window, "down_grace": down_grace, "on_empty": on_empty, "mss_clamp": mss_clamp, "mss": mss,
        "new_flow_limit": new_flow_limit, "allow_list": allow_list, "deny_list": deny_list, "affinity": affinity,
        "health_check": health_check, "annotations": annotations,
    }  # fmt: skip
    service = _service(name=names.service(name), etag=etag, **given)
    request = service_pb2.UpdateVirtualServiceRequest(
        service=service, update_mask=mask(given), allow_missing=allow_missing, request_id=own_id(request_id), validate_only=validate_only
    )  # fmt: skip
    return Call("UpdateVirtualService", request, lambda response: response.service)


def delete_service(
    name: str, *, force: bool = False, etag: str = "", allow_missing: bool = False, request_id: str = "", validate_only: bool = False
) -> Call[int]:
    """Deletes a virtual service, its backends too with `force`. Gives the revision."""
    request = service_pb2.DeleteVirtualServiceRequest(
        name=names.service(name), etag=etag, force=force, allow_missing=allow_missing, request_id=own_id(request_id),
        validate_only=validate_only,
    )  # fmt: skip
    return Call("DeleteVirtualService", request, lambda response: response.revision)


def ring(service: str, *, slots: bool = False) -> Call[ring_pb2.Ring]:
    """Reads the ring of a virtual service; with `slots` every single one."""
    request = service_pb2.GetRingRequest(name=names.service(service), include_slots=slots)
    return Call("GetRing", request, lambda response: response.ring)


def _service(**given: Any) -> VirtualService:
    wanted = present(given)
    for field, kind, prefix in (
        ("protocol", virtual_service_pb2.Protocol, "PROTOCOL"),
        ("forwarding_mode", virtual_service_pb2.ForwardingMode, "FORWARDING_MODE"),
        ("client_address", virtual_service_pb2.ClientAddress, "CLIENT_ADDRESS"),
        ("flow_tracking", virtual_service_pb2.FlowTracking, "FLOW_TRACKING"),
        ("hash", virtual_service_pb2.Hash, "HASH"),
        ("on_empty", virtual_service_pb2.OnEmpty, "ON_EMPTY"),
        ("mss_clamp", virtual_service_pb2.MssClamp, "MSS_CLAMP"),
    ):
        if field in wanted:
            wanted[field] = names.number(kind, prefix, wanted[field])
    for field in ("idle_timeout", "change_window", "down_grace"):
        if field in wanted:
            wanted[field] = duration(wanted[field])
    for field in ("allow_list", "deny_list"):
        if field in wanted:
            wanted[field] = names.prefix_list(wanted[field])
    if "encap" in wanted:
        wanted["encap"] = _encap(wanted["encap"])
    if "affinity" in wanted:
        wanted["affinity"] = _affinity(wanted["affinity"])
    if "health_check" in wanted:
        wanted["health_check"] = health.check(wanted["health_check"])
    return VirtualService(**wanted)


def _affinity(given: Mapping[str, Any]) -> virtual_service_pb2.Affinity | None:
    """None for an empty one, which is none."""
    wanted = present(given)
    if "timeout" in wanted:
        wanted["timeout"] = duration(wanted["timeout"])
    return virtual_service_pb2.Affinity(**wanted) if wanted else None


def _encap(given: Mapping[str, Any]) -> virtual_service_pb2.Encap:
    wanted = present(given)
    for field, kind, prefix in (
        ("encapsulation", virtual_service_pb2.Encapsulation, "ENCAPSULATION"),
        ("outer_source", virtual_service_pb2.OuterSource, "OUTER_SOURCE"),
    ):
        if field in wanted:
            wanted[field] = names.number(kind, prefix, wanted[field])
    return virtual_service_pb2.Encap(**wanted)
