"""Packets with IPv4 options or IPv6 extension headers: sent on with every byte of them in every mode where that is safe, refused for a
reason of its own where it is not."""

import pytest
from scapy.layers.inet import (
    ICMP,
    IP,
    TCP,
    UDP,
    IPOption_LSRR,
    IPOption_NOP,
    IPOption_Router_Alert,
    IPOption_RR,
    IPOption_Security,
    IPOption_SSRR,
    IPOption_Timestamp,
)
from scapy.layers.inet6 import (
    HAO,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    IPv6ExtHdrSegmentRouting,
    Jumbo,
    Pad1,
    PadN,
    RouterAlert,
)
from scapy.layers.ipsec import AH, ESP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet import direct, modes
from tests.packet.balancer import Balancer
from tests.packet.conftest import Make
from tests.packet.direct import MODES, PAIRS, Pair, encapsulated, point, rewritten
from tests.packet.modes import every_mode
from tests.packet.odd import with_headers, with_options
from tests.packet.test_answers import rst
from tests.packet.test_direct import hash32
from tests.packet.wire import (
    CLIENT_MAC,
    LB_MAC,
    V4,
    V6,
    VIP_PORT,
    Family,
    each_family,
    each_protocol,
    from_backend,
    from_client,
    same,
    to_backend,
    to_client,
)

L2 = Ether(src=CLIENT_MAC, dst=LB_MAC)
DONE = IPv6ExtHdrRouting(type=2, addresses=["2001:db8::77"], segleft=0)
PAD = PadN(optdata=bytes(4))

OPTIONS = {
    "nothing": [IPOption_NOP()] * 4,
    "end": b"\0\xff\xff\xff",  # nobody reads what is behind the end
    "router_alert": [IPOption_Router_Alert()],
    "security": [IPOption_Security()],
    "unknown": b"\x5e\x04ab",
    "forty": [IPOption_NOP()] * 40,
    "longest": b"\x5e\x28" + bytes(38),
    "last_is_one_byte": b"\x5e\x03a\x01",
}
HEADERS = {
    "hop_by_hop": (IPv6ExtHdrHopByHop(options=[PAD]),),
    "router_alert": (IPv6ExtHdrHopByHop(options=[RouterAlert()]),),
    "destination": (IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(20))]),),
    "padding": (IPv6ExtHdrDestOpt(options=[Pad1()] * 6),),
    "unknown_option": (IPv6ExtHdrDestOpt(options=[PadN(otype=0xC2 ^ 0xFF, optdata=b"abcd")]),),
    "routing_done": (DONE,),
    "segments_done": (IPv6ExtHdrSegmentRouting(addresses=["2001:db8::77"], segleft=0, lastentry=0),),
    "atomic_fragment": (IPv6ExtHdrFragment(id=77),),  # RFC 6946: no fragment
    "in_order": (
        IPv6ExtHdrHopByHop(options=[PAD]), IPv6ExtHdrDestOpt(options=[PAD]), DONE, IPv6ExtHdrFragment(id=1),
        IPv6ExtHdrDestOpt(options=[PAD]),
    ),
    "most_bytes": (IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(248))]),),
}  # fmt: skip
ODD = [(V4, name) for name in OPTIONS] + [(V6, name) for name in HEADERS]
each_odd = pytest.mark.parametrize(("family", "name"), ODD, ids=lambda v: v if isinstance(v, str) else f"v{v.version}")


def odd(family: Family, name: str, packet: Packet) -> Packet:
    """A frame with what `name` names."""
    return with_options(packet, OPTIONS[name]) if family is V4 else with_headers(packet, *HEADERS[name])


@each_odd
@each_protocol
def test_nat_translates_what_is_around_them_in_both_directions(flowing: Balancer, family: Family, name: str, kind: type[Packet]) -> None:
    for payload in (b"", b"odd", bytes(range(256)) * 4):
        result = flowing.send(odd(family, name, from_client(family, kind, payload, flags="PA", seq=1001, ack=6, tos=0xB9)))
        assert (result.reason, result.verdict) == (Reason.TO_BACKEND, Verdict.TX)
        same(result.data, odd(family, name, to_backend(family, kind, payload, flags="PA", seq=1001, ack=6, tos=0xB9)))
        result = flowing.send(odd(family, name, from_backend(family, kind, payload, flags="PA", seq=6, ack=1001, tos=1)))
        assert (result.reason, result.verdict) == (Reason.TO_CLIENT, Verdict.TX)
        same(result.data, odd(family, name, to_client(family, kind, payload, flags="PA", seq=6, ack=1001, tos=1)))


@each_odd
@each_protocol
def test_they_begin_flows_as_others_do(lb: Balancer, family: Family, name: str, kind: type[Packet]) -> None:
    result = lb.send(odd(family, name, from_client(family, kind, b"q", flags="S", seq=7)))
    assert (result.reason, result.verdict) == (Reason.FLOW_CREATED, Verdict.TX)
    same(result.data, odd(family, name, to_backend(family, kind, b"q", flags="S", seq=7)))
    assert lb.send(from_client(family, kind, b"q", flags="A", seq=8)).reason is Reason.TO_BACKEND
    assert len(lb.flows()) == 1


@each_odd
@each_protocol
def test_dsr_changes_macs_and_hop_alone(make: Make, family: Family, name: str, kind: type[Packet]) -> None:
    lb = direct.furnish(make, layout.MODE_DSR)
    packet = odd(family, name, from_client(family, kind, b"data", flags="A", tos=0x2F))
    result = lb.send(packet)
    assert (result.reason, result.verdict) == (Reason.TO_BACKEND, Verdict.TX)
    same(result.data, rewritten(packet))


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("mode", ["ipip", "gue", "fou"])
@pytest.mark.parametrize("checksum", [False, True], ids=["", "checksum"])
@each_protocol
def test_encap_carries_them_inside_and_its_checksum_covers_them(
    make: Make, pair: Pair, mode: str, kind: type[Packet], checksum: bool
) -> None:
    """The traffic class with ECN is the inner one (RFC 6040)."""
    lb = direct.furnish(make, MODES[mode], layout.SERVICE_OUTER_CHECKSUM if checksum else 0)
    point(lb, pair)
    for name in OPTIONS if pair.vip is V4 else HEADERS:
        for ecn in range(4):
            packet = odd(pair.vip, name, from_client(pair.vip, kind, b"data"[:ecn], flags="PA", tos=0xB8 | ecn))
            result = lb.send(packet)
            assert (result.reason, result.verdict) == (Reason.TO_BACKEND, Verdict.TX)
            same(result.data, encapsulated(pair, packet, mode, hash32(pair.vip, kind), checksum=checksum))


@every_mode
@each_odd
def test_the_last_hop_is_not_taken(make: Make, mode: str, family: Family, name: str) -> None:
    lb = modes.furnish(make, mode)
    packet = odd(family, name, from_client(family, UDP, b"q", ttl=1))
    result = lb.send(packet)
    assert (result.reason, result.verdict, result.data) == (Reason.TTL_EXCEEDED, Verdict.DROP, bytes(packet))


@each_odd
def test_a_packet_longer_than_the_way_out_is_measured_with_them(make: Make, family: Family, name: str) -> None:
    lb = direct.furnish(make, layout.MODE_DSR)
    packet = odd(family, name, from_client(family, UDP, bytes(100)))
    lb.set_backend(1 if family is V4 else 4, mtu=len(packet) - 14)
    assert lb.send(packet).reason is Reason.TO_BACKEND
    lb.set_backend(1 if family is V4 else 4, mtu=len(packet) - 15)
    assert lb.send(packet).reason in (Reason.MTU_EXCEEDED, Reason.TOO_BIG_LIMITED)


@each_odd
def test_a_segment_without_flow_is_answered_by_a_plain_rst(lb: Balancer, family: Family, name: str) -> None:
    lb.configure(rst_rate=10, rst_burst=10)
    result = lb.send(odd(family, name, from_client(family, flags="A", seq=5000, ack=900)))
    assert (result.reason, result.verdict) == (Reason.RST_ANSWERED, Verdict.TX)
    same(result.data, rst(family, 900, 0, "R"))


@each_odd
def test_what_is_not_for_us_passes_untouched(lb: Balancer, family: Family, name: str) -> None:
    other = "192.0.2.99" if family is V4 else "2001:db8::99"
    packet = odd(family, name, from_client(family, vip=other, flags="S"))
    result = lb.send(packet)
    assert (result.reason, result.verdict, result.data) == (Reason.FOREIGN, Verdict.PASS, bytes(packet))


@each_odd
def test_what_cannot_be_inside_is_refused_as_in_plain_packets(lb: Balancer, family: Family, name: str) -> None:
    for fields, reason in (({"flags": "SF"}, Reason.TCP_FLAGS_WRONG), ({"flags": "A", "dataofs": 15}, Reason.TCP_OFFSET_WRONG)):
        assert lb.send(odd(family, name, from_client(family, **fields))).reason is reason
    assert lb.send(odd(family, name, from_client(family, UDP, b"q", len=7))).reason is Reason.LENGTH_WRONG
    assert lb.send(odd(family, name, from_client(family, UDP, b"q", len=10))).reason is Reason.LENGTH_WRONG
    assert lb.send(odd(family, name, from_client(family, vip_port=81, flags="S"))).reason is Reason.NO_SERVICE


def ip4(options: object, **fields: object) -> Packet:
    """A SYN with these options."""
    return with_options(from_client(V4, flags="S", **fields), options)


def ip6(*headers: Packet, **fields: object) -> Packet:
    """A SYN behind these headers."""
    return with_headers(from_client(V6, flags="S", **fields), *headers)


HOP, DEST, FRAGMENT = IPv6ExtHdrHopByHop(options=[PAD]), IPv6ExtHdrDestOpt(options=[PAD]), IPv6ExtHdrFragment(id=5)
LONG = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(240))])
REFUSED = {
    "loose_route": (ip4([IPOption_LSRR(routers=["192.0.2.1"])]), Reason.SOURCE_ROUTED),
    "strict_route": (ip4([IPOption_NOP()] * 3 + [IPOption_SSRR(routers=["192.0.2.1"])]), Reason.SOURCE_ROUTED),
    "loose_route_at_its_end": (ip4([IPOption_LSRR(routers=["192.0.2.1"], pointer=8)]), Reason.SOURCE_ROUTED),
    "option_length_0": (ip4(b"\x5e\x00\x00\x00"), Reason.OPTIONS_WRONG),
    "option_length_1": (ip4(b"\x01\x5e\x01\x00"), Reason.OPTIONS_WRONG),
    "option_too_long": (ip4(b"\x5e\x05ab"), Reason.OPTIONS_WRONG),
    "option_without_length": (ip4(b"\x01\x01\x01\x5e"), Reason.OPTIONS_WRONG),
    "option_in_the_last_byte": (ip4(b"\x01" * 39 + b"\x5e"), Reason.OPTIONS_WRONG),
    "ah4": (L2 / IP(src=V4.client, dst=V4.vip) / AH(nh=6, spi=1) / TCP(dport=VIP_PORT), Reason.PROTOCOL_UNSUPPORTED),
    "esp4": (L2 / IP(src=V4.client, dst=V4.vip, options=[IPOption_NOP()] * 4) / ESP(spi=1), Reason.PROTOCOL_UNSUPPORTED),
    "icmp4": (with_options(L2 / IP(src=V4.client, dst=V4.vip) / ICMP(), [IPOption_NOP()] * 4), Reason.IP_OPTIONS),
    "routing_0": (ip6(IPv6ExtHdrRouting(type=0, addresses=["2001:db8::1"], segleft=0)), Reason.SOURCE_ROUTED),
    "routing_0_empty": (ip6(IPv6ExtHdrRouting(type=0)), Reason.SOURCE_ROUTED),
    "routing_2": (ip6(IPv6ExtHdrRouting(type=2, addresses=["2001:db8::1"], segleft=1)), Reason.SOURCE_ROUTED),
    "segments": (ip6(IPv6ExtHdrSegmentRouting(addresses=["2001:db8::1"] * 2, segleft=1, lastentry=1)), Reason.SOURCE_ROUTED),
    "hop_by_hop_second": (ip6(DEST, HOP), Reason.HEADER_ORDER),
    "hop_by_hop_twice": (ip6(HOP, HOP), Reason.HEADER_ORDER),
    "routing_twice": (ip6(DONE, DONE), Reason.HEADER_ORDER),
    "routing_after_fragment": (ip6(FRAGMENT, DONE), Reason.HEADER_ORDER),
    "fragment_twice": (ip6(FRAGMENT, FRAGMENT), Reason.HEADER_ORDER),
    "destination_thrice": (ip6(DEST, DEST, DEST), Reason.HEADER_ORDER),
    "too_many_bytes": (ip6(LONG, LONG), Reason.HEADERS_TOO_MANY),
    "too_many_options": (ip6(IPv6ExtHdrDestOpt(options=[Pad1()] * 46)), Reason.HEADERS_TOO_MANY),
    "header_too_long": (ip6(IPv6ExtHdrDestOpt(len=20)), Reason.OPTIONS_WRONG),
    "header_much_too_long": (ip6(IPv6ExtHdrDestOpt(len=255), payload=bytes(400)), Reason.HEADERS_TOO_MANY),
    "header_cut": (L2 / IPv6(src=V6.client, dst=V6.vip, nh=60) / Raw(bytes([6, 0, 1, 4])), Reason.OPTIONS_WRONG),
    "header_none": (L2 / IPv6(src=V6.client, dst=V6.vip, nh=60), Reason.LENGTH_WRONG),
    "option6_too_long": (ip6(IPv6ExtHdrDestOpt(options=[PadN(optlen=9, optdata=bytes(4))], autopad=0)), Reason.OPTIONS_WRONG),
    "option6_without_length": (
        L2 / IPv6(src=V6.client, dst=V6.vip, nh=60) / Raw(bytes([6, 0, 1, 3, 0, 0, 0, 5]) + bytes(20)), Reason.OPTIONS_WRONG,
    ),
    "home_address": (ip6(IPv6ExtHdrDestOpt(options=[HAO(hoa="2001:db8:1::9")])), Reason.IP_OPTIONS),
    "ah6": (L2 / IPv6(src=V6.client, dst=V6.vip) / AH(nh=6, spi=1, icv=bytes(12)) / TCP(dport=VIP_PORT), Reason.IP_OPTIONS),
    "esp6": (L2 / IPv6(src=V6.client, dst=V6.vip) / DEST / ESP(spi=1), Reason.PROTOCOL_UNSUPPORTED),
    "mobility": (L2 / IPv6(src=V6.client, dst=V6.vip, nh=135) / Raw(bytes([6]) + bytes(7) + bytes(20)), Reason.IP_OPTIONS),
    "no_next_header": (L2 / IPv6(src=V6.client, dst=V6.vip) / IPv6ExtHdrDestOpt(nh=59, options=[PAD]), Reason.PROTOCOL_UNSUPPORTED),
    "icmp6": (L2 / IPv6(src=V6.client, dst=V6.vip) / DEST / ICMPv6EchoRequest(), Reason.IP_OPTIONS),
    "jumbo": (
        L2 / IPv6(src=V6.client, dst=V6.vip, plen=0) / IPv6ExtHdrHopByHop(options=[Jumbo(jumboplen=70000)]) / TCP(), Reason.LENGTH_WRONG,
    ),
    "tcp_cut": (L2 / IPv6(src=V6.client, dst=V6.vip) / IPv6ExtHdrDestOpt(nh=6, options=[PAD]) / Raw(bytes(19)), Reason.LENGTH_WRONG),
    "tcp_cut4": (with_options(L2 / IP(src=V4.client, dst=V4.vip, proto=6) / Raw(bytes(19)), [IPOption_NOP()] * 4), Reason.LENGTH_WRONG),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@every_mode
def test_what_is_not_safe_is_refused_for_its_own_reason(make: Make, mode: str, name: str) -> None:
    lb = modes.furnish(make, mode)
    packet, reason = REFUSED[name]
    raw = bytes(packet)
    result = lb.send(raw)
    assert (result.reason, result.verdict, result.data) == (reason, Verdict.DROP, raw)
    assert not lb.flows()


@pytest.mark.parametrize("name", REFUSED)
def test_the_same_passes_untouched_when_the_address_is_also_the_hosts(lb: Balancer, name: str) -> None:
    for family in (V4, V6):
        lb.own(family.vip, layout.ADDRESS_VIP | layout.ADDRESS_LOCAL)
    raw = bytes(REFUSED[name][0])
    result = lb.send(raw)
    assert (result.reason, result.verdict, result.data) == (Reason.LOCAL, Verdict.PASS, raw)


@pytest.mark.parametrize("option", [IPOption_RR(routers=["0.0.0.0"] * 4), IPOption_Timestamp()], ids=["record_route", "timestamp"])
def test_what_records_addresses_goes_to_the_backend_itself_and_not_through_nat(make: Make, option: Packet) -> None:
    """A server answers with what was recorded: through NAT it would tell clients of the network behind the VIP."""
    packet = ip4([option])
    assert modes.furnish(make, "nat").send(packet).reason is Reason.IP_OPTIONS
    lb = modes.furnish(make, "dsr")
    result = lb.send(packet)
    assert result.reason is Reason.FLOW_CREATED
    same(result.data, rewritten(packet))


@pytest.mark.parametrize("option", [IPOption_RR(routers=["10.0.0.1"]), IPOption_Timestamp()], ids=["record_route", "timestamp"])
def test_nothing_that_was_recorded_goes_to_clients(flowing: Balancer, option: Packet) -> None:
    packet = with_options(from_backend(V4, flags="A"), [option])
    assert flowing.send(packet).reason is Reason.IP_OPTIONS


def test_a_wrong_header_checksum_is_seen_also_in_options(flowing: Balancer) -> None:
    for byte in (20, 31, 59):
        raw = bytearray(bytes(ip4(OPTIONS["longest"])))
        raw[14 + byte] ^= 0x10
        if byte == 20:
            raw[14 + byte] ^= 0x10 | 0x04
        assert flowing.send(bytes(raw)).reason is Reason.CHECKSUM_WRONG


@each_family
def test_flows_with_and_without_them_are_one(flowing: Balancer, family: Family) -> None:
    for name in OPTIONS if family is V4 else HEADERS:
        assert flowing.send(odd(family, name, from_client(family, flags="A", seq=1001, ack=6))).reason is Reason.TO_BACKEND
    assert flowing.send(odd(family, name, from_client(family, flags="FA", seq=1001, ack=6))).reason is Reason.TO_BACKEND
    assert {flow.state for flow in flowing.flows() if flow.protocol == 6} == {layout.FLOW_ESTABLISHED, layout.FLOW_CLOSING}
