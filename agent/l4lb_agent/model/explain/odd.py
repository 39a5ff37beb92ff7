"""IPv4 options, IPv6 extension headers, fragments: what is read of them (bpf/odd.h, bpf/options.h)."""

from typing import Final

from l4lb_agent.model import checksums
from l4lb_agent.model.explain import packet as p
from l4lb_agent.model.explain import reading
from l4lb_agent.model.explain.packet import Packet, Part
from l4lb_agent.model.explain.reading import EXTENSIONS
from l4lb_agent.model.reasons import Reason

HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS = 0, 43, 44, 51, 60
EXTENSION: Final = 8  # bytes at least
MOST_HEADERS: Final = 6
HEADERS_BYTES: Final = 256
MOST_OPTIONS: Final = 24
LONGEST_DATAGRAM: Final = 65535
_RECORDING = (7, 68)  # record route, timestamp
_ROUTES = (131, 137)
_HOME_ADDRESS = 201
_MORE = 0x2000
_OFFSET = 0x1FFF


def read(packet: Packet) -> Reason | None:
    """Reads a packet that reading.read() left to this; returns why it cannot be balanced."""
    why = _ipv4(packet) if packet.family == 4 else _Extensions(packet).read()
    if why:
        return why
    piece = packet.piece
    packet.part = Part.LATER if piece.offset else Part.FIRST if piece.more else Part.WHOLE
    if packet.part is not Part.WHOLE and not _fits(packet):
        return Reason.FRAGMENT_WRONG
    if packet.tuple.protocol == (p.PROTOCOL_ICMP if packet.family == 4 else p.PROTOCOL_ICMPV6):
        return Reason.IP_OPTIONS if packet.part is Part.WHOLE else Reason.ICMP_FRAGMENT
    return None if packet.part is Part.LATER else _transport(packet)


def extension_bytes(header: bytes | bytearray, kind: int) -> int:
    """Length of an extension header."""
    if kind == FRAGMENT:
        return EXTENSION
    return (header[1] + 2) * 4 if kind == AUTHENTICATION else (header[1] + 1) * 8


def _fits(packet: Packet) -> bool:
    piece = packet.piece
    return bool(piece.size) and not (piece.more and piece.size & 7) and piece.offset + piece.size <= LONGEST_DATAGRAM


def _transport(packet: Packet) -> Reason | None:
    size, protocol = p.ETHERNET + packet.length - packet.transport, packet.tuple.protocol
    first = packet.part is Part.FIRST
    if protocol not in (p.PROTOCOL_TCP, p.PROTOCOL_UDP):
        return Reason.PROTOCOL_UNSUPPORTED
    if first and _tiny(packet, size):
        return Reason.FRAGMENT_TINY
    if protocol == p.PROTOCOL_TCP:
        return reading.tcp(packet, size)
    return reading.udp(packet, LONGEST_DATAGRAM if first else size)


def _tiny(packet: Packet, size: int) -> bool:
    if not packet.tcp:
        return size < p.UDP
    at = packet.transport
    return not packet.has(at, p.TCP) or size < p.TCP or size < packet.frame[at + 12] >> 4 << 2


def _ipv4(packet: Packet) -> Reason | None:
    at, frame, piece = p.ETHERNET, packet.frame, packet.piece
    header = (frame[at] & 15) * 4
    packet.ttl = frame[at + 8]
    reading.set_protocol(packet, frame[at + 9])
    packet.transport = at + header
    word = packet.u16(at + 6)
    piece.identification = int.from_bytes(frame[at + 4 : at + 6], "little")
    piece.offset, piece.more, piece.size = (word & _OFFSET) * 8, bool(word & _MORE), packet.length - header
    if checksums.fold(checksums.words(frame[at : at + header])) != 0xFFFF:
        return Reason.CHECKSUM_WRONG
    return _ipv4_options(packet, bytes(frame[at : at + header]))


def _ipv4_options(packet: Packet, header: bytes) -> Reason | None:
    at = p.IPV4
    while at < len(header) and header[at]:
        kind = header[at]
        length = 1 if kind == 1 else header[at + 1] if at + 1 < len(header) else 0
        if kind != 1 and (length < 2 or at + length > len(header)):
            return Reason.OPTIONS_WRONG
        if kind in _ROUTES:
            return Reason.SOURCE_ROUTED
        packet.recording |= kind in _RECORDING
        at += length
    return None


class _Extensions:
    """The chain of an IPv6 packet's extension headers."""

    def __init__(self, packet: Packet) -> None:
        self._packet, self._at, self._seen = packet, 0, [0, 0, 0]  # routing, fragment, destination options
        self._kind = packet.frame[p.ETHERNET + 6]
        rest = bytes(packet.frame[p.ETHERNET + p.IPV6 : p.ETHERNET + packet.length])
        self._block = rest[: HEADERS_BYTES + EXTENSION]
        self._whole = len(self._block) == len(rest)

    def read(self) -> Reason | None:
        """Up to the transport header or, in a later fragment, to what it brings."""
        packet = self._packet
        if not self._block:
            return Reason.LENGTH_WRONG
        packet.ttl = packet.frame[p.ETHERNET + 7]
        for _ in range(MOST_HEADERS):
            if self._kind not in EXTENSIONS or packet.piece.offset:
                break
            if why := self._header():
                return why
        if self._at > HEADERS_BYTES or (self._kind in EXTENSIONS and not packet.piece.offset):
            return Reason.HEADERS_TOO_MANY
        reading.set_protocol(packet, self._kind)
        packet.transport = p.ETHERNET + p.IPV6 + self._at
        return None

    def _header(self) -> Reason | None:
        at, kind = self._at, self._kind
        if at > HEADERS_BYTES:
            return Reason.HEADERS_TOO_MANY
        header = self._block[at : at + EXTENSION].ljust(EXTENSION, b"\0")
        size = extension_bytes(header, kind)
        if at + max(EXTENSION, size) > len(self._block):
            if not self._whole:
                return Reason.HEADERS_TOO_MANY
            return Reason.FRAGMENT_TINY if self._packet.piece.more else Reason.OPTIONS_WRONG
        why = self._fault(header)
        if not why and kind in (HOP_BY_HOP, DESTINATION_OPTIONS):
            why = _header_options(self._block[at : at + size])
        if why:
            return why
        if kind == FRAGMENT:
            self._note_fragment(header, at + size)
        self._at, self._kind = at + size, header[0]
        return None

    def _fault(self, header: bytes) -> Reason | None:
        routing, fragment, options = self._seen
        if self._kind == HOP_BY_HOP:
            return Reason.HEADER_ORDER if self._at else None
        if self._kind == DESTINATION_OPTIONS:
            self._seen[2] += 1
            return Reason.HEADER_ORDER if options >= 2 else None
        if self._kind == ROUTING:
            self._seen[0] += 1
            if not header[2] or header[3]:
                return Reason.SOURCE_ROUTED
            return Reason.HEADER_ORDER if routing or fragment else None
        if self._kind == FRAGMENT:
            self._seen[1] += 1
            return Reason.HEADER_ORDER if fragment else None
        return Reason.IP_OPTIONS

    def _note_fragment(self, header: bytes, end: int) -> None:
        offset, piece = int.from_bytes(header[2:4], "big"), self._packet.piece
        piece.identification = int.from_bytes(header[4:8], "little")
        piece.offset, piece.more = offset & 0xFFF8, bool(offset & 1)
        piece.size = self._packet.length - p.IPV6 - end


def _header_options(header: bytes) -> Reason | None:
    at = 2
    for _ in range(MOST_OPTIONS):
        if at >= len(header):
            return None
        following = header[at + 1] if at + 1 < len(header) else 0
        length = 2 + following if header[at] else 1
        if at + length > len(header):
            return Reason.OPTIONS_WRONG
        if header[at] == _HOME_ADDRESS:
            return Reason.IP_OPTIONS
        at += length
    return None if at >= len(header) else Reason.HEADERS_TOO_MANY
