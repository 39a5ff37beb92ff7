"""What every map holds, as data, and the single map write.

`Tables` is a map name to {key bytes: value bytes}: array keys are 4-byte little-endian indices. Absent array elements are all zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Elements = dict[bytes, bytes]


@dataclass(frozen=True)
class Tables:
    """The control maps only (config, snat, index, addresses, port_ranges, services, policies, lists, rings_*, backends); the rest is the
    datapath's."""

    maps: Mapping[str, Elements] = field(default_factory=dict)

    def get(self, name: str) -> Elements:
        """Elements of the map `name`, empty when nothing is known of it."""
        return self.maps.get(name, {})


@dataclass(frozen=True)
class Write:
    """Set one element. Deletion is a write of zeros; no element that is there is all zero."""

    map: str
    key: bytes
    value: bytes
    why: str = ""  # for people: `ring of services/web`


@dataclass(frozen=True)
class Grace:
    """Wait until no packet can still read what was replaced before (membarrier MEMBARRIER_CMD_GLOBAL, 6-16 ms)."""


Step = Write | Grace


def array_key(index: int) -> bytes:
    """Key of an array element."""
    return index.to_bytes(4, "little")
