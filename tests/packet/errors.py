"""ICMP errors of both families as scapy builds them from nothing: what arrives, and what must leave."""

from dataclasses import dataclass

import pytest
from scapy.layers.inet import ICMP, IP, IPOption_NOP, IPOption_RR, IPOption_Timestamp
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)  # fmt: skip
from scapy.layers.ipsec import AH
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import Balancer
from tests.packet.wire import CLIENT_MAC, LB_MAC, V4, V6, Family, from_backend, from_client, to_backend, to_client

ROUTER = {4: "198.18.0.254", 6: "2001:db8:ff::1"}  # somewhere on the way
IP_BYTES = {4: 20, 6: 40}
ETHERNET_BYTES = 14
ALL = None  # bytes of a quote: not cut
PAYLOAD = bytes(range(256)) * 2 + b"odd"


@dataclass(frozen=True)
class Kind:
    """One kind of error."""

    version: int
    header: Packet

    @property
    def name(self) -> str:
        """For the test's id."""
        return f"v{self.version}-{self.header.type}-{self.header.code}"


KINDS = [
    *(Kind(4, ICMP(type=3, code=code)) for code in (0, 1, 2, 3, 9, 10, 13)),
    Kind(4, ICMP(type=3, code=4, nexthopmtu=1300)),
    *(Kind(4, ICMP(type=11, code=code)) for code in (0, 1)),
    Kind(4, ICMP(type=12, code=0, ptr=9)),
    *(Kind(6, ICMPv6DestUnreach(code=code)) for code in (0, 1, 2, 3, 4, 5, 6)),
    Kind(6, ICMPv6PacketTooBig(mtu=1300)),
    *(Kind(6, ICMPv6TimeExceeded(code=code)) for code in (0, 1)),
    *(Kind(6, ICMPv6ParamProblem(code=code, ptr=40)) for code in (0, 1, 2)),
]
each_kind = pytest.mark.parametrize("error", KINDS, ids=lambda error: error.name)


def family_of(kind: Kind) -> Family:
    """The family that the kind is of."""
    return V4 if kind.version == 4 else V6


def too_big(family: Family, mtu: int = 1300) -> Packet:
    """The header of `packet too big`."""
    return ICMP(type=3, code=4, nexthopmtu=mtu) if family is V4 else ICMPv6PacketTooBig(mtu=mtu)


def unreachable(family: Family) -> Packet:
    """The header of `port unreachable`."""
    return ICMP(type=3, code=3) if family is V4 else ICMPv6DestUnreach(code=4)


def inside(packet: Packet) -> bytes:
    """The IP packet of a frame."""
    return bytes(packet)[ETHERNET_BYTES:]


def error(
    family: Family, header: Packet, quoted: bytes, *, source: str, destination: str, macs: tuple[str, str], ttl: int, tos: int = 0
) -> bytes:
    """A frame with an error that quotes `quoted`, every length and checksum computed."""
    if family is V4:
        ip = IP(src=source, dst=destination, ttl=ttl, tos=tos, id=4711, proto=1)
    else:
        ip = IPv6(src=source, dst=destination, hlim=ttl, tc=tos, fl=0x54321, nh=58)
    return bytes(Ether(src=macs[0], dst=macs[1]) / ip / header / Raw(quoted))


def about_client(family: Family, header: Packet, quoted: bytes, *, source: str = "", ttl: int = 60) -> bytes:
    """An error from the client's side, for the VIP."""
    source = source or ROUTER[family.version]
    return error(family, header, quoted, source=source, destination=family.vip, macs=(CLIENT_MAC, LB_MAC), ttl=ttl)


def at_backend(family: Family, header: Packet, quoted: bytes, *, snat: str = "", backend: str = "", ttl: int = 59) -> bytes:
    """The same as it must reach the backend."""
    source, destination = snat or family.snat, backend or family.backends[0]
    return error(family, header, quoted, source=source, destination=destination, macs=(LB_MAC, "02:00:00:00:00:03"), ttl=ttl)


def about_backend(family: Family, header: Packet, quoted: bytes, *, source: str = "", snat: str = "", ttl: int = 60) -> bytes:
    """An error from the backend's side, for the SNAT address."""
    source = source or ROUTER[family.version]
    macs = ("02:00:00:00:00:03", LB_MAC)
    return error(family, header, quoted, source=source, destination=snat or family.snat, macs=macs, ttl=ttl)


def at_client(family: Family, header: Packet, quoted: bytes, *, ttl: int = 59) -> bytes:
    """The same as it must reach the client."""
    return error(family, header, quoted, source=family.vip, destination=family.client, macs=(LB_MAC, CLIENT_MAC), ttl=ttl)


def quotes_for_backend(family: Family, kind: type[Packet], payload: bytes, cut: int | None, **fields: object) -> tuple[bytes, bytes]:
    """What an error about a packet to the client quotes (`cut` bytes behind the IP header), and what the backend must see quoted."""
    end = None if cut is None else IP_BYTES[family.version] + cut
    before = inside(to_client(family, kind, payload, **fields))  # type: ignore[arg-type]
    return before[:end], inside(from_backend(family, kind, payload, ttl=63, **fields))[:end]  # type: ignore[arg-type]


def quotes_for_client(family: Family, kind: type[Packet], payload: bytes, cut: int | None, **fields: object) -> tuple[bytes, bytes]:
    """The same the other way: an error about a packet to the backend."""
    end = None if cut is None else IP_BYTES[family.version] + cut
    before = inside(to_backend(family, kind, payload, **fields))  # type: ignore[arg-type]
    return before[:end], inside(from_client(family, kind, payload, ttl=63, **fields))[:end]  # type: ignore[arg-type]


def untouched(lb: Balancer) -> dict[str, dict[int, bytes]]:
    """Everything that the datapath knows of flows."""
    return {name: lb.elements(name) for name in ("flows", "flows_v6", "flow_index", "unanswered", "pool")}


def refused(lb: Balancer, frame: bytes, reason: Reason) -> None:
    """The frame is dropped for that reason, and no flow is the wiser."""
    before = untouched(lb)
    result = lb.send(frame)
    assert (result.reason, result.verdict) == (reason, Verdict.DROP)
    assert untouched(lb) == before


OPTIONS = {
    "nop": [IPOption_NOP()] * 4,
    "record_route": [IPOption_RR(routers=["192.0.2.1", "192.0.2.2"])],
    "timestamp": [IPOption_Timestamp()],
    "forty": [IPOption_NOP()] * 40,
}


def with_options(packet: Packet, name: str) -> bytes:
    """The IP packet of a frame with options, its lengths and header checksum computed anew."""
    ip = packet[IP].copy()
    ip.options, ip.ihl, ip.len, ip.chksum = OPTIONS[name], None, None, None
    return bytes(ip)


EXTENSIONS = {
    "hop_by_hop": IPv6ExtHdrHopByHop(),
    "destination": IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(20))]),
    "routing_done": IPv6ExtHdrRouting(addresses=["2001:db8::77"], segleft=0),
    "first_fragment": IPv6ExtHdrFragment(offset=0, m=1, id=5),
    "ah": AH(spi=1, seq=1, icv=bytes(12), payloadlen=4),
    "six": IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(segleft=0) / IPv6ExtHdrFragment()
    / AH(icv=bytes(12), payloadlen=4) / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(100))]),
}  # fmt: skip


def extended(packet: Packet, extensions: Packet) -> bytes:
    """The IPv6 packet of a frame with extension headers put before its transport header, whose checksum stays right."""
    whole = inside(packet)
    transport, protocol = whole[40:], whole[6]
    chain = extensions.copy()
    last = chain.lastlayer()
    last.nh = protocol
    made = bytes(IPv6(src=packet[IPv6].src, dst=packet[IPv6].dst, hlim=packet[IPv6].hlim, plen=4000) / chain)
    return made + transport
