"""Limits of new flows, for a service and for each prefix of its sources: bpf/limit.h."""

from typing import Final

from l4lb_agent.model import hashing, layout
from l4lb_agent.model.explain.moment import MASK
from l4lb_agent.model.explain.packet import Packet
from l4lb_agent.model.reasons import Reason

_TAG: Final = 0xFFFF
_AHEAD: Final = 1 << 52
_MIX: Final = 0xBF58476D1CE4E5B9
_SECOND: Final = 1 << 40


def refused(packet: Packet) -> Reason | None:
    """Why the packet, which would start a flow, may not."""
    now = packet.now
    policy = now.element("policies", packet.service, layout.Policy)
    line = now.element("service_limits", packet.service, layout.LimitLine)
    if policy is None or line is None:
        return None
    facts: dict[str, object] = {}
    why = None
    used = _taken(line.word[0], now.limit_time)
    if policy.service_interval:
        facts["service_bucket"] = _bucket(used, policy.service_interval, policy.service_tolerance)
        if used + policy.service_interval > policy.service_tolerance:
            why, text = Reason.NEW_FLOWS_LIMITED, "the service's limit of new flows is used up"
    if not why and policy.source_interval:
        used = _source(packet, policy)
        facts["source_bucket"] = _bucket(used, policy.source_interval, policy.source_tolerance)
        if used + policy.source_interval > policy.source_tolerance:
            why, text = Reason.SOURCE_LIMITED, "the limit of new flows of the source's prefix is used up"
    packet.note("limits", text if why else "within the limits of new flows", **facts)
    return why


def _source(packet: Packet, policy: layout.Policy) -> int:
    """How much of its bucket the source's prefix has taken, as time."""
    now = packet.now
    low, high = hashing.words(packet.tuple.source)
    hashed = hashing.mix(low & policy.source_mask[0], high & policy.source_mask[1], now.index_secret) ^ (packet.service * _MIX & MASK)
    line = now.element("source_limits", hashed >> 32 & (layout.SOURCE_LIMIT_LINES - 1), layout.LimitLine)
    own = [word for word in line.word if word & _TAG == hashed & _TAG] if line else []
    return _taken(own[0] & ~_TAG & MASK, now.limit_time) if own else 0


def _taken(full: int, now: int) -> int:
    ahead = full - now & MASK
    return 0 if ahead > _AHEAD else ahead


def _bucket(used: int, interval: int, tolerance: int) -> str:
    return f"{max(0, tolerance - used) // interval} of {tolerance // interval} left, {_SECOND / interval:.0f} more a second"
