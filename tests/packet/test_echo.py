"""Ping: a VIP answers as policy says, whole frames against scapy's; nobody else does."""

import pytest
from scapy.layers.inet import ICMP, IP, IPOption_RR
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import LOOPBACK, Balancer, mac
from tests.packet.conftest import Make, furnish
from tests.packet.wire import CLIENT_MAC, LB_MAC, V4, V6, Family, each_family

OTHER_MAC = "02:00:00:00:00:aa"
GROUPS = ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01")
SOURCES_THAT_CANNOT_BE = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", V4.vip, "::", "::1", "ff02::1", V6.vip]


@pytest.fixture
def echoing(lb: Balancer) -> Balancer:
    """Both VIPs answer, within a budget; the interface's MAC is known."""
    for family in (V4, V6):
        lb.own(family.vip, layout.ADDRESS_VIP | layout.ADDRESS_ECHO)
    lb.configure(icmp_rate=1000, icmp_burst=1000)
    lb.write("interfaces", LOOPBACK, bytes(layout.Interface(ifindex=LOOPBACK, mac=mac(bytes.fromhex(LB_MAC.replace(":", ""))))))
    return lb


def request(
    family: Family, data: bytes = b"", *, source: str = "", destination: str = "", macs: tuple[str, str] = (CLIENT_MAC, LB_MAC),
    ttl: int = 60, number: int = 77, sequence: int = 3, **fields: object,
) -> bytes:  # fmt: skip
    """An echo request."""
    ip = family.ip(source or family.client, destination or family.vip, ttl, tos=0x48)
    kind = ICMP if family is V4 else ICMPv6EchoRequest
    return bytes(Ether(src=macs[0], dst=macs[1]) / ip / kind(id=number, seq=sequence, **fields) / data)


def reply(family: Family, data: bytes = b"", *, number: int = 77, sequence: int = 3) -> bytes:
    """The answer to it."""
    ip = family.ip(family.vip, family.client, 64, tos=0x48)
    message = ICMP(type=0, id=number, seq=sequence) if family is V4 else ICMPv6EchoReply(id=number, seq=sequence)
    return bytes(Ether(src=LB_MAC, dst=CLIENT_MAC) / ip / message / data)


LENGTHS = [0, 1, 2, 3, 4, 5, 7, 56, 57, 63, 64, 65, 500, 501, 502, 503, 504, 505, 506, 507, 508, 1015, 1016, 1017, 1451, 1452, 1471, 1472]


@each_family
@pytest.mark.parametrize("length", LENGTHS)
def test_an_echo_request_of_any_length_is_answered_with_what_it_brought(echoing: Balancer, family: Family, length: int) -> None:
    data = bytes((7 * i + length) & 0xFF for i in range(length))
    result = echoing.send(request(family, data))
    assert (result.reason, result.verdict) == (Reason.ECHO_ANSWERED, Verdict.TX)
    assert result.data == reply(family, data)


@each_family
@pytest.mark.parametrize("length", [2000, 3000, 3333])
def test_a_jumbo_frame_is_no_exception(echoing: Balancer, family: Family, length: int) -> None:
    """As much as a test run takes in one piece."""
    data = bytes((11 * i + length) & 0xFF for i in range(length))
    assert echoing.send(request(family, data)).data == reply(family, data)


@each_family
@pytest.mark.parametrize("padding", [1, 2, 18])
def test_link_layer_padding_is_not_summed(echoing: Balancer, family: Family, padding: int) -> None:
    tail = b"\xa5" * padding
    for data in (b"", b"x"):
        assert echoing.send(request(family, data) + tail).data == reply(family, data) + tail


def test_a_reply_that_is_all_zero_has_a_checksum_that_its_receiver_takes(echoing: Balancer) -> None:
    """0xffff; an update of the request's would have made 0, which sums up to nothing."""
    for length in (0, 1, 56):
        result = echoing.send(request(V4, bytes(length), number=0, sequence=0))
        assert result.reason is Reason.ECHO_ANSWERED
        assert result.data[34:38] == b"\0\0\xff\xff"
        assert result.data == reply(V4, bytes(length), number=0, sequence=0)


@each_family
def test_a_reply_whose_checksum_computes_to_zero_is_sent_with_zero(echoing: Balancer, family: Family) -> None:
    """The first two bytes of the data make the reply's sum all ones."""
    place = 14 + (20 if family is V4 else 40) + 2
    data = reply(family, bytes(4))[place : place + 2] + bytes(2)
    expected = reply(family, data)
    assert expected[place : place + 2] == bytes(2), "the test's own arithmetic"
    assert echoing.send(request(family, data)).data == expected


def test_a_request_whose_checksum_is_zero_or_all_ones_is_answered(echoing: Balancer) -> None:
    """0 and 0xffff are the same number; some senders write the other one."""
    data = request(V4, bytes(4))[36:38] + bytes(2)
    assert request(V4, data)[36:38] == bytes(2), "the test's own arithmetic"
    for checksum in (b"\0\0", b"\xff\xff"):
        frame = request(V4, data)
        result = echoing.send(frame[:36] + checksum + frame[38:])
        assert (result.reason, result.data) == (Reason.ECHO_ANSWERED, reply(V4, data))


@each_family
@pytest.mark.parametrize("length", [0, 1, 56, 511, 1400])
def test_a_wrong_checksum_gets_no_answer(echoing: Balancer, family: Family, length: int) -> None:
    good = request(family, bytes(length))
    start = 14 + (20 if family is V4 else 40)
    for place in {start + 2, start + 3, start + 5, len(good) - 1}:
        bad = bytearray(good)
        bad[place] ^= 0x10
        result = echoing.send(bytes(bad))
        assert (result.reason, result.verdict, result.data) == (Reason.ICMP_MALFORMED, Verdict.DROP, bytes(bad)), "captured as it came"


@each_family
def test_a_request_too_short_for_identifier_and_sequence_is_malformed(echoing: Balancer, family: Family) -> None:
    for bytes_ in range(8):
        packet = Ether(request(family))
        if family is V4:
            packet[IP].len, packet[IP].chksum = 20 + bytes_, None
        else:
            packet[IPv6].plen = bytes_
        frame = bytes(packet)
        for sent in (frame, frame[: len(frame) - 8 + bytes_]):
            assert echoing.send(sent).reason is Reason.ICMP_MALFORMED


@each_family
@pytest.mark.parametrize("ttl", [0, 1, 255])
def test_an_answer_begins_its_way_anew(echoing: Balancer, family: Family, ttl: int) -> None:
    assert echoing.send(request(family, b"abc", ttl=ttl)).data == reply(family, b"abc")


def test_identification_and_fragmentation_flags_are_as_the_sender_wanted(echoing: Balancer) -> None:
    for identification, flags in ((0, 0), (1, "DF"), (0xFFFF, 0), (0x1234, "DF")):
        packets = [Ether(request(V4, b"x")), Ether(reply(V4, b"x"))]
        for packet in packets:
            packet[IP].id, packet[IP].flags, packet[IP].chksum = identification, flags, None
        assert echoing.send(bytes(packets[0])).data == bytes(packets[1])


@each_family
def test_only_a_vip_that_is_told_to_answers(lb: Balancer, family: Family) -> None:
    lb.configure(icmp_rate=1000, icmp_burst=1000)
    for destination in (family.vip, family.snat):
        result = lb.send(request(family, destination=destination))
        assert (result.reason, result.verdict) == (Reason.ECHO_REFUSED, Verdict.DROP)


@each_family
def test_others_are_none_of_our_business(echoing: Balancer, family: Family) -> None:
    frame = request(family, destination="192.0.2.99" if family is V4 else "2001:db8::99")
    result = echoing.send(frame)
    assert (result.reason, result.verdict, result.data) == (Reason.FOREIGN, Verdict.PASS, frame)


@each_family
def test_an_address_that_is_also_the_hosts_is_the_hosts_to_answer_for(echoing: Balancer, family: Family) -> None:
    echoing.own(family.vip, layout.ADDRESS_VIP | layout.ADDRESS_ECHO | layout.ADDRESS_LOCAL)
    good = request(family, b"abc")
    for frame in (good, good[:-1] + b"x"):
        result = echoing.send(frame)
        assert (result.reason, result.verdict, result.data) == (Reason.LOCAL, Verdict.PASS, frame)


def test_answers_beyond_the_burst_are_not_sent(echoing: Balancer) -> None:
    echoing.configure(icmp_rate=1, icmp_burst=5)
    assert echoing.send(request(V4)).reason is Reason.ECHO_ANSWERED
    echoing.configure(icmp_rate=0)
    reasons = [echoing.send(request(family)).reason for family in (V4, V6) * 5]
    assert reasons == [Reason.ECHO_ANSWERED] * 4 + [Reason.ECHO_LIMITED] * 6


def test_the_budgets_of_rst_and_icmp_are_two(make: Make) -> None:
    lb = make()
    furnish(lb, rst_rate=0, rst_burst=0, icmp_rate=1, icmp_burst=1)
    lb.own(V4.vip, layout.ADDRESS_VIP | layout.ADDRESS_ECHO)
    assert lb.send(request(V4)).reason is Reason.ECHO_ANSWERED


@pytest.mark.parametrize("source", SOURCES_THAT_CANNOT_BE)
def test_nothing_is_sent_to_a_source_that_cannot_be(echoing: Balancer, source: str) -> None:
    result = echoing.send(request(V6 if ":" in source else V4, source=source))
    expected = Reason.SOURCE_OWNED if source in (V4.vip, V6.vip) else Reason.SOURCE_MARTIAN
    assert (result.reason, result.verdict) == (expected, Verdict.DROP)


@each_family
@pytest.mark.parametrize("macs", [*((CLIENT_MAC, group) for group in GROUPS), ("03:00:00:00:00:01", LB_MAC)])
def test_a_frame_to_or_from_a_group_gets_no_answer(echoing: Balancer, family: Family, macs: tuple[str, str]) -> None:
    result = echoing.send(request(family, macs=macs))
    assert (result.reason, result.verdict) == (Reason.FRAME_FOREIGN, Verdict.DROP)


@each_family
def test_a_frame_for_another_station_gets_no_answer(echoing: Balancer, family: Family) -> None:
    frame = request(family, macs=(CLIENT_MAC, OTHER_MAC))
    result = echoing.send(frame)
    assert (result.reason, result.verdict, result.data) == (Reason.FRAME_FOREIGN, Verdict.DROP, frame)


def test_a_request_with_options_gets_no_answer(echoing: Balancer) -> None:
    packet: Packet = Ether(request(V4))
    packet[IP].options, packet[IP].ihl, packet[IP].len, packet[IP].chksum = [IPOption_RR(routers=["0.0.0.0"])], None, None, None
    assert echoing.send(bytes(packet)).reason is Reason.IP_OPTIONS


@each_family
def test_an_answer_leaves_by_redirect_where_that_is_configured(echoing: Balancer, family: Family) -> None:
    echoing.configure(flags=layout.CONFIG_TRANSMIT_REDIRECT)
    result = echoing.send(request(family, b"x"))
    assert (result.reason, result.verdict, result.data) == (Reason.ECHO_ANSWERED, Verdict.REDIRECT, reply(family, b"x"))
