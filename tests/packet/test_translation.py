"""Both directions of both protocols in both families, byte for byte against frames that scapy builds from nothing."""

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.packet import Packet

from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import Balancer
from tests.packet.wire import V4, V6, Family, each_family, each_protocol, from_backend, from_client, same, to_backend, to_client


def opened(lb: Balancer, family: Family, kind: type[Packet] = TCP) -> None:
    """A flow whose client has sent its first packet."""
    assert lb.send(from_client(family, kind, flags="S", seq=1000)).reason is Reason.FLOW_CREATED


@each_family
@each_protocol
def test_the_first_packet_of_a_flow_reaches_the_backend(lb: Balancer, family: Family, kind: type[Packet]) -> None:
    result = lb.send(from_client(family, kind, b"hello", flags="S", seq=1000))
    assert (result.reason, result.verdict) == (Reason.FLOW_CREATED, Verdict.TX)
    same(result.data, to_backend(family, kind, b"hello", flags="S", seq=1000))


@each_family
@each_protocol
def test_the_answer_reaches_the_client_by_the_way_its_packet_came(lb: Balancer, family: Family, kind: type[Packet]) -> None:
    opened(lb, family, kind)
    result = lb.send(from_backend(family, kind, b"world", flags="SA", seq=5, ack=1001))
    assert (result.reason, result.verdict) == (Reason.TO_CLIENT, Verdict.TX)
    same(result.data, to_client(family, kind, b"world", flags="SA", seq=5, ack=1001))


@each_family
@each_protocol
@pytest.mark.parametrize("length", [0, 1, 2, 3, 99, 1000, 1459, 1460])
def test_payloads_of_every_parity_keep_right_checksums(lb: Balancer, family: Family, kind: type[Packet], length: int) -> None:
    opened(lb, family, kind)
    payload = bytes((7 * i + length) & 0xFF for i in range(length))
    there = lb.send(from_client(family, kind, payload, flags="PA", seq=1001, ack=6))
    assert there.reason is Reason.TO_BACKEND
    same(there.data, to_backend(family, kind, payload, flags="PA", seq=1001, ack=6))
    back = lb.send(from_backend(family, kind, payload, flags="PA", seq=6, ack=1001))
    assert back.reason is Reason.TO_CLIENT
    same(back.data, to_client(family, kind, payload, flags="PA", seq=6, ack=1001))


@each_family
@pytest.mark.parametrize("tos", [0x00, 0x01, 0x02, 0x03, 0xB8, 0xFF])
def test_dscp_and_ecn_pass_untouched_in_both_directions(lb: Balancer, family: Family, tos: int) -> None:
    opened(lb, family)
    same(lb.send(from_client(family, flags="A", tos=tos)).data, to_backend(family, flags="A", tos=tos))
    same(lb.send(from_backend(family, flags="A", tos=tos)).data, to_client(family, flags="A", tos=tos))


@each_family
@pytest.mark.parametrize("ttl", [2, 3, 64, 128, 255])
def test_ttl_goes_down_by_one_in_both_directions(lb: Balancer, family: Family, ttl: int) -> None:
    opened(lb, family)
    same(lb.send(from_client(family, flags="A", ttl=ttl)).data, to_backend(family, flags="A", ttl=ttl - 1))
    same(lb.send(from_backend(family, flags="A", ttl=ttl)).data, to_client(family, flags="A", ttl=ttl - 1))


@each_family
@pytest.mark.parametrize("ttl", [0, 1])
def test_a_packet_whose_ttl_would_reach_zero_is_dropped_in_both_directions(lb: Balancer, family: Family, ttl: int) -> None:
    assert lb.send(from_client(family, flags="S", ttl=ttl)).reason is Reason.TTL_EXCEEDED
    assert not lb.flows(), "no flow for a packet that goes nowhere"
    opened(lb, family)
    for packet in (from_client(family, flags="A", ttl=ttl), from_backend(family, flags="A", ttl=ttl)):
        result = lb.send(packet)
        assert (result.reason, result.verdict) == (Reason.TTL_EXCEEDED, Verdict.DROP)


def test_a_udp_packet_without_checksum_over_ipv4_stays_without(lb: Balancer) -> None:
    for _ in range(2):
        result = lb.send(from_client(V4, UDP, b"abc", chksum=0))
        same(result.data, to_backend(V4, UDP, b"abc", chksum=0))
    same(lb.send(from_backend(V4, UDP, b"abc", chksum=0)).data, to_client(V4, UDP, b"abc", chksum=0))


def test_a_udp_packet_without_checksum_over_ipv6_is_malformed(lb: Balancer) -> None:
    assert lb.send(from_client(V6, UDP, b"abc", chksum=0)).reason is Reason.CHECKSUM_WRONG


@each_family
def test_a_udp_checksum_that_computes_to_zero_is_sent_as_ffff(lb: Balancer, family: Family) -> None:
    """The payload's first word is chosen so that the translated packet's sum is all ones."""
    opened(lb, family, UDP)
    probe = to_backend(family, UDP, bytes(2))
    payload = probe[UDP].chksum.to_bytes(2, "big")
    expected = to_backend(family, UDP, payload)
    assert expected[UDP].chksum == 0xFFFF, "the test's own arithmetic"
    same(lb.send(from_client(family, UDP, payload)).data, expected)


@each_family
def test_a_tcp_checksum_that_computes_to_zero_is_sent_as_zero(lb: Balancer, family: Family) -> None:
    opened(lb, family)
    payload = to_backend(family, TCP, bytes(2), flags="A")[TCP].chksum.to_bytes(2, "big")
    expected = to_backend(family, TCP, payload, flags="A")
    assert expected[TCP].chksum == 0
    same(lb.send(from_client(family, TCP, payload, flags="A")).data, expected)


@each_family
@each_protocol
def test_a_broken_checksum_stays_broken(lb: Balancer, family: Family, kind: type[Packet]) -> None:
    opened(lb, family, kind)
    good = from_client(family, kind, b"abcd", flags="A")
    bad = bytearray(bytes(good))
    bad[-1] ^= 1
    translated = lb.send(bytes(bad)).data
    expected = bytearray(bytes(to_backend(family, kind, b"abcd", flags="A")))
    expected[-1] ^= 1
    assert translated == bytes(expected)


def test_an_ipv4_identification_of_every_kind_keeps_the_header_checksum_right(lb: Balancer) -> None:
    opened(lb, V4)
    for identification in (0, 1, 0x00FF, 0xFF00, 0x7FFF, 0xFFFF):
        packet = from_client(V4, flags="A")
        packet[IP].id, packet[IP].chksum = identification, None
        expected = to_backend(V4, flags="A")
        expected[IP].id, expected[IP].chksum = identification, None
        assert lb.send(bytes(packet)).data == bytes(expected)


@each_family
def test_tcp_options_and_link_layer_padding_pass_untouched(lb: Balancer, family: Family) -> None:
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]
    padding = bytes(9)
    result = lb.send(bytes(from_client(family, flags="S", seq=1000, options=options)) + padding)
    assert result.data == bytes(to_backend(family, flags="S", seq=1000, options=options)) + padding
