"""Whether the TCP or UDP checksum of a frame is right. One that its sender left to a network card holds the sum of the pseudo header only:
between virtual interfaces no card finishes it, and what a load balancer rewrites in such a packet is thrown away by who receives it."""

from typing import Final

_TCP, _UDP = 6, 17
_PLACE: Final = {_TCP: 16, _UDP: 6}  # of the checksum in the transport header
_TAGS: Final = (0x8100, 0x88A8)


def fault(frame: bytes) -> str:
    """What is wrong with it: "" (nothing, or it cannot be told: cut, a fragment, other protocols), "wrong", or "unfinished"."""
    found = _segment(frame)
    if found is None:
        return ""
    ends, protocol, segment = found
    place = _PLACE[protocol]
    if len(segment) < place + 2:
        return ""
    field = int.from_bytes(segment[place : place + 2], "big")
    if protocol == _UDP and not field:
        return ""
    pseudo = _sum(ends) + protocol + len(segment)
    if _folded(pseudo + _sum(segment)) == 0xFFFF:
        return ""
    return "unfinished" if field == _folded(pseudo) else "wrong"


def _segment(frame: bytes) -> tuple[bytes, int, bytes] | None:
    """Both addresses, the protocol, and the whole segment or datagram with its header; None when it is not all there."""
    start = 14
    if int.from_bytes(frame[12:14], "big") in _TAGS:
        start = 18
    kind, packet = int.from_bytes(frame[start - 2 : start], "big"), frame[start:]
    if kind == 0x0800 and len(packet) >= 20:
        header, whole = 4 * (packet[0] & 15), int.from_bytes(packet[2:4], "big")
        protocol, ends, piece = packet[9], packet[12:20], int.from_bytes(packet[6:8], "big") & 0x3FFF
    elif kind == 0x86DD and len(packet) >= 40:
        header, whole, piece = 40, 40 + int.from_bytes(packet[4:6], "big"), 0
        protocol, ends = packet[6], packet[8:40]
    else:
        return None
    if protocol not in _PLACE or piece or not header <= whole <= len(packet):
        return None
    return ends, protocol, packet[header:whole]


def _sum(data: bytes) -> int:
    """Of its 16-bit words, the last one padded."""
    if len(data) % 2:
        data += b"\0"
    return sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))


def _folded(total: int) -> int:
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total
