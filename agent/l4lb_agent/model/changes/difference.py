"""What a change makes of each resource, field by field, as values that JSON knows: for the audit."""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from itertools import islice

from l4lb_agent.model.access.lists import ListChange, PrefixList
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.desired import Change, Desired
from l4lb_agent.model.service import VirtualService

MOST = 100  # resources of one change that are told one by one
_UNTOLD = frozenset({"name", "number", "revision", "created", "updated"})
Resource = VirtualService | Backend | PrefixList


@dataclass(frozen=True)
class Difference:
    """One resource. `fields` holds before and after of what has changed; None where the resource is not there."""

    resource: str
    kind: str  # added, changed or removed
    fields: Mapping[str, tuple[object, object]]


@dataclass(frozen=True)
class Differences:
    """Those of the change to `revision`: the first MOST one by one, and how many more there are. Revision 0 is no change."""

    revision: int = 0
    told: tuple[Difference, ...] = ()
    more: int = 0


NONE = Differences()


def between(before: Desired, change: Change | None) -> Differences:
    """What `change` does to `before`."""
    if change is None:
        return NONE
    total = len(change.deleted) + len(change.services) + len(change.backends) + len(change.lists)
    told = tuple(islice(_all(before, change), MOST))
    return Differences(change.revision, told, max(0, total - MOST))


def _all(before: Desired, change: Change) -> Iterator[Difference]:
    known: dict[str, Resource] = {}
    put: tuple[VirtualService | Backend, ...] = (*change.services, *change.backends)
    for name in (*change.deleted, *(after.name for after in put)):
        found = before.backends.get(name) or before.services.get(name) or before.lists.get(name)
        if found is not None:
            known[name] = found
        if len(known) > MOST:
            break
    for name in change.deleted:
        yield Difference(name, "removed", {field: (value, None) for field, value in _told(known.get(name)).items()})
    for after in put:
        old, new = _told(known.get(after.name)), _told(after)
        kind = "changed" if after.name in known else "added"
        yield Difference(after.name, kind, {field: (old.get(field), new[field]) for field in new if old.get(field) != new[field]})
    yield from (_of_list(before, one) for one in change.lists)


def _of_list(before: Desired, change: ListChange) -> Difference:
    """Prefixes that come and go, the first MOST of each: a list may have thousands."""
    known = before.lists.get(change.list.name)
    old, new = _told(known), _told(change.list)
    told = {field: (old.get(field), new[field]) for field in new if old.get(field) != new[field]}
    if change.added:
        told["added"] = (None, [str(prefix) for prefix in change.added[:MOST]])
    if change.removed:
        told["removed"] = ([str(prefix) for prefix in change.removed[:MOST]], None)
    return Difference(change.list.name, "changed" if known else "added", told)


def _told(resource: Resource | None) -> dict[str, object]:
    if resource is None:
        return {}
    return {one.name: plain(getattr(resource, one.name)) for one in fields(resource) if one.name not in _UNTOLD}


def plain(value: object) -> object:
    """`value` as JSON knows it: addresses as text, enumerations by name."""
    match value:
        case Address():
            return str(value)
        case bytes():
            return value.hex()
        case tuple():
            return [plain(item) for item in value]
        case enum.Enum():
            return value.name
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case _ if is_dataclass(value):
            return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    return value
