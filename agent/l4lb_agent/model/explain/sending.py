"""Ways out: whether a packet can leave, by which interface and tag, and as what (bpf/nat.h, bpf/next_hop.h, bpf/vlan.h)."""

from typing import Final

from l4lb_agent.model import layout
from l4lb_agent.model.address import Address
from l4lb_agent.model.explain import packet as p
from l4lb_agent.model.explain import records, rewriting
from l4lb_agent.model.explain.moment import Asked, Moment, Route
from l4lb_agent.model.explain.packet import End, Packet, Part, Tuple, drop
from l4lb_agent.model.explain.records import Record
from l4lb_agent.model.flows import segments
from l4lb_agent.model.reasons import Reason, Verdict
from l4lb_agent.model.ways.vlan import first_place

INTERFACE: Final = (1 << layout.OUT_VLAN_SHIFT) - 1
_LONGEST: Final = 0xFFFF  # bytes of an IP packet


def out_to(backend: layout.Backend) -> int:
    """Interface and tag of the way to a backend, as one number."""
    return int(backend.ifindex | backend.vlan << layout.OUT_VLAN_SHIFT)


def transmit(packet: Packet, out: int) -> Verdict:
    """Out where the frame came from, or by redirect."""
    packet.out, numbers = carried(packet.now, out)
    packet.tags_out = tuple(p.as_tag(number) for number in numbers)
    packet.vanished = not packet.out
    if packet.out == packet.ifindex and not packet.now.config.flags & layout.CONFIG_TRANSMIT_REDIRECT:
        return Verdict.TX
    return Verdict.REDIRECT


def send_back(packet: Packet) -> Verdict:
    """An answer: with the very tags of what it answers."""
    verdict = transmit(packet, packet.ifindex)
    packet.tags_out = packet.tags_in
    return verdict


def note_backend(packet: Packet, number: int, backend: layout.Backend | None) -> None:
    """What the element of a backend says."""
    packet.backend = number
    if backend is None:
        packet.note("backend", f"there is no backend of id {number}", backend_id=number)
        return
    flags = backend.flags
    text = "takes new flows" if flags & layout.BACKEND_ELIGIBLE else "takes no new flows"
    text += ", keeps those that it has" if flags & layout.BACKEND_KEEP else ", keeps none"
    text += ", resets them" if flags & layout.BACKEND_RESET else ""
    packet.note("backend", text, backend_id=number, address=Address(bytes(backend.address)), flags=f"{flags:#x}")


def obstacle(packet: Packet, ifindex: int, mtu: int, overhead: int = 0) -> Reason | None:
    """Why a packet cannot leave by a way; `mtu` is the way's for it, 0 = not checked, `overhead` what outer headers took of it."""
    facts = {"interface": ifindex or "", "mtu": mtu or "not checked", "outer_headers": overhead or "", "packet_bytes": packet.length}
    if not ifindex:
        packet.note("next_hop", "the next hop is not known", **facts)
        return Reason.BACKEND_UNRESOLVED
    if packet.ttl <= 1:
        packet.note("next_hop", "the packet may not be sent on: its last hop is this one", ttl=packet.ttl)
        return Reason.TTL_EXCEEDED
    if not mtu or packet.length <= mtu:
        packet.note("mtu", "the packet fits into the way", **facts)
        return None
    packet.way_mtu = mtu
    packet.note("mtu", "the packet is longer than the way takes", **facts)
    return Reason.MTU_EXCEEDED


def to_backend(packet: Packet, record: Record, backend: layout.Backend, reason: Reason) -> End | Reason:
    """Along a NAT flow to its backend, or why not, which may be answered."""
    packet.service, packet.backend = record.flow.service, record.flow.backend
    why = obstacle(packet, backend.ifindex, backend.mtu)
    if why:
        return why
    if packet.part is not Part.LATER:
        if packet.tcp and not segments.by_client(packet, record):
            return drop(Reason.NO_FLOW)
        records.touch(packet, record)
    rewriting.set_macs(packet, bytes(backend.source_mac), bytes(backend.destination_mac))
    rewriting.translate(packet, record.becomes)
    _note_next_hop(packet, "backend", bytes(backend.destination_mac), out_to(backend))
    packet.note("translation", f"{packet.tuple} becomes {record.becomes}")
    return End(reason, transmit(packet, out_to(backend)))


def to_client(packet: Packet, record: Record) -> End | Reason:
    """A backend's packet along a NAT flow to its client, or why not."""
    renew_way_back(packet, record, record.becomes)
    flow = record.flow
    why = obstacle(packet, flow.ifindex, flow.mtu)
    if why:
        return why
    if packet.part is not Part.LATER:
        follows = segments.by_backend(packet, record) if packet.tcp else records.answered(packet, record)
        if not follows:
            packet.note("record", "the client's tuple belongs to another flow by now, or the ring sends new handshakes elsewhere")
            return drop(Reason.NO_FLOW)
        records.touch(packet, record)
    rewriting.set_macs(packet, bytes(flow.source_mac), bytes(flow.destination_mac))
    rewriting.translate(packet, record.becomes)
    packet.note("translation", f"{packet.tuple} becomes {record.becomes}")
    return End(Reason.TO_CLIENT, transmit(packet, flow.ifindex))


def first_way_back(packet: Packet, flow: layout.Flow) -> None:
    """Of a new flow: the kernel's, or else the way that the client's packet came, until the first reply asks again."""
    flow.route_generation = packet.now.config.route_generation & 0xFFFF
    if not _ask(packet, flow, packet.tuple.reversed()).why:
        return
    flow.route_generation = packet.now.config.route_generation - 1 & 0xFFFF
    flow.ifindex = _back(packet)
    flow.mtu = 0
    flow.source_mac[:], flow.destination_mac[:] = packet.frame[0:6], packet.frame[6:12]


def renew_way_back(packet: Packet, record: Record, to: Tuple) -> None:
    """Looks again when routes or neighbours may have changed; the next hop that is there stays when none is found, with the MTU of its
    way."""
    flow = record.flow
    if flow.route_generation == packet.now.config.route_generation & 0xFFFF:
        _note_next_hop(packet, "client", bytes(flow.destination_mac), flow.ifindex, "as the flow has it")
        return
    flow.route_generation = packet.now.config.route_generation & 0xFFFF
    route = _ask(packet, flow, to)
    if not route.why:
        return
    mtu = route.mtu if route.mtu and over(packet.now, route.ifindex) == flow.ifindex else route.back_mtu
    flow.mtu = mtu if mtu <= _LONGEST else 0
    _leave_room(packet, flow)
    _note_next_hop(packet, "client", bytes(flow.destination_mac), flow.ifindex, "as the flow had it before routes changed")


def _ask(packet: Packet, flow: layout.Flow, to: Tuple) -> Route:
    ends = to.source, to.destination, to.source_port, to.destination_port
    route: Route = packet.now.route(Asked(packet.ifindex, packet.tuple.protocol, *ends, _device(packet.now, flow.ifindex)))
    if route.why:
        packet.note("way_back", f"the kernel knows no way to the client: {route.why}")
        return route
    flow.ifindex, flow.mtu = over(packet.now, route.ifindex), route.mtu
    _leave_room(packet, flow)
    flow.source_mac[:], flow.destination_mac[:] = route.source_mac, route.destination_mac
    packet.note(
        "way_back", "by the kernel's routes and neighbours", interface=route.ifindex, mac=route.destination_mac.hex(":"), mtu=route.mtu
    )
    return route


def _device(now: Moment, out: int) -> int:
    """The interface that a way out is the kernel's way over: of one with a tag the VLAN device."""
    ifindex, vlan = out & INTERFACE, out >> layout.OUT_VLAN_SHIFT
    found = now.vlan(ifindex, vlan, places(ifindex, vlan)) if vlan else None
    return int(found.other) if found else ifindex


def _back(packet: Packet) -> int:
    """By the interface and the VLAN that the frame came from."""
    if len(packet.tags_in) > 1 or any(kind != p.TYPE_VLAN for kind, _ in packet.tags_in):
        return packet.device if packet.device == packet.ifindex else packet.device | layout.OUT_DEVICE << layout.OUT_VLAN_SHIFT
    return packet.ifindex | sum(tag & p.VLAN for _, tag in packet.tags_in) << layout.OUT_VLAN_SHIFT


def _leave_room(packet: Packet, flow: layout.Flow) -> None:
    """Lowers the MTU of a way to what its interface carries beside two tags."""
    if flow.ifindex >> layout.OUT_VLAN_SHIFT == layout.OUT_DEVICE:
        ifindex = flow.ifindex & INTERFACE
        found = packet.now.vlan(ifindex, layout.VLAN_DEVICE, places(ifindex, layout.VLAN_DEVICE))
        if found and found.mtu and not 0 < flow.mtu <= found.mtu:
            flow.mtu = found.mtu


def over(now: Moment, ifindex: int) -> int:
    """The way out over an interface; over one that is a VLAN with one tag of 802.1Q it is that of its lower device, with the tag."""
    if now.config.flags & layout.CONFIG_VLANS:
        found = now.vlan(ifindex, layout.VLAN_DEVICE, places(ifindex, layout.VLAN_DEVICE))
        if found and (found.inner or found.tag & layout.VLAN_SERVICE):
            return ifindex | layout.OUT_DEVICE << layout.OUT_VLAN_SHIFT
        if found:
            return int(found.other | found.tag << layout.OUT_VLAN_SHIFT)
    return ifindex


def carried(now: Moment, out: int) -> tuple[int, tuple[int, ...]]:
    """The interface that carries frames of a way, 0 when its VLAN device is no more, and their tags as `vlans` numbers them."""
    ifindex, vlan = out & INTERFACE, out >> layout.OUT_VLAN_SHIFT
    if vlan != layout.OUT_DEVICE:
        return ifindex, (vlan,) if vlan else ()
    found = now.vlan(ifindex, layout.VLAN_DEVICE, places(ifindex, layout.VLAN_DEVICE))
    return (found.other, (found.tag, found.inner) if found.inner else (found.tag,)) if found else (0, ())


def shown(vlan: int) -> int | str:
    """The VLAN of a way for people; that of a device is told by the device."""
    return vlan if vlan and vlan != layout.OUT_DEVICE else ""


def places(ifindex: int, key: int) -> list[int]:
    """Where in `vlans` the datapath looks."""
    first = first_place(ifindex, key)
    return [(first + more) % layout.VLAN_PLACES for more in range(layout.VLAN_TRIES + 1)]


def _note_next_hop(packet: Packet, whose: str, destination: bytes, out: int, how: str = "as the agent has looked it up") -> None:
    vlan = shown(out >> layout.OUT_VLAN_SHIFT)
    packet.note("next_hop", f"of the {whose}, {how}", interface=out & INTERFACE, mac=destination.hex(":"), vlan=vlan)
