"""Where a new flow goes: hash, slots of both rings, source affinity (bpf/ring.h, bpf/affinity.h)."""

from dataclasses import dataclass
from typing import Final

from l4lb_agent.model import hashing, layout
from l4lb_agent.model.choice.layout import AFFINITY_LONGEST
from l4lb_agent.model.explain.moment import MASK
from l4lb_agent.model.explain.packet import Affine, Packet

_MIX: Final = 0x94D049BB133111EB
_TAG_SHIFT, _UNTIL_SHIFT, _UNTIL = 40, 15, 0xFFFFFF
_AGAIN: Final = 1 << 39
_OWN, _FREE, _ONCE = 0xFFFFFFFF, 0xFFFFFFFE, 0x40000000  # of bpf/affinity.h
_HASHES: Final = ("addresses and ports", "the source", "source and VIP")


@dataclass(frozen=True)
class Chosen:
    """What the hash says: all of it, the half that picks, the slot and what is in it in the ring `now`."""

    hash: int
    pick: int
    slot: int
    backend: int  # 0 = none
    at_risk: bool


def pick(packet: Packet) -> Chosen:
    """The slot of the packet's flow in the ring for new flows."""
    t, word, secret = packet.tuple, packet.word, packet.now.slot_secret
    hashed = t.hash(secret)
    kind = (word & layout.SERVICE_HASH) >> layout.SERVICE_HASH_SHIFT
    kind = kind if kind in (layout.HASH_SOURCE, layout.HASH_SOURCE_DESTINATION) else layout.HASH_TUPLE
    picked = hashing.slot_hash(t.source, t.destination, t.source_port, t.destination_port, t.protocol, secret, kind)
    slot, content = packet.now.slot(word, word >> 48, picked)
    chosen = Chosen(hashed, picked, slot, content & layout.SLOT_BACKEND, bool(content & layout.SLOT_AT_RISK))
    older, of_older = word >> 32 & 0xFFFF, dict[str, object]()  # NAT has no ring `before`
    if older:
        settled, there = "yes" if word >> 48 == older else "no", _before_slot(packet, picked)
        of_older = {"settled": settled, "before_ring": older, "before_backend_id": there}
    packet.note(
        "ring", f"slot {slot} by the hash of {_HASHES[kind]}" + (", at risk" if chosen.at_risk else ""), hash=f"{hashed:#018x}", slot=slot,
        now_backend_id=chosen.backend, at_risk="yes" if chosen.at_risk else "no", now_ring=word >> 48, **of_older,
    )  # fmt: skip
    return chosen


def _before_slot(packet: Packet, picked: int) -> int:
    return packet.now.slot(packet.word, packet.word >> 32 & 0xFFFF, picked)[1] & layout.SLOT_BACKEND


def before(packet: Packet, picked: int, now: int) -> int:
    """Where flows of the slot were sent before the change that is settling; `now` when nothing differs or that backend keeps none."""
    if packet.word >> 48 == packet.word >> 32 & 0xFFFF:
        return now
    number = _before_slot(packet, picked)
    backend = packet.now.backend(number)
    return number if number and backend and backend.flags & layout.BACKEND_KEEP else now


def affine(packet: Packet, now: int) -> int:
    """Where the client's last new flow went, else `now`."""
    service = packet.now.service(packet.service)
    packet.affinity = None
    if service is None:
        return now
    low, high = hashing.words(packet.tuple.source)
    mixed = (low & service.affinity_mask[0]) ^ (packet.service * _MIX & MASK)
    hashed = hashing.mix(mixed, high & service.affinity_mask[1], packet.now.slot_secret)
    bucket = packet.now.affinities(hashed & packet.now.config.affinity_mask)
    own = [entry for entry in bucket.entry if entry and entry >> _TAG_SHIFT == hashed >> _TAG_SHIFT] if bucket else []
    if bucket:
        worth = [_OWN if entry in own else _worth(packet, entry) for entry in bucket.entry]
        packet.affinity = Affine(bucket, worth.index(max(worth)), hashed >> _TAG_SHIFT, own[-1] if own else 0, service.affinity_seconds)
    if not own:
        packet.note("affinity", "the client has no entry: the ring decides")
        return now
    number = int(own[-1] & layout.SLOT_BACKEND)
    left = (own[-1] >> _UNTIL_SHIFT) - packet.now.second & _UNTIL
    left = left if left <= service.affinity_seconds else 0
    backend = packet.now.backend(number)
    facts = {"backend_id": number, "seconds_left": left, "again": "yes" if own[-1] & _AGAIN else "no"}
    if not left or not number or not backend or not backend.flags & layout.BACKEND_ELIGIBLE or backend.service != packet.service:
        packet.note("affinity", "the client's entry is over, or its backend takes no new flows: the ring decides", **facts)
        return now
    packet.note("affinity", "the client's entry decides", **facts)
    return number


def keep(packet: Packet, number: int) -> None:
    """A new flow has gone to that backend: so will the client's next ones. Expects affine() before."""
    found = packet.affinity
    if found is None or not number:
        return
    again = _AGAIN if found.entry and found.entry & layout.SLOT_BACKEND == number else 0
    until = packet.now.second + found.seconds & _UNTIL
    found.bucket.entry[found.place] = found.tag << _TAG_SHIFT | again | until << _UNTIL_SHIFT | number


def _worth(packet: Packet, entry: int) -> int:
    """Of writing over another's entry: what is over, what came once, what ends first."""
    left = (entry >> _UNTIL_SHIFT) - packet.now.second & _UNTIL
    if not entry or not 0 < left <= AFFINITY_LONGEST:
        return _FREE
    return (0 if entry & _AGAIN else _ONCE) + AFFINITY_LONGEST + 1 - left
