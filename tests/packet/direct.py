"""What the packet tests of DSR and ENCAP share: a service of each family in one mode, and what its packets must become, by scapy alone."""

from dataclasses import dataclass

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from l4lb_agent.model import layout
from tests.packet.balancer import Balancer
from tests.packet.conftest import Make
from tests.packet.wire import BACKEND_MAC, LB_MAC, NUMBER, PROTOCOLS, V4, V6, VIP_PORT, Family, built

SERVICE = {(4, 6): 1, (4, 17): 2, (6, 6): 3, (6, 17): 4}
OUTER = {4: "192.0.2.1", 6: "2001:db8::1"}
SPREAD_V4 = ("172.16.0.0", 0x0000FFFF)
SPREAD_V6 = "fd00:77::"
MODES = {"dsr": layout.MODE_DSR, "ipip": layout.MODE_IPIP, "gue": layout.MODE_GUE, "fou": layout.MODE_FOU}


@dataclass(frozen=True)
class Pair:
    """Families of VIP and backend."""

    vip: Family
    backend: Family

    def __str__(self) -> str:
        return f"v{self.vip.version}-over-v{self.backend.version}"


PAIRS = [Pair(vip, backend) for vip in (V4, V6) for backend in (V4, V6)]


def furnish(make: Make, mode: int, flags: int = 0, **options: int) -> Balancer:
    """Services 1 to 4 (IPv4 TCP, UDP; IPv6 TCP, UDP) in one mode, each with ring 1 (backend 1) or 2 (backend 4); backends 1 to 3 are IPv4,
    4 to 6 IPv6 and belong to the TCP service of their family."""
    lb = make()
    lb.start(spread_v4=int.from_bytes(b"\xac\x10\0\0", "little"), spread_v4_mask=int.from_bytes(b"\0\0\xff\xff", "little"))
    lb.config.spread_v6[:] = list(bytes.fromhex("fd000077") + bytes(12))
    lb.configure()
    for base, family, number in ((1, V4, 1), (4, V6, 3)):
        lb.own(family.vip, layout.ADDRESS_VIP)
        for place, text in enumerate(family.backends):
            lb.backend(base + place, text, VIP_PORT, outer_source=OUTER[family.version], service=number)
        lb.ring(1 if base == 1 else 2, [base])
        for kind in PROTOCOLS:
            service = SERVICE[family.version, NUMBER[kind]]
            lb.service(service, family.vip, VIP_PORT, NUMBER[kind], now=1 if base == 1 else 2, mode=mode, flags=flags, **options)
    return lb


def point(lb: Balancer, pair: Pair) -> None:
    """Both services of the VIP's family go to the first backend of the other family."""
    lb.ring(1 if pair.vip is V4 else 2, [1 if pair.backend is V4 else 4])


def forwarded(packet: Packet) -> Packet:
    """The IP packet inside a client's frame, one hop later."""
    inner = packet.payload.copy()
    if isinstance(inner, IP):
        inner.ttl -= 1
        del inner.chksum
    else:
        inner.hlim -= 1
    return inner


def rewritten(packet: Packet) -> Packet:
    """A client's frame as DSR must leave it."""
    return built(Ether(src=LB_MAC, dst=BACKEND_MAC) / forwarded(packet))


def outer_ip(pair: Pair, inner: Packet, protocol: int, source: str, label: int) -> Packet:
    """The outer IP header without lengths and checksum."""
    tos = inner.tos if isinstance(inner, IP) else inner.tc
    destination = pair.backend.backends[0]
    if pair.backend is V4:
        fixed = not isinstance(inner, IP) or "DF" in inner.flags
        return IP(src=source, dst=destination, proto=protocol, tos=tos, ttl=64, id=0 if fixed else 1, flags="DF" if fixed else 0)
    return IPv6(src=source, dst=destination, nh=protocol, tc=tos, hlim=64, fl=label)


def encapsulated(
    pair: Pair, packet: Packet, mode: str, hash32: int, *, source: str = "", checksum: bool = False, port: int = 6080
) -> Packet:  # fmt: skip
    """A client's frame as ENCAP must leave it; `hash32` are the lower 32 bits of the flow's hash."""
    inner = forwarded(packet)
    number = 4 if pair.vip is V4 else 41
    source = source or OUTER[pair.backend.version]
    if mode == "ipip":
        return built(Ether(src=LB_MAC, dst=BACKEND_MAC) / outer_ip(pair, inner, number, source, hash32 & 0xFFFFF) / inner)
    udp = UDP(sport=0xC000 | hash32 & 0x3FFF, dport=port, chksum=None if checksum else 0)
    payload = Raw((bytes([0, number, 0, 0]) if mode == "gue" else b"") + bytes(inner))
    return built(Ether(src=LB_MAC, dst=BACKEND_MAC) / outer_ip(pair, inner, 17, source, hash32 & 0xFFFFF) / udp / payload)
