"""Who talks to whom in the benchmark, and the packets of every case. Addresses are those set aside for it (RFC 2544, RFC 5180).

A flow has a number: its client's address is the first client's plus the number's upper bits, its port FIRST_PORT plus the lower 15 bits,
as bench/wrapper.c counts them.
"""

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

from l4lb_agent.model.reasons import Reason, Verdict

HOSTS: Final = range(1, 17)  # backends, and SNAT addresses: with 64,000 ports each pair, a million flows fill a sixteenth
SERVICE_PORT, BACKEND_PORT, CLOSED_PORT = 80, 8080, 81
OWN_MAC, GATEWAY_MAC = bytes.fromhex("02fe00000001"), bytes.fromhex("02fe00000002")
TCP, UDP = 6, 17
SYN, ACK = 0x02, 0x10
_FIRST_PORT: Final = 1024
_FEW: Final = 1024
_CHECKSUM: Final = 0x1234  # of TCP and UDP: nothing verifies it on the way
_FRAME_BYTES: Final = {4: 60, 6: 80}  # the shortest Ethernet frame, and the first multiple of 8 that holds IPv6 and TCP


@dataclass(frozen=True)
class Family:
    """The addresses of one family, each an `ipaddress` text."""

    number: int  # 4 or 6
    form: str

    def host(self, link: int, number: int) -> str:
        """Host `number` of one of the links below; both under 256."""
        return self.form.format(link, number)

    @property
    def vip(self) -> str:
        """The virtual address."""
        return self.host(0, 1)

    @property
    def client(self) -> str:
        """The first client."""
        return self.host(100, 1)

    @property
    def newcomer(self) -> str:
        """The first of the clients that have no flow yet."""
        return self.host(200, 1)

    @property
    def backends(self) -> tuple[str, ...]:
        """Every backend."""
        return tuple(self.host(1, number) for number in HOSTS)

    @property
    def snats(self) -> tuple[str, ...]:
        """Every SNAT address."""
        return tuple(self.host(2, number) for number in HOSTS)

    @property
    def own(self) -> str:
        """The load balancer's own address."""
        return self.host(3, 1)

    @property
    def gateway(self) -> str:
        """The next hop of everything."""
        return self.host(3, 254)

    @property
    def foreign(self) -> str:
        """Where packets go that are not for us."""
        return self.host(9, 9)


V4 = Family(4, "198.18.{}.{}")
V6 = Family(6, "2001:2:0:{:x}::{:x}")


@dataclass(frozen=True)
class Packet:
    """What the packets of a case look like; addresses and ports of flow 0."""

    family: Family
    protocol: int = TCP
    flags: int = ACK
    source: str = ""  # the first client when empty
    destination: str = ""  # the VIP when empty
    port: int = SERVICE_PORT
    reply: bool = False  # from the backend: the wrapper fills in addresses and ports
    services: int = 0  # among how many VIPs in a row, the destination the first, flows are spread; 0 is one

    def frame(self) -> bytes:
        """The whole Ethernet frame."""
        if self.protocol == TCP:
            transport = struct.pack("!HHIIBBHHH", _FIRST_PORT, self.port, 1, 1, 5 << 4, self.flags, 65535, _CHECKSUM, 0)
        else:
            transport = struct.pack("!HHHH", _FIRST_PORT, self.port, 8, _CHECKSUM)
        texts = (self.source or self.family.client, self.destination or self.family.vip)
        source, destination = (ipaddress.ip_address(text).packed for text in texts)
        if self.family is V4:
            ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(transport), 1, 0x4000, 64, self.protocol, 0)
        else:
            ip = struct.pack("!IHBB", 6 << 28, len(transport), self.protocol, 64)
        ethernet = OWN_MAC + GATEWAY_MAC + (b"\x08\x00" if self.family is V4 else b"\x86\xdd")
        return (ethernet + ip + source + destination + transport).ljust(_FRAME_BYTES[self.family.number], b"\0")

    def like(self, other: "Packet") -> bool:
        """Whether both belong to flows of the same family and protocol."""
        return (self.family, self.protocol) == (other.family, other.protocol)

    def header_sum(self) -> int:
        """Sum of the IPv4 header's 16-bit words, without checksum (still zero) and addresses."""
        return sum(struct.unpack_from("!6H", self.frame(), 14))


@dataclass(frozen=True)
class Case:
    """One row: every packet of it must end for `reason` with `verdict`."""

    name: str  # MODE/TRACKING/FAMILY/PACKET
    flows: int  # chosen at random among so many; 1 is one flow
    packet: Packet
    reason: Reason
    verdict: Verdict = Verdict.TX
    fresh: bool = False  # every packet is a new flow, deleted after each run
    tracked: bool = False  # its flows must have entries in the flow table before
    recorded: bool = False  # while the flight recorder takes what is dropped

    @property
    def established(self) -> bool:
        """Whether its flows must be there before."""
        return self.reason in (Reason.TO_BACKEND, Reason.TO_CLIENT) and not self.packet.destination


def few_of(flows: tuple[int, ...]) -> tuple[int, ...]:
    """The counts for cases that are there to show the difference to IPv4 over TCP, not the cost of a large table."""
    return tuple(count for count in flows if count <= _FEW)


def cases(flows: tuple[int, ...], chunk: int) -> tuple[Case, ...]:
    """The rows that need a table with max(flows) established IPv4 flows; new flows come in runs of `chunk`."""
    established = [Case("nat/-/v4/established", count, Packet(V4), Reason.TO_BACKEND) for count in flows]
    replies = [Case("nat/-/v4/reply", count, Packet(V4, reply=True), Reason.TO_CLIENT) for count in flows]
    few = few_of(flows)
    return (
        *established,
        *replies,
        *(Case("nat/-/v6/established", count, Packet(V6), Reason.TO_BACKEND) for count in few),
        *(Case("nat/-/v4/udp", count, Packet(V4, UDP), Reason.TO_BACKEND) for count in few),
        Case("nat/-/v4/syn", chunk, Packet(V4, flags=SYN, source=V4.newcomer), Reason.FLOW_CREATED, fresh=True),
        Case("pass/-/v4/foreign", 1, Packet(V4, destination=V4.foreign), Reason.FOREIGN, Verdict.PASS),
        Case("pass/-/v6/foreign", 1, Packet(V6, destination=V6.foreign), Reason.FOREIGN, Verdict.PASS),
        Case("drop/-/v4/no-service", 1, Packet(V4, port=CLOSED_PORT), Reason.NO_SERVICE, Verdict.DROP),
        Case("drop/-/v4/recorded", 1, Packet(V4, port=CLOSED_PORT), Reason.NO_SERVICE, Verdict.DROP, recorded=True),
        Case("nat/-/v4/recording", 1, Packet(V4), Reason.TO_BACKEND, recorded=True),
    )
