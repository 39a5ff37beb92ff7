"""The decapsulator of the laboratory's backends: what it takes out of which outer header, and what it lets alone or drops."""

from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from l4lb_agent.dataplane import syscall
from lab.direct.decapsulator import COUNTS, Decapsulator
from lab.topology import Host
from tests.packet.wire import BACKEND_MAC, LB_MAC, V4, V6, Family, built, each_family, same, transport

PORT = 6080
BACKEND = Host(V4.backends[0], V6.backends[0])
DROP, PASS = 1, 2
NUMBER = {4: 4, 6: 41}  # protocol numbers of IP in IP


@pytest.fixture(scope="module")
def decapsulator() -> Iterator[Decapsulator]:
    made = Decapsulator(BACKEND, PORT)
    yield made
    made.close()


def run(decapsulator: Decapsulator, frame: Packet | bytes) -> tuple[int, str, bytes]:
    """Verdict, what it was counted as, and the frame afterwards."""
    before = decapsulator.counts()
    result = syscall.prog_test_run(decapsulator.program.fileno(), bytes(frame))
    after = decapsulator.counts()
    [counted] = [name for name in COUNTS if after[name] != before[name]]
    assert after[counted] == before[counted] + 1
    return result.retval, counted, result.data


def inner(family: Family, payload: bytes = b"hello") -> Packet:
    """A client's packet to the VIP."""
    return family.ip(family.client, family.vip) / transport(TCP, 40000, 80, payload, flags="PA", seq=1, ack=2)


def plain(packet: Packet) -> Packet:
    """The frame that the backend's stack gets."""
    return built(Ether(src=LB_MAC, dst=BACKEND_MAC) / packet)


def ipip(outer: Family, packet: Packet) -> Packet:
    """In IP alone."""
    number = NUMBER[6 if IPv6 in packet else 4]
    header = IP(src=V4.snat, dst=BACKEND.v4, proto=number) if outer.version == 4 else IPv6(src=V6.snat, dst=BACKEND.v6, nh=number)
    return built(Ether(src=LB_MAC, dst=BACKEND_MAC) / header / bytes(packet))


def udp(outer: Family, payload: bytes, *, checksum: bool, port: int = PORT, **fields: object) -> Packet:
    """In UDP, with a whole checksum or none."""
    header = IP(src=V4.snat, dst=BACKEND.v4) if outer.version == 4 else IPv6(src=V6.snat, dst=BACKEND.v6)
    datagram = UDP(sport=54321, dport=port, **fields) if checksum else UDP(sport=54321, dport=port, chksum=0, **fields)
    return built(Ether(src=LB_MAC, dst=BACKEND_MAC) / header / datagram / Raw(payload))


def gue(packet: Packet) -> bytes:
    """Variant 0 with its header of 4 bytes."""
    return bytes([0, NUMBER[6 if IPv6 in packet else 4], 0, 0]) + bytes(packet)


each_outer = pytest.mark.parametrize("outer", [V4, V6], ids=["in4", "in6"])
each_checksum = pytest.mark.parametrize("checksum", [False, True], ids=["without-checksum", "with-checksum"])


@each_outer
@each_family
def test_ipip_of_every_pair_of_families_becomes_the_inner_packet(decapsulator: Decapsulator, family: Family, outer: Family) -> None:
    packet = inner(family)
    verdict, counted, data = run(decapsulator, ipip(outer, packet))
    assert (verdict, counted) == (PASS, "ipip")
    same(data, plain(packet))


@each_checksum
@each_outer
@each_family
@pytest.mark.parametrize("variant", [0, 1])
def test_both_variants_of_gue_become_the_inner_packet(
    decapsulator: Decapsulator, family: Family, outer: Family, checksum: bool, variant: int
) -> None:
    packet = inner(family)
    payload = gue(packet) if variant == 0 else bytes(packet)
    verdict, counted, data = run(decapsulator, udp(outer, payload, checksum=checksum))
    assert (verdict, counted) == (PASS, "fou" if variant else "gue")
    same(data, plain(packet))


@each_outer
@pytest.mark.parametrize("size", [0, 1, 2, 3, 700, 1399, 1400])
def test_a_checksum_is_verified_over_any_length(decapsulator: Decapsulator, outer: Family, size: int) -> None:
    packet = inner(V4, bytes(range(256)) * 6)
    packet = inner(V4, bytes(packet[Raw])[:size])
    assert run(decapsulator, udp(outer, gue(packet), checksum=True))[:2] == (PASS, "gue")
    wrong = bytearray(bytes(udp(outer, gue(packet), checksum=True)))
    wrong[-1] ^= 0x40
    assert run(decapsulator, wrong)[:2] == (DROP, "bad_checksum")


def test_bytes_after_the_outer_packet_change_nothing(decapsulator: Decapsulator) -> None:
    packet = inner(V4)
    frame = bytes(udp(V4, gue(packet), checksum=True)) + b"\xa5\x5a\xa5"
    verdict, counted, data = run(decapsulator, frame)
    assert (verdict, counted, data) == (PASS, "gue", bytes(plain(packet)) + b"\xa5\x5a\xa5")


def others() -> dict[str, Packet]:
    """Frames that are no packet encapsulated for this backend."""
    packet = inner(V4)
    to_other = Ether(src=LB_MAC, dst=BACKEND_MAC) / IP(src=V4.snat, dst=V4.backends[1], proto=4) / bytes(packet)
    return {
        "the inner packet alone": plain(packet),
        "ARP": Ether(src=LB_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(psrc="192.0.2.1", pdst=BACKEND.v4),
        "IPIP to another host": built(to_other),
        "UDP to another port": udp(V4, gue(packet), checksum=True, port=PORT + 1),
        "UDP over IPv6 to another port": udp(V6, gue(packet), checksum=True, port=PORT - 1),
        "a fragment": built(Ether(src=LB_MAC, dst=BACKEND_MAC) / IP(src=V4.snat, dst=BACKEND.v4, proto=4, flags="MF") / bytes(packet)),
        "TCP to the backend": built(Ether(src=LB_MAC, dst=BACKEND_MAC) / IP(src=V4.client, dst=BACKEND.v4) / TCP(dport=PORT)),
    }


@pytest.mark.parametrize("what", others())
def test_what_is_not_encapsulated_for_this_backend_passes_untouched(decapsulator: Decapsulator, what: str) -> None:
    frame = others()[what]
    assert run(decapsulator, frame) == (PASS, "not_encapsulated", bytes(frame))


def damaged() -> dict[str, tuple[bytes, str]]:
    """Encapsulated packets that are wrong, and what they are counted as."""
    packet = inner(V4)
    in4, in6 = bytes(ipip(V4, packet)), bytes(ipip(V6, packet))
    wrong_sum = bytearray(in4)
    wrong_sum[24] ^= 1
    longer = built(Ether(src=LB_MAC, dst=BACKEND_MAC) / IP(src=V4.snat, dst=BACKEND.v4, proto=4) / (bytes(packet) + b"\0"))
    as_ipv6 = built(Ether(src=LB_MAC, dst=BACKEND_MAC) / IP(src=V4.snat, dst=BACKEND.v4, proto=41) / bytes(packet))
    empty = built(Ether(src=LB_MAC, dst=BACKEND_MAC) / IPv6(src=V6.snat, dst=BACKEND.v6, nh=41) / Raw(b""))
    cut_udp = udp(V4, gue(packet), checksum=False, len=20)
    return {
        "an outer header with a wrong checksum": (bytes(wrong_sum), "bad_checksum"),
        "a frame shorter than IPv4 says": (in4[:-1], "bad_length"),
        "a frame shorter than IPv6 says": (in6[:-1], "bad_length"),
        "an inner packet shorter than the outer says": (bytes(longer), "bad_length"),
        "nothing inside": (bytes(empty), "bad_header"),
        "IPv4 that is announced as IPv6": (bytes(as_ipv6), "bad_header"),
        "a UDP length that is not the packet's": (bytes(cut_udp), "bad_length"),
        "GUE with a control message": (bytes(udp(V4, bytes([0x20, 4, 0, 0]) + bytes(packet), checksum=False)), "bad_header"),
        "GUE with optional fields": (bytes(udp(V4, bytes([1, 4, 0, 0, 0, 0, 0, 0]) + bytes(packet), checksum=False)), "bad_header"),
        "GUE with flags": (bytes(udp(V4, bytes([0, 4, 0x80, 0]) + bytes(packet), checksum=False)), "bad_header"),
        "GUE with TCP inside": (bytes(udp(V4, bytes([0, 6, 0, 0]) + bytes(packet), checksum=False)), "bad_header"),
        "GUE of variant 2": (bytes(udp(V4, bytes([0x80, 4, 0, 0]) + bytes(packet), checksum=False)), "bad_header"),
        "variant 1 with neither IPv4 nor IPv6": (bytes(udp(V4, b"\x50" + bytes(packet)[1:], checksum=False)), "bad_header"),
    }


@pytest.mark.parametrize("what", damaged())
def test_what_is_encapsulated_and_wrong_is_dropped(decapsulator: Decapsulator, what: str) -> None:
    frame, expected = damaged()[what]
    assert run(decapsulator, frame)[:2] == (DROP, expected)


def test_a_backend_that_has_moved_takes_what_is_for_its_new_address() -> None:
    decapsulator = Decapsulator(Host(V4.backends[1], V6.backends[1]), PORT)
    frame = ipip(V4, inner(V6))
    assert run(decapsulator, frame)[1] == "not_encapsulated"
    decapsulator.move(BACKEND)
    assert run(decapsulator, frame)[1] == "ipip"
    decapsulator.close()
