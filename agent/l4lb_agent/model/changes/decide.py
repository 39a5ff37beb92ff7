"""Every decision on a request, and every refusal: a command meets the desired state, a decision comes out. Pure.

The rules about several resources live here; checks.py holds those about one, drain.py the admin states.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from l4lb_agent.model import drain
from l4lb_agent.model.access.lists import PrefixList
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import AdminState, Backend, Drain
from l4lb_agent.model.changes import capacity, checks, commands, difference, lists, places
from l4lb_agent.model.changes.commands import Command
from l4lb_agent.model.changes.difference import Differences
from l4lb_agent.model.changes.found import known, missing
from l4lb_agent.model.changes.made import Made
from l4lb_agent.model.changes.places import address_taken, exists
from l4lb_agent.model.config import DatapathConfig
from l4lb_agent.model.desired import REMEMBER_SECONDS, Change, Desired, Remembered
from l4lb_agent.model.errors import FailedPrecondition, InvalidArgument
from l4lb_agent.model.service import VirtualService


@dataclass(frozen=True)
class Facts:
    """What a decision must know of the world."""

    now: float  # Unix seconds
    boot_id: str
    config: DatapathConfig = field(default_factory=DatapathConfig)
    live_flows: Mapping[str, int] = field(default_factory=dict)  # by backend name, from a sweep of just now
    uncounted: frozenset[str] = frozenset()  # names of backends that may have flows without an entry, which no sweep counts
    slotless: frozenset[str] = frozenset()  # names of backends that take no new flows now, by the network or by their health
    local: frozenset[Address] = frozenset()  # addresses of this host


@dataclass(frozen=True)
class Decision:
    """`change` is None when nothing has to be journaled. At most one resource is set: as it is now; both are None for deletions."""

    desired: Desired
    change: Change | None = None
    service: VirtualService | None = None
    backend: Backend | None = None
    prefix_list: PrefixList | None = None
    answered: int | None = None  # revision of the first answer to a repeated request
    differences: Differences = difference.NONE

    @property
    def revision(self) -> int:
        """Revision to answer with."""
        return self.desired.revision if self.answered is None else self.answered


def decide(desired: Desired, command: Command, facts: Facts) -> Decision:
    """What `command` makes of `desired`. Raises model.errors.Refused; then nothing changes."""
    return _decision(desired, _made(desired, command, facts))


def decide_once(desired: Desired, command: Command, facts: Facts, request_id: str, request_hash: str) -> Decision:
    """decide(), but a request id seen within 24 hours gives its first answer again and changes nothing.

    Raises InvalidArgument when the id came with another request then."""
    if not request_id:
        return decide(desired, command, facts)
    seen = desired.remembered.get(request_id)
    if seen is not None and seen.time > facts.now - REMEMBER_SECONDS:
        if seen.request_hash != request_hash:
            raise InvalidArgument(
                f"request_id: {request_id} was used for another request: use a new one for each request",
                reason="REQUEST_ID_REUSED",
                field="request_id",
                metadata={"request_id": request_id},
            )
        return Decision(desired, None, seen.service, seen.backend, seen.prefix_list, seen.revision)
    made = _made(desired, command, facts)
    change = made.change or Change(desired.revision, facts.now)
    remembered = Remembered(request_id, request_hash, facts.now, change.revision, made.service, made.backend, made.prefix_list)
    return _decision(desired, replace(made, change=replace(change, request=remembered)))


def _decision(desired: Desired, made: Made) -> Decision:
    after = desired.apply(made.change) if made.change else desired
    return Decision(after, made.change, made.service, made.backend, made.prefix_list)


def _made(desired: Desired, command: Command, facts: Facts) -> Made:
    match command:
        case commands.CreateService():
            return _create_service(desired, command.service, facts)
        case commands.UpdateService():
            return _update_service(desired, command, facts)
        case commands.DeleteService():
            return _delete_service(desired, command, facts)
        case commands.AddBackend():
            return _add_backend(desired, command.backend, facts)
        case commands.UpdateBackend():
            return _update_backend(desired, command, facts)
        case commands.RemoveBackend():
            return _remove_backend(desired, command, facts)
        case commands.DrainBackend():
            return _drain_backend(desired, command, facts)
        case commands.UndrainBackend():
            backend = known(desired.backends, command.name, "name", command.etag, "etag")
            state = drain.transition(backend, drain.Event.UNDRAIN, "name")
            return _put_backend(desired, backend, replace(backend, admin=state, drain=None), facts)
        case commands.EndDrain():
            return _end_drain(desired, command, facts)
        case commands.CreateList() | commands.UpdateList() | commands.DeleteList():
            return lists.decide(desired, command, facts.now, facts.config)


def _create_service(desired: Desired, asked: VirtualService, facts: Facts) -> Made:
    checks.service(asked)
    if asked.name in desired.services:
        raise exists(asked.name, "service_id", f"{asked.name} exists already")
    places.check_ports(desired, asked)
    if asked.vip in facts.config.snat:
        raise address_taken("service.vip", asked.vip, "is a SNAT address: a VIP must be another one")
    if asked.vip in facts.config.outer_source:
        raise address_taken("service.vip", asked.vip, "is an outer source in agent.toml: backends would take it for their own address")
    for backend in desired.backends.values():
        if backend.address == asked.vip:
            raise address_taken("service.vip", asked.vip, f"is the address of {backend.name}: packets would go round in circles")
    lists.named(desired, asked)
    capacity.service(desired, asked, facts.config)
    return _put_service(desired, None, asked, facts)


def _update_service(desired: Desired, command: commands.UpdateService, facts: Facts) -> Made:
    if command.name not in desired.services and command.create is not None:
        return _create_service(desired, command.create, facts)
    before = known(desired.services, command.name, "service.name", command.etag, "service.etag")
    checks.unchanged(before, command)
    after = replace(
        before,
        idle_seconds=before.idle_seconds if command.idle_seconds is None else command.idle_seconds,
        window_seconds=before.window_seconds if command.window_seconds is None else command.window_seconds,
        down_grace_seconds=before.down_grace_seconds if command.down_grace_seconds is None else command.down_grace_seconds,
        on_empty=before.on_empty if command.on_empty is None else command.on_empty,
        mss_clamp=before.mss_clamp if command.mss_clamp is None else command.mss_clamp,
        mss=before.mss if command.mss is None else command.mss,
        affinity=before.affinity if command.affinity is None else command.affinity,
        new_flow_limit=before.new_flow_limit if command.new_flow_limit is None else command.new_flow_limit,
        allow_list=before.allow_list if command.allow_list is None else command.allow_list,
        deny_list=before.deny_list if command.deny_list is None else command.deny_list,
        health_check=None if command.without_health_check else command.health_check or before.health_check,
        annotations=before.annotations if command.annotations is None else command.annotations,
    )
    checks.service(after)
    for backend in desired.backends_of(after.name):
        checks.probed_port(backend, after, "service.health_check.port")
    lists.named(desired, after)
    return _put_service(desired, before, after, facts)


def _delete_service(desired: Desired, command: commands.DeleteService, facts: Facts) -> Made:
    if command.allow_missing and command.name not in desired.services:
        return Made()
    known(desired.services, command.name, "name", command.etag, "etag")
    children = [backend.name for backend in desired.backends_of(command.name)]
    if children and not command.force:
        raise FailedPrecondition(
            f"{command.name} has {len(children)} backends: remove them first, or set force, which cuts their flows",
            reason="HAS_BACKENDS",
            field="force",
            metadata={"service": command.name, "backends": str(len(children))},
        )
    return _delete(desired, (*children, command.name), facts)


def _add_backend(desired: Desired, asked: Backend, facts: Facts) -> Made:
    service = desired.services.get(asked.service)
    if service is None:
        raise missing(asked.service, "parent")
    asked = replace(asked, port=asked.port or service.backend_port)
    checks.backend(asked, service)
    checks.probed_port(asked, service, "backend.port")
    checks.mtu(asked, service)
    checks.writable_state(asked.admin)
    if asked.name in desired.backends:
        raise exists(asked.name, "backend_id", f"{asked.name} exists already")
    places.check(desired, asked, service, facts.config, facts.local)
    capacity.backend(desired, facts.config)
    return _put_backend(desired, None, replace(asked, drain=None), facts)


def _update_backend(desired: Desired, command: commands.UpdateBackend, facts: Facts) -> Made:
    if command.name not in desired.backends and command.create is not None:
        return _add_backend(desired, command.create, facts)
    before = known(desired.backends, command.name, "backend.name", command.etag, "backend.etag")
    service = desired.services[before.service]
    after = replace(
        before,
        address=before.address if command.address is None else command.address,
        port=before.port if command.port is None else command.port or service.backend_port,
        weight=before.weight if command.weight is None else command.weight,
        mtu=before.mtu if command.mtu is None else command.mtu,
        annotations=before.annotations if command.annotations is None else command.annotations,
    )
    if command.admin is not None and command.admin is not before.admin:
        checks.writable_state(command.admin)
        event = drain.Event.ENABLE if command.admin is AdminState.ENABLED else drain.Event.DISABLE
        after = replace(after, admin=drain.transition(before, event, "backend.admin_state"))
    checks.backend(after, service)
    checks.probed_port(after, service, "backend.port")
    checks.mtu(after, service)
    if after.identity != before.identity:
        places.check(desired, after, service, facts.config, facts.local)
    return _put_backend(desired, before, after, facts)


def _remove_backend(desired: Desired, command: commands.RemoveBackend, facts: Facts) -> Made:
    if command.allow_missing and command.name not in desired.backends:
        return Made()
    backend = known(desired.backends, command.name, "name", command.etag, "etag")
    flows = facts.live_flows.get(backend.name, 0) if backend.keeps_flows else 0
    if flows and not command.force:
        raise FailedPrecondition(
            f"{backend.name} has {flows} live flows: drain it first, or set force, which cuts them",
            reason="HAS_FLOWS",
            field="force",
            metadata={"backend": backend.name, "live_flows": str(flows)},
        )
    if backend.name in facts.uncounted and backend.keeps_flows and not command.force:
        raise FailedPrecondition(
            f"{backend.name} may have flows, which flow tracking CHANGES does not count: drain it first, or set force, which cuts them",
            reason="FLOWS_UNCOUNTED",
            field="force",
            metadata={"backend": backend.name},
        )
    return _delete(desired, (backend.name,), facts)


def _drain_backend(desired: Desired, command: commands.DrainBackend, facts: Facts) -> Made:
    backend = known(desired.backends, command.name, "name", command.etag, "etag")
    state = drain.transition(backend, drain.Event.DRAIN, "name")
    others = [
        other
        for other in desired.backends_of(backend.service)
        if other.name != backend.name and other.wants_new_flows and other.name not in facts.slotless
    ]
    if backend.wants_new_flows and not others and not command.allow_empty:
        raise FailedPrecondition(
            f"{backend.name} is the last backend of {backend.service} that receives new flows: add another, or set allow_empty",
            reason="LAST_BACKEND",
            field="allow_empty",
            metadata={"backend": backend.name, "service": backend.service},
        )
    began = Drain(
        started=facts.now,
        deadline=None if command.timeout is None else facts.now + command.timeout,
        action=command.action,
        boot_id=facts.boot_id,
        initial_flows=facts.live_flows.get(backend.name, 0),
    )
    if backend.admin is AdminState.DRAINING and backend.drain is not None:
        began = replace(backend.drain, deadline=began.deadline, action=began.action)
    return _put_backend(desired, backend, replace(backend, admin=state, drain=began), facts)


def _end_drain(desired: Desired, command: commands.EndDrain, facts: Facts) -> Made:
    backend = known(desired.backends, command.name, "name", "", "etag")
    state = drain.transition(backend, drain.Event.END, "name")
    if backend.drain is None:
        raise AssertionError(f"{backend.name} is DRAINING without a drain")
    ended = replace(backend.drain, ended=facts.now, result=command.result, remaining_flows=command.remaining_flows)
    return _put_backend(desired, backend, replace(backend, admin=state, drain=ended), facts)


def _put_service(desired: Desired, before: VirtualService | None, after: VirtualService, facts: Facts) -> Made:
    if before == after:
        return Made(service=before)
    revision = desired.revision + 1
    after = replace(after, revision=revision, created=before.created if before else facts.now, updated=facts.now)
    change = Change(revision, facts.now, services=(after,))
    return Made(change, service=after)


def _put_backend(desired: Desired, before: Backend | None, after: Backend, facts: Facts) -> Made:
    if before == after:
        return Made(backend=before)
    revision = desired.revision + 1
    after = replace(after, revision=revision, created=before.created if before else facts.now, updated=facts.now)
    change = Change(revision, facts.now, backends=(after,))
    return Made(change, backend=after)


def _delete(desired: Desired, names: tuple[str, ...], facts: Facts) -> Made:
    return Made(Change(desired.revision + 1, facts.now, deleted=names))
