"""What a frame is before anybody knows whether it is for us: its tags, its type, the address that decides (bpf/vlan.h, bpf/balance.h)."""

from l4lb_agent.model import layout
from l4lb_agent.model.address import MAPPED
from l4lb_agent.model.explain import packet as p
from l4lb_agent.model.explain import reading, sending
from l4lb_agent.model.explain.packet import Packet, Tuple
from l4lb_agent.model.reasons import Reason

_MOST_TAGS = 2
_THREE_TAGS = 24  # bytes of a frame up to where the third one ends
_SOLICITATION = 24


def take_tags(packet: Packet) -> Reason | None:
    """Takes off all tags, two at most; why the frame is none of ours."""
    packet.device = packet.ifindex
    if packet.has(0, _THREE_TAGS) and all(packet.u16(at) in p.TAGS for at in (12, 16, 20)):
        packet.note("vlan", "more than two tags: passed, untouched")
        return Reason.VLAN_STACKED
    why = None
    while not why and len(packet.tags_in) < _MOST_TAGS and packet.has(0, p.ETHERNET) and packet.u16(12) in p.TAGS:
        why = _take_tag(packet)
    return why


def _take_tag(packet: Packet) -> Reason | None:
    """Takes off the outermost tag of a VLAN that this host is in."""
    if not packet.has(0, p.ETHERNET + layout.TAG_BYTES):
        return Reason.NOT_IP
    kind, tag = packet.u16(12), packet.u16(14)
    vlan = tag & p.VLAN
    key = vlan | (layout.VLAN_SERVICE if kind == p.TYPE_SERVICE_VLAN else 0)
    if vlan:
        known = packet.now.vlan(packet.device, key, sending.places(packet.device, key))
        if not packet.now.config.flags & layout.CONFIG_VLANS or known is None:
            packet.note("vlan", f"this host is not in VLAN {vlan} on this interface: passed, untouched", vlan=vlan)
            return Reason.VLAN_FOREIGN
        packet.device = known.other
    packet.note("vlan", f"the tag of VLAN {vlan} is taken off" if vlan else "a priority tag is taken off", vlan=vlan, tag=f"{tag:#06x}")
    packet.tags_in += ((kind, tag),)
    del packet.frame[12:16]
    return None


def classify(packet: Packet) -> tuple[str | None, bytes]:
    """What a frame is, and the address that decides whether it is for us."""
    if not packet.has(0, p.ETHERNET):
        return None, b""
    kind = packet.u16(12)
    if kind == p.TYPE_IPV4:
        return ("packet", packet.tuple.destination) if reading.addresses(packet, 4) else (None, b"")
    if kind == p.TYPE_ARP:
        return _arp(packet)
    if kind != p.TYPE_IPV6 or not reading.addresses(packet, 6):
        return None, b""
    return _solicitation(packet) or ("packet", packet.tuple.destination)


def _arp(packet: Packet) -> tuple[str | None, bytes]:
    at, frame = p.ETHERNET, packet.frame
    if not packet.has(at, 28) or frame[at : at + 8] != b"\0\1\x08\0\6\4\0\1" or frame[at + 8] & 1:
        return None, b""
    target = bytes(frame[at + 24 : at + 28])
    if frame[at + 14 : at + 18] == target:
        return None, b""
    packet.family = 4
    return "arp", MAPPED + target


def _solicitation(packet: Packet) -> tuple[str, bytes] | None:
    at, frame = p.ETHERNET, packet.frame
    body, size = at + p.IPV6, packet.u16(at + 4)
    if not packet.has(body, _SOLICITATION) or frame[at + 6] != p.PROTOCOL_ICMPV6 or frame[at + 7] != 255 or size < _SOLICITATION:
        return None
    if frame[body] != 135 or frame[body + 1] or frame[at] >> 4 != 6 or not packet.has(body, size):
        return None
    target = bytes(frame[body + 8 : body + 24])
    packet.tuple = Tuple(packet.tuple.source, target)
    return "solicitation", target
