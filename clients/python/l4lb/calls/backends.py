"""Calls about backends."""

from collections.abc import Mapping, Sequence
from typing import Any

from l4lb import names
from l4lb.calls.call import Call, Listing, duration, mask, own_id, present
from l4lb.v1 import backend_pb2, service_pb2
from l4lb.v1.backend_pb2 import Backend


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
        backend=_backend(name=names.backend(name), etag=etag, **given), update_mask=mask(given), allow_missing=allow_missing,
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
    policy = backend_pb2.DrainPolicy(timeout=duration(timeout), deadline_action=action)
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


def _backend(**given: Any) -> Backend:
    wanted = present(given)
    if "admin_state" in wanted:
        wanted["admin_state"] = names.number(backend_pb2.AdminState, "ADMIN_STATE", wanted["admin_state"])
    return Backend(**wanted)
