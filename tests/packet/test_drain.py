"""What a backend's flags do to its flows: KEEP, CUT (neither) and RESET."""

import pytest
from scapy.layers.inet import TCP, UDP

from l4lb_agent.model.layout import BACKEND_KEEP, BACKEND_RESET, FLOW_CLOSED, FLOW_RESET
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import Balancer
from tests.packet.test_reuse import backend_of
from tests.packet.test_tcp_states import play
from tests.packet.wire import V4, Family, each_family, from_backend, from_client

NUMBER_OF = {4: 1, 6: 4}


def end(lb: Balancer, family: Family, flags: int) -> None:
    """The first backend's drain has ended so; new flows go to the second."""
    lb.ring(1 if family.version == 4 else 2, [NUMBER_OF[family.version] + 1])
    lb.set_backend(NUMBER_OF[family.version], flags=flags)


@each_family
def test_a_draining_backend_keeps_its_flows_and_gets_no_new_ones(lb: Balancer, family: Family) -> None:
    play(lb, "c:S b:SA c:A", family)
    end(lb, family, BACKEND_KEEP)
    assert lb.send(from_client(family, flags="PA")).reason is Reason.TO_BACKEND
    assert lb.send(from_backend(family, flags="PA")).reason is Reason.TO_CLIENT
    for port in range(41000, 41020):
        fresh = lb.send(from_client(family, port=port, flags="S"))
        assert fresh.reason is Reason.FLOW_CREATED
    assert lb.traffic("backend_counters", NUMBER_OF[family.version])[4] == 1
    assert lb.traffic("backend_counters", NUMBER_OF[family.version] + 1)[4] == 20


@each_family
def test_a_cut_tcp_flow_is_as_if_there_were_none(lb: Balancer, family: Family) -> None:
    play(lb, "c:S b:SA c:A", family)
    end(lb, family, 0)
    lb.configure(rst_rate=10, rst_burst=10)
    assert lb.send(from_client(family, flags="A")).reason is Reason.RST_ANSWERED, "as for any unknown flow"
    cut = lb.send(from_backend(family, flags="A"))
    assert (cut.reason, cut.verdict) == (Reason.FLOW_CUT, Verdict.DROP)
    assert lb.send(from_client(family, flags="S", seq=1)).reason is Reason.FLOW_CREATED


@pytest.mark.parametrize("flags", [0, BACKEND_RESET])
def test_a_cut_udp_flow_goes_on_at_another_backend(lb: Balancer, flags: int) -> None:
    lb.send(from_client(V4, UDP, b"1"))
    end(lb, V4, flags)
    assert lb.send(from_backend(V4, UDP, b"late")).reason is Reason.FLOW_CUT
    moved = lb.send(from_client(V4, UDP, b"2"))
    assert (moved.reason, backend_of(moved.data)) == (Reason.FLOW_CREATED, V4.backends[1])
    assert lb.send(from_backend(V4, UDP, b"late")).reason is Reason.FLOW_CUT


@each_family
def test_a_reset_flow_tells_the_client_and_then_the_backend(lb: Balancer, family: Family) -> None:
    play(lb, "c:S b:SA c:A", family)
    end(lb, family, BACKEND_RESET)
    to_client = lb.send(from_client(family, payload=b"xyz", flags="PA", seq=50, ack=777))
    assert (to_client.reason, to_client.verdict) == (Reason.DRAIN_RESET, Verdict.TX)
    offset = 34 if family.version == 4 else 54
    rst = TCP(to_client.data[offset:])
    assert (rst.flags, rst.seq, rst.ack, rst.sport, rst.dport) == ("R", 777, 0, 80, 40000)
    assert lb.states() == {(FLOW_CLOSED, FLOW_RESET)}
    to_backend = lb.send(from_backend(family, payload=b"xyz", flags="PA", seq=9, ack=888))
    assert (to_backend.reason, to_backend.verdict) == (Reason.DRAIN_RESET, Verdict.TX)
    rst = TCP(to_backend.data[offset:])
    assert (rst.flags, rst.seq, rst.ack, rst.sport, rst.dport) == ("R", 888, 0, 40000, 8080)


@each_family
def test_a_reset_flow_tells_the_backend_first_when_it_speaks_first(lb: Balancer, family: Family) -> None:
    play(lb, "c:S b:SA c:A", family)
    end(lb, family, BACKEND_RESET)
    assert lb.send(from_backend(family, flags="PA", ack=888)).reason is Reason.DRAIN_RESET
    assert lb.states() == {(FLOW_CLOSED, FLOW_RESET)}
    assert lb.send(from_client(family, flags="PA", ack=777)).reason is Reason.DRAIN_RESET


def test_a_drains_resets_do_not_wait_for_the_rst_budget(lb: Balancer) -> None:
    lb.configure(rst_rate=0, rst_burst=0)
    for port in range(40000, 40030):
        lb.send(from_client(V4, port=port, flags="S"))
    end(lb, V4, BACKEND_RESET)
    for port in range(40000, 40030):
        assert lb.send(from_client(V4, port=port, flags="A")).reason is Reason.DRAIN_RESET


def test_a_rst_on_a_reset_flow_is_never_answered(lb: Balancer) -> None:
    play(lb, "c:S b:SA c:A")
    end(lb, V4, BACKEND_RESET)
    for packet in (from_client(V4, flags="R"), from_backend(V4, flags="RA")):
        result = lb.send(packet)
        assert (result.reason, result.verdict) == (Reason.NO_FLOW, Verdict.DROP)
    assert lb.states() == {(FLOW_CLOSED, FLOW_RESET)}


def test_a_syn_on_a_reset_flow_starts_anew_at_another_backend(lb: Balancer) -> None:
    play(lb, "c:S b:SA c:A")
    end(lb, V4, BACKEND_RESET)
    fresh = lb.send(from_client(V4, flags="S", seq=5))
    assert (fresh.reason, backend_of(fresh.data)) == (Reason.FLOW_CREATED, V4.backends[1])
    assert lb.send(from_backend(V4, flags="PA")).reason is Reason.DRAIN_RESET, "the old backend is still told"


def test_a_reset_flow_answers_no_longer_than_its_quarantine(lb: Balancer) -> None:
    play(lb, "c:S b:SA c:A")
    end(lb, V4, BACKEND_RESET)
    assert lb.send(from_client(V4, flags="A")).reason is Reason.DRAIN_RESET
    lb.age(7)
    assert lb.send(from_client(V4, flags="A")).reason is Reason.RST_LIMITED


@each_family
def test_an_undrained_backend_goes_on_with_the_flows_it_kept(lb: Balancer, family: Family) -> None:
    play(lb, "c:S b:SA c:A", family)
    end(lb, family, BACKEND_KEEP)
    lb.ring(1 if family.version == 4 else 2, [NUMBER_OF[family.version]])
    assert lb.send(from_client(family, flags="A")).reason is Reason.TO_BACKEND
    assert lb.send(from_client(family, port=50000, flags="S")).reason is Reason.FLOW_CREATED
    assert lb.traffic("backend_counters", NUMBER_OF[family.version])[4] == 2
