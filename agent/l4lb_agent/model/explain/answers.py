"""What the datapath answers by itself: RST, ICMP errors, echo replies, ARP, neighbour advertisements (bpf/answer.h, bpf/error.h,
bpf/echo.h, bpf/neighbour.h). Budgets are taken for not used up: they are each CPU's own, and refill within a second."""

import enum
from collections.abc import Callable
from typing import Final

from l4lb_agent.model import checksums, layout
from l4lb_agent.model.explain import packet as p
from l4lb_agent.model.explain import reading, sending, services
from l4lb_agent.model.explain.packet import End, Packet, Part, drop
from l4lb_agent.model.reasons import Reason, Verdict

TTL: Final = 64
LEAST_TOLD: Final = {4: 576, 6: 1280}
MOST_BYTES: Final = {4: 576, 6: 1280}
_ERROR_SERVICE = 0xC0
_DONT_FRAGMENT = 0x4000
_TOO_BIG = {4: (3, 4), 6: (2, 0)}
_PORT = {4: (3, 3), 6: (1, 4)}
_PROHIBITED = {4: (3, 13), 6: (1, 1)}


class Rst(enum.Enum):
    """Why a RST is sent."""

    FLOWLESS = Reason.RST_ANSWERED
    DRAIN = Reason.DRAIN_RESET
    EMPTY = Reason.NO_BACKEND_ANSWERED


_LIMITED = {Rst.FLOWLESS: Reason.RST_LIMITED, Rst.EMPTY: Reason.NO_BACKEND_LIMITED}


def stopped(packet: Packet, way: End | Reason) -> End:
    """What becomes of a packet that cannot leave: its sender may be told that it is too long."""
    if isinstance(way, End):
        return way
    return _too_big(packet) if way is Reason.MTU_EXCEEDED else drop(way)


def no_backend(packet: Packet, otherwise: Callable[[Reason], End]) -> End:
    """A packet that no backend takes: answered as the service says."""
    asked = (packet.word & layout.SERVICE_ON_EMPTY) >> layout.SERVICE_ON_EMPTY_SHIFT
    if not asked or (packet.tcp and packet.flags & p.RST):
        packet.note("answer", "no backend takes it, and nothing is answered", on_empty="DROP" if not asked else "not to a RST")
        return otherwise(Reason.NO_BACKEND)
    if asked == layout.EMPTY_RESET and packet.tcp:
        return rst(packet, Rst.EMPTY)
    if not _budget(packet, "icmp", packet.now.config.icmp_rate, packet.now.config.icmp_burst, Reason.NO_BACKEND_LIMITED):
        return drop(Reason.NO_BACKEND_LIMITED)
    kinds = _PROHIBITED if asked == layout.EMPTY_PROHIBITED else _PORT
    packet.note("answer", "no backend takes it: ICMP unreachable from the VIP", type=kinds[packet.family][0], code=kinds[packet.family][1])
    _error(packet, *kinds[packet.family], 0)
    return End(Reason.NO_BACKEND_ANSWERED, sending.send_back(packet))


def reject(packet: Packet, why: Rst) -> End:
    """Answers a segment by RST; a RST is never answered."""
    if packet.flags & p.RST:
        packet.note("answer", "a RST without a flow is not answered")
        return drop(Reason.NO_FLOW)
    return rst(packet, why)


def rst(packet: Packet, why: Rst) -> End:
    """The RST."""
    fault = services.source_fault(packet, link_local=True)
    if fault:
        return packet.refuse(fault)
    if why in _LIMITED and not _budget(packet, "rst", packet.now.config.rst_rate, packet.now.config.rst_burst, _LIMITED[why]):
        return drop(_LIMITED[why])
    t, acked = packet.tuple, packet.flags & p.ACK
    packet.note("answer", "a RST to the sender", flags="RST" if acked else "RST, ACK")
    sequence = packet.acknowledgement if acked else 0
    acknowledgement = 0 if acked else packet.sequence + packet.segment & 0xFFFFFFFF
    segment = t.destination_port.to_bytes(2, "big") + t.source_port.to_bytes(2, "big") + sequence.to_bytes(4, "big")
    segment += acknowledgement.to_bytes(4, "big") + bytes([0x50, p.RST if acked else p.RST | p.ACK]) + bytes(6)
    total = checksums.words(segment) + checksums.pseudo(t.source, t.destination, p.PROTOCOL_TCP, len(segment))
    segment = segment[:16] + checksums.complete(total).to_bytes(2, "big") + segment[18:]
    packet.frame[:] = _turned(packet) + _ip(packet, p.PROTOCOL_TCP, len(segment)) + segment
    return End(Reason(why.value), sending.send_back(packet))


def echo(packet: Packet) -> End:
    """An echo request."""
    if packet.owned & layout.ADDRESS_LOCAL:
        return End(Reason.LOCAL, Verdict.PASS)
    if not packet.owned & layout.ADDRESS_ECHO:
        packet.note("answer", "the address does not answer echo requests now")
        return drop(Reason.ECHO_REFUSED)
    if not _budget(packet, "icmp", packet.now.config.icmp_rate, packet.now.config.icmp_burst, Reason.ECHO_LIMITED):
        return drop(Reason.ECHO_LIMITED)
    at, t = p.ETHERNET + packet.header, packet.tuple
    end = p.ETHERNET + packet.length
    pseudo = _pseudo(packet, packet.length - packet.header)
    if checksums.fold(checksums.words(packet.frame[at:end]) + pseudo) != 0xFFFF:
        packet.note("icmp", "the request's checksum is wrong")
        return drop(Reason.ICMP_MALFORMED)
    packet.frame[at], packet.frame[at + 2 : at + 4] = 0 if packet.family == 4 else 129, bytes(2)
    packet.put16(at + 2, checksums.complete(checksums.words(packet.frame[at:end]) + pseudo))
    ip = p.ETHERNET
    if packet.family == 4:
        packet.put16(ip + 10, checksums.updated(packet.u16(ip + 10), checksums.delta(packet.frame[ip + 8] << 8, TTL << 8)))
        packet.frame[ip + 8] = TTL
    else:
        packet.frame[ip + 7] = TTL
    first = ip + (12 if packet.family == 4 else 8)
    packet.put_address(first, t.destination)
    packet.put_address(first + (4 if packet.family == 4 else 16), t.source)
    packet.frame[0:14] = _turned(packet)
    packet.note("answer", "an echo reply")
    return End(Reason.ECHO_ANSWERED, sending.send_back(packet))


def arp(packet: Packet) -> End:
    """A request for an owned address."""
    own = _asked_mac(packet)
    if own is None:
        return End(Reason.NOT_IP, Verdict.PASS)
    at, frame = p.ETHERNET, packet.frame
    asker, source, target = bytes(frame[at + 8 : at + 14]), bytes(frame[at + 14 : at + 18]), bytes(frame[at + 24 : at + 28])
    frame[0:12] = asker + own
    frame[at + 6 : at + 28] = b"\0\2" + own + target + asker + source
    packet.note("answer", "an ARP reply", mac=own.hex(":"))
    return End(Reason.ARP_ANSWERED, sending.send_back(packet))


def neighbour(packet: Packet) -> End:
    """A solicitation for an owned address."""
    own = _asked_mac(packet)
    if own is None:
        return End(Reason.FOREIGN, Verdict.PASS)
    source, target = bytes(packet.frame[22:38]), packet.tuple.destination
    asker = any(source[:16])
    to = packet.frame[6:12] if asker else b"\x33\x33\0\0\0\1"
    destination = source if asker else b"\xff\x02" + bytes(13) + b"\1"
    message = bytes([136, 0, 0, 0, 0x60 if asker else 0x20, 0, 0, 0]) + target + b"\2\1" + own
    total = checksums.words(message) + checksums.pseudo(target, destination, p.PROTOCOL_ICMPV6, len(message))
    message = message[:2] + checksums.complete(total).to_bytes(2, "big") + message[4:]
    ip = b"\x60\0\0\0" + len(message).to_bytes(2, "big") + bytes([p.PROTOCOL_ICMPV6, 255]) + target + destination
    packet.frame[:] = bytes(to) + own + packet.frame[12:14] + ip + message
    packet.note("answer", "a neighbour advertisement", mac=own.hex(":"))
    return End(Reason.NEIGHBOUR_ANSWERED, sending.send_back(packet))


def _asked_mac(packet: Packet) -> bytes | None:
    """Our MAC, None when the frame is for another station; requests are also sent to all."""
    own, to = reading.own_mac(packet), bytes(packet.frame[0:6])
    if packet.frame[6] & 1 or (own is None and to[0] & 1):
        return None
    if own is None:
        return to
    return own if to[0] & 1 or to == own else None


def _too_big(packet: Packet) -> End:
    mtu = max(packet.way_mtu, LEAST_TOLD[packet.family])
    fixed = packet.family == 6 or bool(packet.u16(p.ETHERNET + 6) & _DONT_FRAGMENT)
    if packet.length <= mtu or packet.part is Part.LATER or not fixed:
        packet.note("answer", "nobody can be told: it may be fragmented, is a later fragment, or too little fits")
        return drop(Reason.MTU_EXCEEDED)
    if not _budget(packet, "too_big", packet.now.config.icmp_rate, packet.now.config.icmp_burst, Reason.TOO_BIG_LIMITED):
        return drop(Reason.TOO_BIG_LIMITED)
    packet.note("answer", f"its sender is told that {mtu} bytes fit", mtu=mtu)
    _error(packet, *_TOO_BIG[packet.family], mtu)
    return End(Reason.TOO_BIG_ANSWERED, sending.send_back(packet))


def _budget(packet: Packet, name: str, rate: int, burst: int, used_up: Reason) -> bool:
    """Whether there is any budget at all."""
    if not burst or not rate:
        packet.note("budget", f"there is none for such answers ({name})", rate=rate, burst=burst)
        return False
    packet.limited = used_up
    packet.note("budget", f"taken for not used up ({name})", rate=rate, burst=burst)
    return True


def _error(packet: Packet, kind: int, code: int, rest: int) -> None:
    """Turns the packet into an ICMP error about itself."""
    header = packet.header + p.ICMP
    quoted = bytes(packet.frame[p.ETHERNET : p.ETHERNET + min(MOST_BYTES[packet.family] - header, packet.length)])
    message = bytes([kind, code, 0, 0]) + rest.to_bytes(4, "big") + quoted
    checksum = checksums.complete(checksums.words(message) + _pseudo(packet, len(message)))
    message = message[:2] + checksum.to_bytes(2, "big") + message[4:]
    protocol, service = (p.PROTOCOL_ICMP, _ERROR_SERVICE) if packet.family == 4 else (p.PROTOCOL_ICMPV6, 0)
    packet.frame[:] = _turned(packet) + _ip(packet, protocol, len(message), service) + message


def _pseudo(packet: Packet, size: int) -> int:
    """What an ICMP checksum covers besides the message."""
    t = packet.tuple
    return 0 if packet.family == 4 else checksums.pseudo(t.source, t.destination, p.PROTOCOL_ICMPV6, size)


def _turned(packet: Packet) -> bytes:
    """Ethernet header back to the sender."""
    return bytes(packet.frame[6:12] + packet.frame[0:6] + packet.frame[12:14])


def _ip(packet: Packet, protocol: int, size: int, service: int = 0) -> bytes:
    """IP header of an answer that has `size` bytes after it."""
    t = packet.tuple
    if packet.family == 6:
        return b"\x60\0\0\0" + size.to_bytes(2, "big") + bytes([protocol, TTL]) + t.destination + t.source
    header = bytes([0x45, service]) + (p.IPV4 + size).to_bytes(2, "big") + b"\0\0\x40\0" + bytes([TTL, protocol, 0, 0])
    header += t.destination[12:] + t.source[12:]
    return header[:10] + checksums.complete(checksums.words(header)).to_bytes(2, "big") + header[12:]
