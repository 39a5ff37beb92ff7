"""Frames for an owned address that no sound host sends: each kind is dropped for a reason of its own, in every mode, whatever flow it would
belong to; none is forwarded, answered or remembered."""

import itertools

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from l4lb_agent.model import hashing, layout
from l4lb_agent.model.address import Address
from l4lb_agent.model.build import World, config_element
from l4lb_agent.model.config import DatapathConfig, Secrets
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet import modes
from tests.packet.balancer import LOOPBACK, Balancer, mac
from tests.packet.conftest import Make
from tests.packet.modes import every_mode
from tests.packet.wire import (
    BACKEND_MAC,
    CLIENT_MAC,
    CLIENT_PORT,
    LB_MAC,
    V4,
    V6,
    VIP_PORT,
    Family,
    built,
    each_family,
    each_protocol,
    from_backend,
    from_client,
)

L2 = Ether(src=CLIENT_MAC, dst=LB_MAC)
OTHER_MAC = "02:00:00:00:00:99"
FLAGS = "FSRPAUEC"
# What of SYN, RST, FIN, ACK and URG a TCP sends together (RFC 9293 3.5, 3.6, 3.8.5, 3.10)
SENT = {frozenset(flags) for flags in ("S", "SU", "SA", "R", "RA", "A", "AU", "FA", "FAU")}


def ip4(**fields: object) -> Packet:
    """An IPv4 header for the VIP."""
    return L2 / IP(src=V4.client, dst=V4.vip, **fields)


def ip6(**fields: object) -> Packet:
    """An IPv6 header for the VIP."""
    return L2 / IPv6(src=V6.client, dst=V6.vip, **fields)


def tcp(**fields: object) -> Packet:
    """A packet of the flow that is there."""
    return TCP(sport=CLIENT_PORT, dport=VIP_PORT, **{"flags": "A", **fields})


def udp(**fields: object) -> Packet:
    """The same."""
    return UDP(sport=CLIENT_PORT, dport=VIP_PORT, **fields)


MALFORMED = {
    "ipv4_version": (ip4(version=5) / tcp(), Reason.VERSION_WRONG),
    "ipv4_version_6": (ip4(version=6) / tcp(), Reason.VERSION_WRONG),
    "ipv4_header_short": (ip4(ihl=4) / tcp(), Reason.VERSION_WRONG),
    "ipv4_header_none": (ip4(ihl=0) / udp(), Reason.VERSION_WRONG),
    "ipv6_version": (ip6(version=4) / tcp(), Reason.VERSION_WRONG),
    "ipv6_version_0": (ip6(version=0) / udp(), Reason.VERSION_WRONG),
    "ipv4_length_0": (ip4(len=0) / tcp(), Reason.LENGTH_WRONG),
    "ipv4_length_small": (ip4(len=19) / tcp(), Reason.LENGTH_WRONG),
    "ipv4_length_large": (ip4(len=41) / tcp(), Reason.LENGTH_WRONG),
    "ipv4_length_most": (ip4(len=65535) / udp(), Reason.LENGTH_WRONG),
    "ipv6_length_large": (ip6(plen=21) / tcp(), Reason.LENGTH_WRONG),
    "ipv6_length_most": (ip6(plen=65535) / udp(), Reason.LENGTH_WRONG),
    "ipv6_length_0": (ip6(plen=0) / tcp(), Reason.LENGTH_WRONG),
    "tcp_cut": (ip4(len=39) / tcp(), Reason.LENGTH_WRONG),
    "tcp_cut6": (ip6(plen=19) / tcp(), Reason.LENGTH_WRONG),
    "tcp_none": (ip4(len=20) / tcp(), Reason.LENGTH_WRONG),
    "tcp_frame_cut": (bytes(ip4(len=30, proto=6) / Raw(bytes(10))), Reason.LENGTH_WRONG),
    "udp_cut": (ip4(len=27) / udp(), Reason.LENGTH_WRONG),
    "udp_cut6": (ip6(plen=7) / udp(), Reason.LENGTH_WRONG),
    "udp_length_0": (ip4() / udp(len=0), Reason.LENGTH_WRONG),
    "udp_length_small": (ip4() / udp(len=7), Reason.LENGTH_WRONG),
    "udp_length_large": (ip4() / udp(len=9), Reason.LENGTH_WRONG),
    "udp6_length_large": (ip6() / udp(len=9), Reason.LENGTH_WRONG),
    "udp6_length_0": (ip6() / udp(len=0), Reason.LENGTH_WRONG),
    "udp_padding_is_no_payload": (bytes(ip4() / udp(len=10)) + bytes(6), Reason.LENGTH_WRONG),
    "udp6_checksum_none": (ip6() / udp(chksum=0) / Raw(b"q"), Reason.CHECKSUM_WRONG),
    "tcp_offset_0": (ip4() / tcp(dataofs=0), Reason.TCP_OFFSET_WRONG),
    "tcp_offset_4": (ip6() / tcp(dataofs=4), Reason.TCP_OFFSET_WRONG),
    "tcp_offset_15": (ip4() / tcp(dataofs=15), Reason.TCP_OFFSET_WRONG),
    "tcp_offset_beyond": (bytes(ip6() / tcp(dataofs=6)) + bytes(4), Reason.TCP_OFFSET_WRONG),
}
SOURCES = {
    4: ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.1.2", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "169.254.1.1"],
    6: ["::", "::1", "::192.0.2.1", f"::ffff:{V4.client}", "::ffff:0:192.0.2.1", "ff02::1", "ff0e::5", "fe80::1", "febf:ffff::2"],
}
MARTIANS = [(V4 if number == 4 else V6, source) for number, sources in SOURCES.items() for source in sources]
NEARLY = [
    (V4, "1.0.0.0"), (V4, "126.255.255.255"), (V4, "128.0.0.1"), (V4, "223.255.255.255"), (V4, "169.253.255.255"), (V4, "169.255.0.0"),
    (V6, "0:1::1"), (V6, "64:ff9b::c000:201"), (V6, "fe00::1"), (V6, "fec0::1"), (V6, "feff::1"), (V6, "fd00::1"),
]  # fmt: skip


@pytest.fixture
def known(lb: Balancer) -> Balancer:
    """With flows of both families and protocols, and our MAC known."""
    for family in (V4, V6):
        for kind in (TCP, UDP):
            lb.send(from_client(family, kind, b"q", flags="S", seq=1000))
            lb.send(from_backend(family, kind, b"a", flags="SA", seq=5, ack=1001))
            lb.send(from_client(family, kind, b"q", flags="A", seq=1001, ack=6))
    know_mac(lb)
    return lb


def know_mac(lb: Balancer) -> None:
    """What the agent writes when it attaches the program."""
    lb.write("interfaces", LOOPBACK, bytes(layout.Interface(ifindex=LOOPBACK, mac=mac(bytes.fromhex(LB_MAC.replace(":", ""))))))


def dropped(lb: Balancer, packet: object, reason: Reason) -> None:
    """Dropped as it came, and nothing has changed."""
    raw = bytes(packet)  # type: ignore[call-overload]
    before = {name: lb.elements(name) for name in ("flows", "flows_v6", "flow_index", "unanswered", "pool")}, lb.buckets()
    result = lb.send(raw)
    assert (result.reason, result.verdict, result.data) == (reason, Verdict.DROP, raw)
    assert ({name: lb.elements(name) for name in ("flows", "flows_v6", "flow_index", "unanswered", "pool")}, lb.buckets()) == before


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_packet_of_a_flow_is_dropped_with_its_own_reason(known: Balancer, name: str) -> None:
    dropped(known, *MALFORMED[name])


@every_mode
@pytest.mark.parametrize("flags", [0, layout.SERVICE_TRACK_ALL], ids=["changes", "all"])
def test_no_mode_forwards_a_malformed_packet(make: Make, mode: str, flags: int) -> None:
    lb = modes.furnish(make, mode, 0 if mode == "nat" else flags)
    for packet, reason in MALFORMED.values():
        dropped(lb, packet, reason)


@pytest.mark.parametrize("name", MALFORMED)
def test_the_same_passes_untouched_when_the_address_is_also_the_hosts(lb: Balancer, name: str) -> None:
    for family in (V4, V6):
        lb.own(family.vip, layout.ADDRESS_VIP | layout.ADDRESS_LOCAL)
    raw = bytes(MALFORMED[name][0])
    result = lb.send(raw)
    assert (result.reason, result.verdict, result.data) == (Reason.LOCAL, Verdict.PASS, raw)


@pytest.mark.parametrize("name", MALFORMED)
def test_the_same_passes_untouched_when_it_is_for_others(lb: Balancer, name: str) -> None:
    packet = Ether(bytes(MALFORMED[name][0]))
    raw = bytearray(bytes(packet))
    raw[14 + (19 if packet.type == 0x800 else 39)] ^= 0x80
    result = lb.send(bytes(raw))
    assert (result.reason, result.verdict, result.data) == (Reason.FOREIGN, Verdict.PASS, bytes(raw))


@each_protocol
def test_any_bit_that_falls_over_in_an_ipv4_header_is_seen(known: Balancer, kind: type[Packet]) -> None:
    """All but those of version, lengths and destination, which are judged before the checksum or name another; also of a reply."""
    for packet in (from_client(V4, kind, b"data", flags="A", tos=3), from_backend(V4, kind, b"data", flags="A", tos=1)):
        for byte, bit in itertools.product([1, 4, 5, 8, 9, *range(10, 16)], range(8)):
            raw = bytearray(bytes(packet))
            raw[14 + byte] ^= 1 << bit
            result = known.send(bytes(raw))
            assert (result.reason, result.verdict) == (Reason.CHECKSUM_WRONG, Verdict.DROP), f"byte {byte}, bit {bit}"


@pytest.mark.parametrize("wrong", [0x0000, 0xFFFF])
def test_a_checksum_of_zeros_or_ones_alone_is_no_checksum(known: Balancer, wrong: int) -> None:
    dropped(known, ip4(chksum=wrong) / tcp(), Reason.CHECKSUM_WRONG)


def test_an_ipv4_checksum_is_checked_of_icmp_too(known: Balancer) -> None:
    dropped(known, ip4(chksum=0x1234) / ICMP() / Raw(bytes(32)), Reason.CHECKSUM_WRONG)


@each_family
def test_tcp_flags_that_nobody_sends_are_dropped_and_all_others_are_not(known: Balancer, family: Family) -> None:
    """All 256, from the client and from the backend."""
    known.configure(rst_rate=1000, rst_burst=1000)
    for number in range(256):
        flags = "".join(name for place, name in enumerate(FLAGS) if number >> place & 1)
        sent = frozenset(flags) & frozenset("FSRAU") in SENT
        for packet in (from_client(family, flags=flags, seq=1001, ack=6), from_backend(family, flags=flags, seq=6, ack=1001)):
            if sent:
                assert known.send(packet).reason is not Reason.TCP_FLAGS_WRONG, flags
            else:
                dropped(known, packet, Reason.TCP_FLAGS_WRONG)


@pytest.mark.parametrize(("family", "source"), MARTIANS, ids=lambda value: str(value) if isinstance(value, str) else "")
@every_mode
@each_protocol
def test_a_martian_source_starts_no_flow_goes_to_no_backend_and_gets_no_answer(
    make: Make, mode: str, family: Family, source: str, kind: type[Packet]
) -> None:
    lb = modes.furnish(make, mode)
    lb.configure(rst_rate=10, rst_burst=10)
    for flags in ("S", "A", "R") if kind is TCP else ("",):
        reason = Reason.NO_FLOW if mode in ("nat", "keep") and flags == "R" else Reason.SOURCE_MARTIAN
        dropped(lb, from_client(family, kind, b"q", client=source, flags=flags), reason)


@pytest.mark.parametrize(("family", "source"), NEARLY, ids=lambda value: str(value) if isinstance(value, str) else "")
@pytest.mark.parametrize("mode", ["nat", "dsr"])
def test_sources_beside_the_martian_ones_are_served(make: Make, mode: str, family: Family, source: str) -> None:
    lb = modes.furnish(make, mode)
    assert lb.send(from_client(family, client=source, flags="S")).reason is Reason.FLOW_CREATED


@every_mode
@each_family
@each_protocol
def test_an_address_of_ours_is_no_source(make: Make, mode: str, family: Family, kind: type[Packet]) -> None:
    lb = modes.furnish(make, mode)
    lb.configure(rst_rate=10, rst_burst=10)
    other = "192.0.2.77" if family is V4 else "2001:db8::77"
    assert lb.send(from_client(family, kind, b"q", client=other, flags="S")).reason is not Reason.SOURCE_OWNED
    lb.own(other, layout.ADDRESS_VIP)
    for source in (family.vip, family.snat, other):
        dropped(lb, from_client(family, kind, b"q", client=source, port=1234, flags="S"), Reason.SOURCE_OWNED)


@each_family
def test_no_icmp_error_comes_from_an_address_of_ours(known: Balancer, family: Family) -> None:
    quoted = bytes(from_client(family, flags="A"))[14:]
    header = ICMP(type=3, code=1) if family is V4 else ICMPv6DestUnreach(code=0)
    for source in (family.vip, family.snat):
        ip = IP(src=source, dst=family.vip) if family is V4 else IPv6(src=source, dst=family.vip)
        dropped(known, L2 / ip / header / Raw(quoted), Reason.SOURCE_OWNED)


def test_a_source_that_shares_its_bit_with_an_owned_address_is_served(make: Make) -> None:
    """The filter only says whom to look up."""
    lb = modes.furnish(make, "dsr")
    for last in range(256):
        assert lb.send(from_client(V4, client=f"198.51.100.{last}", flags="S")).reason is Reason.FLOW_CREATED


FRAMES = {
    "broadcast": {"dst": "ff:ff:ff:ff:ff:ff"},
    "multicast4": {"dst": "01:00:5e:00:00:01"},
    "multicast6": {"dst": "33:33:00:00:00:01"},
    "other_station": {"dst": OTHER_MAC},
    "from_group": {"src": "03:00:00:00:00:01"},
}


@pytest.mark.parametrize("frame", FRAMES)
@every_mode
@each_family
@each_protocol
def test_a_frame_that_was_not_for_this_station_is_not_forwarded(
    make: Make, mode: str, family: Family, kind: type[Packet], frame: str
) -> None:
    lb = modes.furnish(make, mode)
    know_mac(lb)
    for flags in ("S", "A"):
        packet = from_client(family, kind, b"q", flags=flags)
        for name, value in FRAMES[frame].items():
            setattr(packet, name, value)
        dropped(lb, packet, Reason.FRAME_FOREIGN)


@pytest.mark.parametrize("frame", FRAMES)
@each_family
@each_protocol
def test_no_packet_of_a_known_flow_comes_in_a_frame_for_others(known: Balancer, family: Family, kind: type[Packet], frame: str) -> None:
    echo = built(L2 / (IP(dst=V4.vip) / ICMP() if family is V4 else IPv6(src=V6.client, dst=V6.vip) / ICMPv6EchoRequest()))
    for packet in (from_client(family, kind, b"q", flags="A"), from_backend(family, kind, b"a", flags="A"), echo):
        for name, value in FRAMES[frame].items():
            setattr(packet, name, value)
        dropped(known, packet, Reason.FRAME_FOREIGN)


@each_family
def test_while_our_mac_is_unknown_any_station_is_this_one(lb: Balancer, family: Family) -> None:
    packet = from_client(family, flags="S")
    packet.dst = OTHER_MAC
    assert lb.send(packet).reason is Reason.FLOW_CREATED


def test_reply_frames_are_for_this_station_too(known: Balancer) -> None:
    packet = from_backend(V4, flags="A")
    assert packet.src == BACKEND_MAC
    assert known.send(packet).reason is Reason.TO_CLIENT


def test_the_agent_sets_the_bit_that_the_program_asks_for() -> None:
    owned = [Address.parse(text, "address") for text in (V4.vip, V6.vip, "192.0.2.99", "2001:db8::99")]
    world = World(DatapathConfig(), Secrets(bytes(16), bytes(16)), 1)
    words = layout.Config.from_buffer_copy(config_element(world, owned)).owned_filter
    assert {bit for bit in range(256) if words[bit >> 5] >> (bit & 31) & 1} == {hashing.owned_bit(a.packed) for a in owned}
