"""Calls about lists of prefixes."""

from collections.abc import Iterable, Mapping, Sequence

from l4lb import names
from l4lb.calls.call import Call, Listing, mask, own_id
from l4lb.v1 import service_pb2
from l4lb.v1.prefix_list_pb2 import PrefixList


def create_list(
    name: str, *, prefixes: Iterable[str] = (), annotations: Mapping[str, str] | None = None, request_id: str = "",
    validate_only: bool = False,
) -> Call[PrefixList]:  # fmt: skip
    """Creates a list of prefixes; the answer has none of them."""
    request = service_pb2.CreatePrefixListRequest(
        list_id=names.split(names.prefix_list(name))[1], list=PrefixList(prefixes=prefixes, annotations=annotations),
        request_id=own_id(request_id), validate_only=validate_only,
    )  # fmt: skip
    return Call("CreatePrefixList", request, lambda response: response.list)


def get_list(name: str) -> Call[PrefixList]:
    """Reads a list with its prefixes."""
    return Call("GetPrefixList", service_pb2.GetPrefixListRequest(name=names.prefix_list(name)), lambda response: response.list)


def list_lists(*, page_size: int = 0) -> Listing[PrefixList]:
    """Reads all lists by name, page by page, without their prefixes."""

    def page(token: str) -> Call[tuple[Sequence[PrefixList], str]]:
        request = service_pb2.ListPrefixListsRequest(page_size=page_size, page_token=token)
        return Call("ListPrefixLists", request, lambda response: (response.lists, response.next_page_token))

    return Listing(page)


def update_list(
    name: str, *, prefixes: Iterable[str] | None = None, add: Iterable[str] = (), remove: Iterable[str] = (),
    annotations: Mapping[str, str] | None = None, etag: str = "", allow_missing: bool = False, request_id: str = "",
    validate_only: bool = False,
) -> Call[PrefixList]:  # fmt: skip
    """Replaces what is given, then adds and removes prefixes; the answer has none of them."""
    request = service_pb2.UpdatePrefixListRequest(
        list=PrefixList(name=names.prefix_list(name), prefixes=prefixes, annotations=annotations, etag=etag), add_prefixes=add,
        update_mask=mask({"prefixes": prefixes, "annotations": annotations}), remove_prefixes=remove, allow_missing=allow_missing,
        request_id=own_id(request_id), validate_only=validate_only,
    )  # fmt: skip
    return Call("UpdatePrefixList", request, lambda response: response.list)


def delete_list(name: str, *, etag: str = "", allow_missing: bool = False, request_id: str = "", validate_only: bool = False) -> Call[int]:
    """Deletes a list that no virtual service names. Gives the revision."""
    request = service_pb2.DeletePrefixListRequest(
        name=names.prefix_list(name), etag=etag, allow_missing=allow_missing, request_id=own_id(request_id),
        validate_only=validate_only,
    )  # fmt: skip
    return Call("DeletePrefixList", request, lambda response: response.revision)
