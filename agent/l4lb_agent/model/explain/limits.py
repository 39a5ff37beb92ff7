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
    of_service = _taken(line.word[0], now.limit_time)
    if policy.service_interval:
        facts["service_bucket"] = _bucket(of_service, policy.service_interval, policy.service_tolerance)
        if of_service + policy.service_interval > policy.service_tolerance:
            why, text = Reason.NEW_FLOWS_LIMITED, "the service's limit of new flows is used up"
    if not why and policy.source_interval:
        used = _source(packet, policy)
        facts["source_bucket"] = _bucket(used, policy.source_interval, policy.source_tolerance)
        if used + policy.source_interval > policy.source_tolerance:
            why, text = Reason.SOURCE_LIMITED, "the limit of new flows of the source's prefix is used up"
    if not why and policy.service_interval:
        line.word[0] = now.limit_time + of_service + policy.service_interval & MASK
    packet.note("limits", text if why else "within the limits of new flows", **facts)
    return why


def _source(packet: Packet, policy: layout.Policy) -> int:
    """How much of its bucket the source's prefix had taken, as time; it takes one more, if that is left."""
    now = packet.now
    low, high = hashing.words(packet.tuple.source)
    low = low & policy.source_mask[0] ^ policy.source_interval + policy.source_tolerance
    hashed = hashing.mix(low, high & policy.source_mask[1], now.index_secret) ^ (packet.service * _MIX & MASK)
    line = now.element("source_limits", hashed >> 32 & (layout.SOURCE_LIMIT_LINES - 1), layout.LimitLine)
    if line is None:
        return 0
    tag = hashed & _TAG
    worths = [0 if word & _TAG == tag else 1 + _taken(word & ~_TAG, now.limit_time) for word in line.word]
    place = worths.index(min(worths))  # its own; else the one of which least is taken
    used = 0 if worths[place] else _taken(line.word[place] & ~_TAG, now.limit_time)
    if used + policy.source_interval <= policy.source_tolerance:
        line.word[place] = (now.limit_time + used + policy.source_interval & MASK) & ~_TAG | tag
    return used


def _taken(full: int, now: int) -> int:
    ahead = full - now & MASK
    return 0 if not full or ahead > _AHEAD else ahead


def _bucket(used: int, interval: int, tolerance: int) -> str:
    return f"{max(0, tolerance - used) // interval} of {tolerance // interval} left, {_SECOND / interval:.0f} more a second"
