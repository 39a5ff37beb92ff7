"""ICMP errors follow the flow that they quote, in both directions, translated outside and inside: whole frames against scapy's."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrRouting,
)  # fmt: skip
from scapy.packet import Packet, Raw

from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import LOOPBACK, Balancer, mac
from tests.packet.errors import (
    ALL,
    EXTENSIONS,
    IP_BYTES,
    OPTIONS,
    PAYLOAD,
    ROUTER,
    Kind,
    about_backend,
    about_client,
    at_backend,
    at_client,
    each_kind,
    extended,
    family_of,
    inside,
    quotes_for_backend,
    quotes_for_client,
    refused,
    too_big,
    unreachable,
    untouched,
    with_options,
)
from tests.packet.wire import (
    BACKEND_PORT,
    CLIENT_PORT,
    LB_MAC,
    V4,
    V6,
    VIP_PORT,
    Family,
    each_family,
    each_protocol,
    from_backend,
    from_client,
    to_client,
)

CUTS = (8, 9, 16, 18, 19, 20, 64, ALL)  # bytes of the quoted transport header and payload
each_cut = pytest.mark.parametrize("cut", CUTS)


@each_kind
@each_protocol
@pytest.mark.parametrize("cut", [8, ALL])
def test_an_error_about_a_packet_to_the_client_reaches_the_backend(flowing: Balancer, error: Kind, kind: type[Packet], cut: int) -> None:
    family = family_of(error)
    before, after = quotes_for_backend(family, kind, PAYLOAD, cut, flags="PA", seq=6, ack=1001)
    result = flowing.send(about_client(family, error.header, before))
    assert (result.reason, result.verdict) == (Reason.ICMP_TO_BACKEND, Verdict.TX)
    assert result.data == at_backend(family, error.header, after)


@each_kind
@each_protocol
@pytest.mark.parametrize("cut", [8, ALL])
def test_an_error_about_a_packet_to_the_backend_reaches_the_client(flowing: Balancer, error: Kind, kind: type[Packet], cut: int) -> None:
    family = family_of(error)
    before, after = quotes_for_client(family, kind, PAYLOAD, cut, flags="PA", seq=1001, ack=6)
    result = flowing.send(about_backend(family, error.header, before))
    assert (result.reason, result.verdict) == (Reason.ICMP_TO_CLIENT, Verdict.TX)
    assert result.data == at_client(family, error.header, after)


@each_family
@each_protocol
@each_cut
def test_quotes_of_every_length_are_translated_as_far_as_they_reach(
    flowing: Balancer, family: Family, kind: type[Packet], cut: int
) -> None:
    for payload in (b"", b"x", PAYLOAD):
        before, after = quotes_for_backend(family, kind, payload, cut, flags="A", seq=6, ack=1001)
        assert flowing.send(about_client(family, too_big(family), before)).data == at_backend(family, too_big(family), after)
        before, after = quotes_for_client(family, kind, payload, cut, flags="A", seq=1001, ack=6)
        assert flowing.send(about_backend(family, too_big(family), before)).data == at_client(family, too_big(family), after)


@each_family
def test_half_a_quoted_checksum_cannot_be_translated_and_is_left(flowing: Balancer, family: Family) -> None:
    before, after = quotes_for_backend(family, TCP, PAYLOAD, 17, flags="A")
    expected = at_backend(family, too_big(family), after[:-1] + before[-1:])
    assert flowing.send(about_client(family, too_big(family), before)).data == expected


@each_family
def test_it_makes_no_difference_who_sent_an_error(flowing: Balancer, family: Family) -> None:
    """The peer itself, or anybody on the way: the other side hears of it from the only address that it knows."""
    before, after = quotes_for_backend(family, UDP, b"x", ALL)
    for source in (family.client, ROUTER[family.version], family.backends[2]):
        sent = flowing.send(about_client(family, unreachable(family), before, source=source))
        assert sent.data == at_backend(family, unreachable(family), after)
    before, after = quotes_for_client(family, UDP, b"x", ALL)
    for source in (family.backends[0], ROUTER[family.version], family.client):
        sent = flowing.send(about_backend(family, unreachable(family), before, source=source))
        assert sent.data == at_client(family, unreachable(family), after)


def test_an_error_from_a_link_local_router_is_forwarded(flowing: Balancer) -> None:
    before, after = quotes_for_backend(V6, TCP, PAYLOAD, ALL, flags="A")
    assert flowing.send(about_client(V6, too_big(V6), before, source="fe80::1")).data == at_backend(V6, too_big(V6), after)


@each_family
def test_a_translated_port_is_translated_in_the_quote_too(lb: Balancer, family: Family) -> None:
    """The second client of one source port gets another."""
    other = "198.51.100.8" if family is V4 else "2001:db8:1::8"
    for client in (family.client, other):
        lb.send(from_client(family, UDP, client=client))
    ports = {flow.client: flow.snat_port for flow in lb.flows()}
    assert len(set(ports.values())) == 2
    for port in ports.values():
        quoted = inside(from_backend(family, UDP, b"x", port=port))
        original = lb.send(from_backend(family, UDP, b"x", port=port, ttl=65)).data[14:]
        sent = lb.send(about_client(family, unreachable(family), original))
        assert (sent.reason, sent.data) == (Reason.ICMP_TO_BACKEND, at_backend(family, unreachable(family), quoted))


@each_family
@each_protocol
def test_errors_neither_make_nor_refresh_nor_change_flows(flowing: Balancer, family: Family, kind: type[Packet]) -> None:
    flowing.age(20)
    before = untouched(flowing)
    for header in (too_big(family), unreachable(family)):
        for quoted, _ in (quotes_for_backend(family, kind, b"", ALL), quotes_for_backend(family, kind, b"", 8)):
            assert flowing.send(about_client(family, header, quoted)).reason is Reason.ICMP_TO_BACKEND
        for quoted, _ in (quotes_for_client(family, kind, b"", ALL), quotes_for_client(family, kind, b"", 8)):
            assert flowing.send(about_backend(family, header, quoted)).reason is Reason.ICMP_TO_CLIENT
    assert untouched(flowing) == before
    stranger, _ = quotes_for_backend(family, kind, b"", ALL, port=CLIENT_PORT + 1)
    refused(flowing, about_client(family, unreachable(family), stranger), Reason.ICMP_NO_FLOW)
    stranger, _ = quotes_for_client(family, kind, b"", ALL, port=CLIENT_PORT + 1)
    refused(flowing, about_backend(family, unreachable(family), stranger), Reason.ICMP_NO_FLOW)


@each_family
@each_protocol
def test_an_error_about_a_flow_that_is_over_is_dropped(flowing: Balancer, family: Family, kind: type[Packet]) -> None:
    flowing.age(10_000)
    quoted, _ = quotes_for_backend(family, kind, b"", ALL)
    refused(flowing, about_client(family, unreachable(family), quoted), Reason.ICMP_NO_FLOW)
    quoted, _ = quotes_for_client(family, kind, b"", ALL)
    refused(flowing, about_backend(family, unreachable(family), quoted), Reason.ICMP_NO_FLOW)


@each_family
@pytest.mark.parametrize("flags", [0, layout.BACKEND_RESET])
def test_an_error_about_the_flow_of_a_backend_whose_drain_has_ended_is_dropped(flowing: Balancer, family: Family, flags: int) -> None:
    flowing.set_backend(1 if family is V4 else 4, flags=flags)
    quoted, _ = quotes_for_backend(family, TCP, b"", ALL)
    refused(flowing, about_client(family, unreachable(family), quoted), Reason.ICMP_NO_FLOW)
    quoted, _ = quotes_for_client(family, TCP, b"", ALL)
    refused(flowing, about_backend(family, unreachable(family), quoted), Reason.ICMP_NO_FLOW)


@each_family
def test_an_error_about_a_backend_that_the_client_has_left_does_not_end_its_new_flow(lb: Balancer, family: Family) -> None:
    lb.send(from_client(family, flags="S", seq=1000))
    lb.ring(1 if family is V4 else 2, [2 if family is V4 else 5])
    assert lb.send(from_client(family, flags="S", seq=900_000)).reason is Reason.FLOW_CREATED
    old, _ = quotes_for_client(family, TCP, b"", ALL, flags="S", seq=1000)
    refused(lb, about_backend(family, unreachable(family), old), Reason.ICMP_NO_FLOW)


@each_family
def test_an_error_without_a_way_to_the_backend_is_dropped(flowing: Balancer, family: Family) -> None:
    backend, (quoted, _) = 1 if family is V4 else 4, quotes_for_backend(family, TCP, PAYLOAD, ALL)
    flowing.set_backend(backend, ifindex=0)
    refused(flowing, about_client(family, too_big(family), quoted), Reason.BACKEND_UNRESOLVED)
    flowing.set_backend(backend, ifindex=LOOPBACK, mtu=200)
    refused(flowing, about_client(family, too_big(family), quoted), Reason.MTU_EXCEEDED)
    assert flowing.send(about_client(family, too_big(family), quoted[: IP_BYTES[family.version] + 8])).reason is Reason.ICMP_TO_BACKEND


@each_family
@pytest.mark.parametrize("ttl", [0, 1])
def test_an_error_whose_own_ttl_would_reach_zero_is_dropped(flowing: Balancer, family: Family, ttl: int) -> None:
    quoted, _ = quotes_for_backend(family, TCP, b"", ALL)
    refused(flowing, about_client(family, unreachable(family), quoted, ttl=ttl), Reason.TTL_EXCEEDED)
    quoted, _ = quotes_for_client(family, TCP, b"", ALL)
    refused(flowing, about_backend(family, unreachable(family), quoted, ttl=ttl), Reason.TTL_EXCEEDED)


@each_family
@pytest.mark.parametrize("ttl", [0, 1, 255])
def test_the_quoted_ttl_is_whatever_it_was(flowing: Balancer, family: Family, ttl: int) -> None:
    before, after = inside(to_client(family, TCP, ttl=ttl)), inside(from_backend(family, TCP, ttl=ttl))
    assert flowing.send(about_client(family, unreachable(family), before)).data == at_backend(family, unreachable(family), after)


@each_family
def test_errors_are_traffic_of_their_service_and_backend(flowing: Balancer, family: Family) -> None:
    service, backend = (1, 1) if family is V4 else (3, 4)
    before = flowing.traffic("service_counters", service), flowing.traffic("backend_counters", backend)
    there = about_client(family, too_big(family), quotes_for_backend(family, TCP, PAYLOAD, ALL)[0])
    back = about_backend(family, unreachable(family), quotes_for_client(family, TCP, b"", ALL)[0])
    flowing.send(there)
    flowing.send(back)
    for old, new in zip(before, (flowing.traffic("service_counters", service), flowing.traffic("backend_counters", backend))):
        assert tuple(b - a for a, b in zip(old, new)) == (1, len(there), 1, len(back), 0)


@each_family
def test_a_wrong_icmp_checksum_stays_wrong(flowing: Balancer, family: Family) -> None:
    for cut in (8, ALL):
        before, after = quotes_for_backend(family, TCP, PAYLOAD, cut, flags="A")
        place = 14 + IP_BYTES[family.version] + 2
        bad, expected = bytearray(about_client(family, too_big(family), before)), at_backend(family, too_big(family), after)
        bad[place] ^= 0x40
        sent = flowing.send(bytes(bad))
        assert sent.reason is Reason.ICMP_TO_BACKEND
        assert sent.data[:place] + sent.data[place + 2 :] == expected[:place] + expected[place + 2 :]
        assert sent.data[place : place + 2] != expected[place : place + 2]


@each_family
def test_wrong_quoted_checksums_stay_wrong_and_the_icmp_checksum_right(flowing: Balancer, family: Family) -> None:
    """A router may have decremented the TTL without updating the checksum; payload may be cut or damaged."""
    before, after = quotes_for_backend(family, TCP, PAYLOAD, ALL, flags="A")
    place = IP_BYTES[family.version] + 30
    spoiled, expected = bytearray(before), bytearray(after)
    spoiled[place] ^= 0x55
    expected[place] ^= 0x55
    if family is V4:
        spoiled[8], expected[8] = 1, 1  # the quoted TTL, and not its checksum
    sent = flowing.send(about_client(family, too_big(family), bytes(spoiled)))
    assert sent.data == at_backend(family, too_big(family), bytes(expected))


def test_a_quoted_udp_packet_without_checksum_stays_without(flowing: Balancer) -> None:
    before, after = quotes_for_backend(V4, UDP, b"abc", ALL, chksum=0)
    assert flowing.send(about_client(V4, unreachable(V4), before)).data == at_backend(V4, unreachable(V4), after)
    before, after = quotes_for_client(V4, UDP, b"abc", ALL, chksum=0)
    assert flowing.send(about_backend(V4, unreachable(V4), before)).data == at_client(V4, unreachable(V4), after)


@each_family
def test_a_quoted_udp_checksum_that_computes_to_zero_becomes_ffff(flowing: Balancer, family: Family) -> None:
    payload = from_backend(family, UDP, bytes(2), ttl=63)[UDP].chksum.to_bytes(2, "big")
    before, after = quotes_for_backend(family, UDP, payload, ALL)
    place = IP_BYTES[family.version] + 6
    assert after[place : place + 2] == b"\xff\xff", "the test's own arithmetic"
    assert flowing.send(about_client(family, unreachable(family), before)).data == at_backend(family, unreachable(family), after)


@each_family
def test_an_icmp_checksum_that_computes_to_zero_is_sent_as_zero(flowing: Balancer, family: Family) -> None:
    """Two bytes far behind the quoted header make the translated error's sum all ones."""
    before, after = quotes_for_backend(family, TCP, bytes(40), ALL, flags="A")
    checksum = 14 + IP_BYTES[family.version] + 2
    missing = at_backend(family, too_big(family), after[:-2] + bytes(2))[checksum : checksum + 2]
    expected = at_backend(family, too_big(family), after[:-2] + missing)
    assert expected[checksum : checksum + 2] == bytes(2), "the test's own arithmetic"
    assert flowing.send(about_client(family, too_big(family), before[:-2] + missing)).data == expected


@each_family
def test_link_layer_padding_is_no_part_of_the_quote(flowing: Balancer, family: Family) -> None:
    """Were it one, a TCP checksum would be seen where there is none."""
    before, after = quotes_for_backend(family, TCP, PAYLOAD, 8, flags="A")
    for padding in (b"\xa5" * 9, b"\xa5" * 10, b"\xa5" * 50):
        sent = flowing.send(about_client(family, too_big(family), before) + padding)
        assert sent.data == at_backend(family, too_big(family), after) + padding


# --- what a quoted header may carry


@pytest.mark.parametrize("name", OPTIONS)
@each_protocol
@pytest.mark.parametrize("cut", [8, ALL])
def test_ipv4_options_in_the_quote_are_stepped_over(flowing: Balancer, name: str, kind: type[Packet], cut: int | None) -> None:
    before, after = with_options(to_client(V4, kind, PAYLOAD), name), with_options(from_backend(V4, kind, PAYLOAD, ttl=63), name)
    assert before[0] & 15 > 5
    end = None if cut is None else (before[0] & 15) * 4 + cut
    assert flowing.send(about_client(V4, too_big(V4), before[:end])).data == at_backend(V4, too_big(V4), after[:end])


@pytest.mark.parametrize("name", EXTENSIONS)
@each_protocol
@pytest.mark.parametrize("cut", [8, ALL])
def test_ipv6_extension_headers_in_the_quote_are_walked(flowing: Balancer, name: str, kind: type[Packet], cut: int | None) -> None:
    before = extended(to_client(V6, kind, PAYLOAD), EXTENSIONS[name])
    after = extended(from_backend(V6, kind, PAYLOAD, ttl=63), EXTENSIONS[name])
    end = None if cut is None else len(before) - len(inside(to_client(V6, kind, PAYLOAD))) + 40 + cut
    assert flowing.send(about_client(V6, too_big(V6), before[:end])).data == at_backend(V6, too_big(V6), after[:end])


def test_an_endless_chain_of_extension_headers_is_not_followed(flowing: Balancer) -> None:
    chain = IPv6ExtHdrDestOpt()
    for _ in range(6):
        chain = chain / IPv6ExtHdrDestOpt()
    refused(flowing, about_client(V6, too_big(V6), extended(to_client(V6, UDP), chain)), Reason.ICMP_NO_FLOW)


def test_a_routing_header_with_a_way_to_go_has_another_destination(flowing: Balancer) -> None:
    quoted = extended(to_client(V6, UDP), IPv6ExtHdrRouting(addresses=["2001:db8::77"], segleft=1))
    refused(flowing, about_client(V6, too_big(V6), quoted), Reason.ICMP_NO_FLOW)


@each_family
def test_a_quoted_first_fragment_has_ports_and_a_later_one_has_none(flowing: Balancer, family: Family) -> None:
    packets = to_client(family, UDP, bytes(64)), from_backend(family, UDP, bytes(64), ttl=63)
    if family is V4:
        for packet in packets:
            packet[IP].flags, packet[IP].chksum = "MF", None
        before, after = (inside(packet) for packet in packets)
        later = packets[0].copy()
        later[IP].frag, later[IP].chksum = 1, None
        fragment = inside(later)
    else:
        before, after = (extended(packet, IPv6ExtHdrFragment(offset=0, m=1)) for packet in packets)
        fragment = extended(packets[0], IPv6ExtHdrFragment(offset=1, m=0))
    assert flowing.send(about_client(family, too_big(family), before)).data == at_backend(family, too_big(family), after)
    refused(flowing, about_client(family, too_big(family), fragment), Reason.ICMP_NO_FLOW)


# --- packet too big


@pytest.mark.parametrize("mtu", [0, 68, 296, 552, 576, 1280, 1499, 65535])
def test_an_ipv4_mtu_that_a_link_may_have_is_told(flowing: Balancer, mtu: int) -> None:
    before, after = quotes_for_backend(V4, TCP, PAYLOAD, ALL)
    assert flowing.send(about_client(V4, too_big(V4, mtu), before)).data == at_backend(V4, too_big(V4, mtu), after)


@pytest.mark.parametrize("mtu", [1280, 1281, 1499, 65535, 65536, 0xFFFFFFFF])
def test_an_ipv6_mtu_that_a_link_may_have_is_told(flowing: Balancer, mtu: int) -> None:
    before, after = quotes_for_backend(V6, TCP, PAYLOAD, ALL)
    assert flowing.send(about_client(V6, too_big(V6, mtu), before)).data == at_backend(V6, too_big(V6, mtu), after)


@pytest.mark.parametrize(("family", "mtu"), [(V4, 1), (V4, 67), (V6, 0), (V6, 68), (V6, 576), (V6, 1279)])
def test_an_mtu_that_no_link_may_have_is_told_nobody(flowing: Balancer, family: Family, mtu: int) -> None:
    header = too_big(family, mtu)
    refused(flowing, about_client(family, header, quotes_for_backend(family, TCP, PAYLOAD, ALL)[0]), Reason.ICMP_MTU_TOO_SMALL)
    refused(flowing, about_backend(family, header, quotes_for_client(family, TCP, PAYLOAD, ALL)[0]), Reason.ICMP_MTU_TOO_SMALL)


# --- whose error it is


@each_family
def test_what_is_quoted_must_have_been_sent_by_the_errors_addressee(flowing: Balancer, family: Family) -> None:
    """Else an error to the VIP could speak of other people's packets."""
    stranger = "192.0.2.99" if family is V4 else "2001:db8::99"
    quoted = inside(from_client(family, TCP, client=stranger, vip=family.client))
    refused(flowing, about_client(family, unreachable(family), quoted), Reason.ICMP_MALFORMED)
    snat, _ = quotes_for_client(family, TCP, b"", ALL)
    refused(flowing, about_client(family, unreachable(family), snat), Reason.ICMP_MALFORMED)


@each_family
def test_a_flow_is_found_from_its_own_side_only(flowing: Balancer, family: Family) -> None:
    """An error that quotes what a client sent to a VIP, or a backend to a SNAT address, is not for us and matches nothing."""
    for source, destination, ports in (
        (family.vip, family.backends[0], (VIP_PORT, BACKEND_PORT)),
        (family.vip, family.client, (CLIENT_PORT, VIP_PORT)),
        (family.vip, family.client, (VIP_PORT, CLIENT_PORT + 1)),
    ):
        quoted = bytes(family.ip(source, destination) / TCP(sport=ports[0], dport=ports[1]))
        refused(flowing, about_client(family, unreachable(family), quoted), Reason.ICMP_NO_FLOW)
    quoted = bytes(family.ip(family.snat, family.client) / TCP(sport=VIP_PORT, dport=CLIENT_PORT))
    refused(flowing, about_backend(family, unreachable(family), quoted), Reason.ICMP_NO_FLOW)


@each_family
def test_a_vip_that_is_a_snat_address_too_serves_both_directions(flowing: Balancer, family: Family) -> None:
    lb = flowing
    lb.snat(*(f.vip if f is family else f.snat for f in (V4, V6)))
    lb.own(family.vip, layout.ADDRESS_VIP | layout.ADDRESS_SNAT)
    lb.erase()
    lb.send(from_client(family, UDP))
    before, after = inside(to_client(family, UDP, b"x")), inside(from_backend(family, UDP, b"x", snat=family.vip, ttl=63))
    sent = lb.send(about_client(family, unreachable(family), before))
    assert sent.data == at_backend(family, unreachable(family), after, snat=family.vip)
    before = bytes(family.ip(family.vip, family.backends[0], 63) / UDP(sport=CLIENT_PORT, dport=BACKEND_PORT) / Raw(b"x"))
    after = inside(from_client(family, UDP, b"x", ttl=63))
    sent = lb.send(about_backend(family, unreachable(family), before, snat=family.vip))
    assert (sent.reason, sent.data) == (Reason.ICMP_TO_CLIENT, at_client(family, unreachable(family), after))


@each_family
def test_on_an_address_that_is_also_the_hosts_only_errors_of_flows_are_taken(flowing: Balancer, family: Family) -> None:
    flowing.own(family.vip, layout.ADDRESS_VIP | layout.ADDRESS_LOCAL)
    before, after = quotes_for_backend(family, TCP, PAYLOAD, ALL)
    assert flowing.send(about_client(family, too_big(family), before)).data == at_backend(family, too_big(family), after)
    others, _ = quotes_for_backend(family, TCP, b"", ALL, port=CLIENT_PORT + 1)
    for frame in (about_client(family, unreachable(family), others), about_client(family, too_big(family, 60), before)):
        result = flowing.send(frame)
        assert (result.reason, result.verdict, result.data) == (Reason.LOCAL, Verdict.PASS, frame)


@pytest.mark.parametrize("source", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", V4.vip, "::", "::1", "ff02::1", V6.vip])
def test_an_error_from_a_source_that_cannot_be_is_dropped(flowing: Balancer, source: str) -> None:
    family = V6 if ":" in source else V4
    quoted, _ = quotes_for_backend(family, TCP, b"", ALL)
    expected = Reason.SOURCE_OWNED if source == family.vip else Reason.SOURCE_MARTIAN
    refused(flowing, about_client(family, unreachable(family), quoted, source=source), expected)


@each_family
def test_an_error_in_a_frame_for_another_station_is_dropped(flowing: Balancer, family: Family) -> None:
    flowing.write("interfaces", LOOPBACK, bytes(layout.Interface(ifindex=LOOPBACK, mac=mac(bytes.fromhex(LB_MAC.replace(":", ""))))))
    frame = about_client(family, unreachable(family), quotes_for_backend(family, TCP, b"", ALL)[0])
    other = b"\x02\0\0\0\0\x99" + frame[6:]
    result = flowing.send(other)
    assert (result.reason, result.verdict, result.data) == (Reason.FRAME_FOREIGN, Verdict.DROP, other)
    assert flowing.send(frame).reason is Reason.ICMP_TO_BACKEND


@each_family
def test_an_error_about_an_icmp_packet_is_dropped(flowing: Balancer, family: Family) -> None:
    """A quote of an error, or of our own echo reply."""
    quote, _ = quotes_for_backend(family, TCP, b"", ALL)
    of_error = about_client(family, unreachable(family), quote, source=family.client)[14:]
    sent_by_us = bytes(family.ip(family.vip, family.client) / (ICMP(type=0) if family is V4 else ICMPv6EchoReply()))
    refused(flowing, about_client(family, unreachable(family), sent_by_us), Reason.ICMP_NO_FLOW)
    refused(flowing, about_client(family, unreachable(family), of_error), Reason.ICMP_MALFORMED)
