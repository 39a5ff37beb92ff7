"""Packets for ends that random states seldom lead to, and for the state that leads there: each of them once, in any world."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from l4lb_agent.model import layout
from l4lb_agent.model.choice.layout import AffinityBucket
from l4lb_agent.model.explain.packet import ACK, CWR, ECE, SYN
from l4lb_agent.model.explain.synthesis import Checksum, Message, Wanted, frame
from l4lb_agent.model.flows.layout import Pool
from tests.packet import records
from tests.packet.balancer import LB_MAC
from tests.packet.frames import CLIENT_MAC, CLIENTS, ROUTER, VIPS, address

if TYPE_CHECKING:
    from tests.packet.worlds import Place, World

TCP, UDP, SCTP, ICMP, ICMPV6 = 6, 17, 132, 1, 58
PORT = 45000
TAKES = layout.BACKEND_KEEP | layout.BACKEND_ELIGIBLE
MSS = (0, 1, 499, 500, 501, 1459, 1460, 1461, 65535)
FLAGS = (0, SYN | ECE | CWR, SYN | ACK | ECE, ACK | CWR, 255)


def rare(world: "World", second: int) -> Iterator[bytes]:
    """The state of each is there until the next is asked for. `second` is the datapath's."""
    for wanted in _unusual():
        yield _raw(wanted)
    yield from _unreadable()
    plain = [place for place in world.every if place.mode == layout.MODE_NAT and place.protocol == TCP and not _policied(world, place)]
    for place in plain[:1]:
        yield from _repeated(world, place)
        yield from _heard(world, place)
        yield from _again(world, place)
        yield from _crowded(world, place, second)
        yield from _full(world, place)
        yield from _portless(world, place)


def _raw(wanted: Wanted) -> bytes:
    return frame(wanted, CLIENT_MAC, LB_MAC)


def _ends(family: int, protocol: int, **fields: object) -> Wanted:
    ports = (40000, 80) if protocol in (TCP, UDP) else (0, 0)
    return Wanted(protocol, address(CLIENTS[family][0]), address(VIPS[family][0]), *ports, **fields)  # type: ignore[arg-type]


def _unusual() -> Iterator[Wanted]:
    """What is right in itself or not, in fields that random frames seldom have so."""
    for family, echo in ((4, ICMP), (6, ICMPV6)):
        yield _ends(family, SCTP)
        yield _ends(family, echo, asks_mac=True)
        yield _ends(family, UDP, checksum=Checksum.NONE)
        for protocol in (TCP, UDP, echo):
            yield _ends(family, protocol, checksum=Checksum.WRONG, payload=9)
        for flags in FLAGS:
            yield _ends(family, TCP, flags=flags)
        for asked in MSS:
            yield _ends(family, TCP, mss=asked)
            yield _ends(family, TCP, tcp_options=b"\1\2\4" + asked.to_bytes(2, "big"), flags=SYN | ACK if asked & 1 else SYN)
        about = Wanted(TCP, address(VIPS[family][0]), address(CLIENTS[family][0]), 80, 40000, checksum=Checksum.WRONG)
        kind = (3, 3) if family == 4 else (1, 4)
        yield Wanted(echo, address(ROUTER[family]), about.source, message=Message(*kind, 0, about), checksum=Checksum.WRONG)
    for options in (b"\x94\1", b"\x83\7\4", b"\7\7\4\0\0\0\0"):
        yield _ends(4, TCP, ipv4_options=options)
    yield _ends(4, TCP, ip_checksum=Checksum.WRONG)
    yield _ends(4, UDP, ip_checksum=Checksum.WRONG, ipv4_options=b"\x94\4\0\0")
    yield _ends(6, TCP, headers=((60, b""), (0, b"")))
    yield _ends(6, TCP, headers=((43, b"\0\1"),))
    yield _ends(6, TCP, headers=((60, b"\1\4" + bytes(254)),))


def _unreadable() -> Iterator[bytes]:
    """IP of another version than the frame says, TCP headers that are too short or too long."""
    for family, at in ((4, 14 + 20 + 12), (6, 14 + 40 + 12)):
        raw = _raw(_ends(family, TCP))
        yield raw[:14] + b"\x55" + raw[15:]
        for offset in (b"\x40", b"\x70", b"\xf0"):
            yield raw[:at] + offset + raw[at + 1 :]


def _policied(world: "World", place: "Place") -> int:
    """Whether something may keep its new flows out."""
    word = layout.Service.from_buffer_copy(world.lb.read("services", place.number)).word
    return int(word & (layout.SERVICE_LIMITED | layout.SERVICE_LISTED))


def _syn(world: "World", place: "Place", client: int, port: int) -> Wanted:
    """A client's SYN, which goes to the first backend."""
    lb = world.lb
    for ring in (2 * place.number, 2 * place.number + 1):
        lb.ring(ring, [place.backends[0]])
    service = layout.Service.from_buffer_copy(lb.read("services", place.number))
    service.word = service.word & 0xFFFFFFFF & ~layout.SERVICE_AFFINITY | (2 * place.number) << 48 | (2 * place.number) << 32
    lb.write("services", place.number, bytes(service))
    lb.set_backend(place.backends[0], flags=TAKES, mtu=0, ifindex=1, vlan=0)
    source = f"198.51.100.{100 + client}" if place.family == 4 else f"2001:db8:1::{100 + client}"
    return Wanted(TCP, address(source), address(place.vip), port, place.port, sequence=7)


def _repeated(world: "World", place: "Place") -> Iterator[bytes]:
    """A late duplicate of the SYN of a flow that has closed in order."""
    lb, wanted = world.lb, _syn(world, place, 0, PORT)
    yield _raw(wanted)
    for one in records.used(lb.elements("flows"), lb.elements("flows_v6")):
        if one.client == wanted.source and one.client_port == PORT and not one.displaced:
            kept = one.element.word & ~(15 << layout.FLOW_STATE_SHIFT | 255 << layout.FLOW_FLAGS_SHIFT)
            flags = one.all_flags & layout.FLOW_HELD | layout.FLOW_CLIENT_FIN | layout.FLOW_BACKEND_FIN
            one.element.word = kept | layout.FLOW_CLOSED << layout.FLOW_STATE_SHIFT | flags << layout.FLOW_FLAGS_SHIFT
            lb.write("flows", one.id, bytes(one.element))
    yield _raw(wanted)
    yield _raw(replace(wanted, sequence=8))


def _heard(world: "World", place: "Place") -> Iterator[bytes]:
    """A whole handshake: by its last packet the record leaves the slots of unanswered flows."""
    lb, wanted = world.lb, _syn(world, place, 0, PORT + 3)
    yield _raw(wanted)
    for one in records.used(lb.elements("flows"), lb.elements("flows_v6")):
        if one.client == wanted.source and one.client_port == PORT + 3 and not one.displaced:
            ends = one.backend_address, one.snat, one.backend_port, one.snat_port
            yield _raw(Wanted(TCP, *ends, SYN | ACK, 1000, 8))
    yield _raw(replace(wanted, flags=ACK, sequence=8, acknowledgement=1001))


def _again(world: "World", place: "Place") -> Iterator[bytes]:
    """A first fragment, and others of its datagram that bring more, and less."""
    first = replace(_syn(world, place, 0, PORT), flags=ACK, identification=7, more=True, may_fragment=place.family == 4)
    for payload in (36, 28, 44):
        yield _raw(replace(first, payload=payload))


def _crowded(world: "World", place: "Place", second: int) -> Iterator[bytes]:
    """A client with affinity whose place in the table others have: some came once, some again; the one that is over last goes last."""
    lb, wanted = world.lb, _syn(world, place, 0, PORT + 2)
    service = layout.Service.from_buffer_copy(lb.read("services", place.number))
    service.word |= layout.SERVICE_AFFINITY
    service.affinity_seconds, service.affinity_mask[:] = 600, [2**64 - 1] * 2
    lb.write("services", place.number, bytes(service))
    for again in ((1, 1, 0, 1, 0, 1, 1, 1), (1,) * 8):
        bucket = AffinityBucket()
        for number, left in enumerate((50, 10, 400, 300, 500, 20, 600, 11)):
            until = second + left & 0xFFFFFF
            bucket.entry[number] = (number + 1) << 40 | again[number] << 39 | until << 15 | place.backends[0]
        for number in range(lb.specs["affinity"].max_entries):
            lb.write("affinity", number, bytes(bucket))
        yield _raw(replace(wanted, source_port=wanted.source_port + again[2]))


def _full(world: "World", place: "Place") -> Iterator[bytes]:
    """No id is free, and no flow is without an answer."""
    lb, wanted = world.lb, _syn(world, place, 1, PORT)
    slots, pool = lb.elements("unanswered"), Pool.from_buffer_copy(lb.read("pool", 0))
    taken = Pool(taken=lb.config.flow_ids + pool.given, given=pool.given)
    for number in slots:
        lb.write("unanswered", number, bytes(lb.specs["unanswered"].value_size))
    lb.write("pool", 0, bytes(taken))
    yield _raw(wanted)
    for number, raw in slots.items():
        lb.write("unanswered", number, raw)
    lb.write("pool", 0, bytes(pool))


def _portless(world: "World", place: "Place") -> Iterator[bytes]:
    """One port for all: after a client for each SNAT address it is taken, by flows too young to give it up. Then there are more: what is
    taken for full is so no longer."""
    lb = world.lb
    ports = lb.config.port_low, lb.config.port_high
    lb.configure(port_low=PORT + 1, port_high=PORT + 1)
    for client in range(2, 12):
        yield _raw(_syn(world, place, client, PORT + 1))
    lb.configure(port_low=PORT + 1, port_high=PORT + 1000)
    for client in range(12, 16):
        yield _raw(_syn(world, place, client, PORT + 1))
    lb.configure(port_low=ports[0], port_high=ports[1])
