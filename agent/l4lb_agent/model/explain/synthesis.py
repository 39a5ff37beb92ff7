"""The packet that is asked about, as bytes: TCP, UDP, ICMP or anything else over IP, whole or a fragment, with options or extension
headers; ARP requests and neighbour solicitations; frames of other types. Nothing is checked here: what cannot be may be asked about."""

import enum
from dataclasses import dataclass
from typing import Final

from l4lb_agent.model import checksums
from l4lb_agent.model.address import is_mapped
from l4lb_agent.model.explain import packet as p

TTL: Final = 64
FLAGS: Final = {"fin": p.FIN, "syn": p.SYN, "rst": p.RST, "psh": p.PSH, "ack": p.ACK, "urg": p.URG, "ece": p.ECE, "cwr": p.CWR}
MOST_PAYLOAD: Final = 3400  # what fits into one page beside what XDP needs
LEAST_FRAME, MOST_FRAME = p.ETHERNET, 3516  # as many as can be asked about, with the tag of a way back
MOST_OPTIONS: Final = 40  # bytes of an IPv4 header's, and of a TCP header's
FRAGMENT: Final = 44  # kind of extension header
_AUTHENTICATION: Final = 51
_MSS = {4: 1460, 6: 1440}
_OTHER = 0x5555  # what is changed of a checksum
_WINDOW = 64240
_DONT_FRAGMENT, _MORE = 0x4000, 0x2000
_ECHO = {4: 8, 6: 128}
_BROADCAST = b"\xff" * 6
_SOLICITED = b"\xff\x02" + bytes(9) + b"\1\xff"  # and the last three bytes of the address that is asked for (RFC 4291 2.7.1)
_NEIGHBOUR_HOPS = 255


class Checksum(enum.Enum):
    """What stands where a checksum belongs."""

    RIGHT = "right"
    WRONG = "wrong"
    NONE = "none"  # zero


@dataclass(frozen=True)
class Message:
    """An ICMP message that is no echo request. `quoted` is the packet that it is about, of which `quoted_bytes` after its IP header stand
    in it; None: all."""

    kind: int
    code: int
    mtu: int = 0
    quoted: "Wanted | None" = None
    quoted_bytes: int | None = None


@dataclass(frozen=True)
class Wanted:
    """A packet of `protocol` (of 1 and 58 an echo request, unless `message` is another one) from one end to the other: addresses of 16
    bytes. With `asks_mac` it is an ARP request or a neighbour solicitation for `destination`, with an `ether_type` no IP at all.

    `payload` is how many zeros it carries; `offset` and `more` make it a fragment; `vlan` 0 without priority is no tag, `service_vlan` 0 no
    second one; `size` is that of the frame, whatever its packet needs, 0 to leave it as it is. MACs are 6 bytes, or empty for those of
    frame()."""

    protocol: int
    source: bytes
    destination: bytes
    source_port: int = 0
    destination_port: int = 0
    flags: int = p.SYN
    sequence: int = 0
    acknowledgement: int = 0
    payload: int = 0
    ttl: int = TTL
    may_fragment: bool = False
    identification: int = 0
    offset: int = 0  # bytes
    more: bool = False
    vlan: int = 0
    message: Message | None = None
    ipv4_options: bytes = b""
    headers: tuple[tuple[int, bytes], ...] = ()  # IPv6: kind, and what follows its length; that of FRAGMENT is a place alone
    asks_mac: bool = False
    ether_type: int = 0
    priority: int = 0
    service_vlan: int = 0
    service_type: int = p.TYPE_SERVICE_VLAN  # of that tag
    vlans: tuple[int, ...] = ()  # in place of both: of all tags, the outer one first, as the map of that name numbers them
    size: int = 0
    source_mac: bytes = b""
    destination_mac: bytes = b""
    ip_checksum: Checksum = Checksum.RIGHT
    checksum: Checksum = Checksum.RIGHT  # of what it carries
    mss: int | None = None  # what a segment asks for; None: what is usual with SYN, and nothing without
    tcp_options: bytes = b""  # instead of that

    @property
    def family(self) -> int:
        """4 or 6."""
        return 4 if is_mapped(self.destination) else 6


def frame(wanted: Wanted, source_mac: bytes, destination_mac: bytes) -> bytes:
    """The frame between two stations, unless it names others."""
    source_mac = wanted.source_mac or source_mac
    kind, packet = wanted.ether_type, bytes(wanted.payload)
    if not kind:
        kind = p.TYPE_IPV4 if wanted.family == 4 else p.TYPE_IPV6
        packet = b"" if wanted.asks_mac else _packet(wanted)
    if wanted.asks_mac:
        kind, destination_mac, packet = _request(wanted, source_mac)
    tags = _tag(wanted.service_type, wanted.service_vlan, 0) + _tag(p.TYPE_VLAN, wanted.vlan, wanted.priority)
    tags += b"".join(_tag(*p.as_tag(number), 0) for number in wanted.vlans)
    whole = (wanted.destination_mac or destination_mac) + source_mac + tags + kind.to_bytes(2, "big") + packet
    return whole[: wanted.size].ljust(wanted.size, b"\0") if wanted.size else whole


def _tag(kind: int, vlan: int, priority: int) -> bytes:
    return kind.to_bytes(2, "big") + (priority << 13 | vlan).to_bytes(2, "big") if vlan or priority else b""


def _request(wanted: Wanted, asker: bytes) -> tuple[int, bytes, bytes]:
    """EtherType, the MAC of those who are asked, and the request."""
    target = wanted.destination
    if wanted.family == 4:
        return p.TYPE_ARP, _BROADCAST, b"\0\1\x08\0\6\4\0\1" + asker + wanted.source[12:] + bytes(6) + target[12:]
    group = _SOLICITED + target[13:]
    body = b"\x87" + bytes(7) + target + (b"\1\1" + asker if any(wanted.source) else b"")
    total = checksums.words(body) + checksums.pseudo(wanted.source, group, p.PROTOCOL_ICMPV6, len(body))
    body = body[:2] + checksums.complete(total).to_bytes(2, "big") + body[4:]
    head = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes([p.PROTOCOL_ICMPV6, _NEIGHBOUR_HOPS]) + wanted.source + group
    return p.TYPE_IPV6, b"\x33\x33" + group[12:], head + body


def _packet(wanted: Wanted) -> bytes:
    return _ipv4(wanted) if wanted.family == 4 else _ipv6(wanted)


def _ipv4(wanted: Wanted) -> bytes:
    body, options = _body(wanted), wanted.ipv4_options + bytes(-len(wanted.ipv4_options) % 4)
    word = 0 if wanted.offset or wanted.more or wanted.may_fragment else _DONT_FRAGMENT
    word |= (_MORE if wanted.more else 0) | wanted.offset // 8
    size = p.IPV4 + len(options)
    header = bytes([0x40 | size // 4, 0]) + (size + len(body)).to_bytes(2, "big") + wanted.identification.to_bytes(2, "big")
    header += word.to_bytes(2, "big") + bytes([wanted.ttl, wanted.protocol, 0, 0]) + wanted.source[12:] + wanted.destination[12:] + options
    return header[:10] + _shown(checksums.complete(checksums.words(header)), wanted.ip_checksum) + header[12:] + body


def _ipv6(wanted: Wanted) -> bytes:
    chain = wanted.headers
    if (wanted.more or wanted.offset) and FRAGMENT not in (kind for kind, _ in chain):
        chain = (*chain, (FRAGMENT, b""))
    written = len(chain)
    if wanted.offset:  # headers behind the fragment header came with the first fragment
        written = [kind for kind, _ in chain].index(FRAGMENT) + 1
    following = [kind for kind, _ in chain] + [wanted.protocol]
    body = b"".join(_extension(wanted, kind, following[at + 1], data) for at, (kind, data) in enumerate(chain[:written])) + _body(wanted)
    return b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes([following[0], wanted.ttl]) + wanted.source + wanted.destination + body


def _extension(wanted: Wanted, kind: int, following: int, data: bytes) -> bytes:
    if kind == FRAGMENT:
        return bytes([following, 0]) + (wanted.offset | wanted.more).to_bytes(2, "big") + wanted.identification.to_bytes(4, "big")
    data += bytes(-(len(data) + 2) % 8)
    size = len(data) + 2 or 8
    return bytes([following, size // 4 - 2 if kind == _AUTHENTICATION else size // 8 - 1]) + data


def _body(wanted: Wanted) -> bytes:
    """What the IP header and those after it carry, with its checksum."""
    if wanted.offset or wanted.protocol not in (p.PROTOCOL_TCP, p.PROTOCOL_UDP, p.PROTOCOL_ICMP, p.PROTOCOL_ICMPV6):
        return bytes(wanted.payload)
    ports = wanted.source_port.to_bytes(2, "big") + wanted.destination_port.to_bytes(2, "big")
    payload = bytes(wanted.payload)
    if wanted.protocol == p.PROTOCOL_TCP:
        options = _tcp_options(wanted)
        head = ports + wanted.sequence.to_bytes(4, "big") + wanted.acknowledgement.to_bytes(4, "big")
        head += bytes([(p.TCP + len(options)) // 4 << 4, wanted.flags]) + _WINDOW.to_bytes(2, "big") + bytes(4) + options
        return _summed(wanted, head + payload, 16)
    if wanted.protocol == p.PROTOCOL_UDP:
        return _summed(wanted, ports + (p.UDP + wanted.payload).to_bytes(2, "big") + bytes(2) + payload, 6)
    message = wanted.message or Message(_ECHO[wanted.family], 0)
    head = bytes([message.kind, message.code, 0, 0]) + message.mtu.to_bytes(4, "big")
    return _summed(wanted, head + (_quote(message.quoted, message.quoted_bytes) if message.quoted else payload), 2)


def _tcp_options(wanted: Wanted) -> bytes:
    if wanted.tcp_options:
        return wanted.tcp_options + bytes(-len(wanted.tcp_options) % 4)
    mss = _MSS[wanted.family] if wanted.mss is None and wanted.flags & p.SYN else wanted.mss
    return b"" if mss is None else b"\2\4" + mss.to_bytes(2, "big")


def _quote(quoted: Wanted, size: int | None) -> bytes:
    """The packet as a router quotes it."""
    header = p.IPV4 + len(quoted.ipv4_options) + -len(quoted.ipv4_options) % 4 if quoted.family == 4 else p.IPV6
    return _packet(quoted)[: None if size is None else header + size]


def _summed(wanted: Wanted, body: bytes, at: int) -> bytes:
    covered = 0 if wanted.protocol == p.PROTOCOL_ICMP else checksums.pseudo(wanted.source, wanted.destination, wanted.protocol, len(body))
    checksum = checksums.complete(checksums.words(body) + covered)
    if wanted.protocol == p.PROTOCOL_UDP:
        checksum = checksum or 0xFFFF
    return body[:at] + _shown(checksum, wanted.checksum) + body[at + 2 :]


def _shown(checksum: int, how: Checksum) -> bytes:
    """What stands where the checksum belongs; a wrong one is never zero, which says that there is none."""
    wrong = checksum ^ _OTHER or ~_OTHER & 0xFFFF
    return {Checksum.RIGHT: checksum, Checksum.WRONG: wrong, Checksum.NONE: 0}[how].to_bytes(2, "big")
