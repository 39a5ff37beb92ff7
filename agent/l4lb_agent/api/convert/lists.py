"""Lists of prefixes: requests become commands, views become resources."""

from l4lb.v1 import prefix_list_pb2, service_pb2
from l4lb_agent.api import fields
from l4lb_agent.api.convert.parts import moment
from l4lb_agent.control.facade import ListView
from l4lb_agent.model.access.lists import PrefixList
from l4lb_agent.model.access.prefixes import parse_all
from l4lb_agent.model.changes import commands

LIST_CHANGEABLE = frozenset({"prefixes", "annotations"})


def create_list(request: service_pb2.CreatePrefixListRequest) -> commands.CreateList:
    """The command of a creation."""
    if not request.HasField("list"):
        raise fields.required("list")
    return _create(f"lists/{request.list_id}", request.list)


def update_list(request: service_pb2.UpdatePrefixListRequest) -> commands.UpdateList:
    """The command of an update."""
    message = request.list
    name = fields.name(message.name, fields.LIST_NAME, "list.name")
    touched = fields.masked(message, request.update_mask, LIST_CHANGEABLE, frozenset(), "update_mask")
    add, remove = parse_all(request.add_prefixes, "add_prefixes"), parse_all(request.remove_prefixes, "remove_prefixes")
    created = _create(name, message) if request.allow_missing else None
    return commands.UpdateList(
        name,
        prefixes=parse_all(message.prefixes, "list.prefixes") if "prefixes" in touched else None,
        add=add,
        remove=remove,
        annotations=dict(message.annotations) if "annotations" in touched else None,
        etag=message.etag,
        create=commands.CreateList(created.list, created.prefixes | add) if created else None,
    )


def delete_list(request: service_pb2.DeletePrefixListRequest) -> commands.DeleteList:
    """The command of a deletion."""
    return commands.DeleteList(fields.name(request.name, fields.LIST_NAME, "name"), request.etag, request.allow_missing)


def prefix_list(view: ListView) -> prefix_list_pb2.PrefixList:
    """A list as the API shows it; with its prefixes when the view has them."""
    of = view.list
    return prefix_list_pb2.PrefixList(
        name=of.name, prefixes=map(str, view.members.ordered) if view.members else (), annotations=of.annotations, prefix_count=of.count,
        etag=of.etag, reconciling=bool(view.reconciling), reconciling_reason=view.reconciling, revision=of.revision,
        create_time=moment(of.created), update_time=moment(of.updated), services=view.services,
    )  # fmt: skip


def _create(name: str, message: prefix_list_pb2.PrefixList) -> commands.CreateList:
    return commands.CreateList(PrefixList(name, annotations=dict(message.annotations)), parse_all(message.prefixes, "list.prefixes"))
