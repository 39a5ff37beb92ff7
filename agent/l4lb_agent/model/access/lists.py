"""Named lists of prefixes, which virtual services let in or keep out."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from l4lb_agent.model.access.prefixes import Prefix

MAX_LISTS = 4096
MAX_NUMBER = 0x7FFFFFFF
MAX_PREFIXES = 50_000  # of one list: as many as fit into one message of the API
_LIST_BITS = 32  # of a key, before those of the prefix


@dataclass(frozen=True)
class PrefixList:
    """As asked for, but for the prefixes. `name` is `lists/{list}`; `number` is what the datapath knows it by: the revision that created
    it, so that no other list ever has it."""

    name: str
    number: int = 0
    count: int = 0
    annotations: Mapping[str, str] = field(default_factory=dict)
    revision: int = 0
    created: float = 0.0
    updated: float = 0.0

    @property
    def etag(self) -> str:
        """Quoted version of this resource (RFC 9110 8.8.3); commands carry it back unchanged."""
        return f'"{self.revision}"'


@dataclass(frozen=True)
class Members:
    """The prefixes of the list of that number."""

    number: int
    prefixes: frozenset[Prefix] = frozenset()

    def changed(self, added: Iterable[Prefix], removed: Iterable[Prefix]) -> "Members":
        """These after a change. What the map holds of them is taken over where it is known: one more of thousands is one element."""
        after = Members(self.number, self.prefixes.difference(removed).union(added))
        if "elements" in self.__dict__:
            elements = dict(self.elements)
            for prefix in removed:
                elements.pop(_key(self.number, prefix), None)
            elements.update(_element(self.number, prefix) for prefix in added)
            after.__dict__["elements"] = elements
        return after

    @cached_property
    def ordered(self) -> tuple[Prefix, ...]:
        """IPv4 before IPv6, by address."""
        return tuple(sorted(self.prefixes, key=lambda prefix: (prefix.family, prefix)))

    @cached_property
    def families(self) -> frozenset[int]:
        """Those of which there is any prefix."""
        return frozenset(prefix.family for prefix in self.prefixes)

    @cached_property
    def elements(self) -> dict[bytes, bytes]:
        """What the map `lists` holds of them: struct list_key of bpf/types.h, and the length of the prefix, one more, since nothing that
        is there is zero."""
        return dict(_element(self.number, prefix) for prefix in self.prefixes)


@dataclass(frozen=True)
class ListChange:
    """What a change makes of one list: thousands of prefixes that stay are not told again."""

    list: PrefixList
    added: tuple[Prefix, ...] = ()
    removed: tuple[Prefix, ...] = ()


def _element(number: int, prefix: Prefix) -> tuple[bytes, bytes]:
    return _key(number, prefix), (prefix.bits + 1).to_bytes(4, "little")


def _key(number: int, prefix: Prefix) -> bytes:
    """Both families are in one trie, and a short IPv6 prefix must hold no IPv4 address: the last bit of the list tells them apart."""
    return struct.pack("=II16s", _LIST_BITS + prefix.bits, number << 1 | (prefix.family == 6), prefix.packed)
