"""DSR and ENCAP: the packet goes to its flow's backend with the VIP still in it (bpf/direct.h)."""

from l4lb_agent.model import layout
from l4lb_agent.model.address import Address
from l4lb_agent.model.explain import answers, choice, limits, rewriting, sending, services, tracked
from l4lb_agent.model.explain.answers import Rst
from l4lb_agent.model.explain.packet import End, Packet, drop
from l4lb_agent.model.explain.tracked import Tracked
from l4lb_agent.model.reasons import Reason, Verdict
from l4lb_agent.model.service import Mode
from l4lb_agent.model.ways.mtu import outer_bytes


def direct(packet: Packet) -> End:
    """A client's packet for a DSR or ENCAP service."""
    chosen = choice.pick(packet)
    why = services.source_fault(packet, link_local=True)
    if why:
        return packet.refuse(why)
    refused = limits.refused(packet) if packet.word & layout.SERVICE_LIMITED and packet.syn else None
    found, follows = Tracked(chosen.backend, refused), False
    if (packet.word & layout.SERVICE_TRACK_ALL or (chosen.at_risk and packet.tcp)) and not refused:
        found, follows = tracked.backend(packet, chosen), True
    if found.refused:
        return End(found.refused, Verdict.DROP)
    backend = packet.now.backend(found.backend)
    if not found.backend or backend is None:
        packet.note("backend", "the ring names nobody")
        return answers.no_backend(packet, packet.refuse)
    sending.note_backend(packet, found.backend, backend)
    if backend.flags & layout.BACKEND_KEEP:
        return deliver(packet, backend, found.backend, chosen.hash)
    if backend.flags & layout.BACKEND_RESET and packet.tcp and not packet.syn:
        return answers.reject(packet, Rst.DRAIN if follows and found.ends else Rst.FLOWLESS)
    return answers.no_backend(packet, packet.refuse)


def error(packet: Packet, acknowledged: int | None) -> End:
    """An ICMP error for the VIP about what the backend has sent; `acknowledged` is what is quoted of it (bpf/direct_error.h)."""
    chosen = choice.pick(packet)
    why = services.barred(packet, packet.service, packet.tuple.source) if packet.word & layout.SERVICE_LISTED else None
    if why:
        return drop(why)
    follows = packet.word & layout.SERVICE_TRACK_ALL or (chosen.at_risk and packet.tcp)
    number = tracked.quoted(packet, chosen, acknowledged) if follows else chosen.backend
    backend = packet.now.backend(number)
    sending.note_backend(packet, number, backend)
    if not number or backend is None or not backend.flags & layout.BACKEND_KEEP:
        return packet.refuse(Reason.ICMP_NO_FLOW)
    if packet.word & layout.SERVICE_OUTER_CHECKSUM:
        rewriting.sum_packet(packet)
    return _hand_over(packet, backend, number, chosen.hash, Reason.ICMP_TO_BACKEND)


def deliver(packet: Packet, backend: layout.Backend, number: int, hashed: int) -> End:
    """To the backend as the service's mode says; `hashed` is the flow's."""
    return _hand_over(packet, backend, number, hashed, Reason.FLOW_CREATED if packet.syn else Reason.TO_BACKEND)


def _hand_over(packet: Packet, backend: layout.Backend, number: int, hashed: int, reason: Reason) -> End:
    packet.backend = number
    if backend.flags & layout.BACKEND_HERE:
        packet.note("next_hop", "the backend is this host: passed up as it came")
        return End(reason, Verdict.PASS)
    overhead = outer_bytes(Mode(packet.mode), Address(bytes(backend.address)))
    mtu = backend.mtu - overhead & 0xFFFF if backend.mtu else 0
    why = sending.obstacle(packet, backend.ifindex, mtu, overhead)
    if why:
        return drop(why) if reason is Reason.ICMP_TO_BACKEND else answers.stopped(packet, why)
    packet.note(
        "next_hop", "of the backend, as the agent has looked it up", interface=backend.ifindex, mac=bytes(backend.destination_mac).hex(":"),
        vlan=sending.shown(backend.vlan),
    )  # fmt: skip
    if reason is Reason.FLOW_CREATED:
        rewriting.clamp_mss(packet, packet.service, mtu)
    if packet.mode == layout.MODE_DSR:
        rewriting.set_macs(packet, bytes(backend.source_mac), bytes(backend.destination_mac))
        rewriting.leave(packet)
    else:
        rewriting.encapsulate(packet, backend, hashed)
        packet.overhead = overhead
        packet.note("outer_header", f"{overhead} bytes before the packet", mode=services.MODES[packet.mode])
    return End(reason, sending.transmit(packet, sending.out_to(backend)))
