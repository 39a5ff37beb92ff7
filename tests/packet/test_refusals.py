"""What is not forwarded: passed untouched when it is not ours, dropped with its own reason when it is."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrDestOpt,
)
from scapy.layers.l2 import ARP, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import Balancer
from tests.packet.conftest import Make, furnish
from tests.packet.wire import (
    CLIENT_MAC,
    LB_MAC,
    V4,
    V6,
    Family,
    built,
    each_family,
    each_protocol,
    from_backend,
    from_client,
    same,
    to_backend,
    transport,
)

L2 = Ether(src=CLIENT_MAC, dst=LB_MAC)
IP4 = IP(src=V4.client, dst=V4.vip)
IP6 = IPv6(src=V6.client, dst=V6.vip)

FOREIGN = {
    "tcp4": L2 / IP(src=V4.client, dst="192.0.2.99") / TCP(dport=80, flags="S"),
    "tcp6": L2 / IPv6(src=V6.client, dst="2001:db8::99") / TCP(dport=80, flags="S"),
    "options": L2 / IP(src=V4.client, dst="192.0.2.99", options=[b"\x94\x04\x00\x00"]) / UDP(),
    "fragment": L2 / IP(src=V4.client, dst="192.0.2.99", frag=100) / Raw(b"x" * 64),
    "broken_length": L2 / IP(src=V4.client, dst="192.0.2.99", len=9000) / UDP(),
    "ttl": L2 / IP(src=V4.client, dst="192.0.2.99", ttl=1) / UDP(),
    "multicast": L2 / IPv6(src=V6.client, dst="ff02::fb") / UDP(dport=5353),
    "compatible": L2 / IPv6(src=V6.client, dst=f"::{V4.vip}") / TCP(dport=80),
    "mapped": L2 / IPv6(src=V6.client, dst=f"::ffff:{V4.vip}") / TCP(dport=80),
    "mapped_target": L2 / IPv6(src="fe80::1", dst="ff02::1:ff00:20a", hlim=255) / ICMPv6ND_NS(tgt=f"::ffff:{V4.vip}"),
}
NOT_IP = {
    "arp_other": Ether(src=CLIENT_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, psrc=V4.client, pdst="192.0.2.99"),
    "arp_reply": L2 / ARP(op=2, psrc=V4.client, pdst=V4.vip),
    "arp_gratuitous": L2 / ARP(op=1, psrc=V4.vip, pdst=V4.vip),
    "lldp": Ether(src=CLIENT_MAC, dst="01:80:c2:00:00:0e", type=0x88CC) / Raw(b"x" * 50),
    "short_ipv4": bytes(L2 / IP4)[:33],
    "short_ipv6": bytes(L2 / IP6)[:53],
    "header_only": bytes(L2 / IP4)[:14],
}
# The same for an address of ours
REFUSED = {
    "fragment_later": (L2 / IP(src=V4.client, dst=V4.vip, frag=8, proto=17) / Raw(bytes(64)), Reason.FRAGMENT),
    "echo4": (L2 / IP4 / ICMP(), Reason.ECHO_REFUSED),
    "echo_reply4": (L2 / IP4 / ICMP(type=0), Reason.ICMP_UNSUPPORTED),
    "echo_fragment4": (L2 / IP(src=V4.client, dst=V4.vip, flags="MF") / ICMP(), Reason.ICMP_FRAGMENT),
    "unreachable4": (L2 / IP4 / ICMP(type=3, code=4) / IP(src=V4.vip, dst=V4.client) / TCP(), Reason.ICMP_NO_FLOW),
    "echo6": (L2 / IP6 / ICMPv6EchoRequest(), Reason.ECHO_REFUSED),
    "sctp": (L2 / IP4 / SCTP(), Reason.PROTOCOL_UNSUPPORTED),
    "icmpv6_in_ipv4": (L2 / IP(src=V4.client, dst=V4.vip, proto=58) / Raw(bytes(8)), Reason.PROTOCOL_UNSUPPORTED),
    "no_next_header": (L2 / IPv6(src=V6.client, dst=V6.vip, nh=59), Reason.PROTOCOL_UNSUPPORTED),
    "other_port": (L2 / IP4 / TCP(dport=81, flags="S"), Reason.NO_SERVICE),
    "other_port6": (L2 / IP6 / UDP(dport=53) / Raw(b"q"), Reason.NO_SERVICE),
    "snat_stray": (L2 / IP(src=V4.client, dst=V4.snat) / TCP(dport=40000, flags="S"), Reason.NO_FLOW),
    "snat_stray6": (L2 / IPv6(src=V6.client, dst=V6.snat) / UDP(dport=40000) / Raw(b"q"), Reason.NO_FLOW),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_for_others_passes_untouched(lb: Balancer, name: str) -> None:
    raw = bytes(FOREIGN[name])
    result = lb.send(raw)
    assert (result.reason, result.verdict, result.data) == (Reason.FOREIGN, Verdict.PASS, raw)


@pytest.mark.parametrize("name", NOT_IP)
def test_what_is_not_ip_passes_untouched(lb: Balancer, name: str) -> None:
    raw = bytes(NOT_IP[name])
    result = lb.send(raw)
    assert (result.reason, result.verdict, result.data) == (Reason.NOT_IP, Verdict.PASS, raw)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_balanced_is_dropped_with_its_own_reason(lb: Balancer, name: str) -> None:
    packet, reason = REFUSED[name]
    result = lb.send(packet)
    assert (result.reason, result.verdict) == (reason, Verdict.DROP)
    assert not lb.records()


@pytest.mark.parametrize("name", REFUSED)
def test_the_same_passes_untouched_when_the_address_is_also_the_hosts(lb: Balancer, name: str) -> None:
    for family in (V4, V6):
        lb.own(family.vip, layout.ADDRESS_VIP | layout.ADDRESS_LOCAL)
        lb.own(family.snat, layout.ADDRESS_SNAT | layout.ADDRESS_LOCAL)
    raw = bytes(REFUSED[name][0])
    result = lb.send(raw)
    assert (result.reason, result.verdict, result.data) == (Reason.LOCAL, Verdict.PASS, raw)


@each_family
def test_a_service_works_on_an_address_that_is_also_the_hosts(lb: Balancer, family: Family) -> None:
    lb.own(family.vip, layout.ADDRESS_VIP | layout.ADDRESS_LOCAL)
    lb.own(family.snat, layout.ADDRESS_SNAT | layout.ADDRESS_LOCAL)
    assert lb.send(from_client(family, flags="S")).reason is Reason.FLOW_CREATED
    assert lb.send(from_backend(family, flags="SA")).reason is Reason.TO_CLIENT


@each_family
def test_an_address_may_be_vip_and_snat_address_at_once(lb: Balancer, family: Family) -> None:
    lb.snat(*(f.vip if f is family else f.snat for f in (V4, V6)))
    lb.own(family.vip, layout.ADDRESS_VIP | layout.ADDRESS_SNAT)
    assert lb.send(from_client(family, flags="S")).reason is Reason.FLOW_CREATED
    assert lb.send(from_backend(family, snat=family.vip, flags="SA")).reason is Reason.TO_CLIENT


@each_protocol
def test_an_ipv6_packet_that_spells_an_ipv4_vip_is_foreign(lb: Balancer, kind: type) -> None:
    """Both families share keys; such a packet would make a flow for the IPv4 client that it names."""
    for source in (V6.client, f"::ffff:{V4.client}"):
        header = IPv6(src=source, dst=f"::ffff:{V4.vip}")
        forged = built(L2 / header / transport(kind, 40000, 80, b"", flags="S"))
        assert lb.send(forged).reason is Reason.FOREIGN
    assert not lb.records()
    same(lb.send(from_client(V4, kind, flags="S")).data, to_backend(V4, kind, flags="S"))


@each_family
@each_protocol
def test_a_ring_without_backends_refuses_new_flows_and_keeps_old_ones(lb: Balancer, family: Family, kind: type[Packet]) -> None:
    lb.send(from_client(family, kind, flags="S"))
    lb.ring(1 if family is V4 else 2, [0])
    assert lb.send(from_client(family, kind, port=50000, flags="S")).reason is Reason.NO_BACKEND
    assert lb.send(from_client(family, kind, flags="A")).reason is Reason.TO_BACKEND


@each_family
@each_protocol
def test_a_service_without_ring_has_no_backend(lb: Balancer, family: Family, kind: type[Packet]) -> None:
    number = 1 + 2 * (family is V6) + (kind is UDP)
    lb.service(number, family.vip, 80, 6 if kind is TCP else 17, now=0)
    assert lb.send(from_client(family, kind, flags="S")).reason is Reason.NO_BACKEND


@each_family
def test_a_backend_without_next_hop_is_unresolved_for_new_and_old_flows(lb: Balancer, family: Family) -> None:
    lb.send(from_client(family, flags="S"))
    lb.set_backend(1 if family is V4 else 4, ifindex=0)
    for packet in (from_client(family, flags="A"), from_client(family, port=50000, flags="S")):
        result = lb.send(packet)
        assert (result.reason, result.verdict) == (Reason.BACKEND_UNRESOLVED, Verdict.DROP)
    assert len(lb.flows()) == 1


@each_family
def test_a_packet_longer_than_the_way_out_is_dropped_by_its_own_length(lb: Balancer, family: Family) -> None:
    """The IP packet counts, not the frame: padding is no reason."""
    lb.set_backend(1 if family is V4 else 4, mtu=100)
    lb.send(from_client(family, flags="S"))
    room = 100 - (40 if family is V4 else 60)
    assert lb.send(bytes(from_client(family, payload=bytes(room), flags="A")) + bytes(50)).reason is Reason.TO_BACKEND
    assert lb.send(from_client(family, payload=bytes(room + 1), flags="A")).reason is Reason.MTU_EXCEEDED


@pytest.mark.parametrize(
    ("missing", "packet"),
    [
        ("icmp", L2 / IP4 / ICMP()),
        ("icmp", L2 / IP6 / ICMPv6EchoRequest()),
        ("odd", L2 / IP6 / IPv6ExtHdrDestOpt() / TCP(dport=80)),
        ("odd", L2 / IP(src=V4.client, dst=V4.vip, flags="MF") / UDP(dport=80) / Raw(bytes(64))),
        ("later", L2 / IP(src=V4.client, dst=V4.vip, frag=8, proto=17) / Raw(bytes(64))),
        ("nat_new", from_client(V4, flags="S")),
        ("nat_new", from_client(V6, UDP, b"q")),
        ("nat_port", from_client(V4, flags="S", port=2000)),
        ("answer", from_client(V4, flags="A")),
        ("answer", Ether(src=CLIENT_MAC, dst=LB_MAC) / ARP(op=1, psrc=V4.client, pdst=V4.vip)),
    ],
)
def test_a_missing_tail_is_a_reason_of_its_own(make: Make, missing: str, packet: Packet) -> None:
    lb = make(missing=frozenset({missing}))
    furnish(lb)
    if missing == "nat_port":
        lb.configure(port_low=40000, port_high=40000)
        lb.send(from_client(V4, flags="S"))
    result = lb.send(packet)
    assert (result.reason, result.verdict) == (Reason.TAIL_CALL_FAILED, Verdict.DROP)


def test_without_a_configuration_everything_passes(make: Make) -> None:
    lb = make()
    for packet in (from_client(V4, flags="S"), from_client(V6, flags="S"), from_backend(V4, flags="A")):
        assert lb.send(packet).data == bytes(packet)
    assert {Verdict(verdict) for _, verdict in lb.reasons()} == {Verdict.PASS}
