"""IP addresses as the datapath holds them: 16 bytes, IPv4 mapped (RFC 4291 2.5.5.2)."""

import ipaddress
from dataclasses import dataclass
from typing import Final

from l4lb_agent.model import errors

MAPPED: Final = bytes(10) + b"\xff\xff"  # before the four bytes of an IPv4 address


def is_mapped(packed: bytes) -> bool:
    """Whether these 16 bytes are an IPv4 address."""
    return packed.startswith(MAPPED)


@dataclass(frozen=True, order=True)
class Address:
    """An IPv4 or IPv6 address. `packed` is always 16 bytes in network order."""

    packed: bytes

    @property
    def family(self) -> int:
        """4 or 6."""
        return 4 if is_mapped(self.packed) else 6

    def __str__(self) -> str:
        return str(ipaddress.IPv4Address(self.packed[12:]) if self.family == 4 else ipaddress.IPv6Address(self.packed))

    @classmethod
    def parse(cls, text: str, field: str) -> "Address":
        """The unicast address in `text`. Raises InvalidArgument naming `field` for anything that cannot be a server or a VIP:
        unparsable, with a zone, v4-mapped, unspecified, multicast, broadcast, loopback, link-local or reserved."""
        try:
            parsed = ipaddress.ip_address(text)
        except ValueError:
            raise InvalidAddress(field, text, "is not an IPv4 or IPv6 address") from None
        if parsed.version == 6 and (parsed.scope_id or parsed.ipv4_mapped):
            raise InvalidAddress(field, text, "must be plain: no zone, not IPv4-mapped")
        reserved = parsed.version == 4 and parsed.is_reserved
        if parsed.is_unspecified or parsed.is_multicast or parsed.is_loopback or parsed.is_link_local or reserved:
            raise InvalidAddress(field, text, "is not a unicast address that packets can be sent to")
        if parsed.version == 4 and parsed.packed[0] == 0:
            raise InvalidAddress(field, text, "is in 0.0.0.0/8, which nothing can be sent to")
        if parsed.version == 6 and not any(parsed.packed[:4]):
            raise InvalidAddress(field, text, "is in ::/32, which no host on a network has")
        return cls(parsed.packed if parsed.version == 6 else MAPPED + parsed.packed)


class InvalidAddress(errors.InvalidArgument):
    """An address that cannot be used, with the field that held it."""

    def __init__(self, field: str, text: str, why: str) -> None:
        super().__init__(f"{field}: {text!r} {why}", reason="INVALID_ADDRESS", field=field, metadata={"address": text})
