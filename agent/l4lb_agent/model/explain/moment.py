"""What the maps hold now, element by element.

Each is read when a packet's road first comes by it, and once, so that a road sees one version of it. What the datapath would change on the
road is changed in these copies alone.
"""

import ctypes
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from l4lb_agent.model import layout
from l4lb_agent.model.address import MAPPED
from l4lb_agent.model.choice import layout as choice_layout
from l4lb_agent.model.flows import layout as record_layout
from l4lb_agent.model.tables import array_key

MASK = (1 << 64) - 1
WORD = (1 << 32) - 1
Lookup = Callable[[str, bytes], bytes | None]  # map, key -> the element, None when there is none
Secret = tuple[int, int]
T = TypeVar("T", bound=ctypes.Structure)
_WHOLE_ADDRESS = 32 + 128
_SLOT = 2


@dataclass(frozen=True)
class Route:
    """What the kernel says of the way to an address, as bpf_fib_lookup() does: `why` not, "" when there is one. MACs are 6 bytes. Where
    only the neighbour is missing interface and MTU are those of the route, and 0 without a route; `back_mtu` is that of `Asked.back`."""

    why: str = ""
    ifindex: int = 0
    mtu: int = 0
    back_mtu: int = 0
    source_mac: bytes = bytes(6)
    destination_mac: bytes = bytes(6)


@dataclass(frozen=True)
class Asked:
    """What a route is asked for: the interface by which the packet came, and the addresses (16 bytes) and ports of what is to be sent; and
    the interface of the way that is taken where the kernel knows none."""

    ifindex: int
    protocol: int
    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    back: int = 0


class Moment:
    """The maps behind `lookup` at the datapath's time `fine` (2^-24 seconds); `route` answers as the kernel does."""

    def __init__(self, lookup: Lookup, fine: int, route: Callable[[Asked], Route]) -> None:
        self._lookup, self.fine, self.route = lookup, fine & MASK, route
        self._read: dict[tuple[str, int], Any] = {}
        self._found: dict[tuple[str, int], bytes] = {}  # as they were read
        self.config = self.element("config", 0, layout.Config) or layout.Config()
        self.slot_secret: Secret = (self.config.slot_secret[0], self.config.slot_secret[1])
        self.index_secret: Secret = (self.config.index_secret[0], self.config.index_secret[1])

    @property
    def second(self) -> int:
        """Of the datapath's clock, as bpf/clock.h counts."""
        return self.fine >> 24 & WORD

    @property
    def tick(self) -> int:
        """1/16 seconds."""
        return self.fine >> 20 & WORD

    @property
    def limit_time(self) -> int:
        """2^-40 seconds, round and round."""
        return self.fine << 16 & MASK

    def element(self, name: str, index: int, kind: type[T]) -> T | None:
        """One element of an array, None beyond its end."""
        if (name, index) not in self._read:
            raw = self._lookup(name, array_key(index))
            self._read[name, index] = None if raw is None else kind.from_buffer_copy(raw)
            self._found[name, index] = raw or b""
        found: T | None = self._read[name, index]
        return found

    def changed(self) -> Iterator[tuple[str, int, bytes, ctypes.Structure]]:
        """What was written into elements, in the order in which they were first read: map, index, the bytes before, the element."""
        for (name, index), before in self._found.items():
            element = self._read[name, index]
            if element is not None and bytes(element) != before[: ctypes.sizeof(element)]:
                yield name, index, before, element

    def backend(self, number: int) -> layout.Backend | None:
        """backends[number]."""
        return self.element("backends", number, layout.Backend)

    def service(self, number: int) -> layout.Service | None:
        """services[number]."""
        return self.element("services", number, layout.Service)

    def flow(self, number: int) -> layout.Flow | None:
        """flows[number]."""
        return self.element("flows", number, layout.Flow)

    def flow_v6(self, number: int) -> layout.FlowV6 | None:
        """flows_v6[number]."""
        return self.element("flows_v6", number, layout.FlowV6)

    def index_buckets(self, hashed: int) -> list[layout.Bucket]:
        """Both buckets of flow_index where a tuple of that hash may be."""
        first = hashed & self.config.flow_index_mask
        found = (self.element("flow_index", number, layout.Bucket) for number in (first, first ^ 1))
        return [bucket for bucket in found if bucket is not None]

    def unanswered(self, hashed: int) -> record_layout.Unanswered | None:
        """The slots of unanswered flows whose client's tuple has that hash."""
        return self.element("unanswered", hashed & self.config.unanswered_mask, record_layout.Unanswered)

    def affinities(self, bucket: int) -> choice_layout.AffinityBucket | None:
        """affinity[bucket]."""
        return self.element("affinity", bucket, choice_layout.AffinityBucket)

    def snat(self, number: int) -> bytes | None:
        """snat[number], 16 bytes."""
        return self._lookup("snat", array_key(number))

    def number(self, name: str, index: int) -> int:
        """An element that is one number of 32 bits; 0 beyond the end."""
        return int.from_bytes(self._lookup(name, array_key(index)) or b"", "little")

    def slot(self, word: int, ring: int, pick: int) -> tuple[int, int]:
        """Place and content of the slot that `pick` picks in the ring of the word's class; content 0 without a ring."""
        size = layout.RING_SIZES[word & layout.SERVICE_RING_CLASS]
        place = pick * size >> 32
        raw = self._lookup(f"rings_{size}", array_key(ring)) if ring else None
        return place, int.from_bytes(raw[place * _SLOT : place * _SLOT + _SLOT], "little") if raw else 0

    def listed(self, number: int, family: int, address: bytes) -> int:
        """Bits of the list's longest prefix that holds the address, and one more; 0 when none does, or there is no such list."""
        if not number:
            return 0
        key = layout.ListKey(bits=_WHOLE_ADDRESS, list=number << 1 | (family == 6), address=(layout.U8 * 16)(*address))
        return int.from_bytes(self._lookup("lists", bytes(key)) or b"", "little")

    def vlan(self, ifindex: int, key: int, places: Iterable[int]) -> layout.Vlan | None:
        """What stands in `vlans` of an interface and a VLAN, looked for in these places."""
        for place in places:
            found = self.element("vlans", place, layout.Vlan)
            if found is None or not found.ifindex:
                return None
            if found.ifindex == ifindex and found.key == key:
                return found
        return None


def port(field: int) -> int:
    """A port in network order, as a structure holds it, as a number; and back."""
    return field >> 8 | (field & 255) << 8


def mapped(word: int) -> bytes:
    """The 16 bytes of an IPv4 address that a structure holds as one word in network order."""
    return MAPPED + word.to_bytes(4, "little")
