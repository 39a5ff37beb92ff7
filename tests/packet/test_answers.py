"""What the datapath answers itself: RST, ARP replies, neighbour advertisements; whole frames against scapy's."""

import socket

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6Unknown,
    IPv6,
    in6_getnsma,
)  # fmt: skip
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import LOOPBACK, Balancer, mac
from tests.packet.wire import BACKEND_PORT, CLIENT_MAC, CLIENT_PORT, LB_MAC, V4, V6, Family, built, each_family, from_client, same

OTHER_MAC = "02:00:00:00:00:aa"
BROADCAST = "ff:ff:ff:ff:ff:ff"


@pytest.fixture
def answering(lb: Balancer) -> Balancer:
    """With a RST budget and the MAC of the interface."""
    lb.configure(rst_rate=100, rst_burst=100)
    lb.write("interfaces", LOOPBACK, bytes(layout.Interface(ifindex=LOOPBACK, mac=mac(bytes.fromhex(LB_MAC.replace(":", ""))))))
    return lb


def rst(family: Family, sequence: int, acknowledgement: int, flags: str) -> Packet:
    """The RST as a host would send it."""
    if family is V4:
        ip = IP(src=family.vip, dst=family.client, ttl=64, id=0, flags="DF")
    else:
        ip = IPv6(src=family.vip, dst=family.client, hlim=64)
    segment = TCP(sport=80, dport=CLIENT_PORT, seq=sequence, ack=acknowledgement, flags=flags, window=0)
    return built(Ether(src=LB_MAC, dst=CLIENT_MAC) / ip / segment)


@each_family
@pytest.mark.parametrize(
    ("flags", "payload", "expected"),
    [
        ("A", b"", (900, 0, "R")),
        ("PA", b"xyz", (900, 0, "R")),
        ("FA", b"", (900, 0, "R")),
        ("SA", b"", (900, 0, "R")),
        ("AU", b"xyz", (900, 0, "R")),
    ],
)
def test_a_segment_without_flow_is_answered_as_by_a_closed_port(
    answering: Balancer, family: Family, flags: str, payload: bytes, expected: tuple[int, int, str]
) -> None:
    """RFC 9293 3.10.7.1"""
    result = answering.send(from_client(family, payload=payload, flags=flags, seq=5000, ack=900, options=[("Timestamp", (1, 2))]))
    assert (result.reason, result.verdict) == (Reason.RST_ANSWERED, Verdict.TX)
    same(result.data, rst(family, *expected))


@each_family
@pytest.mark.parametrize("flags", ["R", "RA"])
def test_a_rst_without_flow_is_never_answered(answering: Balancer, family: Family, flags: str) -> None:
    result = answering.send(from_client(family, flags=flags))
    assert (result.reason, result.verdict) == (Reason.NO_FLOW, Verdict.DROP)


@each_family
def test_the_frames_tail_is_cut_from_a_rst(answering: Balancer, family: Family) -> None:
    result = answering.send(bytes(from_client(family, payload=bytes(1400), flags="A", ack=900)) + bytes(20))
    same(result.data, rst(family, 900, 0, "R"))


def test_rsts_beyond_the_burst_are_not_sent(lb: Balancer) -> None:
    lb.configure(rst_rate=1, rst_burst=5)
    assert lb.send(from_client(V4, flags="A")).reason is Reason.RST_ANSWERED
    lb.configure(rst_rate=0)
    reasons = [lb.send(from_client(V4, flags="A")).reason for _ in range(14)]
    assert reasons == [Reason.RST_ANSWERED] * 4 + [Reason.RST_LIMITED] * 10


def test_a_service_on_another_port_gets_no_rst(answering: Balancer) -> None:
    assert answering.send(from_client(V4, vip_port=BACKEND_PORT, flags="A")).reason is Reason.NO_SERVICE


@pytest.mark.parametrize("owned", [V4.vip, V4.snat])
@pytest.mark.parametrize("destination", [BROADCAST, LB_MAC])
def test_an_arp_request_for_an_owned_address_is_answered(answering: Balancer, owned: str, destination: str) -> None:
    request = Ether(src=CLIENT_MAC, dst=destination) / ARP(op=1, hwsrc=CLIENT_MAC, psrc=V4.client, pdst=owned)
    padding = bytes(18)
    result = answering.send(bytes(request) + padding)
    assert (result.reason, result.verdict) == (Reason.ARP_ANSWERED, Verdict.TX)
    reply = ARP(op=2, hwsrc=LB_MAC, psrc=owned, hwdst=CLIENT_MAC, pdst=V4.client)
    assert result.data == bytes(Ether(src=LB_MAC, dst=CLIENT_MAC) / reply) + padding


@pytest.mark.parametrize("name", ["rst4", "rst6", "arp", "neighbour"])
def test_a_frame_for_another_station_is_not_answered(answering: Balancer, name: str) -> None:
    """A switch floods frames whose station it does not know; an answer would confirm the other's MAC, or cut its connections."""
    packet = {
        "rst4": from_client(V4, flags="A"),
        "rst6": from_client(V6, flags="A"),
        "arp": Ether(src=CLIENT_MAC) / ARP(op=1, hwsrc=CLIENT_MAC, psrc=V4.client, pdst=V4.vip),
        "neighbour": solicitation(V6.vip, unicast=True),
    }[name]
    packet.dst = OTHER_MAC
    result = answering.send(packet)
    expected = {"arp": (Reason.NOT_IP, Verdict.PASS), "neighbour": (Reason.FOREIGN, Verdict.PASS)}
    assert (result.reason, result.verdict) == expected.get(name, (Reason.FRAME_FOREIGN, Verdict.DROP))
    assert result.data == bytes(packet)


@pytest.mark.parametrize("kind", ["arp", "neighbour"])
def test_unicast_requests_are_answered_from_where_they_went_until_the_interface_is_known(lb: Balancer, kind: str) -> None:
    if kind == "arp":
        result = lb.send(Ether(src=CLIENT_MAC, dst=OTHER_MAC) / ARP(op=1, hwsrc=CLIENT_MAC, psrc=V4.client, pdst=V4.vip))
        assert ARP(result.data[14:]).hwsrc == OTHER_MAC
        return
    packet = solicitation(V6.vip, unicast=True)
    packet.dst = OTHER_MAC
    same(lb.send(packet).data, advertisement(V6.vip, OTHER_MAC))


def test_an_arp_probe_for_an_owned_address_is_answered(answering: Balancer) -> None:
    """RFC 5227 2.1.1: so that nobody else takes the address."""
    probe = Ether(src=CLIENT_MAC, dst=BROADCAST) / ARP(op=1, hwsrc=CLIENT_MAC, psrc="0.0.0.0", pdst=V4.vip)
    result = answering.send(probe)
    assert result.reason is Reason.ARP_ANSWERED
    assert ARP(result.data[14:]).pdst == "0.0.0.0"


def test_an_arp_broadcast_on_an_interface_without_known_mac_passes_untouched(lb: Balancer) -> None:
    request = Ether(src=CLIENT_MAC, dst=BROADCAST) / ARP(op=1, hwsrc=CLIENT_MAC, psrc=V4.client, pdst=V4.vip)
    result = lb.send(request)
    assert (result.reason, result.verdict, result.data) == (Reason.NOT_IP, Verdict.PASS, bytes(request))


@pytest.mark.parametrize("change", [{"hwtype": 6}, {"ptype": 0x86DD}, {"hwlen": 8}, {"plen": 16}, {"hwsrc": "03:00:00:00:00:01"}])
def test_an_arp_request_that_cannot_be_passes_untouched(answering: Balancer, change: dict[str, object]) -> None:
    request = Ether(src=CLIENT_MAC, dst=BROADCAST) / ARP(op=1, hwsrc=CLIENT_MAC, psrc=V4.client, pdst=V4.vip)
    raw = bytearray(bytes(request))
    for name, value in change.items():
        offset, width = {"hwtype": (14, 2), "ptype": (16, 2), "hwlen": (18, 1), "plen": (19, 1), "hwsrc": (22, 6)}[name]
        packed = bytes.fromhex(value.replace(":", "")) if isinstance(value, str) else int(str(value)).to_bytes(width, "big")
        raw[offset : offset + width] = packed
    result = answering.send(bytes(raw))
    assert (result.reason, result.data) == (Reason.NOT_IP, bytes(raw))


def solicitation(target: str, *, unicast: bool = False, source: str = V6.client, option: bool = True, **ip: object) -> Packet:
    """A neighbour solicitation for `target`."""
    group = target if unicast else _group(target)
    packet = Ether(src=CLIENT_MAC, dst=LB_MAC if unicast else "33:33:ff:00:00:10") / IPv6(src=source, dst=group, hlim=255)
    packet = packet / ICMPv6ND_NS(tgt=target)
    if option:
        packet = packet / ICMPv6NDOptSrcLLAddr(lladdr=CLIENT_MAC)
    for name, value in ip.items():
        setattr(packet[IPv6], name, value)
    return built(packet)


def _group(target: str) -> str:
    return socket.inet_ntop(socket.AF_INET6, in6_getnsma(socket.inet_pton(socket.AF_INET6, target)))


def advertisement(target: str, our: str, *, to: str = V6.client, to_mac: str = CLIENT_MAC, solicited: int = 1) -> Packet:
    """The answer that RFC 4861 7.2.4 asks for."""
    body = ICMPv6ND_NA(tgt=target, R=0, S=solicited, O=1) / ICMPv6NDOptDstLLAddr(lladdr=our)
    return built(Ether(src=our, dst=to_mac) / IPv6(src=target, dst=to, hlim=255) / body)


@pytest.mark.parametrize("owned", [V6.vip, V6.snat])
@pytest.mark.parametrize("option", [True, False])
@pytest.mark.parametrize("unicast", [False, True])
def test_a_neighbour_solicitation_is_answered(answering: Balancer, owned: str, option: bool, unicast: bool) -> None:
    result = answering.send(solicitation(owned, unicast=unicast, option=option))
    assert (result.reason, result.verdict) == (Reason.NEIGHBOUR_ANSWERED, Verdict.TX)
    same(result.data, advertisement(owned, LB_MAC))


def test_duplicate_address_detection_is_answered_to_all_nodes(answering: Balancer) -> None:
    result = answering.send(solicitation(V6.vip, source="::", option=False))
    assert result.reason is Reason.NEIGHBOUR_ANSWERED
    same(result.data, advertisement(V6.vip, LB_MAC, to="ff02::1", to_mac="33:33:00:00:00:01", solicited=0))


def test_a_solicitation_from_beyond_the_link_is_not_answered(answering: Balancer) -> None:
    far = solicitation(V6.vip, hlim=254)
    assert answering.send(far).reason is Reason.FOREIGN
    assert answering.send(solicitation(V6.vip, unicast=True, hlim=254)).reason is Reason.ICMP_UNSUPPORTED


@pytest.mark.parametrize(("field", "value"), [("version", 5), ("version", 10), ("plen", 33), ("plen", 65535)])
def test_a_solicitation_whose_header_lies_is_not_answered(answering: Balancer, field: str, value: int) -> None:
    """It has 32 bytes."""
    wrong = Reason.VERSION_WRONG if field == "version" else Reason.LENGTH_WRONG
    assert answering.send(solicitation(V6.vip, **{field: value})).reason is Reason.FOREIGN
    assert answering.send(solicitation(V6.vip, unicast=True, **{field: value})).reason is wrong


@pytest.mark.parametrize("type_", [128, 133, 134, 136, 137])
def test_other_icmpv6_to_the_group_passes(answering: Balancer, type_: int) -> None:
    packet = built(
        Ether(src=CLIENT_MAC, dst="33:33:ff:00:00:10") / IPv6(src=V6.client, dst=_group(V6.vip), hlim=255) / ICMPv6Unknown(type=type_)
    )
    assert answering.send(packet).reason is Reason.FOREIGN


def test_a_solicitation_for_another_address_passes_untouched(answering: Balancer) -> None:
    packet = solicitation("2001:db8::99")
    result = answering.send(packet)
    assert (result.reason, result.verdict, result.data) == (Reason.FOREIGN, Verdict.PASS, bytes(packet))


@pytest.mark.parametrize("kind", ["arp", "neighbour"])
def test_the_host_answers_for_its_own_addresses(answering: Balancer, kind: str) -> None:
    family = V4 if kind == "arp" else V6
    answering.own(family.vip, layout.ADDRESS_VIP | layout.ADDRESS_LOCAL)
    packet = Ether(src=CLIENT_MAC, dst=BROADCAST) / ARP(op=1, psrc=V4.client, pdst=V4.vip) if kind == "arp" else solicitation(V6.vip)
    result = answering.send(packet)
    assert (result.reason, result.verdict, result.data) == (Reason.LOCAL, Verdict.PASS, bytes(packet))


@pytest.mark.parametrize(
    "packet",
    [
        from_client(V4, flags="A"),
        from_client(V6, flags="A"),
        Ether(src=CLIENT_MAC, dst=LB_MAC) / ARP(op=1, hwsrc=CLIENT_MAC, psrc=V4.client, pdst=V4.vip),
        solicitation(V6.vip),
    ],
)
def test_answers_leave_by_redirect_where_that_is_configured(answering: Balancer, packet: Packet) -> None:
    answering.configure(flags=layout.CONFIG_TRANSMIT_REDIRECT)
    assert answering.send(packet).verdict is Verdict.REDIRECT
