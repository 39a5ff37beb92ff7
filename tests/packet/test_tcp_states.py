"""TCP states of a flow, whatever passes."""

from collections.abc import Callable

import pytest
from scapy.layers.inet import UDP

from l4lb_agent.model.layout import (
    FLOW_ANSWERED,
    FLOW_BACKEND_FIN,
    FLOW_BACKEND_FIN_FIRST,
    FLOW_CLIENT_FIN,
    FLOW_CLOSED,
    FLOW_CLOSING,
    FLOW_ESTABLISHED,
    FLOW_RESET,
    FLOW_SYN,
    FLOW_UDP,
    FLOW_UDP_ANSWERED,
)  # fmt: skip
from l4lb_agent.model.reasons import Reason
from tests.packet.balancer import Balancer
from tests.packet.wire import V4, Family, each_family, from_backend, from_client, same, to_backend, to_client

BOTH = FLOW_CLIENT_FIN | FLOW_BACKEND_FIN


def play(lb: Balancer, script: str, family: Family = V4) -> None:
    """Each step is a side and TCP flags, as `c:S b:SA c:A`; all must be forwarded. With a `?` behind it acknowledges something else: a
    forger's guess, or what the backend has got of the client's data."""
    for step in script.split():
        side, flags = step.split(":")
        other = 0x10000 if flags.endswith("?") else 0
        if side == "c":
            packet = from_client(family, flags=flags.rstrip("?"), seq=1000, ack=9001 + other)
        else:
            packet = from_backend(family, flags=flags.rstrip("?"), seq=9000, ack=1001 + other)
        reason = lb.send(packet).reason
        assert reason in (Reason.FLOW_CREATED, Reason.TO_BACKEND, Reason.TO_CLIENT), f"{step}: {reason!r}"


@pytest.mark.parametrize(
    ("script", "state", "flags"),
    [
        ("c:S", FLOW_SYN, 0),
        ("c:S c:S", FLOW_SYN, 0),
        ("c:S b:SA", FLOW_ANSWERED, 0),
        ("c:S b:SA b:SA", FLOW_ANSWERED, 0),
        ("c:S b:SA c:A", FLOW_ESTABLISHED, 0),
        ("c:S b:SA c:PA b:PA c:A", FLOW_ESTABLISHED, 0),
        ("c:S b:SA c:A c:FA", FLOW_CLOSING, FLOW_CLIENT_FIN),
        ("c:S b:SA c:A c:FA b:A b:PA", FLOW_CLOSING, FLOW_CLIENT_FIN),
        ("c:S b:SA c:A c:FA b:FA", FLOW_CLOSED, BOTH),
        ("c:S b:SA c:A c:FA b:FA c:A", FLOW_CLOSED, BOTH),
        ("c:S b:SA c:A c:FA b:FA c:FA b:FA c:A", FLOW_CLOSED, BOTH),
        ("c:S b:SA c:A b:FA", FLOW_CLOSING, FLOW_BACKEND_FIN | FLOW_BACKEND_FIN_FIRST),
        ("c:S b:SA c:A b:FA c:A c:PA", FLOW_CLOSING, FLOW_BACKEND_FIN | FLOW_BACKEND_FIN_FIRST),
        ("c:S b:SA c:A b:FA c:FA b:A", FLOW_CLOSED, BOTH | FLOW_BACKEND_FIN_FIRST),
        ("c:S b:RA", FLOW_CLOSED, FLOW_RESET),
        ("c:S b:SA c:R", FLOW_CLOSED, FLOW_RESET),
        ("c:S b:SA c:A c:RA", FLOW_CLOSED, FLOW_RESET),
        ("c:S b:SA c:A b:R", FLOW_CLOSED, FLOW_RESET),
        ("c:S b:SA c:A c:FA b:R", FLOW_CLOSED, FLOW_CLIENT_FIN | FLOW_RESET),
        ("c:S b:SA c:A c:FA b:FA c:R", FLOW_CLOSED, BOTH),
        # an ACK of what the backend has not sent: the handshake goes on as if it had not come
        ("c:S c:A", FLOW_SYN, 0),
        ("c:S c:FA", FLOW_SYN, 0),
        ("c:S b:SA c:A?", FLOW_ANSWERED, 0),
        ("c:S b:SA c:FA?", FLOW_ANSWERED, 0),
        ("c:S b:SA c:A? b:A", FLOW_ANSWERED, 0),
        ("c:S b:SA c:A? c:A", FLOW_ESTABLISHED, 0),
        ("c:S b:SA c:A? b:A?", FLOW_ESTABLISHED, 0),
        ("c:S b:SA c:A? b:R", FLOW_CLOSED, FLOW_RESET),
        ("c:S b:SA c:A? b:R c:A?", FLOW_CLOSED, FLOW_RESET),
        ("c:S b:SA c:R b:A", FLOW_ANSWERED, 0),
        # a RST that the peer did not believe (RFC 5961 3.2): what it sends next brings the flow back
        ("c:S b:SA c:A c:R b:PA", FLOW_ESTABLISHED, 0),
        ("c:S b:SA c:A c:R c:PA", FLOW_ESTABLISHED, 0),
        ("c:S b:SA c:A b:R c:A", FLOW_ESTABLISHED, 0),
        ("c:S b:SA c:A c:FA c:R b:PA", FLOW_CLOSING, FLOW_CLIENT_FIN),
        # the backend answers a SYN on a flow that it has forgotten
        ("c:S b:SA c:A c:S b:SA", FLOW_ESTABLISHED, 0),
        ("c:S b:SA c:A c:FA c:S b:SA", FLOW_ESTABLISHED, 0),
        ("c:S b:SA c:A b:FA c:S b:SA c:A", FLOW_ESTABLISHED, 0),
    ],
)
def test_the_state_follows_what_both_sides_said(lb: Balancer, script: str, state: int, flags: int) -> None:
    play(lb, script)
    assert lb.states() == {(state, flags)}
    assert len(lb.flows()) == 1


def test_the_backends_data_prove_a_handshake_of_which_an_earlier_answer_was_acknowledged(lb: Balancer) -> None:
    """A backend under a flood of SYNs answers a repeated one by another sequence (syncookies)."""
    lb.send(from_client(V4, flags="S", seq=1000))
    for sequence in (0x40000000, 0x80000000):
        lb.send(from_backend(V4, flags="SA", seq=sequence, ack=1001))
    lb.send(from_client(V4, flags="A", seq=1001, ack=0x40000001))
    assert lb.states() == {(FLOW_ANSWERED, 0)}
    lb.send(from_backend(V4, payload=b"220 ready", flags="PA", seq=0x40000001, ack=1001))
    assert lb.states() == {(FLOW_ESTABLISHED, 0)}
    assert lb.flows()[0].held
    lb.send(from_client(V4, flags="A", seq=1001, ack=0x4000000A))
    assert not lb.flows()[0].held


@each_family
def test_both_families_share_the_states(lb: Balancer, family: Family) -> None:
    play(lb, "c:S b:SA c:A b:FA c:FA b:A", family)
    assert lb.states() == {(FLOW_CLOSED, BOTH | FLOW_BACKEND_FIN_FIRST)}


def test_udp_is_answered_by_the_backends_first_packet(lb: Balancer) -> None:
    lb.send(from_client(V4, UDP, b"q"))
    lb.send(from_client(V4, UDP, b"q"))
    assert lb.states() == {(FLOW_UDP, 0)}
    lb.send(from_backend(V4, UDP, b"a"))
    assert lb.states() == {(FLOW_UDP_ANSWERED, 0)}


@pytest.mark.parametrize("script", ["c:S b:SA c:A c:FA b:FA", "c:S b:SA c:A b:FA c:FA"])
def test_late_packets_of_a_closed_flow_pass_during_its_quarantine(lb: Balancer, script: str) -> None:
    play(lb, script)
    same(lb.send(from_client(V4, flags="A")).data, to_backend(V4, flags="A"))
    same(lb.send(from_backend(V4, flags="FA")).data, to_client(V4, flags="FA"))
    assert {state for state, _ in lb.states()} == {FLOW_CLOSED}


@pytest.mark.parametrize(
    ("script", "seconds"),
    [("c:S b:SA c:A c:FA b:FA", 5), ("c:S b:SA c:A b:FA c:FA", 60), ("c:S b:RA", 5), ("c:S b:SA c:A c:R", 5)],
)
def test_quarantine_is_long_only_when_the_backends_fin_came_first(lb: Balancer, script: str, seconds: int) -> None:
    play(lb, script)
    lb.age(seconds - 1)
    assert lb.send(from_backend(V4, flags="R")).reason is Reason.TO_CLIENT
    lb.age(seconds + 2)
    assert lb.send(from_backend(V4, flags="R")).reason is Reason.NO_FLOW
    assert lb.send(from_client(V4, flags="A")).reason is Reason.RST_LIMITED


@pytest.mark.parametrize("side", [from_client, from_backend])
def test_the_stamp_moves_with_every_packet_of_either_direction(lb: Balancer, side: Callable[..., object]) -> None:
    play(lb, "c:S b:SA c:A")
    (now,) = lb.flows()
    lb.age(100)
    lb.send(side(V4, flags="A"))
    (flow,) = lb.flows()
    assert 0 <= flow.element.seen - now.element.seen <= 1
    assert flow.state == FLOW_ESTABLISHED
