"""From bytes to the tuple: bpf/parse.h. What is told of options, extension headers and fragments is in odd.py."""

import enum

from l4lb_agent.model import checksums, layout
from l4lb_agent.model.explain import packet as p
from l4lb_agent.model.explain.packet import Packet, Tuple
from l4lb_agent.model.reasons import Reason

EXTENSIONS = frozenset({0, 43, 44, 51, 60, 135, 139, 140})
_SENT_TOGETHER = frozenset(
    {p.SYN, p.SYN | p.URG, p.SYN | p.ACK, p.RST, p.RST | p.ACK, p.ACK, p.ACK | p.URG, p.FIN | p.ACK, p.FIN | p.ACK | p.URG}
)
_KINDS = p.FIN | p.SYN | p.RST | p.ACK | p.URG
_FRAGMENT_MASK = 0x3FFF


class Elsewhere(enum.Enum):
    """Another program's business."""

    ICMP = "icmp"
    ODD = "odd"


Read = Reason | Elsewhere | None


def addresses(packet: Packet, family: int) -> bool:
    """Reads both addresses; False when the frame is too short to have them."""
    packet.family = family
    if not packet.has(p.ETHERNET, packet.header):
        return False
    first = p.ETHERNET + (12 if family == 4 else 8)
    packet.tuple = Tuple(packet.address(first), packet.address(first + (4 if family == 4 else 16)))
    return True


def read(packet: Packet) -> Read:
    """The rest of a packet whose addresses are read: None when it can be balanced, why it cannot be, or whose business it is."""
    return _ipv4(packet) if packet.family == 4 else _ipv6(packet)


def tcp(packet: Packet, size: int) -> Reason | None:
    """Ports, sequence numbers and flags; `size` is that of the transport header and payload."""
    at = packet.transport
    if not packet.has(at, p.TCP) or size < p.TCP:
        return Reason.LENGTH_WRONG
    header = packet.frame[at + 12] >> 4 << 2
    if header < p.TCP or header > size:
        return Reason.TCP_OFFSET_WRONG
    packet.flags = packet.frame[at + 13]
    if packet.flags & _KINDS not in _SENT_TOGETHER:
        return Reason.TCP_FLAGS_WRONG
    packet.sequence, packet.acknowledgement = packet.u32(at + 4), packet.u32(at + 8)
    packet.segment = size - header + bool(packet.flags & p.SYN) + bool(packet.flags & p.FIN)
    _ports(packet)
    return None


def udp(packet: Packet, size: int) -> Reason | None:
    """Ports."""
    at = packet.transport
    if not packet.has(at, p.UDP) or size < p.UDP or not p.UDP <= packet.u16(at + 4) <= size:
        return Reason.LENGTH_WRONG
    if not packet.u16(at + 6) and packet.family == 6:
        return Reason.CHECKSUM_WRONG
    _ports(packet)
    return None


def for_us(packet: Packet) -> bool:
    """Whether the frame was for this station alone, from a single one."""
    own = own_mac(packet)
    if (packet.frame[0] | packet.frame[6]) & 1:
        return False
    return own is None or own == packet.frame[:6]


def own_mac(packet: Packet) -> bytes | None:
    """Our MAC on the interface by which it came, None while the agent has not written it."""
    place = packet.now.element("interfaces", packet.ifindex % layout.INTERFACE_PLACES, layout.Interface)
    return bytes(place.mac) if place and place.ifindex == packet.ifindex else None


def _ports(packet: Packet) -> None:
    at, t = packet.transport, packet.tuple
    packet.tuple = Tuple(t.source, t.destination, packet.u16(at), packet.u16(at + 2), t.protocol)


def set_protocol(packet: Packet, protocol: int) -> None:
    """Of the tuple."""
    t = packet.tuple
    packet.tuple = Tuple(t.source, t.destination, t.source_port, t.destination_port, protocol)


def _transport(packet: Packet, protocol: int) -> Reason | None:
    set_protocol(packet, protocol)
    packet.transport = p.ETHERNET + packet.header
    size = packet.length - packet.header
    if protocol == p.PROTOCOL_TCP:
        return tcp(packet, size)
    return udp(packet, size) if protocol == p.PROTOCOL_UDP else Reason.PROTOCOL_UNSUPPORTED


def _ipv4(packet: Packet) -> Read:
    first = packet.frame[p.ETHERNET]
    header = (first & 15) * 4
    if first >> 4 != 4 or header < p.IPV4:
        return Reason.VERSION_WRONG
    packet.length = packet.u16(p.ETHERNET + 2)
    if packet.length < header or not packet.has(p.ETHERNET, packet.length):
        return Reason.LENGTH_WRONG
    if header != p.IPV4:
        return Elsewhere.ODD
    if checksums.fold(checksums.words(packet.frame[p.ETHERNET : p.ETHERNET + p.IPV4])) != 0xFFFF:
        return Reason.CHECKSUM_WRONG
    if packet.u16(p.ETHERNET + 6) & _FRAGMENT_MASK:
        return Elsewhere.ODD
    packet.ttl = packet.frame[p.ETHERNET + 8]
    protocol = packet.frame[p.ETHERNET + 9]
    return Elsewhere.ICMP if protocol == p.PROTOCOL_ICMP else _transport(packet, protocol)


def _ipv6(packet: Packet) -> Read:
    if packet.frame[p.ETHERNET] >> 4 != 6:
        return Reason.VERSION_WRONG
    packet.length = p.IPV6 + packet.u16(p.ETHERNET + 4)
    if not packet.has(p.ETHERNET, packet.length):
        return Reason.LENGTH_WRONG
    packet.ttl = packet.frame[p.ETHERNET + 7]
    following = packet.frame[p.ETHERNET + 6]
    if following in (p.PROTOCOL_TCP, p.PROTOCOL_UDP):
        return _transport(packet, following)
    if following == p.PROTOCOL_ICMPV6:
        return Elsewhere.ICMP
    return Elsewhere.ODD if following in EXTENSIONS else Reason.PROTOCOL_UNSUPPORTED
