"""Services with more than one port: which of them takes a packet, and the port at the backend; in every mode."""

import random

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach
from scapy.layers.l2 import Ether

from l4lb_agent.model import layout
from l4lb_agent.model.choice import port_ranges
from l4lb_agent.model.reasons import Reason
from tests.packet.balancer import Balancer
from tests.packet.conftest import Make
from tests.packet.direct import OUTER
from tests.packet.modes import EVERY_MODE, every_mode, furnish
from tests.packet.wire import (
    BACKEND_MAC,
    CLIENT_MAC,
    CLIENT_PORT,
    LB_MAC,
    NUMBER,
    V4,
    Family,
    built,
    each_family,
    each_protocol,
    from_client,
    same,
    transport,
)

FIRST = 20  # backend of the first service; each has the next one
SERVICES = 8  # ids of the services that the tests make begin here
EXACT, NARROW, WIDE, ANY = (8005, 0), (8000, 8010), (7000, 9000), (0, 65535)
NESTED = (EXACT, NARROW, WIDE, ANY)


def serving(make: Make, mode: str, family: Family, kind: type, *ports: tuple[int, int], at: int = 0) -> Balancer:
    """Services of these ports (first and last, 0 for a single one), each with a ring to a backend of its own at port `at`."""
    lb = furnish(make, mode)
    ranges = []
    for place, (first, last) in enumerate(ports):
        number, backend, size = SERVICES + place, FIRST + place, layout.RING_SIZES[place]
        text = f"203.0.113.{100 + place}" if family is V4 else f"2001:db8:2::{100 + place:x}"
        lb.backend(backend, text, at, outer_source=OUTER[family.version], destination=bytes([2, 0, 0, 0, 2, place]))
        lb.ring(3, [backend], size)
        lb.service(number, family.vip, first, NUMBER[kind], now=3, mode=EVERY_MODE[mode], port_end=last, size=size)
        if last:
            ranges.append((first, last, number))
    lb.port_ranges(family.vip, NUMBER[kind], 1, *ranges)
    return lb


def taken(lb: Balancer, family: Family, kind: type, port: int) -> int | None:
    """Which of the services of serving() takes a packet for the port; None for none of them."""
    result = lb.send(from_client(family, kind, b"q", vip_port=port, flags="S"))
    if result.reason is Reason.NO_SERVICE:
        return None
    assert result.reason in (Reason.FLOW_CREATED, Reason.TO_BACKEND), result.reason
    return result.data[5] if result.data[:5] == bytes([2, 0, 0, 0, 2]) else None


@each_family
@each_protocol
@every_mode
def test_the_narrowest_range_that_holds_the_port_takes_the_packet(make: Make, mode: str, family: Family, kind: type) -> None:
    lb = serving(make, mode, family, kind, *NESTED)
    expected = {8005: 0, 8000: 1, 8004: 1, 8006: 1, 8010: 1, 7000: 2, 7999: 2, 8011: 2, 9000: 2, 1: 3, 6999: 3, 9001: 3, 65535: 3, 0: 3}
    assert {port: taken(lb, family, kind, port) for port in expected} == expected
    assert taken(lb, family, kind, 80) is None, "port 80 has another service of its own"


@each_family
@each_protocol
def test_ports_outside_every_range_have_no_service(make: Make, family: Family, kind: type) -> None:
    lb = serving(make, "nat", family, kind, NARROW)
    other = UDP if kind is TCP else TCP
    assert {port: taken(lb, family, kind, port) for port in (7999, 8000, 8010, 8011, 0, 65535)} == {
        7999: None, 8000: 0, 8010: 0, 8011: None, 0: None, 65535: None
    }  # fmt: skip
    assert taken(lb, family, other, 8005) is None, "the ranges of one protocol say nothing of the other"


def test_the_range_whose_first_port_has_a_service_of_its_own_does_not_take_it(make: Make) -> None:
    lb = serving(make, "ipip", V4, TCP, (8000, 0), (8000, 8010))
    assert [taken(lb, V4, TCP, port) for port in (8000, 8001)] == [0, 1]


@pytest.mark.parametrize("seed", range(6))
def test_as_many_ranges_as_fit_are_each_found(make: Make, seed: int) -> None:
    """Against a plain search of the list."""
    dice = random.Random(seed)
    cuts = sorted(dice.sample(range(1, 65535), 120))
    lb = serving(make, "dsr", V4, UDP, (cuts[0], cuts[-1]))
    ranges = [(first, next_ - 1, SERVICES + 1 + place % 3) for place, (first, next_) in enumerate(zip(cuts[1:-2], cuts[2:-1]))]
    everything = [(cuts[0], cuts[-1], SERVICES), *ranges]
    assert len(port_ranges.segments(everything)) in range(100, 129)
    for place, size in enumerate(layout.RING_SIZES[1:], 1):
        lb.backend(FIRST + place, f"203.0.113.{100 + place}", 0, destination=bytes([2, 0, 0, 0, 2, place]))
        lb.ring(3, [FIRST + place], size)
        lb.service(SERVICES + place, V4.vip, 0, 17, now=3, mode=layout.MODE_DSR, port_end=65535, size=size)
    lb.port_ranges(V4.vip, 17, 1, *everything)
    for port in [*dice.sample(range(65536), 150), *cuts, *(cut - 1 for cut in cuts)]:
        holding = [one for one in everything if one[0] <= port <= one[1]]
        wanted = min(holding, key=lambda one: one[1] - one[0])[2] - SERVICES if holding else None
        assert taken(lb, V4, UDP, port) == wanted, port


def test_a_candidate_counts_only_when_it_is_that_service(make: Make) -> None:
    """A table that is out of date never leads a packet to somebody else's service."""
    lb = serving(make, "dsr", V4, UDP, (8000, 8010), (9000, 9010))
    lb.port_ranges(V4.vip, 17, 1, (0, 65535, SERVICES))
    assert [taken(lb, V4, UDP, port) for port in (7999, 8000, 8010, 8011, 9000)] == [None, 0, 0, None, None]
    lb.port_ranges(V4.vip, 17, 1, (0, 65535, 1), (9000, 9010, 9))
    assert [taken(lb, V4, UDP, port) for port in (8000, 9000)] == [None, 1]


@each_family
@each_protocol
@pytest.mark.parametrize("at", [0, 4444])
def test_nat_keeps_the_port_unless_the_backend_names_one(make: Make, family: Family, kind: type, at: int) -> None:
    lb = serving(make, "nat", family, kind, WIDE, at=at)
    server = "203.0.113.100" if family is V4 else "2001:db8:2::64"
    macs = {"src": LB_MAC, "dst": "02:00:00:00:02:00"}
    for port in (7000, 8123):
        port_there = at or port
        request = lb.send(from_client(family, kind, b"ask", vip_port=port, port=port, flags="S", seq=1))
        assert request.reason is Reason.FLOW_CREATED
        ip = family.ip(family.snat, server, 63)
        same(request.data, built(Ether(**macs) / ip / transport(kind, port, port_there, b"ask", flags="S", seq=1)))
        answer = transport(kind, port_there, port, b"answer", flags="SA", seq=9, ack=2)
        reply = built(Ether(src=BACKEND_MAC, dst=LB_MAC) / family.ip(server, family.snat) / answer)
        ip = family.ip(family.vip, family.client, 63)
        back = built(Ether(src=LB_MAC, dst=CLIENT_MAC) / ip / transport(kind, port, port, b"answer", flags="SA", seq=9, ack=2))
        same(lb.send(reply).data, back)
        followed = lb.send(from_client(family, kind, b"more", vip_port=port, port=port, flags="A", seq=2, ack=10))
        assert followed.reason is Reason.TO_BACKEND
        ip = family.ip(family.snat, server, 63)
        same(followed.data, built(Ether(**macs) / ip / transport(kind, port, port_there, b"more", flags="A", seq=2, ack=10)))
    assert len(lb.records()) == 2


@each_family
@each_protocol
def test_one_client_port_to_two_ports_of_a_range_makes_two_flows(make: Make, family: Family, kind: type) -> None:
    """Both may keep the client's source port: their ports at the backend differ."""
    lb = serving(make, "nat", family, kind, WIDE)
    for port in (8001, 8002):
        assert lb.send(from_client(family, kind, b"x", vip_port=port, flags="S")).reason is Reason.FLOW_CREATED
    assert {flow.backend_port for flow in lb.flows()} == {8001, 8002}
    assert {flow.snat_port for flow in lb.flows()} == {CLIENT_PORT}


@each_family
@pytest.mark.parametrize("at", [0, 4444])
def test_an_icmp_error_follows_the_flow_of_a_range_in_both_directions(make: Make, family: Family, at: int) -> None:
    lb = serving(make, "nat", family, UDP, WIDE, at=at)
    server, port_there = "203.0.113.100" if family is V4 else "2001:db8:2::64", at or 8123
    sent = lb.send(from_client(family, UDP, b"ask", vip_port=8123))
    error = ICMP(type=3, code=1) if family is V4 else ICMPv6DestUnreach(code=3)
    about = Ether(sent.data).payload
    from_behind = built(Ether(src=BACKEND_MAC, dst=LB_MAC) / family.ip(server, family.snat) / error / bytes(about))
    told = lb.send(from_behind)
    assert told.reason is Reason.ICMP_TO_CLIENT
    header = 20 if family is V4 else 40
    quoted = told.data[14 + header + 8 + header :]
    assert (quoted[:2], quoted[2:4]) == (CLIENT_PORT.to_bytes(2, "big"), (8123).to_bytes(2, "big"))
    answer = built(Ether(src=BACKEND_MAC, dst=LB_MAC) / family.ip(server, family.snat) / UDP(sport=port_there, dport=CLIENT_PORT) / b"hi")
    to_client = lb.send(answer)
    assert to_client.reason is Reason.TO_CLIENT
    about = Ether(to_client.data).payload
    heard = lb.send(built(Ether(src=CLIENT_MAC, dst=LB_MAC) / family.ip(family.client, family.vip) / error / bytes(about)))
    assert heard.reason is Reason.ICMP_TO_BACKEND
    quoted = heard.data[14 + header + 8 + header :]
    assert (quoted[:2], quoted[2:4]) == (port_there.to_bytes(2, "big"), CLIENT_PORT.to_bytes(2, "big"))
