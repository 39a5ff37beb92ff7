"""What is written into a packet: translation, one hop less, outer headers, MSS (bpf/nat.h, bpf/encap.h, bpf/mss.h)."""

from typing import Final

from l4lb_agent.model import checksums, layout
from l4lb_agent.model.address import MAPPED, is_mapped
from l4lb_agent.model.explain import packet as p
from l4lb_agent.model.explain.moment import port
from l4lb_agent.model.explain.packet import Packet, Part, Tuple
from l4lb_agent.model.service import Mode
from l4lb_agent.model.ways.mtu import shim_bytes

OUTER_TTL: Final = 64
PROTOCOL_IPV4, PROTOCOL_IPV6 = 4, 41
_ODD_STEP = 0x9E37
_LOWEST_SPREAD_PORT = 0xC000
_DONT_FRAGMENT = 0x4000
_HOP = ~0x0100 & 0xFFFF  # what one hop less adds to an IPv4 header's checksum
_MSS_KIND, _MSS_BYTES, _MOST_OPTIONS = 2, 4, 40


def set_macs(packet: Packet, source: bytes, destination: bytes) -> None:
    """Of the frame."""
    packet.frame[0:12] = destination + source


def leave(packet: Packet) -> None:
    """One hop less."""
    at = p.ETHERNET
    if packet.family == 4:
        packet.frame[at + 8] -= 1
        packet.put16(at + 10, checksums.updated(packet.u16(at + 10), _HOP))
    else:
        packet.frame[at + 7] -= 1


def translate(packet: Packet, to: Tuple) -> None:
    """Addresses, ports, hop and checksums; of a fragment its identification, of a later one no ports."""
    t = packet.tuple
    old, new = (checksums.words(one.source) + checksums.words(one.destination) for one in (t, to))
    header = checksums.delta(old, new)
    transport = checksums.delta(old + t.source_port + t.destination_port, new + to.source_port + to.destination_port)
    translate_ip(packet, to, header)
    if packet.part is not Part.WHOLE and packet.family == 4:
        _rename(packet)
    if packet.part is Part.LATER:
        return
    at = packet.transport
    packet.put16(at, to.source_port)
    packet.put16(at + 2, to.destination_port)
    if packet.tcp:
        packet.put16(at + 16, checksums.updated(packet.u16(at + 16), transport))
    elif packet.u16(at + 6):
        packet.put16(at + 6, checksums.updated(packet.u16(at + 6), transport) or 0xFFFF)


def translate_ip(packet: Packet, to: Tuple, header_delta: int) -> None:
    """Addresses and hop of the IP header."""
    at = p.ETHERNET
    if packet.family == 4:
        packet.frame[at + 8] -= 1
        packet.put16(at + 10, checksums.updated(packet.u16(at + 10), header_delta + _HOP))
    else:
        packet.frame[at + 7] -= 1
    first = at + (12 if packet.family == 4 else 8)
    packet.put_address(first, to.source)
    packet.put_address(first + (4 if packet.family == 4 else 16), to.destination)


def _rename(packet: Packet) -> None:
    """The identification that the table of fragments has for the datagram."""
    at = p.ETHERNET
    packet.put16(at + 10, checksums.updated(packet.u16(at + 10), checksums.delta(packet.u16(at + 4), packet.piece.renamed)))
    packet.put16(at + 4, packet.piece.renamed)


def sum_packet(packet: Packet) -> None:
    """For an outer UDP checksum: the sum of the packet as it will be, one hop later."""
    total = checksums.words(packet.frame[p.ETHERNET : p.ETHERNET + packet.length]) + (0 if packet.family == 4 else ~1 & 0xFFFF)
    packet.payload = checksums.fold(total)


def encapsulate(packet: Packet, backend: layout.Backend, hashed: int) -> None:
    """Puts outer headers before the packet; `hashed` is its flow's."""
    frame, at, flow = packet.frame, p.ETHERNET, hashed & 0xFFFFFFFF
    leave(packet)
    if packet.family == 4:
        kind, fragment = frame[at + 1], packet.u16(at + 6) & _DONT_FRAGMENT
        identification = 0 if fragment else _identification(packet, flow)
    else:
        kind, fragment, identification = packet.u16(at) >> 4 & 0xFF, _DONT_FRAGMENT, 0
    payload = _payload(packet) if packet.word & layout.SERVICE_OUTER_CHECKSUM else None
    inner = bytes(frame[at:])
    shim_size = shim_bytes(Mode(packet.mode))
    size, protocol = shim_size + packet.length, _inner_protocol(packet) if packet.mode == layout.MODE_IPIP else p.PROTOCOL_UDP
    source, destination = _outer_source(packet, backend, flow), bytes(backend.address)
    if is_mapped(destination):
        header = b"\x45" + bytes([kind]) + (p.IPV4 + size & 0xFFFF).to_bytes(2, "big") + identification.to_bytes(2, "big")
        header += fragment.to_bytes(2, "big") + bytes([OUTER_TTL, protocol, 0, 0]) + source[12:] + destination[12:]
        header = header[:10] + checksums.complete(checksums.words(header)).to_bytes(2, "big") + header[12:]
        family = p.TYPE_IPV4
    else:
        header = (6 << 28 | kind << 20 | flow & 0xFFFFF).to_bytes(4, "big") + (size & 0xFFFF).to_bytes(2, "big")
        header += bytes([protocol, OUTER_TTL]) + source + destination
        family = p.TYPE_IPV6
    shim = _shim(packet, flow, size, payload, checksums.words(source) + checksums.words(destination))
    packet.frame[:] = bytes(backend.destination_mac) + bytes(backend.source_mac) + family.to_bytes(2, "big") + header + shim + inner


def _identification(packet: Packet, flow: int) -> int:
    """Words as they lie in memory: the datapath mixes them so."""
    at = p.ETHERNET
    there = int.from_bytes(packet.frame[at + 4 : at + 6], "little")
    offset = int.from_bytes((packet.u16(at + 6) & 0x1FFF).to_bytes(2, "big"), "little")
    return int.from_bytes(((there ^ flow) + offset * _ODD_STEP & 0xFFFF).to_bytes(2, "little"), "big")


def _inner_protocol(packet: Packet) -> int:
    return PROTOCOL_IPV4 if packet.family == 4 else PROTOCOL_IPV6


def _outer_source(packet: Packet, backend: layout.Backend, flow: int) -> bytes:
    config = packet.now.config
    if not packet.word & layout.SERVICE_SPREAD:
        source = bytes(backend.outer_source)
        return source if not is_mapped(bytes(backend.address)) else MAPPED + source[12:]
    if is_mapped(bytes(backend.address)):
        return MAPPED + int(config.spread_v4 | flow & config.spread_v4_mask).to_bytes(4, "little")
    return bytes(config.spread_v6)[:12] + flow.to_bytes(4, "little")


def _shim(packet: Packet, flow: int, size: int, payload: int | None, addresses: int) -> bytes:
    if packet.mode == layout.MODE_IPIP:
        return b""
    service = packet.now.service(packet.service)
    destination = port(service.encap_port) if service else 0
    head = (_LOWEST_SPREAD_PORT | flow & 0x3FFF).to_bytes(2, "big") + destination.to_bytes(2, "big") + (size & 0xFFFF).to_bytes(2, "big")
    gue = bytes([0, _inner_protocol(packet), 0, 0]) if packet.mode == layout.MODE_GUE else b""
    checksum = 0
    if payload is not None:
        total = addresses + p.PROTOCOL_UDP + (size & 0xFFFF) + checksums.words(head) + checksums.words(gue) + payload
        checksum = checksums.complete(total) or 0xFFFF
    return head + checksum.to_bytes(2, "big") + gue


def _payload(packet: Packet) -> int | None:
    """Sum over a packet whose own transport checksum is right, by that checksum alone; None where it has none."""
    if packet.payload is not None:
        return packet.payload
    at, size, t = p.ETHERNET, packet.length - packet.header, packet.tuple
    udp = at + packet.header
    if t.protocol == p.PROTOCOL_UDP and (not packet.u16(udp + 6) or packet.u16(udp + 4) != size):
        return None
    if packet.family == 4:
        return ~checksums.fold(checksums.pseudo(t.source, t.destination, t.protocol, size)) & 0xFFFF
    return checksums.fold((~checksums.fold(t.protocol + size) & 0xFFFF) + checksums.words(packet.frame[at : at + 8]))


def clamp_mss(packet: Packet, number: int, mtu: int) -> None:
    """Lowers what a SYN of the service asks for to what fits."""
    service = packet.now.service(number)
    most = service.mss if service else 0
    if most == layout.MSS_AUTO:
        headers = packet.header + p.TCP
        most = mtu - headers if mtu > headers else 0
    at = _mss_option(packet) if most else None
    if at is None or packet.u16(at + 2) <= most:
        return
    before, after = packet.u16(at + 2), most
    packet.note("mss", f"the SYN asks for segments of {before} bytes, and is made to ask for {most}", asked=before, clamped=most)
    packet.put16(at + 2, most)
    if at - packet.transport - p.TCP & 1:
        before, after = (int.from_bytes(one.to_bytes(2, "big"), "little") for one in (before, after))
    checksum = packet.transport + 16
    packet.put16(checksum, checksums.updated(packet.u16(checksum), checksums.delta(before, after)))


def _mss_option(packet: Packet) -> int | None:
    """Where in the frame the first MSS option is."""
    start = packet.transport + p.TCP
    size = (packet.frame[packet.transport + 12] >> 4 << 2) - p.TCP
    if not _MSS_BYTES <= size <= _MOST_OPTIONS or not packet.has(start, size):
        return None
    at = 0
    while at + _MSS_BYTES <= size:
        kind, length = packet.frame[start + at], packet.frame[start + at + 1]
        if kind == _MSS_KIND and length == _MSS_BYTES:
            return start + at
        if kind == 0 or (kind != 1 and length < 2):
            return None
        at += 1 if kind == 1 else length
    return None
