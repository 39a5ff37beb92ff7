"""The packet at hand, what is known of it, and what has been found about it: bpf/scratch.h in Python."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from l4lb_agent.model import hashing, layout
from l4lb_agent.model.address import MAPPED, Address
from l4lb_agent.model.choice.layout import AffinityBucket
from l4lb_agent.model.explain.moment import Moment, Secret
from l4lb_agent.model.layout import FragmentEntry
from l4lb_agent.model.reasons import Reason, Verdict

ETHERNET: Final = 14
IPV4, IPV6, TCP, UDP, ICMP = 20, 40, 20, 8, 8  # bytes of headers
PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMPV6 = 1, 6, 17, 58
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 1, 2, 4, 8, 16, 32, 64, 128
TYPE_IPV4, TYPE_ARP, TYPE_IPV6, TYPE_VLAN, TYPE_SERVICE_VLAN = 0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8
TAGS = (TYPE_VLAN, TYPE_SERVICE_VLAN)
VLAN = 0xFFF  # of a tag
Tag = tuple[int, int]  # one of TAGS, and the 16 bits after it
Tags = tuple[Tag, ...]  # the outer one first


def as_tag(number: int) -> Tag:
    """The tag of a VLAN as `vlans` numbers it."""
    return TYPE_SERVICE_VLAN if number & layout.VLAN_SERVICE else TYPE_VLAN, number & VLAN


class Part(enum.Enum):
    """Which part of its datagram a packet is."""

    WHOLE = "whole"
    FIRST = "first fragment"
    LATER = "later fragment"


@dataclass(frozen=True)
class Step:
    """One step of the road: what was looked at (one word, for programs), what was found (for people), and the facts."""

    name: str
    finding: str
    evidence: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class End:
    """How a packet ends."""

    reason: Reason
    verdict: Verdict


@dataclass(frozen=True)
class Tuple:
    """Addresses (16 bytes each) and ports of a packet."""

    source: bytes = bytes(16)
    destination: bytes = bytes(16)
    source_port: int = 0
    destination_port: int = 0
    protocol: int = 0

    def hash(self, secret: Secret) -> int:
        """What tells flows apart."""
        return hashing.tuple_hash(self.source, self.destination, self.source_port, self.destination_port, self.protocol, secret)

    def reversed(self) -> "Tuple":
        """That of packets in the other direction."""
        return Tuple(self.destination, self.source, self.destination_port, self.source_port, self.protocol)

    def __str__(self) -> str:
        return f"{end(self.source, self.source_port)} -> {end(self.destination, self.destination_port)}"


@dataclass
class Piece:
    """A fragment, and what the table of fragments knows of its datagram."""

    identification: int = 0
    offset: int = 0
    size: int = 0
    more: bool = False
    renamed: int = 0
    backend: int = 0
    tag: int = 0
    entry: FragmentEntry | None = None  # of its datagram


@dataclass
class Affine:
    """Where the entry of a client with affinity is, or goes: the element, the place in it, the client's tag; the entry that it has, 0 for
    none; and for how many seconds one counts."""

    bucket: AffinityBucket
    place: int
    tag: int
    entry: int
    seconds: int


@dataclass
class Packet:
    """A frame on its road. What the datapath would write is written into `frame`."""

    frame: bytearray
    ifindex: int
    now: Moment
    steps: list[Step] = field(default_factory=list)
    family: int = 0
    tuple: Tuple = field(default_factory=Tuple)
    owned: int = 0  # ADDRESS_* of the destination
    length: int = 0  # of the IP packet
    ttl: int = 0
    flags: int = 0  # of TCP
    sequence: int = 0
    acknowledgement: int = 0
    segment: int = 0  # sequence numbers that it takes
    transport: int = 0  # offset of the transport header
    part: Part = Part.WHOLE
    piece: Piece = field(default_factory=Piece)
    affinity: Affine | None = None
    tag: int = 0  # by which the flow table knows it
    recording: bool = False  # has options that translation would falsify
    payload: int | None = None  # sum over the whole IP packet, one hop later, where it was computed
    service: int = 0
    backend: int = 0
    word: int = 0  # of the service
    tags_in: Tags = ()
    tags_out: Tags = ()
    device: int = 0  # that the tags are of: a VLAN device, or the interface
    vanished: bool = False  # the VLAN device by which it was to leave
    out: int = 0  # interface by which it leaves
    way_mtu: int = 0  # of the way that it is too long for
    overhead: int = 0  # bytes of the outer headers that it got
    limited: Reason | None = None  # how it ends instead when the budget for its answer is used up

    def note(self, name: str, finding: str, **evidence: object) -> None:
        """One more step."""
        self.steps.append(Step(name, finding, {key: str(value) for key, value in evidence.items() if value not in (None, "")}))

    @property
    def tcp(self) -> bool:
        """Whether it is a segment."""
        return self.tuple.protocol == PROTOCOL_TCP

    @property
    def syn(self) -> bool:
        """Whether it opens a connection."""
        return self.tcp and self.flags & (SYN | ACK) == SYN

    @property
    def mode(self) -> int:
        """MODE_* of the service."""
        return (self.word & layout.SERVICE_MODE) >> layout.SERVICE_MODE_SHIFT

    @property
    def header(self) -> int:
        """Bytes of a plain IP header of its family."""
        return IPV4 if self.family == 4 else IPV6

    def has(self, offset: int, size: int) -> bool:
        """Whether the frame has these bytes."""
        return offset + size <= len(self.frame)

    def u16(self, offset: int) -> int:
        """Two bytes in network order."""
        return int.from_bytes(self.frame[offset : offset + 2], "big")

    def put16(self, offset: int, value: int) -> None:
        """Write two bytes in network order."""
        self.frame[offset : offset + 2] = (value & 0xFFFF).to_bytes(2, "big")

    def u32(self, offset: int) -> int:
        """Four bytes in network order."""
        return int.from_bytes(self.frame[offset : offset + 4], "big")

    def address(self, offset: int) -> bytes:
        """An address of the packet's family, as maps hold it."""
        if self.family == 4:
            return MAPPED + bytes(self.frame[offset : offset + 4])
        return bytes(self.frame[offset : offset + 16])

    def put_address(self, offset: int, address: bytes) -> None:
        """Write an address of the packet's family."""
        raw = address[12:] if self.family == 4 else address
        self.frame[offset : offset + len(raw)] = raw

    def refuse(self, reason: Reason) -> End:
        """Not forwarded: the host's own business when the address is the host's, too, and when it is none of ours."""
        if self.owned & layout.ADDRESS_FOREIGN:
            self.note("address", f"none of ours: passed instead of dropped as {reason.name}", instead_of=reason.name)
            return End(Reason.FOREIGN, Verdict.PASS)
        if self.owned & layout.ADDRESS_LOCAL:
            self.note("host", f"the address is this host's, too: passed up instead of dropped as {reason.name}", instead_of=reason.name)
            return End(Reason.LOCAL, Verdict.PASS)
        return drop(reason)


def drop(reason: Reason) -> End:
    """Dropped."""
    return End(reason, Verdict.DROP)


def end(address: bytes, port: int) -> str:
    """Address and port, as people write them."""
    text = str(Address(address))
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"
