"""What decides who gets a frame, read back from its bytes: MACs, tag, outer and inner addresses and ports."""

from dataclasses import dataclass, field

from l4lb_agent.model.address import MAPPED
from l4lb_agent.model.explain import packet as p
from l4lb_agent.model.explain.packet import Tuple

_TAG = 4
_FRAGMENT = 44


@dataclass(frozen=True)
class Summary:
    """Of one frame. `outer` is None without an outer header; ports are 0 where there are none."""

    vlan: int = 0
    source_mac: bytes = bytes(6)
    destination_mac: bytes = bytes(6)
    outer: Tuple | None = None
    inner: Tuple = field(default_factory=Tuple)


def summary(frame: bytes, overhead: int = 0) -> Summary:
    """Of a frame that this package made; `overhead` says how many bytes of outer headers its packet has."""
    at, vlan, kind = p.ETHERNET, 0, int.from_bytes(frame[12:14], "big")
    if kind == p.TYPE_VLAN:
        vlan, kind = int.from_bytes(frame[14:16], "big") & p.VLAN, int.from_bytes(frame[16:18], "big")
        at += _TAG
    outer = _ends(frame, at) if overhead else None
    inner = _ends(frame, at + overhead) if kind in (p.TYPE_IPV4, p.TYPE_IPV6) else Tuple()
    return Summary(vlan, frame[6:12], frame[0:6], outer, inner)


def _ends(frame: bytes, at: int) -> Tuple:
    """Addresses, protocol and ports of a packet without options."""
    if frame[at] >> 4 == 4:
        source, destination = MAPPED + frame[at + 12 : at + 16], MAPPED + frame[at + 16 : at + 20]
        later = int.from_bytes(frame[at + 6 : at + 8], "big") & 0x1FFF
        return _with_ports(frame, at + p.IPV4, source, destination, frame[at + 9], bool(later))
    protocol, start, later = frame[at + 6], at + p.IPV6, 0
    if protocol == _FRAGMENT:
        protocol, later = frame[start], int.from_bytes(frame[start + 2 : start + 4], "big") & 0xFFF8
        start += p.UDP
    return _with_ports(frame, start, frame[at + 8 : at + 24], frame[at + 24 : at + 40], protocol, bool(later))


def _with_ports(frame: bytes, at: int, source: bytes, destination: bytes, protocol: int, later: bool) -> Tuple:
    if later or protocol not in (p.PROTOCOL_TCP, p.PROTOCOL_UDP):
        return Tuple(source, destination, 0, 0, protocol)
    ports = int.from_bytes(frame[at : at + 2], "big"), int.from_bytes(frame[at + 2 : at + 4], "big")
    return Tuple(source, destination, *ports, protocol)
