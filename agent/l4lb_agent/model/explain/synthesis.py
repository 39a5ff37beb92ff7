"""The packet that is asked about, as bytes: TCP with flags, UDP, or an ICMP echo request, whole or a fragment, of both families."""

from dataclasses import dataclass
from typing import Final

from l4lb_agent.model import checksums
from l4lb_agent.model.address import is_mapped
from l4lb_agent.model.explain import packet as p

TTL: Final = 64
FLAGS: Final = {"fin": p.FIN, "syn": p.SYN, "rst": p.RST, "psh": p.PSH, "ack": p.ACK, "urg": p.URG}
MOST_PAYLOAD: Final = 3400  # what fits into one page beside what XDP needs
_MSS = {4: 1460, 6: 1440}
_WINDOW = 64240
_DONT_FRAGMENT, _MORE = 0x4000, 0x2000


@dataclass(frozen=True)
class Wanted:
    """A packet of `protocol` (6, 17; 1 or 58 for an echo request, without ports) from one end to the other: addresses of 16 bytes.

    `payload` is how many zeros it carries; `offset` and `more` make it a fragment; `vlan` 0 is no tag."""

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

    @property
    def family(self) -> int:
        """4 or 6."""
        return 4 if is_mapped(self.destination) else 6


def frame(wanted: Wanted, source_mac: bytes, destination_mac: bytes) -> bytes:
    """The frame between two stations."""
    tag = p.TYPE_VLAN.to_bytes(2, "big") + wanted.vlan.to_bytes(2, "big") if wanted.vlan else b""
    kind = p.TYPE_IPV4 if wanted.family == 4 else p.TYPE_IPV6
    return destination_mac + source_mac + tag + kind.to_bytes(2, "big") + _packet(wanted)


def _packet(wanted: Wanted) -> bytes:
    body = bytes(wanted.payload) if wanted.offset else _transport(wanted)
    fragment = wanted.more or wanted.offset > 0
    if wanted.family == 4:
        word = 0 if fragment or wanted.may_fragment else _DONT_FRAGMENT
        word |= (_MORE if wanted.more else 0) | wanted.offset // 8
        header = b"\x45\0" + (p.IPV4 + len(body)).to_bytes(2, "big") + wanted.identification.to_bytes(2, "big") + word.to_bytes(2, "big")
        header += bytes([wanted.ttl, wanted.protocol, 0, 0]) + wanted.source[12:] + wanted.destination[12:]
        return header[:10] + checksums.complete(checksums.words(header)).to_bytes(2, "big") + header[12:] + body
    following = wanted.protocol
    if fragment:
        header = bytes([following, 0]) + (wanted.offset | wanted.more).to_bytes(2, "big") + wanted.identification.to_bytes(4, "big")
        body, following = header + body, 44
    return b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes([following, wanted.ttl]) + wanted.source + wanted.destination + body


def _transport(wanted: Wanted) -> bytes:
    """Header and payload with their checksum."""
    ports = wanted.source_port.to_bytes(2, "big") + wanted.destination_port.to_bytes(2, "big")
    if wanted.protocol == p.PROTOCOL_TCP:
        mss = b"\2\4" + _MSS[wanted.family].to_bytes(2, "big") if wanted.flags & p.SYN else b""
        head = ports + wanted.sequence.to_bytes(4, "big") + wanted.acknowledgement.to_bytes(4, "big")
        head += bytes([(p.TCP + len(mss)) // 4 << 4, wanted.flags]) + _WINDOW.to_bytes(2, "big") + bytes(4) + mss
        return _summed(wanted, head, 16)
    if wanted.protocol == p.PROTOCOL_UDP:
        return _summed(wanted, ports + (p.UDP + wanted.payload).to_bytes(2, "big") + bytes(2), 6)
    return _summed(wanted, bytes([8 if wanted.family == 4 else 128, 0]) + bytes(6), 2)


def _summed(wanted: Wanted, head: bytes, at: int) -> bytes:
    body = head + bytes(wanted.payload)
    covered = 0 if wanted.protocol == p.PROTOCOL_ICMP else checksums.pseudo(wanted.source, wanted.destination, wanted.protocol, len(body))
    checksum = checksums.complete(checksums.words(body) + covered)
    if wanted.protocol == p.PROTOCOL_UDP:
        checksum = checksum or 0xFFFF
    return body[:at] + checksum.to_bytes(2, "big") + body[at + 2 :]
