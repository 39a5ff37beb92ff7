"""Every call as a value: what to send where, and what of the answer is wanted. Client and AsyncClient only differ in how they run it.

Names are short (`web`, `web/a`) or full. Times are in seconds. Every change gets a `request_id` of its own unless one is given, so that a
repetition after a lost answer is safe. `etag` makes a change fail with ABORTED when the resource is not what was read;
`validate_only` only checks.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from l4lb import names
from l4lb.v1 import agent_pb2, backend_pb2, doctor_pb2, ring_pb2, service_pb2, virtual_service_pb2
from l4lb.v1.backend_pb2 import Backend
from l4lb.v1.virtual_service_pb2 import VirtualService

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """`rpc` with `request`; `answer` takes from the response what the caller wants."""

    rpc: str
    request: Message
    answer: Callable[[Any], T]


@dataclass(frozen=True)
class Listing(Generic[T]):
    """A list that comes in pages; `page` is the call for the page of a token."""

    page: Callable[[str], Call[tuple[Sequence[T], str]]]


def create_service(
    name: str, *, vip: str, port: int = 0, port_end: int = 0, any_port: bool = False, protocol: str = "tcp", forwarding_mode: str = "",
    client_address: str = "", encap: Mapping[str, Any] | None = None, flow_tracking: str = "", hash: str = "", ring_size: int = 0,
    idle_timeout: float | None = None, change_window: float | None = None, down_grace: float | None = None, on_empty: str = "",
    mss_clamp: str = "", mss: int = 0, new_flow_limit: Mapping[str, Any] | None = None, allow_list: str = "", deny_list: str = "",
    affinity: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None, request_id: str = "", validate_only: bool = False,
) -> Call[VirtualService]:  # fmt: skip
    """Creates a virtual service without backends. It has `port`, those from `port` to `port_end`, or with `any_port` all. `encap` has the
    fields of Encap: encapsulation, port, outer_source, outer_checksum; `new_flow_limit` those of NewFlowLimit: per_service and per_source,
    each with flows_per_second and burst, prefix_v4, prefix_v6; `affinity` those of Affinity: timeout in seconds, prefix_length."""
    service = _service(
        vip=vip, port=port, port_end=port_end, any_port=any_port, protocol=protocol, forwarding_mode=forwarding_mode,
        client_address=client_address, encap=encap, flow_tracking=flow_tracking, hash=hash, ring_size=ring_size,
        idle_timeout=idle_timeout, change_window=change_window,
        down_grace=down_grace, on_empty=on_empty, mss_clamp=mss_clamp, mss=mss, new_flow_limit=new_flow_limit, allow_list=allow_list,
        deny_list=deny_list, affinity=affinity, annotations=annotations,
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
    deny_list: str | None = None, affinity: Mapping[str, Any] | None = None, annotations: Mapping[str, str] | None = None,
    etag: str = "", allow_missing: bool = False, request_id: str = "", validate_only: bool = False,
) -> Call[VirtualService]:  # fmt: skip
    """Changes what is given; an empty `affinity` ends it. With `allow_missing` creates it when it does not exist; what is fixed at creation
    is compared otherwise."""
    given = {
        "vip": vip, "port": port, "port_end": port_end, "any_port": any_port, "protocol": protocol, "forwarding_mode": forwarding_mode,
        "client_address": client_address, "encap": encap, "flow_tracking": flow_tracking, "hash": hash, "ring_size": ring_size,
        "idle_timeout": idle_timeout,
        "change_window": change_window, "down_grace": down_grace, "on_empty": on_empty, "mss_clamp": mss_clamp, "mss": mss,
        "new_flow_limit": new_flow_limit, "allow_list": allow_list, "deny_list": deny_list, "affinity": affinity,
        "annotations": annotations,
    }  # fmt: skip
    service = _service(name=names.service(name), etag=etag, **given)
    request = service_pb2.UpdateVirtualServiceRequest(
        service=service, update_mask=_mask(given), allow_missing=allow_missing, request_id=own_id(request_id), validate_only=validate_only
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


def add_backend(
    name: str, *, address: str, port: int = 0, weight: int | None = None, admin_state: str | None = None, mtu: int = 0,
    annotations: Mapping[str, str] | None = None, request_id: str = "", validate_only: bool = False,
) -> Call[Backend]:  # fmt: skip
    """Adds a backend. Port 0 is the service's, no weight is 1, MTU 0 is that of the way to it. The answer is `reconciling` while its next
    hop does not answer."""
    parent, backend_id = names.split(names.backend(name))
    backend = _backend(address=address, port=port, weight=weight, admin_state=admin_state, mtu=mtu, annotations=annotations)
    request = service_pb2.AddBackendRequest(
        parent=parent, backend_id=backend_id, backend=backend, request_id=own_id(request_id), validate_only=validate_only
    )  # fmt: skip
    return Call("AddBackend", request, lambda response: response.backend)


def get_backend(name: str) -> Call[Backend]:
    """Reads a backend."""
    return Call("GetBackend", service_pb2.GetBackendRequest(name=names.backend(name)), lambda response: response.backend)


def list_backends(service: str = "-", *, page_size: int = 0) -> Listing[Backend]:
    """Reads the backends of a virtual service, or of all, by name, page by page."""
    parent = names.service(service)

    def page(token: str) -> Call[tuple[Sequence[Backend], str]]:
        request = service_pb2.ListBackendsRequest(parent=parent, page_size=page_size, page_token=token)
        return Call("ListBackends", request, lambda response: (response.backends, response.next_page_token))

    return Listing(page)


def update_backend(
    name: str, *, address: str | None = None, port: int | None = None, weight: int | None = None, admin_state: str | None = None,
    mtu: int | None = None, annotations: Mapping[str, str] | None = None, etag: str = "", allow_missing: bool = False, request_id: str = "",
    validate_only: bool = False,
) -> Call[Backend]:  # fmt: skip
    """Changes what is given. With `allow_missing` adds it when it does not exist."""
    given = {
        "address": address, "port": port, "weight": weight, "admin_state": admin_state, "mtu": mtu, "annotations": annotations,
    }  # fmt: skip
    request = service_pb2.UpdateBackendRequest(
        backend=_backend(name=names.backend(name), etag=etag, **given), update_mask=_mask(given), allow_missing=allow_missing,
        request_id=own_id(request_id), validate_only=validate_only,
    )  # fmt: skip
    return Call("UpdateBackend", request, lambda response: response.backend)


def remove_backend(
    name: str, *, force: bool = False, etag: str = "", allow_missing: bool = False, request_id: str = "", validate_only: bool = False
) -> Call[int]:
    """Removes a backend, also one with flows with `force`. Gives the revision."""
    request = service_pb2.RemoveBackendRequest(
        name=names.backend(name), etag=etag, force=force, allow_missing=allow_missing, request_id=own_id(request_id),
        validate_only=validate_only,
    )  # fmt: skip
    return Call("RemoveBackend", request, lambda response: response.revision)


def drain(
    name: str, *, timeout: float | None = None, at_deadline: str = "keep", allow_empty: bool = False, etag: str = "",
    request_id: str = "", validate_only: bool = False,
) -> Call[Backend]:  # fmt: skip
    """Begins a drain: no new flow from the answer on. After `timeout` the flows that are left are kept, cut or reset (`at_deadline`);
    without one it lasts until none is left. `allow_empty` also drains the last backend that receives new flows."""
    action = names.number(backend_pb2.DeadlineAction, "DEADLINE_ACTION", at_deadline)
    policy = backend_pb2.DrainPolicy(timeout=_duration(timeout), deadline_action=action)
    request = service_pb2.DrainBackendRequest(
        name=names.backend(name), policy=policy, etag=etag, allow_empty=allow_empty, request_id=own_id(request_id),
        validate_only=validate_only,
    )  # fmt: skip
    return Call("DrainBackend", request, lambda response: response.backend)


def undrain(name: str, *, etag: str = "", request_id: str = "", validate_only: bool = False) -> Call[Backend]:
    """Ends a drain, or DRAINED: the backend is ENABLED again."""
    request = service_pb2.UndrainBackendRequest(
        name=names.backend(name), etag=etag, request_id=own_id(request_id), validate_only=validate_only
    )  # fmt: skip
    return Call("UndrainBackend", request, lambda response: response.backend)


def ring(service: str, *, slots: bool = False) -> Call[ring_pb2.Ring]:
    """Reads the ring of a virtual service; with `slots` every single one."""
    request = service_pb2.GetRingRequest(name=names.service(service), include_slots=slots)
    return Call("GetRing", request, lambda response: response.ring)


def agent() -> Call[agent_pb2.Agent]:
    """Reads what the agent and its datapath are and how they are."""
    return Call("GetAgent", service_pb2.GetAgentRequest(), lambda response: response.agent)


def config() -> Call[agent_pb2.Config]:
    """Reads all desired state."""
    return Call("GetConfig", service_pb2.GetConfigRequest(), lambda response: response.config)


def diagnose() -> Call[Sequence[doctor_pb2.Finding]]:
    """Looks at the agent's host and the network around it: what is not as it should be, the worst first. Takes up to some seconds."""
    return Call("Diagnose", service_pb2.DiagnoseRequest(), lambda response: response.findings)


def _service(**given: Any) -> VirtualService:
    wanted = _given(given)
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
            wanted[field] = _duration(wanted[field])
    for field in ("allow_list", "deny_list"):
        if field in wanted:
            wanted[field] = names.prefix_list(wanted[field])
    if "encap" in wanted:
        wanted["encap"] = _encap(wanted["encap"])
    if "affinity" in wanted:
        wanted["affinity"] = _affinity(wanted["affinity"])
    return VirtualService(**wanted)


def _affinity(given: Mapping[str, Any]) -> virtual_service_pb2.Affinity | None:
    """None for an empty one, which is none."""
    wanted = _given(given)
    if "timeout" in wanted:
        wanted["timeout"] = _duration(wanted["timeout"])
    return virtual_service_pb2.Affinity(**wanted) if wanted else None


def _encap(given: Mapping[str, Any]) -> virtual_service_pb2.Encap:
    wanted = _given(given)
    for field, kind, prefix in (
        ("encapsulation", virtual_service_pb2.Encapsulation, "ENCAPSULATION"),
        ("outer_source", virtual_service_pb2.OuterSource, "OUTER_SOURCE"),
    ):
        if field in wanted:
            wanted[field] = names.number(kind, prefix, wanted[field])
    return virtual_service_pb2.Encap(**wanted)


def _backend(**given: Any) -> Backend:
    wanted = _given(given)
    if "admin_state" in wanted:
        wanted["admin_state"] = names.number(backend_pb2.AdminState, "ADMIN_STATE", wanted["admin_state"])
    return Backend(**wanted)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None and value != ""}


def _mask(values: Mapping[str, Any]) -> FieldMask:
    return FieldMask(paths=sorted(key for key, value in values.items() if value is not None))


def _duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    whole, nanos = divmod(round(seconds * 1e9), 1_000_000_000)
    return Duration(seconds=whole, nanos=nanos)


def own_id(request_id: str) -> str:
    """The id of a change: the one given, else one of its own."""
    return request_id or str(uuid.uuid4())
