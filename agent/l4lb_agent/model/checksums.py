"""Internet checksums (RFC 1071) and their update (RFC 1624), as bpf/checksum.h computes them: the one's complement sum does not care about
byte order."""

import struct


def fold(total: int) -> int:
    """A sum of 16-bit words in 16 bits."""
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def words(data: bytes | bytearray) -> int:
    """Sum of the 16-bit words; an odd byte counts as the first of a word."""
    padded = bytes(data) + b"\0" * (len(data) & 1)
    return sum(struct.unpack(f">{len(padded) // 2}H", padded))


def delta(old: int, new: int) -> int:
    """What an update adds when words that sum to `old` become words that sum to `new`."""
    return fold(new + (~fold(old) & 0xFFFF))


def updated(checksum: int, added: int) -> int:
    """The checksum after an update (RFC 1624 equation 3)."""
    return ~fold((~checksum & 0xFFFF) + added) & 0xFFFF


def complete(total: int) -> int:
    """The checksum of words with that sum."""
    return ~fold(total) & 0xFFFF


def pseudo(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    """Sum of what a transport checksum covers besides the segment; what maps an IPv4 address adds nothing to it."""
    return words(source) + words(destination) + protocol + length
