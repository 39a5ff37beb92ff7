"""A FIN, RST or SYN+ACK of a NAT flow counts where its sender is, and a forged one cuts nobody, however long both sides are silent."""

import random
from collections.abc import Iterator
from contextlib import closing

import pytest
from scapy.packet import Packet

from l4lb_agent.dataplane.program import Objects
from l4lb_agent.model import layout
from l4lb_agent.model.explain.packet import Packet as Explained
from l4lb_agent.model.explain.records import Record
from l4lb_agent.model.flows import segments
from l4lb_agent.model.layout import (
    FLOW_ANSWERED,
    FLOW_BACKEND_FIN,
    FLOW_BACKEND_FIN_FIRST,
    FLOW_CLIENT_FIN,
    FLOW_CLOSED,
    FLOW_CLOSING,
    FLOW_ESTABLISHED,
    FLOW_HEARD,
    FLOW_HELD,
    FLOW_LEFT,
    FLOW_RESET,
    FLOW_SYN,
)  # fmt: skip
from l4lb_agent.model.reasons import Reason
from tests.packet.balancer import Balancer
from tests.packet.explaining import Explainer
from tests.packet.keep import keep, reached, reply
from tests.packet.wire import V4, Family, each_family, from_backend, from_client, same, to_backend, to_client

CLIENT, BACKEND = 0xFFF00000, 0x7FF80000  # initial sequence numbers: both wrap, one of them its sign
NEAR, STEP, UNIT = 4 << 20, 1 << 20, 1 << 16
FAR = 0x30000000
AFTER = {"R": (FLOW_CLOSED, FLOW_RESET), "RA": (FLOW_CLOSED, FLOW_RESET), "FA": (FLOW_CLOSING, FLOW_CLIENT_FIN)}


def forwarded(lb: Balancer, packet: Packet) -> None:
    """A packet that must go along a flow."""
    reason = lb.send(packet).reason
    assert reason in (Reason.FLOW_CREATED, Reason.TO_BACKEND, Reason.TO_CLIENT), repr(reason)


def client(family: Family = V4, flags: str = "A", ahead: int = 1, heard: int = 1, payload: bytes = b"") -> Packet:
    """The client's packet so far behind its SYN."""
    return from_client(family, payload=payload, flags=flags, seq=(CLIENT + ahead) % (1 << 32), ack=(BACKEND + heard) % (1 << 32))


def backend(family: Family = V4, flags: str = "A", ahead: int = 1, heard: int = 1, payload: bytes = b"") -> Packet:
    """The backend's packet so far behind its SYN+ACK."""
    return from_backend(family, payload=payload, flags=flags, seq=(BACKEND + ahead) % (1 << 32), ack=(CLIENT + heard) % (1 << 32))


def establish(lb: Balancer, family: Family = V4) -> None:
    """A flow of both."""
    for packet in (client(family, "S", 0, 0), backend(family, "SA", 0), client(family)):
        forwarded(lb, packet)
    assert lb.states() == {(FLOW_ESTABLISHED, 0)}


@each_family
@pytest.mark.parametrize("flags", ["R", "RA", "FA"])
@pytest.mark.parametrize("away", [FAR, -FAR, NEAR + 2 * UNIT, -NEAR - 2 * UNIT, 1 << 31])
def test_a_forged_end_is_forwarded_and_ends_nothing(lb: Balancer, family: Family, flags: str, away: int) -> None:
    establish(lb, family)
    same(lb.send(client(family, flags, away)).data, to_backend(family, flags=flags, seq=(CLIENT + away) % (1 << 32), ack=BACKEND + 1))
    same(lb.send(backend(family, flags, away)).data, to_client(family, flags=flags, seq=(BACKEND + away) % (1 << 32), ack=CLIENT + 1))
    assert lb.states() == {(FLOW_ESTABLISHED, 0)}
    lb.age(250)
    forwarded(lb, client(family))
    forwarded(lb, backend(family))


def test_so_it_is_where_backends_see_clients(lb: Balancer) -> None:
    keep(lb)
    numbers = {"seq": CLIENT, "ack": BACKEND + 1}
    lb.send(from_client(V4, flags="S", seq=CLIENT))
    lb.send(reply(V4, flags="SA", seq=BACKEND, ack=CLIENT + 1))
    lb.send(from_client(V4, flags="A", **numbers))
    same(lb.send(from_client(V4, flags="R", seq=FAR)).data, reached(V4, flags="R", seq=FAR))
    assert lb.send(reply(V4, flags="R", seq=FAR)).reason is Reason.TO_CLIENT
    lb.age(250)
    assert lb.send(from_client(V4, flags="A", **numbers)).reason is Reason.TO_BACKEND
    assert lb.send(reply(V4, flags="R", seq=BACKEND + 1)).reason is Reason.TO_CLIENT
    assert lb.states() == {(FLOW_CLOSED, FLOW_RESET)}


@each_family
@pytest.mark.parametrize("away", [0, 1000, -1000, NEAR - 2 * UNIT, -NEAR + 2 * UNIT])
@pytest.mark.parametrize("flags", ["R", "RA", "FA"])
def test_one_that_is_near_counts(lb: Balancer, family: Family, flags: str, away: int) -> None:
    establish(lb, family)
    forwarded(lb, client(family, flags, away))
    assert lb.states() == {AFTER[flags]}


@pytest.mark.parametrize("flags", ["R", "RA", "FA"])
def test_the_backends_counts_likewise(lb: Balancer, flags: str) -> None:
    establish(lb)
    forwarded(lb, backend(flags=flags))
    assert lb.states() == {AFTER[flags] if flags != "FA" else (FLOW_CLOSING, FLOW_BACKEND_FIN | FLOW_BACKEND_FIN_FIRST)}


@pytest.mark.parametrize("sender", [client, backend])
@pytest.mark.parametrize("step", [3 * UNIT, STEP])
def test_the_end_counts_where_a_transfer_has_come_within_a_second(lb: Balancer, sender: object, step: int) -> None:
    establish(lb)
    ahead = 1
    for _ in range(12 * STEP // step):
        forwarded(lb, sender(ahead=ahead))  # type: ignore[operator]
        forwarded(lb, sender(ahead=ahead - step // 2))  # type: ignore[operator]
        ahead += step
    forwarded(lb, sender(flags="R", ahead=ahead - 6 * STEP))  # type: ignore[operator]
    assert lb.states() == {(FLOW_ESTABLISHED, 0)}, "where it began it is over"
    forwarded(lb, sender(flags="R", ahead=ahead))  # type: ignore[operator]
    assert lb.states() == {(FLOW_CLOSED, FLOW_RESET)}


def test_a_packet_moves_what_is_near_by_no_more_than_a_quarter_of_it(lb: Balancer) -> None:
    establish(lb)
    before = segments.reach(lb.flows()[0].element)
    forwarded(lb, client(ahead=NEAR - UNIT))
    assert (segments.reach(lb.flows()[0].element)[0] - before[0]) % UNIT == STEP // UNIT


FORGED = [(sender, flags) for sender in (client, backend) for flags in ("S", "SA", "A", "R", "RA", "FA")]


@pytest.mark.parametrize("first", FORGED, ids=lambda one: f"{one[0].__name__}:{one[1]}")
@pytest.mark.parametrize("second", FORGED, ids=lambda one: f"{one[0].__name__}:{one[1]}")
def test_two_forged_packets_cut_nobody_however_silent(lb: Balancer, first: tuple, second: tuple) -> None:  # type: ignore[type-arg]
    """Both may be about the same forged numbers, and the second may answer the first."""
    establish(lb)
    for elsewhere in (False, True):
        lb.ring(1, [2 if elsewhere else 1])
        for sender, flags in (first, second):
            lb.send(sender(flags=flags, ahead=FAR, heard=FAR + 1))
        lb.age(250)
        forwarded(lb, client())
        forwarded(lb, backend())
        assert {(state, flags & ~FLOW_RESET) for state, flags in lb.states()} == {(FLOW_ESTABLISHED, 0)}


def test_a_port_that_nobody_listens_at_answers_from_sequence_zero(lb: Balancer) -> None:
    forwarded(lb, client(flags="S", ahead=0, heard=0))
    forwarded(lb, from_backend(V4, flags="R", seq=0, ack=0))
    forwarded(lb, from_backend(V4, flags="RA", seq=0, ack=FAR))
    assert lb.states() == {(FLOW_SYN, 0)}, "it acknowledges nothing, or something else: the client does not believe it (RFC 9293 3.10.7.3)"
    forwarded(lb, from_backend(V4, flags="RA", seq=0, ack=CLIENT + 1))
    assert lb.states() == {(FLOW_CLOSED, FLOW_RESET)}


@pytest.mark.parametrize(
    ("packet", "state"),
    [
        (client(flags="R", ahead=1), FLOW_CLOSED),
        (client(flags="R", ahead=FAR), FLOW_ANSWERED),
        (backend(flags="R", ahead=1), FLOW_CLOSED),
        (backend(flags="R", ahead=FAR), FLOW_ANSWERED),
        (backend(flags="RA", ahead=FAR), FLOW_CLOSED),
        (backend(flags="RA", ahead=FAR, heard=FAR), FLOW_ANSWERED),
    ],
)
def test_a_handshake_ends_by_a_rst_of_its_own(lb: Balancer, packet: Packet, state: int) -> None:
    forwarded(lb, client(flags="S", ahead=0, heard=0))
    forwarded(lb, backend(flags="SA", ahead=0))
    forwarded(lb, packet)
    assert {state for state, _ in lb.states()} == {state}


def test_a_challenge_acks_rst_clears_the_backends_old_connection_and_the_syn_comes_again(lb: Balancer) -> None:
    """The backend has kept a connection of this port that nobody else knows of (RFC 9293 3.10.7.4, half-open connections)."""
    forwarded(lb, client(flags="S", ahead=0, heard=0))
    forwarded(lb, backend(flags="A", ahead=FAR, heard=FAR))
    forwarded(lb, client(flags="R", ahead=FAR))
    again = lb.send(client(flags="S", ahead=0, heard=0))
    assert again.reason is Reason.TO_BACKEND
    same(again.data, to_backend(V4, flags="S", seq=CLIENT, ack=BACKEND))
    for packet in (backend(flags="SA", ahead=0), client()):
        forwarded(lb, packet)
    assert lb.states() == {(FLOW_ESTABLISHED, 0)}


def test_a_handshake_that_nobody_asked_for_changes_nothing(lb: Balancer) -> None:
    establish(lb)
    before = bytes(lb.flows()[0].element)
    forwarded(lb, backend(flags="SA", ahead=FAR, heard=FAR))
    forwarded(lb, backend(flags="S", ahead=FAR))
    assert bytes(lb.flows()[0].element)[8:] == before[8:], "all but the second"
    assert lb.states() == {(FLOW_ESTABLISHED, 0)}


def test_numbers_begin_anew_with_a_backend_that_has_forgotten_the_flow(lb: Balancer) -> None:
    establish(lb)
    forwarded(lb, client(flags="S", ahead=FAR, heard=0))
    forwarded(lb, backend(flags="SA", ahead=-FAR, heard=FAR + 1))
    for packet in (client(flags="R", ahead=1), backend(flags="R", ahead=1)):
        forwarded(lb, packet)
    assert lb.states() == {(FLOW_ESTABLISHED, 0)}, "the old ones are nobody's"
    forwarded(lb, client(flags="A", ahead=FAR + 1, heard=-FAR + 1))
    forwarded(lb, backend(flags="R", ahead=-FAR + 1, heard=FAR + 1))
    assert lb.states() == {(FLOW_CLOSED, FLOW_RESET)}


def test_what_a_believed_rst_did_not_end_is_numbered_anew(lb: Balancer) -> None:
    establish(lb)
    forwarded(lb, client(flags="R"))
    forwarded(lb, backend(flags="PA", ahead=FAR, heard=-FAR, payload=b"x"))
    for away, state in ((1, FLOW_ESTABLISHED), (-FAR, FLOW_CLOSED)):
        forwarded(lb, client(flags="R", ahead=away))
        assert {state for state, _ in lb.states()} == {state}


# --- the model


@pytest.fixture
def asked(lb: Balancer, objects: Objects) -> Iterator[Explainer]:
    """Who explains."""
    with closing(Explainer(lb, objects)) as explainer:
        yield explainer


def any_flags(flow: layout.Flow) -> int:
    """Flags of a record in any state, as far as its slot allows."""
    held = flow.word >> layout.FLOW_FLAGS_SHIFT & FLOW_HELD
    return held | random.choice([0, FLOW_HEARD]) | random.choice([0] * 5 + [FLOW_LEFT]) | random.choice([0, 0, 1, 2, 3, 6, 7, 8, 9])


def test_every_record_becomes_what_the_model_says(lb: Balancer, asked: Explainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any state, by any packet around where its sender is, or is not."""
    random.seed(3)
    became: list[Record] = []
    for name in ("by_client", "by_backend"):
        plain = getattr(segments, name)

        def kept(packet: Explained, record: Record, plain: object = plain) -> bool:
            became.append(record)
            return bool(plain(packet, record))  # type: ignore[operator]

        monkeypatch.setattr(segments, name, kept)
    ends = 0
    for step in range(3000):
        if step % 50 == 0:
            lb.erase()
            forwarded(lb, client(flags="S", ahead=0, heard=0))
            if random.random() < 0.8:
                forwarded(lb, backend(flags="SA", ahead=0))
                forwarded(lb, client())
        (one,) = lb.flows()
        flow = one.element
        state = random.choice([FLOW_SYN, FLOW_ANSWERED, FLOW_ESTABLISHED, FLOW_ESTABLISHED, FLOW_CLOSING, FLOW_CLOSED])
        kept_bits = flow.word & ~(15 << layout.FLOW_STATE_SHIFT | 255 << layout.FLOW_FLAGS_SHIFT)
        flow.word = kept_bits | state << layout.FLOW_STATE_SHIFT | any_flags(flow) << layout.FLOW_FLAGS_SHIFT
        flow.sequence, flow.last_sequence = random.getrandbits(32), random.getrandbits(32)
        lb.write("flows", one.id, bytes(flow))
        reaches, near = (
            segments.reach(flow),
            random.choice([0, 1, UNIT, STEP, STEP + UNIT, NEAR, NEAR + UNIT, FAR]) + random.choice([-1, 0, 1]),
        )
        known = [reaches[0] * UNIT, reaches[1] * UNIT, flow.sequence, flow.last_sequence]
        numbers = {
            "seq": (random.choice(known) + random.choice([-1, 1]) * near) % (1 << 32),
            "ack": (random.choice(known) + near) % (1 << 32),
        }
        flags = random.choice(["S", "SA", "A", "A", "PA", "R", "R", "RA", "FA", "FA"])
        if flags == "S":
            packet = from_backend(V4, flags=flags, **numbers)
        else:
            packet = random.choice([from_client, from_backend])(V4, payload=random.choice([b"", b"x" * 100]), flags=flags, **numbers)
        became.clear()
        explained = asked.explain(bytes(packet))
        done = lb.send(packet)
        assert (explained.reason, explained.verdict) == (done.reason, done.verdict)
        if not became:
            continue
        ends += 1
        after = layout.Flow.from_buffer_copy(lb.read("flows", one.id))
        if done.reason is not Reason.NO_FLOW or after.word != flow.word:
            model = became[0].flow
            assert (hex(after.word), hex(after.last_sequence)) == (hex(model.word), hex(model.last_sequence)), f"{packet.summary()} {one}"
    assert ends > 2500
