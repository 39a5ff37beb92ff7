"""What a service without a backend does with a packet: drops it, or tells the client by RST or ICMP; whole frames against scapy's."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import LOOPBACK, Balancer, mac
from tests.packet.conftest import Make
from tests.packet.modes import every_mode, furnish
from tests.packet.wire import (
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
    from_client,
    same,
)

KINDS = {
    "drop": layout.EMPTY_DROP,
    "reset": layout.EMPTY_RESET,
    "unreachable": layout.EMPTY_UNREACHABLE,
    "prohibited": layout.EMPTY_PROHIBITED,
}
CODES = {"unreachable": {4: 3, 6: 4}, "prohibited": {4: 13, 6: 1}}
OTHER_MAC = "02:00:00:00:00:aa"
SOURCES_THAT_CANNOT_BE = ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", V4.vip, "::", "::1", "ff02::1", V6.vip]

each_code = pytest.mark.parametrize("kind", CODES)


def empty(make: Make, mode: str, kind: str) -> Balancer:
    """All services in one mode, without a backend, with budgets for answers; the interface's MAC is known."""
    lb = furnish(make, mode, KINDS[kind] << layout.SERVICE_ON_EMPTY_SHIFT)
    lb.ring(1, [0])
    lb.ring(2, [0])
    lb.configure(rst_rate=1000, rst_burst=1000, icmp_rate=1000, icmp_burst=1000)
    lb.write("interfaces", LOOPBACK, bytes(layout.Interface(ifindex=LOOPBACK, mac=mac(bytes.fromhex(LB_MAC.replace(":", ""))))))
    return lb


def error(family: Family, about: bytes, code: int) -> Packet:
    """An ICMP error about a client's IP packet, as RFC 1812 and RFC 4443 want it: as much of the packet as fits."""
    frame = Ether(src=LB_MAC, dst=CLIENT_MAC)
    if family is V4:
        ip = IP(src=V4.vip, dst=V4.client, ttl=64, id=0, flags="DF", tos=0xC0)
        return built(frame / ip / ICMP(type=3, code=code) / about[: 576 - 28])
    return built(frame / IPv6(src=V6.vip, dst=V6.client, hlim=64) / ICMPv6DestUnreach(code=code) / about[: 1280 - 48])


def rst(family: Family, acknowledgement: int) -> Packet:
    """The answer of a closed port to a SYN."""
    ip = IP(src=V4.vip, dst=V4.client, ttl=64, id=0, flags="DF") if family is V4 else IPv6(src=V6.vip, dst=V6.client, hlim=64)
    segment = TCP(sport=VIP_PORT, dport=CLIENT_PORT, seq=0, ack=acknowledgement, flags="RA", window=0)
    return built(Ether(src=LB_MAC, dst=CLIENT_MAC) / ip / segment)


@each_family
@each_protocol
@every_mode
def test_by_default_the_packet_is_dropped(make: Make, mode: str, family: Family, kind: type) -> None:
    result = empty(make, mode, "drop").send(from_client(family, kind, b"q", flags="S"))
    assert (result.reason, result.verdict) == (Reason.NO_BACKEND, Verdict.DROP)


@each_family
@every_mode
def test_reset_answers_a_syn_as_a_closed_port_does(make: Make, mode: str, family: Family) -> None:
    lb = empty(make, mode, "reset")
    result = lb.send(from_client(family, TCP, b"fast open", flags="S", seq=7000, options=[("MSS", 1460)]))
    assert (result.reason, result.verdict) == (Reason.NO_BACKEND_ANSWERED, Verdict.TX)
    same(result.data, rst(family, 7010))
    assert not lb.flows(), "no flow was made"
    assert not lb.buckets(), "no entry was written"


@each_family
@every_mode
def test_reset_answers_udp_as_a_closed_port_does(make: Make, mode: str, family: Family) -> None:
    packet = from_client(family, UDP, b"question")
    result = empty(make, mode, "reset").send(packet)
    assert (result.reason, result.verdict) == (Reason.NO_BACKEND_ANSWERED, Verdict.TX)
    same(result.data, error(family, bytes(packet.payload), CODES["unreachable"][family.version]))


@each_family
@pytest.mark.parametrize("protocol", [TCP, UDP])
@each_code
@every_mode
def test_unreachable_and_prohibited_answer_by_icmp(make: Make, mode: str, kind: str, protocol: type, family: Family) -> None:
    packet = from_client(family, protocol, b"odd", flags="S", ttl=1, tos=0x2E)
    result = empty(make, mode, kind).send(packet)
    assert (result.reason, result.verdict) == (Reason.NO_BACKEND_ANSWERED, Verdict.TX)
    same(result.data, error(family, bytes(packet.payload), CODES[kind][family.version]))


LENGTHS = [0, 1, 2, 3, 483, 484, 499, 500, 519, 520, 521, 547, 548, 549, 1000, 1171, 1172, 1183, 1184, 1185, 1231, 1232, 1400]


@each_family
@pytest.mark.parametrize("length", LENGTHS)
def test_an_error_quotes_as_much_as_may_be_and_its_checksum_is_right(make: Make, family: Family, length: int) -> None:
    packet = from_client(family, UDP, bytes((11 * i + length) & 0xFF for i in range(length)))
    result = empty(make, "nat", "unreachable").send(bytes(packet) + b"padding of the link layer")
    assert result.reason is Reason.NO_BACKEND_ANSWERED
    same(result.data, error(family, bytes(packet.payload), CODES["unreachable"][family.version]))
    assert len(result.data) <= 14 + (576 if family is V4 else 1280)


@each_family
@pytest.mark.parametrize("kind", ["reset", "unreachable"])
@every_mode
def test_a_rst_is_never_answered(make: Make, mode: str, kind: str, family: Family) -> None:
    lb = empty(make, mode, kind)
    for flags in ("R", "RA"):
        assert lb.send(from_client(family, TCP, flags=flags)).verdict is Verdict.DROP


@each_family
@pytest.mark.parametrize("mode", ["dsr", "ipip", "gue", "fou"])
def test_a_segment_of_a_flow_that_nobody_has_is_reset_with_the_sequence_it_asks_for(make: Make, mode: str, family: Family) -> None:
    result = empty(make, mode, "reset").send(from_client(family, TCP, flags="A", seq=1, ack=77))
    assert (result.reason, result.verdict) == (Reason.NO_BACKEND_ANSWERED, Verdict.TX)
    assert (result.data[-20 + 4 : -20 + 8], result.data[-20 + 13]) == ((77).to_bytes(4, "big"), 0x04)


@pytest.mark.parametrize(("kind", "protocol", "budget"), [("reset", TCP, "rst"), ("reset", UDP, "icmp"), ("prohibited", TCP, "icmp")])
@pytest.mark.parametrize("mode", ["nat", "ipip"])
def test_answers_beyond_the_burst_are_not_sent(make: Make, mode: str, kind: str, protocol: type, budget: str) -> None:
    lb = empty(make, mode, kind)
    lb.configure(**{f"{budget}_rate": 1, f"{budget}_burst": 3})
    packet = from_client(V4, protocol, flags="S")
    assert lb.send(packet).reason is Reason.NO_BACKEND_ANSWERED
    lb.configure(**{f"{budget}_rate": 0})
    results = [lb.send(packet) for _ in range(6)]
    assert [r.reason for r in results] == [Reason.NO_BACKEND_ANSWERED] * 2 + [Reason.NO_BACKEND_LIMITED] * 4
    assert {r.verdict for r in results[2:]} == {Verdict.DROP}


@pytest.mark.parametrize("kind", ["reset", "unreachable"])
@pytest.mark.parametrize("source", SOURCES_THAT_CANNOT_BE)
@pytest.mark.parametrize("mode", ["nat", "dsr"])
def test_nothing_is_sent_to_a_source_that_cannot_be(make: Make, mode: str, kind: str, source: str) -> None:
    family = V6 if ":" in source else V4
    result = empty(make, mode, kind).send(from_client(family, TCP, flags="S", client=source))
    assert (result.reason in (Reason.SOURCE_MARTIAN, Reason.SOURCE_OWNED), result.verdict) == (True, Verdict.DROP)


@each_family
@pytest.mark.parametrize("kind", ["reset", "unreachable"])
@every_mode
def test_a_frame_for_another_station_is_not_answered(make: Make, mode: str, kind: str, family: Family) -> None:
    packet = from_client(family, TCP, flags="S")
    packet.dst = OTHER_MAC
    result = empty(make, mode, kind).send(packet)
    assert (result.reason, result.verdict, result.data) == (Reason.FRAME_FOREIGN, Verdict.DROP, bytes(packet))


@pytest.mark.parametrize("offset", [1, 185])
@every_mode
def test_a_later_fragment_is_not_answered(make: Make, mode: str, offset: int) -> None:
    packet = from_client(V4, UDP, b"looks like a header")
    packet[IP].flags, packet[IP].frag = 0, offset
    del packet[IP].chksum
    assert empty(make, mode, "unreachable").send(built(packet)).verdict is Verdict.DROP


@each_family
def test_flows_that_there_are_go_on(make: Make, family: Family) -> None:
    lb = empty(make, "nat", "unreachable")
    ring, backend = (1, 1) if family is V4 else (2, 4)
    lb.ring(ring, [backend])
    assert lb.send(from_client(family, UDP, b"1")).reason is Reason.FLOW_CREATED
    lb.ring(ring, [0])
    assert lb.send(from_client(family, UDP, b"2")).reason is Reason.TO_BACKEND
    assert lb.send(from_client(family, UDP, b"3", port=CLIENT_PORT + 1)).reason is Reason.NO_BACKEND_ANSWERED


@each_family
def test_an_answer_leaves_by_redirect_where_that_is_configured(make: Make, family: Family) -> None:
    lb = empty(make, "nat", "unreachable")
    lb.configure(flags=layout.CONFIG_TRANSMIT_REDIRECT)
    assert lb.send(from_client(family, UDP, b"1")).verdict is Verdict.REDIRECT


@each_family
@each_protocol
def test_a_vip_that_is_also_the_hosts_answers_too(make: Make, family: Family, kind: type) -> None:
    """The service is there, so the packet is its business and not the host's."""
    lb = empty(make, "dsr", "unreachable")
    lb.own(family.vip, layout.ADDRESS_VIP | layout.ADDRESS_LOCAL)
    assert lb.send(from_client(family, kind, b"1", flags="S")).reason is Reason.NO_BACKEND_ANSWERED
