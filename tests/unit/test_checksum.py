"""Checksums of captured frames: right, wrong, left to a card, or not to be told."""

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from l4lb.checksum import fault

FAMILIES = {4: lambda: IP(src="192.0.2.1", dst="198.51.100.7"), 6: lambda: IPv6(src="2001:db8::1", dst="2001:db8::7")}


def pseudo(packet: Packet, protocol: int) -> int:
    """The sum that a kernel leaves to a card: RFC 9293 3.1, RFC 8200 8.1, without complement."""
    inner = packet[IP] if IP in packet else packet[IPv6]
    transport = bytes(packet[TCP if protocol == 6 else UDP])
    ends = bytes(inner)[12:20] if IP in packet else bytes(inner)[8:40]
    words = ends + bytes([0, protocol]) + len(transport).to_bytes(2, "big")
    total = sum(int.from_bytes(words[i : i + 2], "big") for i in range(0, len(words), 2))
    return (total & 0xFFFF) + (total >> 16)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("kind", [TCP, UDP])
@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize("data", [b"", b"odd", b"even"])
def test_each_checksum_is_told(family: int, kind: type[Packet], tagged: bool, data: bytes) -> None:
    link = Ether() / Dot1Q(vlan=7) if tagged else Ether()
    whole = Ether(bytes(link / FAMILIES[family]() / kind(sport=1000, dport=80) / Raw(data)))
    assert fault(bytes(whole)) == ""
    assert fault(bytes(whole) + bytes(6)) == "", "padding"
    right = whole[kind].chksum
    whole[kind].chksum = right ^ 1
    assert fault(bytes(whole)) == "wrong"
    whole[kind].chksum = 1  # so that scapy leaves it alone
    whole[kind].chksum = pseudo(whole, 6 if kind is TCP else 17)
    assert fault(bytes(whole)) == "unfinished"


def test_what_cannot_be_told_is_not() -> None:
    packet = Ether() / IP() / TCP(chksum=1)
    assert fault(bytes(packet)) == "wrong"
    assert fault(bytes(packet)[:-1]) == "", "cut"
    assert fault(bytes(Ether() / IP(flags="MF") / TCP(chksum=1))) == "", "a fragment"
    assert fault(bytes(Ether() / IPv6() / IPv6ExtHdrFragment() / TCP(chksum=1))) == ""
    assert fault(bytes(Ether() / IP() / UDP(chksum=0))) == "", "without"
    for short in (b"", bytes(20), bytes(Ether() / IP())[:30]):
        assert fault(short) == ""
