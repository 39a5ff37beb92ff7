"""A datapath without an agent: its maps, its program, and what the tests put into both.

Time never passes in a test: what has to be old is made old by moving stamps in the maps (`age`).
"""

import ctypes
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.flows.sweeper import Sweeper
from l4lb_agent.dataplane.generation import Generation
from l4lb_agent.dataplane.maps import cpus
from l4lb_agent.dataplane.ticks import Ticks, hertz, second_multiplier
from l4lb_agent.model import hashing, index, layout, mapspec
from l4lb_agent.model.address import Address
from l4lb_agent.model.choice import port_ranges
from l4lb_agent.model.choice.affinity import NO_AFFINITY, Affinity, mask
from l4lb_agent.model.flows import layout as record_layout
from l4lb_agent.model.observed import FlowCounts
from l4lb_agent.model.reasons import VERDICTS, Reason, Verdict
from l4lb_agent.model.tables import array_key
from tests.packet import records
from tests.packet.bed import Bed
from tests.packet.records import Record

SLOT_SECRET: Final = (0x0123456789ABCDEF, 0xFEDCBA9876543210)
INDEX_SECRET: Final = (0x1122334455667788, 0x8877665544332211)
LOOPBACK: Final = 1  # the interface that packets come from unless a test says otherwise
LB_MAC: Final = bytes.fromhex("020000000002")


def address(text: str) -> bytes:
    """The 16 bytes of an address as maps hold it."""
    return Address.parse(text, "address").packed


def mac(value: bytes) -> ctypes.Array[ctypes.c_uint8]:
    """A MAC as a structure's field."""
    return (layout.U8 * 6)(*value)


def port(number: int) -> int:
    """A port as a structure's field: network order in memory."""
    return int.from_bytes(number.to_bytes(2, "big"), "little")


def _differing(one: bytes, other: bytes, size: int) -> list[int]:
    """Numbers of the parts of `size` bytes in which the two differ."""
    bits = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    if not bits:
        return []
    first, last = ((bit.bit_length() - 1) // 8 // size for bit in (bits & -bits, bits))
    return [n for n in range(first, last + 1) if one[n * size : (n + 1) * size] != other[n * size : (n + 1) * size]]


@dataclass(frozen=True)
class Result:
    """What became of one packet."""

    reason: Reason
    verdict: Verdict
    data: bytes


class Balancer:
    """What is in a bed."""

    def __init__(self, bed: Bed) -> None:
        """The bed must be as new; who made it closes it."""
        self.bed, self.specs, self.maps = bed, bed.specs, bed.maps
        self._sizes, self._cpus = bed.sizes, cpus()
        self._entries: list[index.Entry] = []
        self._counts = b""  # reason_counters as they were after the last packet, when that is known
        self.packets = 0
        self.config = layout.Config()

    @property
    def generation(self) -> Generation:
        """The programs."""
        return self.bed.generation

    # --- what an agent would write

    def write(self, name: str, key: int | bytes, value: bytes) -> None:
        """Set an element."""
        syscall.map_update(self.maps[name].fileno(), array_key(key) if isinstance(key, int) else key, bytes(value))

    def configure(self, **fields: object) -> None:
        """Set fields of the configuration and write it."""
        for name, value in fields.items():
            setattr(self.config, name, value)
        self.write("config", 0, bytes(self.config))

    def start(self, **fields: object) -> None:
        """A configuration that works; `fields` differ from it."""
        times = [0, 5, 5, 0, 60, 0, 30, 0, 0, 0, 0, 0]
        self.configure(
            slot_secret=(layout.U64 * 2)(*SLOT_SECRET), index_secret=(layout.U64 * 2)(*INDEX_SECRET), layout=layout.LAYOUT_VERSION,
            second_multiplier=second_multiplier(hertz()), index_mask=mapspec.index_buckets(self._sizes) - 1, port_low=1024,
            port_high=65535, timeout=(layout.U16 * 12)(*times), quarantine_long=60, quarantine_short=5, rst_rate=0, rst_burst=0,
            route_generation=1, flow_mask=mapspec.flow_buckets(self._sizes) - 1,
            affinity_mask=mapspec.affinity_buckets(self._sizes) - 1, tracked_syn=10, tracked_fin=60, tracked_rst=5,
            flow_index_mask=mapspec.flow_index_buckets(self._sizes) - 1, unanswered_mask=mapspec.unanswered_buckets(self._sizes) - 1,
            spare_mask=mapspec.spare_elements(self._sizes) - 1, flow_ids=self._sizes.flows - 1,
        )  # fmt: skip
        self.configure(**fields)

    def snat(self, *addresses: str) -> None:
        """The SNAT addresses, each family in its part, owned."""
        parsed = [address(text) for text in addresses]
        v4 = [a for a in parsed if Address(a).family == 4]
        v6 = [a for a in parsed if Address(a).family == 6]
        for base, part in ((0, v4), (layout.SNAT_V6_BASE, v6)):
            for place, packed in enumerate(part):
                self.write("snat", base + place, packed)
        self.configure(snat_v4=len(v4), snat_v6=len(v6))
        for text in addresses:
            self.own(text, layout.ADDRESS_SNAT)

    def own(self, text: str, flags: int) -> None:
        """Make an address one that the datapath owns; again for other flags."""
        packed = address(text)
        place, bit = self._owned_place(packed), hashing.owned_bit(packed)
        self.config.owned_filter[bit >> 5] |= 1 << (bit & 31)
        self.configure()
        self.write("addresses", place, bytes(layout.OwnedAddress(address=(layout.U8 * 16)(*packed), flags=flags)))

    def service(
        self, number: int, vip: str, vip_port: int, protocol: int, now: int = 0, *, size: int = 1021, idle: int = 900,
        mode: int = layout.MODE_NAT, before: int | None = None, flags: int = 0, encap_port: int = 6080, mss: int = 0, port_end: int = 0,
        affinity: Affinity = NO_AFFINITY,
    ) -> None:  # fmt: skip
        """A service with rings `now` and `before` (the same unless given) of `size` slots. `flags` are more of the word's. One with a
        `port_end` is found through `port_ranges`, which takes the ranges of the VIP and protocol together."""
        packed = address(vip)
        flags |= layout.RING_SIZES.index(size) | layout.SERVICE_PRESENT | mode << layout.SERVICE_MODE_SHIFT
        word = now << 48 | (now if before is None else before) << 32 | flags
        element = layout.Service(
            word=word, vip=(layout.U8 * 16)(*packed), port=port(vip_port), protocol=protocol, family=Address(packed).family,
            idle_seconds=idle, encap_port=port(encap_port), mss=mss, port_end=port_end,
            affinity_seconds=affinity.seconds,
        )  # fmt: skip
        if affinity:
            element.word |= layout.SERVICE_AFFINITY
            element.affinity_mask[:] = mask(affinity, element.family)
        self.write("services", number, bytes(element))
        if not port_end:
            self._put(layout.INDEX_SERVICE, number, packed, vip_port, protocol)

    def port_ranges(self, vip: str, protocol: int, element: int, *ranges: tuple[int, int, int]) -> None:
        """What ports of the VIP without a service of their own lead to, as an agent would write it: first port, last port, service."""
        self.write("port_ranges", element, port_ranges.element(frozenset(ranges)))
        place = self._owned_place(address(vip))
        owned = layout.OwnedAddress.from_buffer_copy(self.read("addresses", place))
        setattr(owned, "ranges_tcp" if protocol == 6 else "ranges_udp", element)
        self.write("addresses", place, bytes(owned))

    def ring(self, element: int, slots: Sequence[int], size: int = 1021) -> None:
        """One ring: `slots` repeated until it is full."""
        whole = (list(slots) * (size // len(slots) + 1))[:size] + [0] * (layout.ring_slots(size) - size)
        self.write(f"rings_{size}", element, struct.pack(f"<{len(whole)}H", *whole))

    def backend(
        self, number: int, text: str, backend_port: int, *, flags: int = layout.BACKEND_KEEP | layout.BACKEND_ELIGIBLE,
        ifindex: int = LOOPBACK, mtu: int = 0, destination: bytes = bytes.fromhex("020000000003"), outer_source: str = "",
        service: int = 0,
    ) -> None:  # fmt: skip
        """A backend and its next hop."""
        element = layout.Backend(
            address=(layout.U8 * 16)(*address(text)), port=port(backend_port), flags=flags, ifindex=ifindex, mtu=mtu,
            source_mac=mac(LB_MAC), destination_mac=mac(destination), service=service,
        )  # fmt: skip
        if outer_source:
            element.outer_source[:] = list(address(outer_source))
        self.write("backends", number, bytes(element))

    def set_backend(self, number: int, **fields: object) -> None:
        """Change fields of a backend."""
        element = layout.Backend.from_buffer_copy(self.read("backends", number))
        for name, value in fields.items():
            setattr(element, name, value)
        self.write("backends", number, bytes(element))

    def _owned_place(self, packed: bytes) -> int:
        every = range(self.specs["addresses"].max_entries)
        used = {owned: place for place in every if any(owned := self.read("addresses", place)[:16])}
        if packed not in used:
            used[packed] = len(used)
            self._put(layout.INDEX_ADDRESS, used[packed], packed, 0, 0)
        return used[packed]

    def _put(self, kind: int, number: int, packed: bytes, at: int, protocol: int) -> None:
        made = index.entry(kind, number, packed, at, protocol, INDEX_SECRET, self.config.index_mask)
        self._entries = [e for e in self._entries if e != made] + [made]
        for key, value in index.place({}, self._entries).items():
            self.write("index", key, value)

    # --- what comes out

    def send(self, packet: object, ifindex: int = LOOPBACK) -> Result:
        """Run one packet; exactly one reason must have counted it, with its bytes."""
        raw = bytes(packet)  # type: ignore[call-overload]
        before = self._counts or self._whole("reason_counters")
        run = syscall.prog_test_run(self.generation.program.fileno(), raw, ifindex=ifindex)
        self._counts = self._whole("reason_counters")
        changed = self._increases(before, self._counts)
        assert len(changed) == 1, f"one packet, counted as {changed}"
        ((key, more),) = changed.items()
        assert more == (1, len(raw))
        assert key[1] == run.retval, "the counted verdict is the one returned"
        self.packets += 1
        return Result(Reason(key[0]), Verdict(key[1]), run.data)

    def run(self, raw: bytes, ifindex: int = LOOPBACK) -> tuple[int, bytes]:
        """Verdict and bytes of one packet, without a look at the counters."""
        done = syscall.prog_test_run(self.generation.program.fileno(), raw, ifindex=ifindex)
        self._counts = b""
        return done.retval, done.data

    def reasons(self) -> dict[tuple[int, int], tuple[int, int]]:
        """(reason, verdict) -> packets, bytes."""
        return {divmod(i, VERDICTS): (words[0], words[1]) for i, words in self.sums("reason_counters", 2)}

    def traffic(self, name: str, number: int) -> tuple[int, ...]:
        """packets_in, bytes_in, packets_out, bytes_out, flows of a service ("service_counters") or backend ("backend_counters")."""
        if name == "backend_counters":
            arrived, left = dict(self.sums("backend_in", 3)).get(number, [0] * 3), dict(self.sums("backend_out", 2)).get(number, [0] * 2)
            return arrived[0], arrived[1], *left, arrived[2]
        return next((tuple(words[:5]) for i, words in self.sums(name, 8) if i == number), (0,) * 5)

    def tracking(self, number: int) -> tuple[int, ...]:
        """table_reads, pinned, evicted of a service."""
        return next((tuple(words[5:]) for i, words in self.sums("service_counters", 8) if i == number), (0,) * 3)

    def sums(self, name: str, words: int) -> Iterator[tuple[int, list[int]]]:
        """Index and summed 64-bit words of every per-CPU array element that is not all zero."""
        size, values = words * self._cpus, self._whole(name)
        numbers = memoryview(values).cast("Q")
        for number in _differing(values, bytes(len(values)), 8 * size):
            part = numbers[number * size : (number + 1) * size]
            yield number, [sum(part[word::words]) for word in range(words)]

    def _whole(self, name: str) -> bytes:
        """Every element of a per-CPU array, of every CPU."""
        entries, each = self.specs[name].max_entries, -(-self.specs[name].value_size // 8) * 8 * self._cpus
        keys, values = bytearray(4 * entries), bytearray(each * entries)
        syscall.map_lookup_batch(self.maps[name].fileno(), bytearray(8), True, keys, values, entries)
        return bytes(values)

    def _increases(self, before: bytes, after: bytes) -> dict[tuple[int, int], tuple[int, int]]:
        """(reason, verdict) -> packets, bytes that reason_counters have more, where anything differs."""
        size, found = 2 * self._cpus, {}
        old, new = memoryview(before).cast("Q"), memoryview(after).cast("Q")
        for number in _differing(before, after, 8 * size):
            first, end = number * size, (number + 1) * size
            found[divmod(number, VERDICTS)] = (
                sum(new[first:end:2]) - sum(old[first:end:2]),
                sum(new[first + 1 : end : 2]) - sum(old[first + 1 : end : 2]),
            )
        return found

    def read(self, name: str, key: int | bytes) -> bytes:
        """An element; KeyError when there is none."""
        raw = array_key(key) if isinstance(key, int) else key
        found = syscall.map_lookup(self.maps[name].fileno(), raw, self.specs[name].value_size)
        if found is None:
            raise KeyError(key)
        return found

    def elements(self, name: str) -> dict[int, bytes]:
        """The elements of an array that are not zero."""
        return dict(self.used(name))

    def keyed(self, name: str) -> dict[bytes, bytes]:
        """Every element of a map that is no array."""
        found: dict[bytes, bytes] = {}
        key = None
        while (key := syscall.map_next_key(self.maps[name].fileno(), key, self.specs[name].key_size)) is not None:
            found[key] = self.read(name, key)
        return found

    def records(self) -> list[Record]:
        """Every NAT flow's record, those too that only keep their port; they must be where they belong."""
        return records.check(self.elements, self.config)

    def flows(self) -> list[Record]:
        """The records that clients' tuples lead to."""
        return [one for one in self.records() if not one.displaced]

    def states(self) -> set[tuple[int, int]]:
        """(state, flags) of every record."""
        return {(one.state, one.flags) for one in self.records()}

    def forget(self, record: Record) -> None:
        """Let one record end and be swept."""
        element = layout.Flow.from_buffer_copy(self.read("flows", record.id))
        element.seen -= 100000
        self.write("flows", record.id, bytes(element))
        assert self.sweep(record.element.seen + 1).deleted == 1

    def erase(self) -> None:
        """Forget every NAT flow."""
        for name in ("flows", "flows_v6", "flow_index", "unanswered", "spare", "pool"):
            for number in self.elements(name):
                self.write(name, number, bytes(self.specs[name].value_size))

    def sweep(self, now: int | None = None) -> FlowCounts:
        """One sweep, at the datapath's time or another."""
        clock = Ticks()
        try:
            return Sweeper(self.bed.sweep.fileno(), lambda name: self.maps[name].fileno(), lambda: now or clock.second()).sweep()
        finally:
            clock.close()

    # --- time

    def age(self, seconds: int) -> None:
        """Move every stamp of NAT's records and slots that far into the past."""
        for number, raw in self.elements("flows").items():
            element = layout.Flow.from_buffer_copy(raw)
            element.seen -= seconds
            if element.word >> layout.FLOW_STATE_SHIFT & 15 == layout.FLOW_SYN:
                element.last_sequence -= seconds
            self.write("flows", number, bytes(element))
        for number, raw in self.elements("unanswered").items():
            bucket = record_layout.Unanswered.from_buffer_copy(raw)
            for place, slot in enumerate(bucket.slot):
                if slot >> record_layout.SLOT_ID_SHIFT:
                    bucket.slot[place] = slot & ~0xFFFFFF | (slot - 16 * seconds) & 0xFFFFFF
            self.write("unanswered", number, bytes(bucket))

    def buckets(self) -> dict[int, layout.FlowBucket]:
        """The buckets of the flow table that are not empty."""
        found = {number: layout.FlowBucket.from_buffer_copy(raw) for number, raw in self.used("flow_table")}
        return {number: bucket for number, bucket in found.items() if any(entry.word for entry in bucket.entry)}

    def used(self, name: str) -> list[tuple[int, bytes]]:
        """Index and bytes of the elements of an array that are not all zero."""
        return [(number, raw) for number, raw in enumerate(self.every(name)) if any(raw)]

    def every(self, name: str) -> list[bytes]:
        """The elements of an array."""
        count, size = self.specs[name].max_entries, self.specs[name].value_size
        keys, values = bytearray(4 * count), bytearray(size * count)
        syscall.map_lookup_batch(self.maps[name].fileno(), bytearray(8), True, keys, values, count)
        return [bytes(values[number * size : (number + 1) * size]) for number in range(count)]

    def age_tracked(self, seconds: int) -> None:
        """Move every stamp of the flow table that far into the past."""
        for number, bucket in self.buckets().items():
            for entry in bucket.entry:
                entry.stamp = (entry.stamp - seconds) % 65536
            self.write("flow_table", number, bytes(bucket))

    # --- which slot

    def bucket_of(self, client: str, client_port: int, vip: str, vip_port: int, protocol: int) -> int:
        """The bucket of a tuple in the flow table."""
        whole = hashing.tuple_hash(address(client), address(vip), client_port, vip_port, protocol, SLOT_SECRET)
        return (whole * 0x94D049BB133111EB & (1 << 64) - 1) >> 32 & self.config.flow_mask

    def slot(
        self, client: str, client_port: int, vip: str, vip_port: int, protocol: int, size: int = 1021, kind: int = layout.HASH_TUPLE
    ) -> int:  # fmt: skip
        """The slot of a tuple by the Python mirror of the hash."""
        return hashing.slot_hash(address(client), address(vip), client_port, vip_port, protocol, SLOT_SECRET, kind) * size >> 32
