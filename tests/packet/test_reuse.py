"""A SYN obeys the ring. What is there already is followed only by retransmissions, and by forgeries, which must cut nobody."""

import pytest
from scapy.layers.inet import UDP

from l4lb_agent.model.layout import FLOW_CLOSED, FLOW_ESTABLISHED, FLOW_SYN
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import Balancer, address
from tests.packet.test_tcp_states import play
from tests.packet.wire import CLIENT_PORT, V4, Family, each_family, from_backend, from_client, same, to_backend, to_client

FIRST, SECOND = 1, 2  # backends


def move(lb: Balancer, backend: int = SECOND) -> None:
    """The whole ring goes to another backend, as when the first is drained."""
    lb.ring(1, [backend])


def backend_of(data: bytes) -> str:
    """Destination of an IPv4 frame."""
    return ".".join(str(byte) for byte in data[30:34])


@each_family
def test_a_retransmitted_syn_follows_its_flow(lb: Balancer, family: Family) -> None:
    lb.send(from_client(family, flags="S", seq=1000))
    again = lb.send(from_client(family, flags="S", seq=1000))
    assert again.reason is Reason.TO_BACKEND
    same(again.data, to_backend(family, flags="S", seq=1000))
    assert len(lb.records()) == 1


def test_a_syn_retransmitted_soon_after_the_ring_moved_finishes_where_it_began(lb: Balancer) -> None:
    lb.send(from_client(V4, flags="S", seq=1000))
    move(lb)
    again = lb.send(from_client(V4, flags="S", seq=1000))
    assert (again.reason, backend_of(again.data)) == (Reason.TO_BACKEND, V4.backends[0])


def test_an_answered_handshake_finishes_on_a_draining_backend(lb: Balancer) -> None:
    play(lb, "c:S b:SA")
    move(lb)
    lb.age(4)
    assert backend_of(lb.send(from_client(V4, flags="S", seq=1000)).data) == V4.backends[0]
    assert backend_of(lb.send(from_client(V4, flags="A", seq=1001, ack=9001)).data) == V4.backends[0]
    assert {state for state, _ in lb.states()} == {FLOW_ESTABLISHED}


def test_an_unanswered_syn_obeys_the_ring_after_three_seconds(lb: Balancer) -> None:
    lb.send(from_client(V4, flags="S", seq=1000))
    move(lb)
    lb.age(4)
    moved = lb.send(from_client(V4, flags="S", seq=1000))
    assert (moved.reason, backend_of(moved.data)) == (Reason.FLOW_CREATED, V4.backends[1])


def test_the_late_answer_of_a_backend_that_was_left_never_reaches_the_client(lb: Balancer) -> None:
    """Else the client would shake hands with two backends at once."""
    lb.send(from_client(V4, flags="S", seq=1000))
    move(lb)
    lb.age(4)
    lb.send(from_client(V4, flags="S", seq=1000))
    for flags in ("SA", "A", "PA", "FA", "R"):
        late = lb.send(from_backend(V4, flags=flags, ack=1001))
        assert (late.reason, late.verdict) == (Reason.NO_FLOW, Verdict.DROP), flags
    assert lb.send(from_backend(V4, backend=V4.backends[1], flags="SA", ack=1001)).reason is Reason.TO_CLIENT


def test_the_repeated_answer_of_a_backend_that_was_left_never_reaches_the_client(lb: Balancer) -> None:
    play(lb, "c:S b:SA")
    move(lb)
    assert lb.send(from_client(V4, flags="S", seq=555)).reason is Reason.FLOW_CREATED
    assert lb.send(from_backend(V4, flags="SA", ack=1001)).reason is Reason.NO_FLOW


@each_family
def test_a_new_connection_restarts_an_unanswered_one_of_its_tuple_in_place(lb: Balancer, family: Family) -> None:
    lb.send(from_client(family, flags="S", seq=1000))
    other = lb.send(from_client(family, flags="S", seq=555))
    assert other.reason is Reason.FLOW_CREATED
    same(other.data, to_backend(family, flags="S", seq=555))
    assert len(lb.records()) == 1
    assert lb.flows()[0].element.sequence == 555


def test_a_new_connection_over_an_unanswered_one_obeys_the_ring(lb: Balancer) -> None:
    lb.send(from_client(V4, flags="S", seq=1000))
    move(lb)
    other = lb.send(from_client(V4, flags="S", seq=555))
    assert (other.reason, backend_of(other.data)) == (Reason.FLOW_CREATED, V4.backends[1])


@pytest.mark.parametrize("script", ["c:S b:SA c:A", "c:S b:SA c:A c:FA", "c:S b:SA c:A b:FA"])
@pytest.mark.parametrize("sequence", [1000, 0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_forged_syn_cuts_no_established_flow(lb: Balancer, script: str, sequence: int) -> None:
    play(lb, script)
    before = lb.states()
    move(lb)
    forged = lb.send(from_client(V4, flags="S", seq=sequence))
    assert (forged.reason, backend_of(forged.data)) == (Reason.TO_BACKEND, V4.backends[0])
    assert lb.states() == before
    assert lb.send(from_client(V4, flags="PA", seq=1001)).reason is Reason.TO_BACKEND
    assert lb.send(from_backend(V4, flags="PA", seq=9001)).reason is Reason.TO_CLIENT


@each_family
@pytest.mark.parametrize("script", ["c:S b:SA c:A", "c:S b:SA c:A c:FA"])
def test_a_backend_that_has_forgotten_its_flow_gets_no_new_one_when_the_ring_has_left_it(lb: Balancer, family: Family, script: str) -> None:
    """A draining backend that was rebooted shakes hands where it should send a challenge ACK."""
    play(lb, script, family)
    move(lb) if family is V4 else lb.ring(2, [5])
    syn = from_client(family, flags="S", seq=777000)
    assert lb.send(syn).reason is Reason.TO_BACKEND
    answer = lb.send(from_backend(family, flags="SA", seq=5, ack=777001))
    assert (answer.reason, answer.verdict) == (Reason.NO_FLOW, Verdict.DROP)
    again = lb.send(syn)
    assert again.reason is Reason.FLOW_CREATED
    assert bytes(again.data) != bytes(to_backend(family, flags="S", seq=777000))
    assert {flow.backend for flow in lb.flows()} == {SECOND if family is V4 else 5}
    late = lb.send(from_backend(family, flags="SA", seq=5, ack=777001))
    assert late.reason is Reason.NO_FLOW


def test_a_backend_that_has_forgotten_its_flow_gets_the_new_one_when_the_ring_still_says_so(lb: Balancer) -> None:
    play(lb, "c:S b:SA c:A")
    move(lb)
    lb.send(from_client(V4, flags="S", seq=777000))
    move(lb, FIRST)
    lb.send(from_client(V4, flags="S", seq=778000))
    assert lb.send(from_backend(V4, flags="SA", seq=5, ack=778001)).reason is Reason.TO_CLIENT


@each_family
def test_a_newer_connection_reuses_the_port_of_a_closed_one_at_its_backend(lb: Balancer, family: Family) -> None:
    play(lb, "c:S b:SA c:A b:FA c:FA", family)
    fresh = lb.send(from_client(family, flags="S", seq=1 << 16))
    assert fresh.reason is Reason.FLOW_CREATED
    same(fresh.data, to_backend(family, flags="S", seq=1 << 16))
    assert lb.states() == {(FLOW_SYN, 0)}
    assert len(lb.records()) == 1


@pytest.mark.parametrize("behind", [-0xFFFF, 0, 1, 100000, 0x7FFF0000])
def test_a_connection_that_is_not_newer_gets_another_port_and_is_never_refused(lb: Balancer, behind: int) -> None:
    """How far the last one came is known to 64 KiB."""
    lb.send(from_client(V4, flags="S", seq=0x1FFFFF00))
    lb.send(from_backend(V4, flags="SA", ack=0x1FFFFF01))
    lb.send(from_backend(V4, flags="FA"))
    lb.send(from_client(V4, flags="FA", seq=0x1FFFFFFF))
    assert {state for state, _ in lb.states()} == {FLOW_CLOSED}
    fresh = lb.send(from_client(V4, flags="S", seq=(0x20000000 - behind) & 0xFFFFFFFF))
    assert fresh.reason is Reason.FLOW_CREATED
    ports = {record.snat_port for record in lb.records()}
    assert len(ports) == 2, "the closed one keeps its own"
    (flow,) = lb.flows()
    answer = from_backend(V4, port=flow.snat_port, flags="SA", ack=1)
    same(lb.send(answer).data, to_client(V4, flags="SA", ack=1))


def test_a_connection_after_a_reset_gets_another_port(lb: Balancer) -> None:
    play(lb, "c:S b:RA")
    assert lb.send(from_client(V4, flags="S", seq=1000)).reason is Reason.FLOW_CREATED
    assert len(lb.records()) == 2


def test_a_reused_client_port_obeys_the_ring_when_the_flow_before_has_closed(lb: Balancer) -> None:
    play(lb, "c:S b:SA c:A c:FA b:FA c:A")
    move(lb)
    fresh = lb.send(from_client(V4, flags="S", seq=0x30000000))
    assert (fresh.reason, backend_of(fresh.data)) == (Reason.FLOW_CREATED, V4.backends[1])
    kept = {record.backend_address: record.state for record in lb.records()}
    assert kept == {address(V4.backends[0]): FLOW_CLOSED, address(V4.backends[1]): FLOW_SYN}


def test_a_late_duplicate_of_a_closed_flows_syn_is_dropped(lb: Balancer) -> None:
    play(lb, "c:S b:SA c:A c:FA b:FA")
    late = lb.send(from_client(V4, flags="S", seq=1000))
    assert (late.reason, late.verdict) == (Reason.CLOSED, Verdict.DROP)


def test_udp_stays_with_its_backend_whatever_the_ring_says(lb: Balancer) -> None:
    lb.send(from_client(V4, UDP, b"1"))
    move(lb)
    assert backend_of(lb.send(from_client(V4, UDP, b"2")).data) == V4.backends[0]
    assert backend_of(lb.send(from_client(V4, UDP, b"3", port=CLIENT_PORT + 1)).data) == V4.backends[1]


def test_a_forged_rst_cuts_no_flow_whose_peers_go_on(lb: Balancer) -> None:
    play(lb, "c:S b:SA c:A c:R b:PA c:A")
    lb.age(100)
    assert lb.send(from_client(V4, flags="A")).reason is Reason.TO_BACKEND, "it lives as long as an established one"
    assert lb.states() == {(FLOW_ESTABLISHED, 0)}
