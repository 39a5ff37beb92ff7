"""NAT's records as the tests read them, and the law that holds between records, index, slots and free ids: `check`."""

import ctypes
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from l4lb_agent.model import hashing, layout
from l4lb_agent.model.flows import layout as record_layout

FINS_AND_RST = layout.FLOW_CLIENT_FIN | layout.FLOW_BACKEND_FIN | layout.FLOW_BACKEND_FIN_FIRST | layout.FLOW_RESET
Raw = Mapping[int, bytes]  # elements that are not zero


@dataclass(frozen=True)
class Record:
    """One flow. Addresses are 16 bytes, ports are numbers."""

    id: int
    client: bytes
    vip: bytes
    backend_address: bytes
    snat: bytes
    client_port: int
    vip_port: int
    backend_port: int
    snat_port: int
    protocol: int
    state: int
    flags: int  # FINs and RST
    all_flags: int
    place: int
    version: int
    element: layout.Flow

    @property
    def backend(self) -> int:
        """Its id."""
        return int(self.element.backend)

    @property
    def displaced(self) -> bool:
        """Whether the client's tuple leads elsewhere."""
        return bool(self.all_flags & layout.FLOW_DISPLACED)

    @property
    def held(self) -> bool:
        """Whether it may be replaced."""
        return bool(self.all_flags & layout.FLOW_HELD)

    def client_hash(self, secret: tuple[int, int]) -> int:
        """Of what the client sends."""
        return hashing.tuple_hash(self.client, self.vip, self.client_port, self.vip_port, self.protocol, secret)

    def backend_hash(self, secret: tuple[int, int]) -> int:
        """Of what the backend sends."""
        return hashing.tuple_hash(self.backend_address, self.snat, self.backend_port, self.snat_port, self.protocol, secret)


def _mapped(word: int) -> bytes:
    return bytes(10) + b"\xff\xff" + word.to_bytes(4, "little")


def _port(field: int) -> int:
    return int.from_bytes(field.to_bytes(2, "little"), "big")


def record(number: int, raw: bytes, wide: bytes) -> Record:
    """From the elements of flows and flows_v6."""
    flow = layout.Flow.from_buffer_copy(raw)
    if flow.client:
        addresses = [_mapped(word) for word in (flow.client, flow.vip, flow.backend_address, flow.snat)]
    else:
        v6 = layout.FlowV6.from_buffer_copy(wide)
        addresses = [bytes(field) for field in (v6.client, v6.vip, v6.backend, v6.snat)]
    flags = flow.word >> layout.FLOW_FLAGS_SHIFT & 255
    return Record(
        number, *addresses, _port(flow.client_port), _port(flow.vip_port), _port(flow.backend_port), _port(flow.snat_port),
        flow.word & 255, flow.word >> layout.FLOW_STATE_SHIFT & 15, flags & FINS_AND_RST, flags,
        flow.word >> layout.FLOW_PLACE_SHIFT & 15, flow.word >> layout.FLOW_VERSION_SHIFT, flow,
    )  # fmt: skip


def used(flows: Raw, wide: Raw) -> list[Record]:
    """Every record that is a flow's, by id."""
    size = ctypes.sizeof(layout.FlowV6)
    found = [record(number, raw, wide.get(number, bytes(size))) for number, raw in sorted(flows.items())]
    return [one for one in found if one.state]


def entries(index: Raw) -> Iterator[tuple[int, int, int]]:
    """Bucket, tag and the lower half of every entry of flow_index."""
    for bucket, raw in index.items():
        for entry in layout.Bucket.from_buffer_copy(raw).entry:
            if entry:
                yield bucket, entry >> 32, entry & 0xFFFFFFFF


def slots(unanswered: Raw) -> Iterator[tuple[int, int, int]]:
    """Bucket, place and id of every slot that has a record."""
    for bucket, raw in unanswered.items():
        for place, slot in enumerate(record_layout.Unanswered.from_buffer_copy(raw).slot):
            if slot >> record_layout.SLOT_ID_SHIFT:
                yield bucket, place, slot >> record_layout.SLOT_ID_SHIFT


def free(pool: record_layout.Pool, spare: Raw, ids: int, mask: int) -> list[int]:
    """The ids that nobody has."""
    never = list(range(min(pool.taken, ids) + 1, ids + 1))
    back = range(max(pool.taken - ids, 0), pool.given)
    return never + [int.from_bytes(spare.get(place & mask, bytes(4))[:4], "little") for place in back]


def check(read: Callable[[str], Raw], config: layout.Config) -> list[Record]:
    """The records, when nobody is at work and every one of them is where it must be: in the index by both of its tuples (by the backend's
    alone once displaced, by the client's alone once another has its kept port), once; in its slot while it is held; and every id is one
    record's, or free, once."""
    secret = (config.slot_secret[0], config.slot_secret[1])
    found = used(read("flows"), read("flows_v6"))
    wanted: Counter[tuple[int, int, int]] = Counter()
    there = Counter((bucket & ~1, tag, low) for bucket, tag, low in entries(read("flow_index")))
    sharing = Counter(one.backend_hash(secret) for one in found)
    for one in found:
        for hashed in [one.backend_hash(secret)] + ([] if one.displaced else [one.client_hash(secret)]):
            wanted[hashed & config.flow_index_mask & ~1, hashed >> 32, one.id] += 1
    for hashed, records in sharing.items():
        places = [(hashed & config.flow_index_mask & ~1, hashed >> 32, one.id) for one in found if one.backend_hash(secret) == hashed]
        if records > 1:
            assert all(one.snat == one.client for one in found if one.backend_hash(secret) == hashed), "one port for two translated flows"
            assert sum(there[place] for place in places) == 1, "a tuple leads to one record"
            wanted -= Counter(place for place in places if not there[place])
    assert there == wanted
    assert not there or max(Counter((bucket, tag) for bucket, tag, _ in there).values()) == 1, "a tag twice in a pair of buckets"
    in_slots = {number: (bucket, place) for bucket, place, number in slots(read("unanswered"))}
    for one in found:
        assert one.held == (one.id in in_slots), one
        assert not one.held or in_slots[one.id] == (one.client_hash(secret) & config.unanswered_mask, one.place)
    pool = record_layout.Pool.from_buffer_copy(read("pool").get(0, bytes(ctypes.sizeof(record_layout.Pool))))
    ids = Counter(free(pool, read("spare"), config.flow_ids, config.spare_mask)) + Counter({one.id for one in found} | set(in_slots))
    assert ids == Counter(range(1, config.flow_ids + 1)), "an id is lost, or has two owners"
    return found
