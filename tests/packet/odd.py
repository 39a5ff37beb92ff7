"""What the packet tests of options, extension headers and fragments share: scapy alone builds each of them from a plain frame."""

import struct

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.packet import NoPayload, Packet, Raw

from l4lb_agent.model import layout
from tests.packet.balancer import Balancer
from tests.packet.wire import built

IDENTIFICATION = 0xBEEF


def with_options(packet: Packet, options: object) -> Packet:
    """A frame whose IPv4 header has these options."""
    packet = packet.copy()
    packet[IP].options, packet[IP].ihl, packet[IP].len, packet[IP].chksum = options, None, None, None
    return built(packet)


def with_headers(packet: Packet, *headers: Packet) -> Packet:
    """A frame with these headers between its IPv6 header and what follows; that one's checksum does not know of them."""
    packet = packet.copy()
    ip, kind = packet[IPv6], packet[IPv6].nh
    payload = ip.payload
    ip.remove_payload()
    del ip.plen, ip.nh
    chain: Packet = NoPayload()
    for header in headers:
        chain = header.copy() if isinstance(chain, NoPayload) else chain / header.copy()
    last = chain.lastlayer()
    last.nh = kind
    return built(packet / chain / Raw(bytes(payload)))


def cut(packet: Packet, size: int, identification: int = IDENTIFICATION) -> list[Packet]:
    """The frames of a datagram whose fragments bring `size` bytes each, a multiple of 8."""
    if IP in packet:
        return _cut4(packet, size, identification)
    data = bytes(packet[IPv6].payload)
    frames = []
    for at in range(0, len(data), size):
        piece = packet.copy()
        ip = piece[IPv6]
        ip.remove_payload()
        ip.plen = None
        header = IPv6ExtHdrFragment(nh=ip.nh, offset=at // 8, m=at + size < len(data), id=identification)
        ip.nh = 44
        frames.append(built(piece / header / Raw(data[at : at + size])))
    return frames


def _cut4(packet: Packet, size: int, identification: int) -> list[Packet]:
    data = bytes(packet[IP].payload)
    frames = []
    for at in range(0, len(data), size):
        piece = packet.copy()
        ip = piece[IP]
        ip.remove_payload()
        ip.len, ip.chksum, ip.id, ip.frag = None, None, identification, at // 8
        ip.flags = "MF" if at + size < len(data) else 0
        frames.append(built(piece / Raw(data[at : at + size])))
    return frames


def identification(frame: bytes) -> int:
    """Of an IPv4 frame."""
    return int(Ether(frame)[IP].id)


def entries(lb: Balancer) -> list[layout.FragmentEntry]:
    """What the table of fragments holds."""
    found = []
    for _, value in lb.used("fragments"):
        found += [entry for entry in layout.FragmentBucket.from_buffer_copy(value).entry if entry.word]
    return found


def age(lb: Balancer, ticks: int) -> None:
    """Move every stamp of the table of fragments that far into the past."""
    for number, value in lb.used("fragments"):
        bucket = layout.FragmentBucket.from_buffer_copy(value)
        for entry in bucket.entry:
            entry.stamp = (entry.stamp - ticks) % (1 << 32)
        lb.write("fragments", struct.pack("<I", number), bytes(bucket))
