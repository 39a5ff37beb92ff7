"""The road of a frame from its tags to its verdict, in the order of bpf/balance.h, with what was found at each step."""

from dataclasses import dataclass

from l4lb_agent.model import layout
from l4lb_agent.model.address import Address, is_mapped
from l4lb_agent.model.explain import (
    answers,
    arriving,
    changes,
    direct,
    fragments,
    icmp,
    new_flows,
    odd,
    reading,
    records,
    rewriting,
    sending,
    services,
)
from l4lb_agent.model.explain import packet as p
from l4lb_agent.model.explain.answers import Rst
from l4lb_agent.model.explain.moment import Moment
from l4lb_agent.model.explain.packet import End, Packet, Part, Step, drop
from l4lb_agent.model.explain.reading import Elsewhere
from l4lb_agent.model.explain.records import Record
from l4lb_agent.model.reasons import Reason, Verdict


@dataclass(frozen=True)
class Explanation:
    """What becomes of a frame. `frame` is as it leaves or passes, `overhead` the bytes of its outer headers; service and backend are ids,
    0 = none; `interface` is that by which it leaves, 0 when it does not."""

    steps: tuple[Step, ...]
    reason: Reason
    verdict: Verdict
    frame: bytes
    service: int = 0
    backend: int = 0
    interface: int = 0
    overhead: int = 0
    changed: tuple[tuple[str, int, bytes], ...] = ()  # elements that it leaves otherwise: map, index, what is in them then
    limited: Reason | None = None  # the reason for which it is dropped instead while the budget for its answer is used up


def explain(frame: bytes, ifindex: int, now: Moment) -> Explanation:
    """The road of a frame that comes by the interface."""
    packet = Packet(bytearray(frame), ifindex, now)
    end = _finish(packet, _road(packet))
    changes.note(packet)
    sent = end.verdict in (Verdict.TX, Verdict.REDIRECT)
    return Explanation(
        tuple(packet.steps), end.reason, end.verdict, bytes(packet.frame), packet.service, packet.backend, packet.out if sent else 0,
        packet.overhead, tuple((name, index, bytes(element)) for name, index, _, element in now.changed()), packet.limited,
    )  # fmt: skip


def _finish(packet: Packet, end: End) -> End:
    """Puts on the tags of a frame that leaves or passes."""
    leaves = end.verdict in (Verdict.TX, Verdict.REDIRECT)
    if leaves and packet.vanished:
        return drop(Reason.BACKEND_UNRESOLVED)
    packet.frame[12:12] = b"".join(part.to_bytes(2, "big") for tag in (packet.tags_out if leaves else packet.tags_in) for part in tag)
    return end


def _road(packet: Packet) -> End:
    why = arriving.take_tags(packet)
    if why:
        return End(why, Verdict.PASS)
    kind, target = arriving.classify(packet)
    if kind is None:
        packet.note("frame", "neither IPv4 nor IPv6, nor ARP for an owned address")
        return End(Reason.NOT_IP, Verdict.PASS)
    owned = services.owned(packet.now, target)
    if owned is None or (packet.family == 6 and is_mapped(target)):
        if kind == "packet" and _may_be_kept(packet):
            packet.owned = layout.ADDRESS_FOREIGN
            packet.note("address", f"{Address(target)} is no owned address, but may be a client's whose address is kept")
            return _balance(packet, None)
        packet.note("address", f"{Address(target)} is no owned address: passed, untouched")
        return End(Reason.NOT_IP if kind == "arp" else Reason.FOREIGN, Verdict.PASS)
    packet.owned = owned.flags
    packet.note("address", f"{Address(target)} is an owned address", flags=services.describe(owned))
    if kind == "packet":
        return _balance(packet, owned)
    if owned.flags & layout.ADDRESS_LOCAL:
        return End(Reason.LOCAL, Verdict.PASS)
    return answers.arp(packet) if kind == "arp" else answers.neighbour(packet)


def _may_be_kept(packet: Packet) -> bool:
    """Whether a packet for a foreign address may be a flow's: bpf/keep.h."""
    if not packet.now.config.flags & layout.CONFIG_KEEP:
        return False
    protocol = packet.frame[p.ETHERNET + (9 if packet.family == 4 else 6)]
    if protocol == (p.PROTOCOL_ICMP if packet.family == 4 else p.PROTOCOL_ICMPV6):
        return True
    return services.from_kept(packet.now, packet.tuple.source)


def _balance(packet: Packet, owned: layout.OwnedAddress | None) -> End:
    if not reading.for_us(packet):
        own = reading.own_mac(packet)
        to = packet.frame[:6].hex(":")
        packet.note("frame", "for another station or for many, or from a group address", destination=to, own=(own or b"").hex(":"))
        return packet.refuse(Reason.FRAME_FOREIGN)
    why = reading.read(packet)
    if why is Elsewhere.ICMP:
        return icmp.icmp(packet)
    if why is Elsewhere.ODD:
        return _odd(packet, owned)
    if isinstance(why, Reason):
        return _unreadable(packet, why)
    _note_packet(packet)
    if owned is not None and packet.owned & layout.ADDRESS_VIP and services.find(packet, owned):
        return _for_service(packet)
    return _for_snat(packet)


def _unreadable(packet: Packet, why: Reason) -> End:
    packet.note("packet", "what cannot be, or is not balanced", protocol=packet.tuple.protocol)
    return packet.refuse(why)


def _note_packet(packet: Packet) -> None:
    name = {p.PROTOCOL_TCP: "TCP", p.PROTOCOL_UDP: "UDP"}.get(packet.tuple.protocol, str(packet.tuple.protocol))
    packet.note(
        "packet", f"{name} {packet.tuple}" + ("" if packet.part is Part.WHOLE else f", a {packet.part.value}"), bytes=packet.length,
        hops=packet.ttl, flags=f"{packet.flags:#04x}" if packet.tcp else "", sequence=packet.sequence if packet.tcp else "",
    )  # fmt: skip


def _for_service(packet: Packet) -> End:
    if packet.word & layout.SERVICE_LISTED:
        why = services.barred(packet, packet.service, packet.tuple.source)
        if why:
            return drop(why)
    return _nat(packet) if packet.mode <= layout.MODE_KEEP else direct.direct(packet)


def _nat(packet: Packet) -> End:
    if packet.syn:
        return new_flows.new_flow(packet)
    record = records.of_client(packet)
    live = records.live(packet, record, "client's") if record or packet.tcp else None
    backend = packet.now.backend(live.flow.backend) if live else None
    if live and backend and backend.flags & layout.BACKEND_KEEP:
        sending.note_backend(packet, live.flow.backend, backend)
        return answers.stopped(packet, sending.to_backend(packet, live, backend, Reason.TO_BACKEND))
    if not packet.tcp:
        return new_flows.new_flow(packet)
    if live:
        sending.note_backend(packet, live.flow.backend, backend)
    if live is None or backend is None or not backend.flags & layout.BACKEND_RESET:
        return answers.reject(packet, Rst.FLOWLESS)
    records.close(live)
    return answers.reject(packet, Rst.DRAIN)


def _for_snat(packet: Packet) -> End:
    if packet.owned & (layout.ADDRESS_SNAT | layout.ADDRESS_FOREIGN):
        record = records.live(packet, records.of_backend(packet), "backend's")
        if record:
            return _to_client(packet, record)
    if packet.owned & layout.ADDRESS_FOREIGN:
        return End(Reason.NOT_A_REPLY, Verdict.PASS)
    return packet.refuse(Reason.NO_SERVICE if packet.owned & layout.ADDRESS_VIP else Reason.NO_FLOW)


def _to_client(packet: Packet, record: Record) -> End:
    backend = packet.now.backend(record.flow.backend)
    packet.service = record.flow.service
    sending.note_backend(packet, record.flow.backend, backend)
    if backend and backend.flags & layout.BACKEND_LISTED:
        why = services.barred(packet, packet.service, record.becomes.destination)
        if why:
            return drop(why)
    if backend and backend.flags & layout.BACKEND_KEEP:
        sent = answers.stopped(packet, sending.to_client(packet, record))
        if packet.tcp and packet.flags & p.SYN and sent.reason is Reason.TO_CLIENT:
            rewriting.clamp_mss(packet, packet.service, backend.mtu)
        return sent
    if not backend or not backend.flags & layout.BACKEND_RESET or not packet.tcp:
        return drop(Reason.FLOW_CUT)
    records.close(record)
    return answers.reject(packet, Rst.DRAIN)


def _odd(packet: Packet, owned: layout.OwnedAddress | None) -> End:
    """Options, extension headers, fragments."""
    end = _read_odd(packet, owned)
    fragments.remember(packet, end.reason)
    return end


def _read_odd(packet: Packet, owned: layout.OwnedAddress | None) -> End:
    why = odd.read(packet)
    if why:
        return _unreadable(packet, why)
    _note_packet(packet)
    if packet.part is not Part.WHOLE:
        why = fragments.later(packet) if packet.part is Part.LATER else fragments.first(packet)
        if why:
            return packet.refuse(why)
    if packet.part is Part.LATER:
        packet.flags = 0
    service = owned is not None and bool(packet.owned & layout.ADDRESS_VIP) and services.find(packet, owned)
    if not service and not packet.owned & (layout.ADDRESS_SNAT | layout.ADDRESS_FOREIGN):
        return packet.refuse(Reason.NO_SERVICE)
    past_nat = service and packet.mode > layout.MODE_KEEP
    if packet.recording and not past_nat:
        packet.note("options", "options that record addresses do not go through NAT")
        return packet.refuse(Reason.IP_OPTIONS)
    if packet.part is Part.LATER:
        return _later(packet, service)
    if past_nat and packet.word & layout.SERVICE_OUTER_CHECKSUM:
        rewriting.sum_packet(packet)
    return _for_service(packet) if service else _for_snat(packet)


def _later(packet: Packet, service: bool) -> End:
    """A later fragment, along with its first one."""
    number = packet.piece.backend
    backend = packet.now.backend(number)
    if service and packet.word & layout.SERVICE_LISTED:
        why = services.barred(packet, packet.service, packet.tuple.source)
        if why:
            return drop(why)
    keeps = backend is not None and backend.flags & layout.BACKEND_KEEP
    if service and (backend is None or not keeps):
        sending.note_backend(packet, number, backend)
        return packet.refuse(Reason.NO_BACKEND)
    if service and backend is not None and packet.mode > layout.MODE_KEEP:
        if packet.word & layout.SERVICE_OUTER_CHECKSUM:
            rewriting.sum_packet(packet)
        sending.note_backend(packet, number, backend)
        return direct.deliver(packet, backend, number, packet.tuple.hash(packet.now.slot_secret))
    found = records.of_client(packet) if service else records.of_backend(packet)
    record = records.live(packet, found, "client's" if service else "backend's")
    if record is None or record.flow.backend != number:
        return packet.refuse(Reason.NO_FLOW)
    if service and backend is not None:
        return answers.stopped(packet, sending.to_backend(packet, record, backend, Reason.TO_BACKEND))
    return _to_client(packet, record) if keeps else drop(Reason.FLOW_CUT)
