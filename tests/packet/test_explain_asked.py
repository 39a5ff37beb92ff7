"""Every field of a packet that is asked about becomes the bytes that it names, so that the program ends it for the reason that it must, and
the same is explained of it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet import TCP as SCAPY_TCP
from scapy.layers.inet import UDP as SCAPY_UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether

from l4lb_agent.dataplane.program import Objects
from l4lb_agent.dataplane.twin import LONGEST_FRAME
from l4lb_agent.model import layout
from l4lb_agent.model.explain import packet as p
from l4lb_agent.model.explain.compare import differences
from l4lb_agent.model.explain.packet import ACK, CWR, ECE, SYN
from l4lb_agent.model.explain.summary import summary
from l4lb_agent.model.explain.synthesis import MOST_FRAME, MOST_PAYLOAD, Checksum, Message, Wanted, frame
from l4lb_agent.model.reasons import Reason
from tests.packet import vlans
from tests.packet.balancer import LB_MAC, LOOPBACK, Balancer, address, mac
from tests.packet.conftest import furnish
from tests.packet.explaining import Explainer, compare
from tests.packet.wire import V4, V6, Family, from_client

ROUTER = {4: "198.18.0.254", 6: "2001:db8:ff::1"}
CLIENT_MAC = bytes.fromhex("020000000001")


@pytest.fixture
def flowing(lb: Balancer, objects: Objects) -> Iterator[tuple[Balancer, Explainer]]:
    """With flows of each family and protocol, budgets, VLAN 7, the interface's MAC."""
    furnish(lb, second_multiplier=1, rst_rate=100, rst_burst=100, icmp_rate=100, icmp_burst=100)  # a clock that almost stands still
    vlans.join(lb, (7,))
    lb.write("interfaces", LOOPBACK, bytes(layout.Interface(ifindex=LOOPBACK, mac=mac(LB_MAC))))
    for family in (V4, V6):
        lb.own(family.vip, layout.ADDRESS_VIP | layout.ADDRESS_ECHO)
        for kind in (SCAPY_TCP, SCAPY_UDP):
            lb.send(from_client(family, kind, flags="S", seq=1000))
    explainer = Explainer(lb, objects)
    yield lb, explainer
    explainer.close()


def raw(wanted: Wanted) -> bytes:
    """The frame that it becomes."""
    return frame(wanted, CLIENT_MAC, LB_MAC)


def to_vip(protocol: int, family: Family, *, port: int = 0, **fields: Any) -> Wanted:
    """From the client."""
    return Wanted(protocol, address(family.client), address(family.vip), 40000 if port else 0, port, **fields)


def error(kind: tuple[int, int], quoted: int, family: Family, size: int | None = None, mtu: int = 0, to: str = "") -> Wanted:
    """A router's error about what the VIP has sent to the client."""
    ports = (80, 40000) if quoted in (TCP, UDP) else (0, 0)
    about = Wanted(quoted, address(family.vip), address(family.client), *ports)
    message = Message(*kind, mtu, about, size)
    return Wanted(ICMP[family.version], address(ROUTER[family.version]), address(to or family.vip), message=message)


TCP, UDP, SCTP, ICMP = 6, 17, 132, {4: 1, 6: 58}
SYN4, SYN6 = (to_vip(TCP, family, port=80) for family in (V4, V6))
ASK4, ASK6 = (to_vip(ICMP[family.version], family, asks_mac=True) for family in (V4, V6))
LLDP = Wanted(0, bytes(16), bytes(16), ether_type=0x88CC, payload=60)
ENDS = [
    (SYN4, Reason.FLOW_CREATED),
    (replace(SYN4, flags=ACK, sequence=1001), Reason.TO_BACKEND),
    (replace(SYN4, ttl=1), Reason.TTL_EXCEEDED),
    (to_vip(58, V6, payload=56), Reason.ECHO_ANSWERED),
    (to_vip(1, V4, payload=8, more=True), Reason.ICMP_FRAGMENT),
    (error((3, 4), TCP, V4, mtu=1400), Reason.ICMP_TO_BACKEND),
    (error((2, 0), TCP, V6, mtu=1400), Reason.ICMP_TO_BACKEND),
    (error((2, 0), TCP, V6, mtu=1279), Reason.ICMP_MTU_TOO_SMALL),
    (error((3, 4), TCP, V4, mtu=67), Reason.ICMP_MTU_TOO_SMALL),
    (error((3, 3), UDP, V4), Reason.ICMP_TO_BACKEND),
    (error((1, 4), UDP, V6, 8), Reason.ICMP_TO_BACKEND),
    (error((1, 4), UDP, V6, 7), Reason.ICMP_MALFORMED),
    (error((3, 3), 1, V4), Reason.ICMP_NO_FLOW),
    (error((3, 3), UDP, V4, to=V4.snat), Reason.ICMP_MALFORMED),
    (to_vip(1, V4, message=Message(5, 1)), Reason.ICMP_UNSUPPORTED),
    (to_vip(1, V4, message=Message(3, 3), payload=28), Reason.ICMP_MALFORMED),
    (to_vip(SCTP, V4), Reason.PROTOCOL_UNSUPPORTED),
    (to_vip(SCTP, V6), Reason.PROTOCOL_UNSUPPORTED),
    (ASK4, Reason.ARP_ANSWERED),
    (ASK6, Reason.NEIGHBOUR_ANSWERED),
    (replace(ASK6, source=bytes(16)), Reason.NEIGHBOUR_ANSWERED),
    (replace(ASK4, destination=ASK4.source), Reason.NOT_IP),
    (LLDP, Reason.NOT_IP),
    (replace(SYN4, ipv4_options=b"\x94\4\0\0"), Reason.FLOW_CREATED),
    (replace(SYN4, ipv4_options=b"\x07\x07\4\0\0\0\0"), Reason.IP_OPTIONS),
    (replace(SYN4, ipv4_options=b"\x83\x07\4\0\0\0\0"), Reason.SOURCE_ROUTED),
    (replace(SYN4, ipv4_options=b"\x94\1"), Reason.OPTIONS_WRONG),
    (replace(SYN6, headers=((0, b""), (60, b""), (44, b""))), Reason.FLOW_CREATED),
    (replace(SYN6, headers=((60, b""), (0, b""))), Reason.HEADER_ORDER),
    (replace(SYN6, headers=((43, b""),)), Reason.SOURCE_ROUTED),
    (replace(SYN6, headers=((51, bytes(10)),)), Reason.IP_OPTIONS),
    (replace(SYN6, headers=((60, b"\1\4" + bytes(254)),)), Reason.HEADERS_TOO_MANY),
    (replace(SYN6, headers=((60, b"\xc9\x10" + bytes(16)),), payload=9), Reason.IP_OPTIONS),
    (to_vip(UDP, V6, port=80, offset=1448, identification=1 << 31, payload=8), Reason.FRAGMENT),
    (replace(SYN4, more=True, payload=3), Reason.FRAGMENT_WRONG),
    (replace(SYN4, offset=65528, payload=8), Reason.FRAGMENT_WRONG),
    (replace(SYN4, vlan=7), Reason.FLOW_CREATED),
    (replace(SYN4, vlan=8), Reason.VLAN_FOREIGN),
    (replace(SYN4, priority=5), Reason.FLOW_CREATED),
    (replace(SYN4, vlan=7, service_vlan=100), Reason.VLAN_FOREIGN),
    (replace(SYN4, size=57), Reason.LENGTH_WRONG),
    (replace(SYN4, size=14), Reason.NOT_IP),
    (replace(SYN4, size=60), Reason.FLOW_CREATED),
    (replace(SYN4, destination_mac=bytes.fromhex("020000000099")), Reason.FRAME_FOREIGN),
    (replace(SYN4, source_mac=bytes.fromhex("030000000099")), Reason.FRAME_FOREIGN),
    (replace(SYN4, payload=3400), Reason.FLOW_CREATED),
    (replace(SYN4, flags=0), Reason.TCP_FLAGS_WRONG),
    (replace(SYN4, flags=SYN | CWR | ECE), Reason.FLOW_CREATED),
    (replace(SYN4, ip_checksum=Checksum.WRONG), Reason.CHECKSUM_WRONG),
    (replace(SYN4, ipv4_options=b"\x94\4\0\0", ip_checksum=Checksum.WRONG), Reason.CHECKSUM_WRONG),
    (to_vip(UDP, V6, port=80, checksum=Checksum.NONE), Reason.CHECKSUM_WRONG),
    (to_vip(UDP, V4, port=80, checksum=Checksum.NONE), Reason.TO_BACKEND),
    (to_vip(UDP, V6, port=80, checksum=Checksum.WRONG), Reason.TO_BACKEND),
    (replace(SYN4, flags=ACK, sequence=1001, checksum=Checksum.WRONG), Reason.TO_BACKEND),
    (to_vip(1, V4, payload=8, checksum=Checksum.WRONG), Reason.ICMP_MALFORMED),
    (replace(error((3, 3), UDP, V4), checksum=Checksum.WRONG), Reason.ICMP_TO_BACKEND),
    (replace(SYN4, mss=9000), Reason.FLOW_CREATED),
    (replace(SYN4, tcp_options=b"\1\2\4\x23\x28"), Reason.FLOW_CREATED),
    (replace(SYN4, vlan=7, service_vlan=100, service_type=p.TYPE_VLAN), Reason.VLAN_FOREIGN),
]


def test_what_is_asked_about_ends_as_it_must_and_the_same_is_explained(flowing: tuple[Balancer, Explainer]) -> None:
    """Each is of a flow that is there, or begins one of its own."""
    lb, explainer = flowing
    for place, (wanted, reason) in enumerate(ENDS, start=1):
        made = raw(replace(wanted, source_port=40000 + place) if reason is Reason.FLOW_CREATED else wanted)
        assert differences(explainer.explain(made), explainer.twin.ask(LOOPBACK, made)) == (), wanted
        assert compare(lb, explainer, made).reason is reason, wanted


def test_scapy_reads_back_what_was_asked_about() -> None:
    def read(wanted: Wanted) -> Ether:
        made = raw(wanted)
        assert bytes(rebuilt(Ether(made))) == made, "lengths or checksums are wrong"
        return Ether(made)

    made = read(error((3, 4), TCP, V4, mtu=1400))
    assert (made["ICMP"].type, made["ICMP"].code, made["ICMP"].nexthopmtu) == (3, 4, 1400)
    assert (made["TCP in ICMP"].sport, made["TCP in ICMP"].dport, made["IP in ICMP"].src) == (80, 40000, V4.vip)
    assert read(replace(SYN4, ipv4_options=b"\x07\x07\4\0\0\0\0"))[IP].options[0].routers == ["0.0.0.0"]
    chain = read(replace(SYN6, headers=((0, b""), (44, b""), (60, b"")), identification=7, more=True))
    assert [type(layer).__name__ for layer in layers(chain)][2:5] == ["IPv6ExtHdrHopByHop", "IPv6ExtHdrFragment", "IPv6ExtHdrDestOpt"]
    assert (chain[IPv6ExtHdrFragment].id, chain[IPv6ExtHdrFragment].m) == (7, 1)
    later = raw(replace(SYN6, headers=((0, b""), (60, b"")), offset=16, payload=8))
    assert (Ether(later)[IPv6ExtHdrFragment].offset, Ether(later)[IPv6ExtHdrFragment].nh, len(later)) == (2, 6, 14 + 40 + 24 + 8)
    tagged = read(replace(SYN4, vlan=7, priority=3, service_vlan=100))
    assert (tagged[Dot1AD].vlan, tagged[Dot1Q].vlan, tagged[Dot1Q].prio) == (100, 7, 3)
    assert (read(replace(SYN4, mss=536))[SCAPY_TCP].options, read(replace(SYN6, flags=ACK))[SCAPY_TCP].options) == ([("MSS", 536)], [])
    assert read(replace(SYN6, tcp_options=b"\3\3\7"))[SCAPY_TCP].options[0] == ("WScale", 7)
    twice = read(replace(SYN4, vlan=7, service_vlan=100, service_type=p.TYPE_VLAN))
    assert [twice[Dot1Q:number].vlan for number in (1, 2)] == [100, 7]
    arp, solicited = read(ASK4), read(ASK6)
    assert (arp.dst, arp[ARP].op, arp[ARP].psrc, arp[ARP].pdst) == ("ff:ff:ff:ff:ff:ff", 1, V4.client, V4.vip)
    assert (solicited.dst, solicited[IPv6].dst, solicited[IPv6].hlim) == ("33:33:ff:00:00:10", "ff02::1:ff00:10", 255)
    assert solicited[ICMPv6ND_NS].tgt == V6.vip


def layers(packet: Ether) -> Iterator[Any]:
    while packet:
        yield packet
        packet = packet.payload


def rebuilt(packet: Ether) -> Ether:
    """With lengths and checksums as scapy computes them."""
    for layer in layers(packet):
        for name in ("chksum", "cksum", "plen"):
            if name in layer.fields and "in ICMP" not in layer.name:
                delattr(layer, name)
    return packet


def test_the_longest_that_can_be_asked_about_fits_with_a_tag_of_the_way_back() -> None:
    assert MOST_FRAME + 4 <= LONGEST_FRAME
    assert len(raw(replace(SYN6, payload=MOST_PAYLOAD))) <= MOST_FRAME


@pytest.mark.parametrize(
    "wanted", [replace(SYN6, headers=((0, b""), (60, b""))), replace(SYN4, ipv4_options=b"\x94\4\0\0", vlan=7, service_vlan=9)]
)
def test_the_ends_of_every_frame_are_read_back(wanted: Wanted) -> None:
    found = summary(raw(wanted)).inner
    assert found is not None
    assert (found.source, found.destination) == (wanted.source, wanted.destination)
    assert (found.source_port, found.destination_port, found.protocol) == (40000, 80, 6)
    for size in range(14, len(raw(wanted))):  # whatever is cut off
        assert (summary(raw(replace(wanted, size=size))).inner or found).source == wanted.source


@pytest.mark.parametrize(
    ("tags", "seen"),
    [
        ({}, (0, 0, 0)), ({"vlan": 7}, (7, 0, 0)), ({"service_vlan": 9}, (0, 9, 0x88A8)), ({"vlan": 7, "service_vlan": 9}, (7, 9, 0x88A8)),
        ({"vlan": 7, "service_vlan": 9, "service_type": 0x8100}, (7, 9, 0x8100)), ({"vlans": (9, 7)}, (7, 9, 0x8100)),
        ({"vlans": (9, 8, 7)}, (7, 9, 0x8100)),
    ],
)  # fmt: skip
def test_both_tags_are_read_back_whatever_they_are(tags: dict[str, Any], seen: tuple[int, int, int]) -> None:
    found = summary(raw(replace(SYN4, **tags)))
    assert (found.vlan, found.service_vlan, found.service_type) == seen


def test_a_wrong_checksum_is_one_whatever_the_right_one_is() -> None:
    """Also where it would be taken for none."""
    right, at = to_vip(UDP, V6, port=80), 54 + 6
    for source in range(1 << 16):
        asked = replace(right, source=right.source[:14] + source.to_bytes(2, "big"))
        made = [int.from_bytes(raw(replace(asked, checksum=how))[at : at + 2], "big") for how in (Checksum.RIGHT, Checksum.WRONG)]
        assert made[0] % 0xFFFF != made[1] % 0xFFFF, "zero and all ones are the same"
        assert made[1], "zero says that there is none"


def test_what_has_no_addresses_has_none_to_be_read() -> None:
    assert summary(raw(LLDP)).inner is None
