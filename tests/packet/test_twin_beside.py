"""Questions beside other work: garbage, changes under way, many threads. The twin never disturbs, never mixes up answers, never hangs."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from scapy.layers.inet import TCP, UDP

from l4lb_agent.dataplane import steps, syscall
from l4lb_agent.dataplane.info import Run
from l4lb_agent.dataplane.program import Objects
from l4lb_agent.dataplane.twin import Twin
from l4lb_agent.model import layout
from l4lb_agent.model.observed import Answer
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet import modes, odd, vlans
from tests.packet.balancer import LOOPBACK, Balancer
from tests.packet.bed import open_descriptors
from tests.packet.conftest import Make, furnish
from tests.packet.errors import about_client, quotes_for_backend, unreachable
from tests.packet.modes import every_mode
from tests.packet.twins import Asked
from tests.packet.wire import FAMILIES, PROTOCOLS, V4, from_backend, from_client

pytestmark = pytest.mark.timeout(600)  # an emulated machine loads all programs twice more for a minute
GARBAGE = 60  # frames for each mode
BEFORE, AFTER = 1, 2  # backends


@pytest.fixture
def twins(objects: Objects) -> Iterator[list[Asked]]:
    """Closed with the test."""
    made: list[Asked] = []
    yield made
    for one in made:
        one.close()


def seeds() -> list[bytes]:
    """Frames that garbage is made of."""
    found = []
    for family in FAMILIES:
        for kind in PROTOCOLS:
            for flags in ("S", "A", "FA", "R"):
                found.append(bytes(from_client(family, kind, b"some payload", flags=flags, seq=1000, ack=6)))
            found.append(bytes(from_backend(family, kind, b"some payload", flags="A", seq=6, ack=1001)))
            found += [bytes(piece) for piece in odd.cut(from_client(family, kind, bytes(64), flags="A", seq=1001, ack=6), 32)]
            quoted, _ = quotes_for_backend(family, kind, b"q" * 20, None, flags="A", seq=6, ack=1001)
            found.append(about_client(family, unreachable(family), quoted))
    return found


def spoilt(frame: bytes, dice: random.Random) -> bytes:
    """The frame with some bytes changed, cut, prolonged or tagged."""
    raw = bytearray(frame)
    for _ in range(dice.randrange(4)):
        raw[dice.randrange(len(raw))] = dice.randrange(256)
    if not dice.randrange(4):
        del raw[dice.randrange(14, len(raw)) :]
    if not dice.randrange(6):
        raw += dice.randbytes(dice.randrange(1, 1600))
    tagged = bytes(raw)
    while not dice.randrange(4):
        tagged = vlans.tagged(tagged, dice.choice([0, 8, 9, 100, 101]), dice.randrange(8), dice.choice([0x8100, 0x8100, vlans.SERVICE]))
    return tagged


@every_mode
def test_garbage(make: Make, objects: Objects, twins: list[Asked], mode: str) -> None:
    """Each frame is met by what those before it have left."""
    lb = modes.furnish(make, mode, 0 if mode == "nat" else layout.SERVICE_TRACK_ALL)
    lb.configure(rst_rate=100, rst_burst=100, icmp_rate=100, icmp_burst=100)
    vlans.stack(lb, [vlans.SEVERAL])
    twins.append(Asked(lb, objects))
    dice, frames = random.Random(f"garbage {mode}"), seeds()
    found = {twins[0].send(spoilt(dice.choice(frames), dice)).reason for _ in range(GARBAGE)}
    assert len(found) > 5, f"only {found}"


def test_answers_while_a_ring_is_replaced_are_of_one_ring_or_the_other(lb: Balancer, objects: Objects, twins: list[Asked]) -> None:
    """At some moment of each question, once: a slow machine would see no question end without a change."""
    twins.append(Asked(lb, objects))
    lb.ring(3, [AFTER])
    frame = bytes(from_client(V4, UDP, b"q"))
    ended, asked, changes = False, threading.Event(), 0

    def replace() -> None:
        nonlocal changes
        while asked.wait() and not ended:
            asked.clear()
            lb.service(2, V4.vip, 80, 17, now=3 if changes % 2 else 1)
            changes += 1

    def ask() -> Answer:
        asked.set()
        return twins[0].twin.ask(LOOPBACK, frame)

    other = threading.Thread(target=replace)
    other.start()
    try:
        answers = [ask() for _ in range(200)]
    finally:
        ended = True
        asked.set()
        other.join()
    assert changes > 2
    assert {answer.reason for answer in answers} == {Reason.FLOW_CREATED}
    targets = {answer.frame[30:34] for answer in answers}
    assert targets <= {bytes(map(int, V4.backends[number - 1].split("."))) for number in (BEFORE, AFTER)}
    assert lb.reasons() == {}


def test_an_answer_says_when_its_ground_moved(
    lb: Balancer, objects: Objects, twins: list[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """The flow speaks, in another second, whenever its twin is asked; the clock stands still."""
    lb.configure(second_multiplier=0)
    twins.append(Asked(lb, objects))
    lb.send(from_client(V4, flags="S", seq=1000))
    frame = bytes(from_client(V4, flags="S", seq=1000))
    (record,) = lb.records()
    run = syscall.prog_test_run

    def late(*arguments: Any, **options: Any) -> Run:
        element = layout.Flow.from_buffer_copy(lb.read("flows", record.id))
        element.seen ^= 1
        lb.write("flows", record.id, bytes(element))
        return run(*arguments, **options)

    assert twins[0].twin.ask(LOOPBACK, frame).steady
    with monkeypatch.context() as patched:
        patched.setattr(syscall, "prog_test_run", late)
        answer = twins[0].twin.ask(LOOPBACK, frame)
    assert (answer.reason, answer.steady) == (Reason.TO_BACKEND, False)
    assert twins[0].twin.ask(LOOPBACK, frame).steady


def test_questions_of_many_threads_get_each_its_own_answer(make: Make, objects: Objects, twins: list[Asked]) -> None:
    lb = make()
    furnish(lb)
    twins.append(Asked(lb, objects))
    wanted = {}
    for family in FAMILIES:
        for kind in PROTOCOLS:
            for port in range(2000, 2010):
                wanted[bytes(from_client(family, kind, b"q", port=port, flags="S"))] = (Reason.FLOW_CREATED, port)
    with ThreadPoolExecutor(8) as pool:
        frames = list(wanted) * 3
        answers = list(pool.map(lambda frame: twins[0].twin.ask(LOOPBACK, frame), frames))
    for frame, answer in zip(frames, answers):
        at = 34 if frame[12:14] == b"\x08\x00" else 54
        assert (answer.verdict, answer.reason, int.from_bytes(answer.frame[at : at + 2], "big")) == (Verdict.TX, *wanted[frame])
    assert lb.reasons() == {}


def test_a_closed_twin_holds_nothing_and_begins_anew(lb: Balancer, objects: Objects, twins: list[Asked]) -> None:
    twins.append(Asked(lb, objects))
    for _ in range(2):
        assert twins[0].twin.ask(LOOPBACK, bytes(from_client(V4, TCP, flags="S"))).reason is Reason.FLOW_CREATED
        twins[0].twin.close()
        assert twins[0].twin._loaded is None


def test_a_program_that_cannot_be_followed_is_an_error_and_leaves_nothing(
    lb: Balancer, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """As when the compiler makes jumps of another kind one day."""
    twin = Twin(objects, lb.specs, {name: fd.fileno() for name, fd in lb.maps.items()})
    frame, before = bytes(from_client(V4, UDP)), open_descriptors()
    with monkeypatch.context() as patched:
        patched.setattr(steps, "with_steps", lambda code, *_: steps._Program(code + bytes.fromhex("0600000000000000"), ()))
        with pytest.raises(OSError, match="the datapath's programs cannot be followed: the bytecode has a jump of 32 bits"):
            twin.ask(LOOPBACK, frame)
    assert open_descriptors() == before
    assert twin.ask(LOOPBACK, frame).reason is Reason.FLOW_CREATED
    twin.close()
    assert open_descriptors() == before
