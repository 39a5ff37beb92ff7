"""What decides who gets a frame, read back from its bytes: MACs, tags, outer and inner addresses and ports."""

from dataclasses import dataclass

from l4lb_agent.model.address import MAPPED
from l4lb_agent.model.explain import packet as p
from l4lb_agent.model.explain.odd import EXTENSION, extension_bytes
from l4lb_agent.model.explain.packet import Tuple
from l4lb_agent.model.explain.reading import EXTENSIONS
from l4lb_agent.model.explain.synthesis import FRAGMENT

_TAG = 4
_ARP = 28


@dataclass(frozen=True)
class Summary:
    """Of one frame. `outer` is None without an outer header, `inner` of what has no addresses; ports are 0 where there are none, those of
    later fragments and of what ends before them among others."""

    ether_type: int = 0
    vlan: int = 0
    service_vlan: int = 0  # of the outer one of several tags, or of one of 802.1ad alone
    service_type: int = 0  # of that tag
    source_mac: bytes = bytes(6)
    destination_mac: bytes = bytes(6)
    outer: Tuple | None = None
    inner: Tuple | None = None


def summary(frame: bytes, overhead: int = 0) -> Summary:
    """Of an Ethernet frame; `overhead` says how many bytes of outer headers its packet has."""
    at, tags = p.ETHERNET, list[p.Tag]()
    while (kind := int.from_bytes(frame[at - 2 : at], "big")) in p.TAGS and len(frame) >= at + _TAG:
        tags.append((kind, int.from_bytes(frame[at : at + 2], "big") & p.VLAN))
        at += _TAG
    outer_tag = tags[0] if len(tags) > 1 or (tags and tags[0][0] == p.TYPE_SERVICE_VLAN) else (0, 0)
    vlan = tags[-1][1] if tags[1:] or not outer_tag[0] and tags else 0
    outer = _ends(frame, at, kind) if overhead else None
    inner = _ends(frame, at + overhead, kind if not overhead else 0)
    return Summary(kind, vlan, outer_tag[1], outer_tag[0], frame[6:12], frame[0:6], outer, inner)


def _ends(frame: bytes, at: int, kind: int) -> Tuple | None:
    """Addresses, protocol and ports of what begins there; of EtherType 0 its version tells what it is."""
    if kind == p.TYPE_ARP:
        asked = frame[at : at + _ARP]
        return Tuple(MAPPED + asked[14:18], MAPPED + asked[24:28]) if len(asked) == _ARP else None
    if kind not in (0, p.TYPE_IPV4, p.TYPE_IPV6) or len(frame) < at + p.IPV4:
        return None
    if kind == p.TYPE_IPV4 or (not kind and frame[at] >> 4 == 4):
        source, destination = MAPPED + frame[at + 12 : at + 16], MAPPED + frame[at + 16 : at + 20]
        later = int.from_bytes(frame[at + 6 : at + 8], "big") & 0x1FFF
        return _with_ports(frame, at + max(p.IPV4, (frame[at] & 15) * 4), source, destination, frame[at + 9], bool(later))
    if len(frame) < at + p.IPV6:
        return None
    protocol, start, later = frame[at + 6], at + p.IPV6, 0
    while protocol in EXTENSIONS and not later and len(frame) >= start + EXTENSION:
        header = frame[start : start + EXTENSION]
        later = int.from_bytes(header[2:4], "big") & 0xFFF8 if protocol == FRAGMENT else 0
        start, protocol = start + extension_bytes(header, protocol), header[0]
    return _with_ports(frame, start, frame[at + 8 : at + 24], frame[at + 24 : at + 40], protocol, bool(later))


def _with_ports(frame: bytes, at: int, source: bytes, destination: bytes, protocol: int, later: bool) -> Tuple:
    ports = frame[at : at + 4]
    if later or protocol not in (p.PROTOCOL_TCP, p.PROTOCOL_UDP) or len(ports) < 4:
        return Tuple(source, destination, 0, 0, protocol)
    return Tuple(source, destination, int.from_bytes(ports[:2], "big"), int.from_bytes(ports[2:], "big"), protocol)
