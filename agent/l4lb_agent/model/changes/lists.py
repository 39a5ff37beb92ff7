"""Decisions on lists of prefixes, and on services that name them."""

from dataclasses import replace

from l4lb_agent.model.access.lists import MAX_LISTS, MAX_NUMBER, ListChange, Members, PrefixList
from l4lb_agent.model.access.prefixes import Prefix
from l4lb_agent.model.changes import capacity, checks, commands
from l4lb_agent.model.changes.found import known, missing
from l4lb_agent.model.changes.made import Made
from l4lb_agent.model.changes.places import exists
from l4lb_agent.model.config import DatapathConfig
from l4lb_agent.model.desired import Change, Desired
from l4lb_agent.model.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from l4lb_agent.model.service import VirtualService

Command = commands.CreateList | commands.UpdateList | commands.DeleteList
TOLD = 5  # names of services in an error


def decide(desired: Desired, command: Command, now: float, config: DatapathConfig) -> Made:
    """What `command` makes of `desired`. Raises model.errors.Refused; then nothing changes."""
    match command:
        case commands.CreateList():
            return _create(desired, command, now, config)
        case commands.UpdateList():
            return _update(desired, command, now, config)
        case commands.DeleteList():
            return _delete(desired, command, now)


def named(desired: Desired, service: VirtualService) -> None:
    """Raises Refused unless the lists that a service names can be its lists."""
    for name, field in ((service.allow_list, "service.allow_list"), (service.deny_list, "service.deny_list")):
        if name and name not in desired.lists:
            raise missing(name, field)
    if service.allow_list and service.allow_list == service.deny_list:
        raise InvalidArgument(
            f"service.deny_list: {service.deny_list} is the allow list too: nobody would be let in",
            reason="FIELDS_CONTRADICT",
            field="service.deny_list",
        )


def users(desired: Desired, name: str) -> list[str]:
    """Names of the services that let in or keep out by the list `name`."""
    return sorted(service.name for service in desired.services.values() if name in (service.allow_list, service.deny_list))


def _create(desired: Desired, command: commands.CreateList, now: float, config: DatapathConfig) -> Made:
    asked = command.list
    checks.prefix_list(asked)
    if asked.name in desired.lists:
        raise exists(asked.name, "list_id", f"{asked.name} exists already")
    if len(desired.lists) >= MAX_LISTS:
        raise ResourceExhausted(f"there are {MAX_LISTS} lists, as many as there can be: delete some", reason="TOO_MANY_LISTS")
    made = replace(asked, number=desired.revision + 1 & MAX_NUMBER, created=now)
    return _put(desired, made, command.prefixes, frozenset(), now, config)


def _update(desired: Desired, command: commands.UpdateList, now: float, config: DatapathConfig) -> Made:
    if command.name not in desired.lists and command.create is not None:
        return _create(desired, command.create, now, config)
    before = known(desired.lists, command.name, "list.name", command.etag, "list.etag")
    both = command.add & command.remove
    if both:
        raise InvalidArgument(
            f"remove_prefixes: {min(both)} is among add_prefixes too",
            reason="FIELDS_CONTRADICT",
            field="remove_prefixes",
            metadata={"prefix": str(min(both))},
        )
    there = desired.members[command.name].prefixes
    wanted = (there if command.prefixes is None else command.prefixes) - command.remove | command.add
    after = replace(before, annotations=before.annotations if command.annotations is None else command.annotations)
    checks.prefix_list(after)
    if after == before and wanted == there:
        return Made(prefix_list=before)
    return _put(desired, after, wanted - there, there - wanted, now, config)


def _put(
    desired: Desired, after: PrefixList, added: frozenset[Prefix], removed: frozenset[Prefix], now: float, config: DatapathConfig
) -> Made:
    count = len(desired.members.get(after.name, Members(0)).prefixes) + len(added) - len(removed)
    capacity.prefixes(desired, after.name, count, config)
    after = replace(after, count=count, revision=desired.revision + 1, updated=now)
    return Made(Change(after.revision, now, lists=(ListChange(after, tuple(sorted(added)), tuple(sorted(removed))),)), prefix_list=after)


def _delete(desired: Desired, command: commands.DeleteList, now: float) -> Made:
    if command.allow_missing and command.name not in desired.lists:
        return Made()
    known(desired.lists, command.name, "name", command.etag, "etag")
    services = users(desired, command.name)
    if services:
        told = ", ".join(services[:TOLD]) + (f" and {len(services) - TOLD} more" if len(services) > TOLD else "")
        raise FailedPrecondition(
            f"{command.name} is named by {told}: take it away from there first",
            reason="LIST_IN_USE",
            field="name",
            metadata={"list": command.name, "services": str(len(services))},
        )
    return Made(Change(desired.revision + 1, now, deleted=(command.name,)))
