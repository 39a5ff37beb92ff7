"""Prefixes of addresses: from text and back."""

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

from l4lb_agent.model import errors
from l4lb_agent.model.address import MAPPED, is_mapped

MAPPED_BITS = 96  # before an IPv4 address in the 16 bytes that maps hold


class Prefix(NamedTuple):
    """The first `bits` of 16 bytes as maps hold addresses; the others are zero. An IPv4 prefix has 96 to 128."""

    packed: bytes
    bits: int

    @property
    def family(self) -> int:
        """4 or 6."""
        return 4 if self.bits >= MAPPED_BITS and is_mapped(self.packed) else 6

    def __str__(self) -> str:
        if self.family == 6:
            return f"{ipaddress.IPv6Address(self.packed)}/{self.bits}"
        return f"{'.'.join(map(str, self.packed[12:]))}/{self.bits - MAPPED_BITS}"


def parse(text: str, field: str) -> Prefix:
    """The prefix in `text`; an address alone is all of its bits. Raises InvalidArgument (INVALID_PREFIX) naming `field` for what is none,
    has bits set after its length or a zone, or is IPv4 written as IPv6."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise _invalid(field, text, "is neither a prefix, like 192.0.2.0/24 or 2001:db8::/32, nor an address") from None
    if "%" in text:
        raise _invalid(field, text, "must be plain: a zone is this host's own matter")
    start, v4 = network.network_address, isinstance(network, ipaddress.IPv4Network)
    if ipaddress.ip_address(text.partition("/")[0]) != start:
        raise _invalid(field, text, f"has bits set after its length: {network} is the prefix around it")
    if not v4 and network.prefixlen >= MAPPED_BITS and is_mapped(start.packed):
        raise _invalid(field, text, "is IPv4 written as IPv6: write it like 192.0.2.0/24")
    return Prefix(MAPPED + start.packed, network.prefixlen + MAPPED_BITS) if v4 else Prefix(start.packed, network.prefixlen)


def parse_all(texts: Iterable[str], field: str) -> frozenset[Prefix]:
    """All of a field with many. Raises InvalidArgument naming the first that cannot be, by its place."""
    return frozenset(parse(text, f"{field}[{number}]") for number, text in enumerate(texts))


def _invalid(field: str, text: str, why: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(f"{field}: {text!r} {why}", reason="INVALID_PREFIX", field=field, metadata={"prefix": text})
