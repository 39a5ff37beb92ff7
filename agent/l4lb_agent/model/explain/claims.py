"""What a new NAT flow needs: a record, a port, its entries in the index (bpf/claim.h, bpf/ports.h, bpf/flow_index.h).

What is taken is taken in the moment's copies alone.
"""

import ctypes
from dataclasses import dataclass
from typing import Final

from l4lb_agent.model import hashing, layout
from l4lb_agent.model.explain import records
from l4lb_agent.model.explain.moment import MASK, WORD, Moment, port
from l4lb_agent.model.explain.packet import Packet, Tuple
from l4lb_agent.model.flows.layout import SLOT_BUSY, SLOT_ID_SHIFT, Pool, Unanswered

PORT_TRIES: Final = 8
GLANCE: Final = PORT_TRIES - 1
FULL_TICKS: Final = 2
GIVER_LOOKS: Final = 3
GIVER_TICKS: Final = 2
LOWEST_KEPT_PORT: Final = 1024
_GOLDEN_RATIO: Final = 0x9E3779B97F4A7C15
_IDLE_AGE = 0x800000
_SLOT_MASK = 15


class Mark(ctypes.Structure):
    """port_full[place]: up to when, in 1/16 seconds, a backend is taken for full."""

    _fields_ = [("until", ctypes.c_uint32)]


@dataclass
class Source:
    """What packets to the backend carry, and the try that found it."""

    becomes: Tuple
    tries: int


def seed(packet: Packet, hashed: int, backend: int) -> int:
    """From where ports are searched."""
    return hashing.mix(hashed, backend << 32 | packet.now.second, packet.now.index_secret)


def full(packet: Packet, backend: int, start: int) -> bool:
    """Whether a search for the backend has just failed."""
    return bool(_mark(packet, backend, start).until - packet.now.tick - 1 & WORD < FULL_TICKS)


def take_for_full(packet: Packet, backend: int, start: int, *, full: bool) -> None:
    """From now on a search for the backend has just failed, or has not."""
    _mark(packet, backend, start).until = packet.now.tick + FULL_TICKS & WORD if full else 0


def _mark(packet: Packet, backend: int, start: int) -> Mark:
    place = hashing.mix(backend, _address_of_try(packet, start, 0), packet.now.index_secret) & (layout.PORT_FULL_PLACES - 1)
    return packet.now.element("port_full", place, Mark) or Mark()


def glance(packet: Packet, backend: layout.Backend, start: int) -> bool:
    """Whether one port of those that a search would try is free."""
    tried = _try(packet, backend, start, GLANCE)
    return tried is not None and _free(packet.now, tried)


def search(packet: Packet, backend: layout.Backend, start: int) -> Source | None:
    """The first port that is free, None when none of eight is."""
    for number in range(PORT_TRIES):
        tried = _try(packet, backend, start, number)
        if tried is not None and _free(packet.now, tried):
            return Source(tried, number + 1)
    return None


def give(packet: Packet, backend: layout.Backend, start: int, first: int = 0) -> bool:
    """Ends the oldest of the first few flows without an answer that have the ports of the tries from `first` on; False when none is old
    enough."""
    now, looks, oldest, giver = packet.now, 0, GIVER_TICKS - 1, 0
    for number in range(first, PORT_TRIES):
        tried = _try(packet, backend, start, number)
        if tried is None or looks >= GIVER_LOOKS:
            break
        holder = held(now, tried)
        age = _unanswered_age(now, holder)
        if age is None:
            continue
        looks += 1
        if age > oldest:
            oldest, giver = age, holder
    if not giver:
        return False
    packet.note("port", f"no port is free: the flow in record {giver}, which has no answer, gives up its own", record=giver)
    unanswered, place = _slot_of(now, giver)
    if unanswered is not None:
        unanswered.slot[place] = records.slot_word(SLOT_BUSY, unanswered.slot[place], 0)
        _evict(now, giver)
        unanswered.slot[place] = records.slot_word(giver, unanswered.slot[place], now.tick - _IDLE_AGE)
    return True


def own(packet: Packet, backend: layout.Backend) -> Source:
    """The client's address and port, kept."""
    return Source(_becomes(packet, backend, packet.tuple.source, packet.tuple.source_port), 1)


def held(now: Moment, becomes: Tuple) -> int:
    """Id of the record that has what the backend would send to this source, 0 for none."""
    return records.tagged(now, becomes.reversed().hash(now.slot_secret))


def given_up(now: Moment, becomes: Tuple) -> bool:
    """Whether the flow that has it is over, or its client has left it."""
    number = held(now, becomes)
    flow = now.flow(number)
    holder = records.Record(number, flow, becomes) if flow is not None else None
    return holder is not None and bool(holder.flags & layout.FLOW_DISPLACED or records.expired(now, holder))


def inherit(now: Moment, becomes: Tuple, number: int) -> None:
    """The new record takes over the entry."""
    replace(now, becomes.reversed().hash(now.slot_secret), held(now, becomes), number)


def take_record(packet: Packet, hashed: int) -> tuple[int, int] | None:
    """Id of the record that the new flow gets, and of the slot; None when there is none. Another flow's is taken from it."""
    now = packet.now
    unanswered = now.unanswered(hashed)
    if unanswered is None:
        return None
    slots = unanswered.slot
    ids = [slot >> SLOT_ID_SHIFT for slot in slots]
    empty = [place for place, number in enumerate(ids) if not number]
    fresh = _take_id(now) if empty else 0
    if empty:
        slots[empty[-1]] = records.slot_word(SLOT_BUSY if fresh else 0, slots[empty[-1]], 0)
    if fresh:
        _evict(now, fresh)
        packet.note("claim", f"record {fresh} is free", record=fresh, unanswered=f"{len(ids) - len(empty)} of {len(ids)} slots in use")
        return fresh, empty[-1]
    stalest, oldest = -1, -1
    for place, number in enumerate(ids):
        age = now.tick - slots[place] & records.SLOT_STAMP
        if number and number != SLOT_BUSY and age > oldest:
            stalest, oldest = place, age
    if stalest < 0:
        return None
    packet.note("claim", f"no record is free: that of an unanswered flow, {ids[stalest]}, is taken", record=ids[stalest])
    slots[stalest] = records.slot_word(SLOT_BUSY, slots[stalest], 0)
    _evict(now, ids[stalest])
    return ids[stalest], stalest


def settle(now: Moment, hashed: int, claimed: tuple[int, int], *, idle: bool = False) -> None:
    """The slot of a claim may be taken by others from now on: with the new flow in it, or with an idle record that is the first to go."""
    number, place = claimed
    unanswered = now.unanswered(hashed)
    if unanswered is not None:
        unanswered.slot[place] = records.slot_word(number, unanswered.slot[place], now.tick - (_IDLE_AGE if idle else 0))


def claim(now: Moment, hashed: int, number: int) -> bool:
    """Puts an entry of a tuple with that hash into the index; False when there is no room, or another entry has its tag."""
    buckets = now.index_buckets(hashed)
    for bucket in buckets:
        free = [place for place, entry in enumerate(bucket.entry) if not entry]
        if free:
            place = free[-1]
            break
    else:
        return False
    if records.tagged(now, hashed):
        return False
    bucket.entry[place] = hashed >> 32 << 32 | number
    return True


def give_up(now: Moment, hashed: int, number: int) -> None:
    """Takes an entry out of the index."""
    _put(now, hashed, number, 0)


def replace(now: Moment, hashed: int, number: int, by: int) -> None:
    """The tuple of an entry in the index leads to another record."""
    _put(now, hashed, number, hashed >> 32 << 32 | by)


def _put(now: Moment, hashed: int, number: int, entry: int) -> None:
    for bucket in now.index_buckets(hashed):
        for place, there in enumerate(bucket.entry):
            if there == hashed >> 32 << 32 | number:
                bucket.entry[place] = entry
                return


def _take_id(now: Moment) -> int:
    """A free id, 0 when there is none."""
    pool, ids = now.element("pool", 0, Pool) or Pool(), now.config.flow_ids
    taken = pool.taken
    if taken >= ids + pool.given:
        return 0
    pool.taken += 1
    return int(taken + 1 if taken < ids else now.number("spare", taken - ids & now.config.spare_mask))


def _unanswered_age(now: Moment, number: int) -> int | None:
    """1/16 seconds since the flow of a record began, None when it has an answer or there is none."""
    flow = now.flow(number) if number else None
    if flow is None or not flow.word >> layout.FLOW_STATE_SHIFT & 15 or not flow.word >> layout.FLOW_FLAGS_SHIFT & layout.FLOW_HELD:
        return None
    unanswered, place = _slot_of(now, number)
    slot = unanswered.slot[place] if unanswered else 0
    return now.tick - slot & records.SLOT_STAMP if slot >> SLOT_ID_SHIFT == number else None


def _slot_of(now: Moment, number: int) -> tuple[Unanswered | None, int]:
    """Where the flow of a record stands while it has no answer."""
    flow = now.flow(number)
    if flow is None:
        return None, 0
    hashed = records.client_tuple(now, number, flow).hash(now.slot_secret)
    return now.unanswered(hashed), flow.word >> layout.FLOW_PLACE_SHIFT & _SLOT_MASK


def _evict(now: Moment, number: int) -> None:
    """The flow that had the record ends, if there is one; what the record says next is of another version."""
    flow = now.flow(number)
    if flow is None:
        return
    if flow.word >> layout.FLOW_STATE_SHIFT & 15:
        for of in (records.client_tuple, records.backend_tuple):
            give_up(now, of(now, number, flow).hash(now.slot_secret), number)
    flow.word += 1 << layout.FLOW_VERSION_SHIFT
    records.Record(number, flow, Tuple()).set(0, 0)


def _try(packet: Packet, backend: layout.Backend, start: int, number: int) -> Tuple | None:
    source = packet.now.snat(_address_of_try(packet, start, number))
    if source is None:
        return None
    return _becomes(packet, backend, source, _port_of_try(packet, start, number))


def _becomes(packet: Packet, backend: layout.Backend, source: bytes, source_port: int) -> Tuple:
    t = packet.tuple
    at = port(backend.port) if backend.port else t.destination_port
    return Tuple(source, bytes(backend.address), source_port, at, t.protocol)


def _port_of_try(packet: Packet, start: int, number: int) -> int:
    own, config = packet.tuple.source_port, packet.now.config
    if not number and own >= LOWEST_KEPT_PORT and config.port_low <= own <= config.port_high:
        return own
    walk = (start + number * _GOLDEN_RATIO & MASK) >> 48
    return int(config.port_low + (walk * (config.port_high - config.port_low + 1) >> 16)) & 0xFFFF


def _address_of_try(packet: Packet, start: int, number: int) -> int:
    config = packet.now.config
    first, count = (0, config.snat_v4) if packet.family == 4 else (layout.SNAT_V6_BASE, config.snat_v6)
    walk = (start >> 32) + number * (start >> 48 | 1) & 0xFFFF
    return int(first + (walk * count >> 16))


def _free(now: Moment, becomes: Tuple) -> bool:
    """Whether nobody has what the backend would send to this source."""
    hashed = becomes.reversed().hash(now.slot_secret)
    return not any(entry & 0xFFFFFFFF for bucket in now.index_buckets(hashed) for entry in bucket.entry if entry >> 32 == hashed >> 32)
