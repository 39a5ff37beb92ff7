"""What each flood sends: frames for the VIP (and the SNAT address) from 198.18.0.0/15 and 2001:db8:ffff::/48, which nobody has."""

import ipaddress
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from l4lb_agent.model import hashing
from l4lb_agent.model.address import Address
from tests.flood.sender import Field, Frame

_TRANSPORT = {4: 34, 6: 54}  # offset
_SOURCE = {4: (28, 2), 6: (34, 4)}  # the last bytes of the source's network that vary
_AIMED = 64  # tuples


@dataclass(frozen=True)
class Target:
    """Whom the floods are for. MACs are of the sender and of the load balancer."""

    family: int
    macs: tuple[str, str]
    vip: str
    port: int
    snat: str
    client: str
    backend: str

    def ip(self, destination: str = "", **fields: object) -> Packet:
        """Headers from somewhere to the VIP, unless told otherwise."""
        frame = Ether(src=self.macs[0], dst=self.macs[1])
        if self.family == 4:
            return frame / IP(src="198.18.0.0", dst=destination or self.vip, ttl=60, **fields)
        return frame / IPv6(src="2001:db8:ffff::", dst=destination or self.vip, hlim=60, **fields)

    def quoted(self, source: str, destination: str, sport: int, dport: int) -> Packet:
        """A packet that an error is about."""
        ip = IP(src=source, dst=destination) if self.family == 4 else IPv6(src=source, dst=destination)
        return ip / TCP(sport=sport, dport=dport, flags="A")

    def frame(self, packet: Packet, *fields: tuple[int, int], follows: bool = False) -> Frame:
        """With a source and these further fields, (offset behind the IP header, bytes), that are random."""
        made, start = [Field(*_SOURCE[self.family], 0)], 8
        for offset, count in fields:
            made.append(Field(_TRANSPORT[self.family] + offset, count, start))
            start += count
        return Frame(bytes(packet), tuple(made), follows)


def question(target: Target) -> bytes:
    """An ARP request for the VIP, which the datapath answers itself."""
    client, _ = target.macs
    return bytes(Ether(src=client, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=client, psrc=target.client, pdst=target.vip))


def syn(target: Target) -> list[Frame]:
    """The first packets of connections: ports and sequence numbers of their own."""
    return [target.frame(target.ip() / TCP(dport=target.port, flags="S"), (0, 2), (4, 4))]


def pairs(target: Target) -> list[Frame]:
    """The same, each followed by the ACK that a client would send."""
    first = target.ip() / TCP(dport=target.port, flags="S", seq=0)
    second = target.ip() / TCP(dport=target.port, flags="A", seq=1)
    return [target.frame(first, (0, 2), (4, 3), (14, 2)), target.frame(second, (0, 2), (4, 3), (8, 4), follows=True)]


def udp(target: Target) -> list[Frame]:
    """Datagrams for random ports."""
    return [target.frame(target.ip() / UDP(dport=1) / Raw(b"flood" * 4), (0, 4))]


def icmp(target: Target) -> list[Frame]:
    """Errors that quote random flows: of the client with the VIP, of a SNAT port with a backend; and of anybody with the VIP."""
    error = ICMP(type=3, code=1) if target.family == 4 else ICMPv6DestUnreach(code=0)
    header = 28 if target.family == 4 else 48  # of the error and of what it quotes, up to the ports
    frames = []
    for destination, client in ((target.vip, target.client), (target.vip, "198.18.77.7" if target.family == 4 else "2001:db8:ffff::7")):
        frames.append(target.frame(target.ip(destination) / error / target.quoted(target.vip, client, target.port, 1), (header + 2, 6)))
    frames.append(target.frame(target.ip(target.snat) / error / target.quoted(target.snat, target.backend, 1, target.port), (header, 2)))
    return frames


def fragments(target: Target) -> list[Frame]:
    """First and later ones of TCP and UDP, which belong to nothing."""
    frames = []
    for number, transport in ((6, TCP(dport=target.port, flags="A")), (17, UDP(dport=target.port, len=2000))):
        for offset in (0, 64, 185):
            payload = Raw(bytes(transport) + bytes(44))
            if target.family == 4:
                packet = target.ip(flags="MF", frag=offset, proto=number, id=1) / payload
                frames.append(Frame(bytes(packet), (Field(28, 2, 0), Field(18, 2, 2), Field(34, 2, 4))))
            else:
                packet = target.ip() / IPv6ExtHdrFragment(nh=number, offset=offset, m=1, id=1) / payload
                frames.append(Frame(bytes(packet), (Field(34, 4, 0), Field(58, 4, 4), Field(62, 2, 8))))
    return frames


def aimed(target: Target, secret: tuple[int, ...] = (0, 0), ring_size: int = 1021) -> list[Frame]:
    """SYNs whose tuples all have one slot, that is one backend, if the hash's key is `secret`."""
    frames: list[Frame] = []
    vip = Address.parse(target.vip, "vip").packed
    network = ipaddress.ip_address("198.18.0.0" if target.family == 4 else "2001:db8:ffff::")
    for number in itertools.count():
        source, port = network + number % 65536, 1024 + number // 65536
        client = (b"" if target.family == 6 else bytes(10) + b"\xff\xff") + source.packed
        if hashing.slot_hash(client, vip, port, target.port, 6, (secret[0], secret[1])) * ring_size >> 32 != ring_size // 2:
            continue
        packet = target.ip() / TCP(sport=port, dport=target.port, flags="S")
        packet[IP if target.family == 4 else IPv6].src = str(source)
        frames.append(Frame(bytes(packet), (Field(_TRANSPORT[target.family] + 4, 4, 0),)))
        if len(frames) == _AIMED:
            break
    return frames


FLOODS: Mapping[str, Callable[[Target], list[Frame]]] = {
    "syn": syn,
    "pairs": pairs,
    "udp": udp,
    "icmp": icmp,
    "fragments": fragments,
    "aimed": aimed,
}


def together(names: Sequence[str], targets: Sequence[Target]) -> list[Frame]:
    """Floods in turn, each as often as every other, for each of the targets."""
    each = [_rounds(FLOODS[name](target)) for name in names for target in targets]
    turns = zip(*(itertools.cycle(rounds) for rounds in each))
    return [frame for turn in itertools.islice(turns, max(map(len, each))) for frames in turn for frame in frames]


def _rounds(frames: list[Frame]) -> list[list[Frame]]:
    """Frames with those that follow them."""
    rounds: list[list[Frame]] = []
    for frame in frames:
        rounds = [*rounds[:-1], [*rounds[-1], frame]] if frame.follows else [*rounds, [frame]]
    return rounds
