"""ICMP for owned addresses: echo requests, and errors, which follow the flow that they quote (bpf/icmp.h, bpf/quote.h)."""

from dataclasses import dataclass
from typing import Final

from l4lb_agent.model import checksums, layout
from l4lb_agent.model.explain import answers, direct, odd, records, rewriting, sending, services
from l4lb_agent.model.explain import packet as p
from l4lb_agent.model.explain.packet import End, Packet, Tuple, drop
from l4lb_agent.model.explain.reading import EXTENSIONS
from l4lb_agent.model.explain.records import Record
from l4lb_agent.model.reasons import Reason, Verdict

LEAST_MTU: Final = {4: 68, 6: 1280}
_ERRORS: Final = {4: (3, 11, 12), 6: (1, 2, 3, 4)}
_ECHO: Final = {4: 8, 6: 128}
_QUOTED_HEADERS, _QUOTE_MASK, _PORTS_BYTES, _ACKNOWLEDGEMENT_BYTES, _TCP_CHECKSUM_BYTES = 6, 0x3FFF, 8, 12, 18


@dataclass(frozen=True)
class _Quote:
    transport: int  # offset in the frame of the quoted transport header
    end: int


def icmp(packet: Packet) -> End:
    """The end of the packet, which is neither a fragment nor has options."""
    at = p.ETHERNET + packet.header
    if not packet.has(at, p.ICMP) or packet.length < packet.header + p.ICMP:
        return packet.refuse(Reason.ICMP_MALFORMED)
    kind, code = packet.frame[at], packet.frame[at + 1]
    echo = kind == _ECHO[packet.family] and not code
    known = echo or kind in _ERRORS[packet.family]
    text = "an error, which follows the flow that it quotes" if known else "neither an error nor an echo request"
    text = "an echo request" if echo else text
    packet.note("icmp", text, type=kind, code=code)
    if not known or (echo and packet.owned & layout.ADDRESS_FOREIGN):
        return packet.refuse(Reason.ICMP_UNSUPPORTED)
    why = services.source_fault(packet, link_local=False)
    if why:
        return packet.refuse(why)
    if echo:
        return answers.echo(packet)
    if not _plausible(packet, at, kind, code):
        packet.note("icmp", "it names an MTU that no link may have")
        return packet.refuse(Reason.ICMP_MTU_TOO_SMALL)
    return _error(packet)


def _plausible(packet: Packet, at: int, kind: int, code: int) -> bool:
    if packet.family == 4:
        low = packet.u16(at + 6)
        return not (kind == 3 and code == 4) or not low or low >= LEAST_MTU[4]
    return kind != 2 or packet.u32(at + 4) >= LEAST_MTU[6]


def _error(packet: Packet) -> End:
    outer = packet.tuple
    quote = _read_quote(packet)
    if isinstance(quote, Reason):
        packet.note("icmp", "what it quotes cannot be, or has no ports")
        return packet.refuse(quote)
    packet.note("icmp", f"it is about the answer to {packet.tuple}")
    record = None
    if packet.owned & layout.ADDRESS_VIP:
        record = records.live(packet, records.of_client(packet), "client's")
    if record:
        return _follow(packet, quote, outer, record, to_backend=True)
    if packet.owned & layout.ADDRESS_VIP and _direct(packet):
        return direct.error(packet, _acknowledged(packet, quote))
    if packet.owned & (layout.ADDRESS_SNAT | layout.ADDRESS_FOREIGN):
        record = records.live(packet, records.of_backend(packet), "backend's")
    return _follow(packet, quote, outer, record, to_backend=False) if record else packet.refuse(Reason.ICMP_NO_FLOW)


def _direct(packet: Packet) -> bool:
    """Whether what it quotes comes from a DSR or ENCAP service."""
    owned = services.owned(packet.now, packet.tuple.destination)
    return owned is not None and services.find(packet, owned) and packet.mode > layout.MODE_KEEP


def _acknowledged(packet: Packet, quote: _Quote) -> int | None:
    whole = packet.tcp and quote.transport + _ACKNOWLEDGEMENT_BYTES <= quote.end
    return packet.u32(quote.transport + 8) if whole else None


def _follow(packet: Packet, quote: _Quote, outer: Tuple, record: Record, *, to_backend: bool) -> End:
    flow, backend = record.flow, packet.now.backend(record.flow.backend)
    packet.service = flow.service
    sending.note_backend(packet, flow.backend, backend)
    displaced = not to_backend and record.flags & layout.FLOW_DISPLACED
    if backend is None or not backend.flags & layout.BACKEND_KEEP or displaced:
        return packet.refuse(Reason.ICMP_NO_FLOW)
    client = packet.tuple.source if to_backend else record.becomes.destination
    why = services.barred(packet, flow.service, client) if backend.flags & layout.BACKEND_LISTED else None
    if why:
        return drop(why)
    if not to_backend:
        sending.renew_way_back(packet, record, record.becomes)
    way = backend if to_backend else flow
    why = sending.obstacle(packet, way.ifindex, way.mtu)
    if why:
        return drop(why)
    macs = bytes(way.source_mac), bytes(way.destination_mac)
    _translate(packet, quote, outer, record.becomes, macs)
    packet.note("translation", f"outside and inside, as packets of its direction: {record.becomes}")
    out = sending.out_to(backend) if to_backend else flow.ifindex
    verdict: Verdict = sending.transmit(packet, out)
    return End(Reason.ICMP_TO_BACKEND if to_backend else Reason.ICMP_TO_CLIENT, verdict)


def _translate(packet: Packet, quote: _Quote, error: Tuple, to: Tuple, macs: tuple[bytes, bytes]) -> None:
    """An error along what the packets of its direction become; a wrong checksum stays wrong."""
    t, quoted = packet.tuple, p.ETHERNET + packet.header + p.ICMP
    old, new = (checksums.words(one.source) + checksums.words(one.destination) for one in (t, to))
    header = checksums.delta(old, new)
    transport = checksums.delta(old + t.source_port + t.destination_port, new + to.source_port + to.destination_port)
    outer = checksums.delta(checksums.words(error.source) + checksums.words(error.destination), new)
    if packet.family == 4:
        packet.put16(quoted + 10, checksums.updated(packet.u16(quoted + 10), header))
    first = quoted + (12 if packet.family == 4 else 8)
    packet.put_address(first, to.destination)
    packet.put_address(first + (4 if packet.family == 4 else 16), to.source)
    summed = _translate_transport(packet, quote, to, transport)
    delta = 0 if summed else transport
    delta = checksums.fold(delta + (~header & 0xFFFF)) if packet.family == 4 else delta + outer
    message = quoted - p.ICMP + 2
    packet.put16(message, checksums.updated(packet.u16(message), delta))
    rewriting.set_macs(packet, *macs)
    rewriting.translate_ip(packet, to, outer)


def _translate_transport(packet: Packet, quote: _Quote, to: Tuple, delta: int) -> bool:
    """Ports, and the checksum where the quote reaches so far; whether it had one to update."""
    at = quote.transport
    packet.put16(at, to.destination_port)
    packet.put16(at + 2, to.source_port)
    if packet.tcp:
        if at + _TCP_CHECKSUM_BYTES > quote.end:
            return False
        packet.put16(at + 16, checksums.updated(packet.u16(at + 16), delta))
        return True
    if not packet.u16(at + 6):
        return False
    packet.put16(at + 6, checksums.updated(packet.u16(at + 6), delta) or 0xFFFF)
    return True


def _read_quote(packet: Packet) -> _Quote | Reason:
    """Makes the packet's tuple that of a packet that would answer the quoted one."""
    end = p.ETHERNET + packet.length
    found = _quoted_ipv4(packet, end) if packet.family == 4 else _quoted_ipv6(packet, end)
    if isinstance(found, Reason):
        return found
    protocol, source, transport = found
    if protocol not in (p.PROTOCOL_TCP, p.PROTOCOL_UDP):
        return Reason.ICMP_NO_FLOW
    if transport + _PORTS_BYTES > end:
        return Reason.ICMP_MALFORMED
    packet.tuple = Tuple(source, packet.tuple.destination, packet.u16(transport + 2), packet.u16(transport), protocol)
    return _Quote(transport, end)


def _quoted_ipv4(packet: Packet, end: int) -> tuple[int, bytes, int] | Reason:
    at = p.ETHERNET + p.IPV4 + p.ICMP
    if not packet.has(at, p.IPV4) or packet.frame[at] >> 4 != 4 or packet.address(at + 12) != packet.tuple.destination:
        return Reason.ICMP_MALFORMED
    header = (packet.frame[at] & 15) * 4
    if header < p.IPV4 or at + header + _PORTS_BYTES > end:
        return Reason.ICMP_MALFORMED
    if packet.u16(at + 6) & 0x1FFF:
        return Reason.ICMP_NO_FLOW
    return packet.frame[at + 9], packet.address(at + 16), at + header


def _quoted_ipv6(packet: Packet, end: int) -> tuple[int, bytes, int] | Reason:
    at = p.ETHERNET + p.IPV6 + p.ICMP
    if not packet.has(at, p.IPV6) or at + p.IPV6 > end or packet.frame[at] >> 4 != 6:
        return Reason.ICMP_MALFORMED
    if packet.address(at + 8) != packet.tuple.destination:
        return Reason.ICMP_MALFORMED
    kind, source, transport = packet.frame[at + 6], packet.address(at + 24), at + p.IPV6
    for _ in range(_QUOTED_HEADERS):
        if kind not in EXTENSIONS:
            break
        if transport + odd.EXTENSION > end:
            return Reason.ICMP_MALFORMED
        header = packet.frame[transport : transport + odd.EXTENSION]
        later = kind == odd.FRAGMENT and int.from_bytes(header[2:4], "big") & 0xFFF8
        if later or (kind == odd.ROUTING and header[3]):
            return Reason.ICMP_NO_FLOW
        transport = transport + odd.extension_bytes(header, kind) & _QUOTE_MASK
        kind = header[0]
    return kind, source, transport
