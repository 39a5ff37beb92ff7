"""What the datapath is told of who may use a service: the elements of `policies` and `lists`."""

from collections.abc import Iterable, Mapping

from l4lb_agent.model import layout
from l4lb_agent.model.access.limits import Rate
from l4lb_agent.model.access.lists import Members, PrefixList
from l4lb_agent.model.service import VirtualService
from l4lb_agent.model.tables import Elements

_SECOND = 1 << 40  # in the datapath's unit of time
_SOURCE_STEP = 1 << 16  # of a source's time: the bits below are its tag


def flags(service: VirtualService) -> int:
    """The bits of a service's word that make the datapath read its policy."""
    limited = layout.SERVICE_LIMITED if service.new_flow_limit else 0
    return limited | (layout.SERVICE_LISTED if listed(service) else 0)


def listed(service: VirtualService) -> bool:
    """Whether clients of the service are looked up in lists."""
    return bool(service.allow_list or service.deny_list)


def element(service: VirtualService, lists: Mapping[str, PrefixList]) -> bytes:
    """policies[id], all zero for a service that lets everybody in."""
    limit = service.new_flow_limit
    policy = layout.Policy(allow_list=_number(lists, service.allow_list), deny_list=_number(lists, service.deny_list))
    if limit.per_service is not None:
        policy.service_interval, policy.service_tolerance = _bucket(limit.per_service, 1)
    if limit.per_source is not None:
        policy.source_interval, policy.source_tolerance = _bucket(limit.per_source, _SOURCE_STEP)
        mask = source_mask(service.vip.family, limit.prefix_v4 if service.vip.family == 4 else limit.prefix_v6)
        policy.source_mask[:] = [int.from_bytes(mask[:8], "little"), int.from_bytes(mask[8:], "little")]
    return bytes(policy)


def other_bucket(before: bytes, after: bytes) -> bool:
    """Whether the bucket of the whole service is another one after the change of its element: what was taken from the one before is time,
    of which a flow may now cost less than the bucket owes."""
    old, new = layout.Policy.from_buffer_copy(before), layout.Policy.from_buffer_copy(after)
    return (old.service_interval, old.service_tolerance) != (new.service_interval, new.service_tolerance)


def elements(members: Iterable[Members]) -> Elements:
    """The map `lists`, oldest list first."""
    every: Elements = {}
    for one in sorted(members, key=lambda one: one.number):
        every.update(one.elements)
    return every


def _number(lists: Mapping[str, PrefixList], name: str) -> int:
    return lists[name].number if name else 0


def source_mask(family: int, bits: int) -> bytes:
    """The first bits of an address of the family, in the 16 bytes in which maps hold addresses."""
    zeros = (32 if family == 4 else 128) - bits
    return ((1 << 128) - (1 << zeros)).to_bytes(16, "big")


def _bucket(rate: Rate, step: int) -> tuple[int, int]:
    """Interval and tolerance in steps; the interval rounded, but never to nothing."""
    interval = max(1, round(_SECOND / step / rate.flows_per_second)) * step
    return interval, interval * rate.burst
