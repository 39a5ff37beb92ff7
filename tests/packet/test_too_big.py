"""Packets that are too long for their way: whose sender is told by "packet too big", byte for byte, and whose is not."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from l4lb_agent.model import layout
from l4lb_agent.model.address import Address
from l4lb_agent.model.reasons import Reason, Verdict
from l4lb_agent.model.service import Mode
from l4lb_agent.model.ways.mtu import LEAST, effective, outer_bytes
from tests.packet import errors, odd
from tests.packet.balancer import LOOPBACK, Balancer, mac
from tests.packet.conftest import Make
from tests.packet.direct import MODES, PAIRS, Pair, point
from tests.packet.modes import EVERY_MODE, every_mode, furnish
from tests.packet.wire import (
    BACKEND_MAC,
    CLIENT_MAC,
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
    transport,
)  # fmt: skip

MTU = 1400
LONGEST = {4: 576, 6: 1280}  # of an error
HEADERS = {(4, TCP): 40, (6, TCP): 60, (4, UDP): 28, (6, UDP): 48}
CROSSING = [(pair, mode) for pair in PAIRS for mode in MODES if mode != "dsr" or pair.vip is pair.backend]


def generous(lb: Balancer) -> Balancer:
    """With answers to spend."""
    lb.configure(icmp_rate=1000, icmp_burst=1000)
    return lb


def narrow(lb: Balancer, mtu: int = MTU) -> Balancer:
    """With answers to spend, and ways of this MTU to both first backends."""
    for number in (1, 4):
        lb.set_backend(number, mtu=mtu)
    return generous(lb)


def too_big(family: Family, packet: Packet, mtu: int, *, source: str = "", destination: str = "", to: str = CLIENT_MAC) -> Packet:
    """What the sender of `packet` must be told."""
    quoted = errors.inside(packet)[: LONGEST[family.version] - HEADERS[family.version, UDP]]
    if family is V4:
        ip: Packet = IP(src=source or V4.vip, dst=destination or V4.client, id=0, flags="DF", ttl=64, tos=0xC0)
        return built(Ether(src=LB_MAC, dst=to) / ip / ICMP(type=3, code=4, nexthopmtu=mtu) / Raw(quoted))
    ip = IPv6(src=source or V6.vip, dst=destination or V6.client, hlim=64)
    return built(Ether(src=LB_MAC, dst=to) / ip / ICMPv6PacketTooBig(mtu=mtu) / Raw(quoted))


def sized(family: Family, kind: type[Packet], length: int, **fields: object) -> Packet:
    """A client's packet of that many bytes."""
    payload = bytes(i * 7 & 0xFF for i in range(length - HEADERS[family.version, kind]))
    return from_client(family, kind, payload, **fields)  # type: ignore[arg-type]


@each_protocol
@pytest.mark.parametrize(("pair", "mode"), CROSSING, ids=str)
def test_the_client_is_told_what_fits_behind_the_outer_header(make: Make, pair: Pair, mode: str, kind: type[Packet]) -> None:
    lb = narrow(furnish(make, mode))
    point(lb, pair)
    fits = MTU - outer_bytes(Mode(MODES[mode]), Address.parse(pair.backend.backends[0], "backend"))
    for length in (fits + 1, fits + 2, 1500):
        packet = sized(pair.vip, kind, length, flags="A")
        result = lb.send(packet)
        assert (result.reason, result.verdict) == (Reason.TOO_BIG_ANSWERED, Verdict.TX)
        same(result.data, too_big(pair.vip, packet, fits))
    assert lb.send(sized(pair.vip, kind, fits, flags="A")).reason is Reason.TO_BACKEND


@each_family
@pytest.mark.parametrize("length", [1401, 1402, 3300])
def test_both_ends_of_a_nat_flow_are_told(make: Make, family: Family, length: int) -> None:
    lb = narrow(furnish(make, "nat"))
    lb.send(from_client(family, TCP, flags="S"))
    packet = sized(family, TCP, length, flags="A")
    result = lb.send(packet)
    assert (result.reason, result.verdict) == (Reason.TOO_BIG_ANSWERED, Verdict.TX)
    same(result.data, too_big(family, packet, MTU))
    (flow,) = lb.flows()
    flow.element.mtu, flow.element.route_generation = MTU, lb.config.route_generation
    lb.write("flows", flow.id, bytes(flow.element))
    ip = family.ip(family.backends[0], family.snat)
    back = built(Ether(src=BACKEND_MAC, dst=LB_MAC) / ip / transport(TCP, VIP_PORT, 40000, bytes(length - HEADERS[family.version, TCP])))
    result = lb.send(back)
    assert (result.reason, result.verdict) == (Reason.TOO_BIG_ANSWERED, Verdict.TX)
    same(result.data, too_big(family, back, MTU, source=family.snat, destination=family.backends[0], to=BACKEND_MAC))


@each_family
def test_the_first_datagram_of_a_nat_flow_is_answered_and_makes_no_flow(make: Make, family: Family) -> None:
    lb = narrow(furnish(make, "nat"))
    packet = sized(family, UDP, 1500)
    same(lb.send(packet).data, too_big(family, packet, MTU))
    assert not lb.records()


@every_mode
def test_an_ipv4_packet_that_may_be_fragmented_is_dropped(make: Make, mode: str) -> None:
    lb = narrow(furnish(make, mode))
    lb.send(from_client(V4, TCP, flags="S"))
    packet = sized(V4, TCP, 1500, flags="A")
    packet[IP].flags = 0
    del packet[IP].chksum
    result = lb.send(built(packet))
    assert (result.reason, result.verdict, result.data) == (Reason.MTU_EXCEEDED, Verdict.DROP, bytes(built(packet)))


@each_family
@every_mode
def test_answers_have_a_budget_that_pings_do_not_spend(make: Make, mode: str, family: Family) -> None:
    lb = narrow(furnish(make, mode))
    lb.configure(icmp_rate=1, icmp_burst=3)
    lb.send(from_client(family, TCP, flags="S"))
    lb.own(family.vip, layout.ADDRESS_VIP | layout.ADDRESS_ECHO)
    echo = ICMP() if family is V4 else ICMPv6EchoRequest()
    ping = built(Ether(src=CLIENT_MAC, dst=LB_MAC) / family.ip(family.client, family.vip) / echo)
    assert Reason.ECHO_LIMITED in [lb.send(ping).reason for _ in range(10)]
    packet = sized(family, TCP, 1500, flags="A")
    seen = [lb.send(packet) for _ in range(10)]
    assert [one.reason for one in seen[:3]] == [Reason.TOO_BIG_ANSWERED] * 3
    refused = [one for one in seen if one.reason is not Reason.TOO_BIG_ANSWERED]
    assert {(one.reason, one.verdict, one.data) for one in refused} == {(Reason.TOO_BIG_LIMITED, Verdict.DROP, bytes(packet))}


@pytest.mark.parametrize("way", [100, 300, 575, 600])
@each_family
def test_nothing_is_told_that_senders_need_not_believe(make: Make, family: Family, way: int) -> None:
    lb = narrow(furnish(make, "nat"), way)
    lb.send(from_client(family, TCP, flags="S"))
    told = max(way, LEAST[family.version])
    packet = sized(family, TCP, told + 1, flags="A")
    same(lb.send(packet).data, too_big(family, packet, told))
    if told > way:
        assert lb.send(sized(family, TCP, told, flags="A")).reason is Reason.MTU_EXCEEDED


@pytest.mark.parametrize("source", ["127.0.0.1", "0.1.2.3", "224.0.0.1", "255.255.255.255", V4.vip, "::1", "ff02::1", "::"])
@pytest.mark.parametrize("mode", MODES)
def test_a_sender_that_cannot_be_is_told_nothing(make: Make, mode: str, source: str) -> None:
    lb = narrow(furnish(make, mode))
    packet = sized(V6 if ":" in source else V4, TCP, 1500, flags="A", client=source)
    result = lb.send(packet)
    assert result.verdict is Verdict.DROP
    assert result.data == bytes(packet)


@every_mode
def test_another_stations_frame_is_not_answered(make: Make, mode: str) -> None:
    lb = narrow(furnish(make, mode))
    lb.send(from_client(V4, TCP, flags="S"))
    lb.write("interfaces", LOOPBACK, bytes(layout.Interface(ifindex=LOOPBACK, mac=mac(bytes.fromhex(LB_MAC.replace(":", ""))))))
    packet = sized(V4, TCP, 1500, flags="A")
    assert lb.send(packet).reason is Reason.TOO_BIG_ANSWERED
    packet[Ether].dst = "02:00:00:00:00:99"
    result = lb.send(packet)
    assert (result.reason, result.verdict, result.data) == (Reason.FRAME_FOREIGN, Verdict.DROP, bytes(packet))


@each_family
def test_an_icmp_error_is_never_answered(make: Make, family: Family) -> None:
    lb = narrow(furnish(make, "nat"), 100)
    lb.send(from_client(family, TCP, flags="S"))
    ip = family.ip(family.vip, family.client)
    quote = bytes(ip / TCP(sport=VIP_PORT, dport=40000) / Raw(bytes(200)))
    frame = errors.about_client(family, errors.unreachable(family), quote)
    result = lb.send(frame)
    assert (result.reason, result.verdict, result.data) == (Reason.MTU_EXCEEDED, Verdict.DROP, frame)


@each_family
@pytest.mark.parametrize("mode", ["dsr", "nat"])
def test_a_first_fragment_is_answered_and_no_later_one(make: Make, mode: str, family: Family) -> None:
    lb = generous(furnish(make, mode))
    first, later = odd.cut(sized(family, UDP, 3000), 1440)[:2]
    if family is V4:
        for piece in (first, later):
            piece[IP].flags |= "DF"
            del piece[IP].chksum
    first, later = built(first), built(later)
    number = 1 if family is V4 else 4
    lb.set_backend(number, mtu=MTU)
    same(lb.send(first).data, too_big(family, first, MTU))
    lb.set_backend(number, mtu=0)
    assert lb.send(first).verdict is Verdict.TX
    lb.set_backend(number, mtu=MTU)
    result = lb.send(later)
    assert (result.reason, result.verdict, result.data) == (Reason.MTU_EXCEEDED, Verdict.DROP, bytes(later))


@each_family
def test_padding_is_not_quoted_and_the_quote_ends_with_the_packet(make: Make, family: Family) -> None:
    lb = narrow(furnish(make, "nat"), 576)
    lb.send(from_client(family, TCP, flags="S"))
    packet = sized(family, TCP, LEAST[family.version] + 1, flags="A")
    padded = bytes(packet) + b"padding"
    assert lb.send(padded).data == bytes(too_big(family, packet, LEAST[family.version]))


def test_a_refused_packet_refreshes_nothing(make: Make) -> None:
    lb = narrow(furnish(make, "nat"))
    lb.send(from_client(V4, TCP, flags="S"))
    lb.age(2)
    before = errors.untouched(lb)
    assert lb.send(sized(V4, TCP, 1500, flags="A")).reason is Reason.TOO_BIG_ANSWERED
    assert errors.untouched(lb) == before
    assert lb.traffic("service_counters", 1)[0] == 1


def test_without_the_answer_tail_the_packet_is_dropped(make: Make) -> None:
    lb = make(missing=frozenset({"answer"}))
    lb.start()
    lb.own(V4.vip, layout.ADDRESS_VIP)
    lb.backend(1, V4.backends[0], VIP_PORT, mtu=MTU)
    lb.ring(1, [1])
    lb.service(1, V4.vip, VIP_PORT, 6, now=1, mode=EVERY_MODE["dsr"])
    assert lb.send(sized(V4, TCP, 1500, flags="A")).reason is Reason.TAIL_CALL_FAILED


def test_the_narrower_of_backend_and_way_counts() -> None:
    assert [effective(*mtus) for mtus in ((0, 0), (0, 1500), (1400, 0), (1400, 1500), (9000, 1500))] == [0, 1500, 1400, 1400, 1500]
