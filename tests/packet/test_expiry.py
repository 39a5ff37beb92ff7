"""What is over is invisible to both directions and never revived."""

import pytest
from scapy.layers.inet import TCP, UDP

from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import Balancer, address
from tests.packet.test_tcp_states import play
from tests.packet.wire import CLIENT_PORT, NUMBER, V4, V6, VIP_PORT, Family, each_family, from_backend, from_client

IDLE = 900
HANDSHAKE = 5
CLOSING = 60


@each_family
@pytest.mark.parametrize(
    ("script", "timeout"),
    [("c:S", HANDSHAKE), ("c:S b:SA", HANDSHAKE), ("c:S b:SA c:A", IDLE), ("c:S b:SA c:A c:FA", CLOSING), ("c:S b:SA c:A b:FA", CLOSING)],
)  # fmt: skip
def test_a_tcp_flow_lives_as_long_as_its_state_says(lb: Balancer, family: Family, script: str, timeout: int) -> None:
    play(lb, script, family)
    lb.age(timeout - 1)
    assert lb.send(from_client(family, flags="A")).reason is Reason.TO_BACKEND
    lb.age(timeout * 1000)
    assert lb.send(from_client(family, flags="A")).reason is Reason.RST_LIMITED


@pytest.mark.parametrize(("answered", "timeout"), [(False, 30), (True, 120)])
def test_a_udp_flow_lives_longer_once_it_is_answered(lb: Balancer, answered: bool, timeout: int) -> None:
    lb.service(2, V4.vip, VIP_PORT, NUMBER[UDP], now=1, idle=120)
    lb.send(from_client(V4, UDP, b"q"))
    if answered:
        lb.send(from_backend(V4, UDP, b"a"))
    lb.age(timeout - 1)
    assert lb.send(from_backend(V4, UDP, b"a")).reason is Reason.TO_CLIENT
    lb.age(10 * timeout)
    assert lb.send(from_backend(V4, UDP, b"a")).reason is Reason.NO_FLOW


@each_family
@pytest.mark.parametrize("quiet", ["client", "backend"])
def test_a_flow_lives_while_one_direction_does(lb: Balancer, family: Family, quiet: str) -> None:
    play(lb, "c:S b:SA c:A", family)
    speaks = from_backend if quiet == "client" else from_client
    for _ in range(3):
        lb.age(IDLE - 100)
        assert lb.send(speaks(family, flags="A")).verdict is Verdict.TX
    assert lb.send(from_client(family, flags="A")).reason is Reason.TO_BACKEND
    assert lb.send(from_backend(family, flags="A")).reason is Reason.TO_CLIENT


@each_family
def test_a_flow_that_is_over_is_invisible_from_both_sides(lb: Balancer, family: Family) -> None:
    play(lb, "c:S b:SA c:A", family)
    lb.age(IDLE + 2)
    assert lb.send(from_backend(family, flags="A")).reason is Reason.NO_FLOW
    assert lb.send(from_client(family, flags="A")).reason is Reason.RST_LIMITED
    assert lb.send(from_backend(family, flags="SA")).reason is Reason.NO_FLOW, "and not revived by either"


@each_family
@pytest.mark.parametrize("kind", [TCP, UDP])
def test_a_new_flow_takes_the_place_of_an_expired_one_with_another_port(lb: Balancer, family: Family, kind: type) -> None:
    lb.send(from_client(family, kind, flags="S", seq=1))
    lb.age(10000)
    assert lb.send(from_client(family, kind, flags="S", seq=2)).reason is Reason.FLOW_CREATED
    assert len(lb.flows()) == 1, "in place"
    assert len({record.snat_port for record in lb.records()}) == 2, "the old port is the sweep's to give back"
    assert lb.send(from_backend(family, kind, flags="SA")).reason is Reason.NO_FLOW, "the old record leads nowhere"


@each_family
def test_a_port_that_was_claimed_anew_keeps_no_earlier_flow_alive(lb: Balancer, family: Family) -> None:
    lb.configure(port_low=CLIENT_PORT, port_high=CLIENT_PORT)
    play(lb, "c:S b:SA c:A", family)
    lb.age(IDLE + 3)
    assert lb.send(from_client(family, port=CLIENT_PORT + 1, flags="S")).reason is Reason.NO_SOURCE_PORT, "it is the sweep's to give back"
    assert lb.sweep().deleted == 1
    assert lb.send(from_client(family, port=CLIENT_PORT + 1, flags="S")).reason is Reason.FLOW_CREATED
    assert lb.send(from_client(family, flags="A")).reason is Reason.RST_LIMITED


def test_the_services_own_idle_time_counts(lb: Balancer) -> None:
    play(lb, "c:S b:SA c:A")
    lb.service(1, V4.vip, VIP_PORT, NUMBER[TCP], now=1, idle=50)
    lb.age(52)
    assert lb.send(from_client(V4, flags="A")).reason is Reason.RST_LIMITED


def test_stamps_of_the_future_of_another_cpu_do_not_expire_a_flow(lb: Balancer) -> None:
    play(lb, "c:S b:SA c:A")
    lb.age(-3)
    assert lb.send(from_client(V4, flags="A")).reason is Reason.TO_BACKEND


def test_flows_of_a_backend_whose_element_is_gone_are_over(lb: Balancer) -> None:
    play(lb, "c:S b:SA c:A", V6)
    assert address(V6.backends[0]) == lb.read("backends", 4)[:16]
    lb.write("backends", 4, bytes(64))
    assert lb.send(from_client(V6, flags="A")).reason is Reason.RST_LIMITED
    assert lb.send(from_backend(V6, flags="A")).reason is Reason.FLOW_CUT
