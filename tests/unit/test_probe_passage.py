"""A probe's use of the way to a VIP, over a door that is no kernel's: whom it waits for, what it binds, and what its end means."""

import asyncio
import contextlib
import errno
import itertools
import socket
from dataclasses import dataclass, field, replace

import pytest

from l4lb_agent.model.address import Address
from l4lb_agent.model.health.check import By, HealthCheck, Kind, ProbeTarget, Target
from l4lb_agent.model.health.outcome import Outcome, Why
from l4lb_agent.model.health.passing import Fate, Place, stopped
from l4lb_agent.model.reasons import VERDICTS, Reason, Verdict
from l4lb_agent.system import routing
from l4lb_agent.system.probing import passage, prober
from l4lb_agent.system.probing.failure import Failed
from l4lb_agent.system.probing.pair import Numbers
from l4lb_agent.system.probing.passage import Passage, Passing

VIP, AT = routing.address("127.0.0.10"), routing.address("192.0.2.21")
BY = By("services/web/backends/a", AT, "DSR")
TARGET = Target(VIP, 80, by=BY)
HERE = Place(3, 4)
LEFT = Reason.TO_BACKEND * VERDICTS + Verdict.REDIRECT
TCP = HealthCheck(Kind.TCP, timeout_seconds=0.2, target=ProbeTarget.VIP)


@dataclass
class Door:
    """A passage.Door: says of every probe's packets what it is told to say."""

    ways: list[bool] = field(default_factory=lambda: [True])  # whether there is one: one after the other, the last for ever
    fate: Fate = Fate(3, LEFT)
    begun: list[tuple[int, int, int, Place]] = field(default_factory=list)
    ended: list[tuple[int, int, int]] = field(default_factory=list)
    free: bool = True

    def attach(self, ifindex: int) -> None:
        """Nothing."""

    def detach(self) -> None:
        """Nothing."""

    def reaches(self, backend: int) -> bool:
        """The next."""
        assert backend == HERE.backend
        return self.ways.pop(0) if len(self.ways) > 1 else self.ways[0]

    def begin(self, family: int, protocol: int, port: int, place: Place) -> bool:
        """Remembered."""
        self.begun.append((family, protocol, port, place))
        return self.free

    def end(self, family: int, protocol: int, port: int) -> Fate:
        """Remembered."""
        self.ended.append((family, protocol, port))
        return self.fate


class Open(Passage):
    """One that is there already, of a kernel that says what it is told to say."""

    lost_words, refused = "taken away", ""

    async def ready(self) -> None:
        """At once."""

    async def lost(self, vip: Address) -> str:
        """As told."""
        return self.lost_words

    async def refuses(self, vip: Address, own: str, by: Address) -> str:
        """As told."""
        return self.refused


@pytest.fixture(autouse=True)
def this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reaches everybody from 127.0.0.1, whatever routes it has."""
    monkeypatch.setattr(passage, "_own_address", lambda vip, by: "127.0.0.1")


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
async def way(door: Door) -> Open:
    return Open(door, Numbers(mark=7))


async def probed(way: Open, monkeypatch: pytest.MonkeyPatch, why: Why = Why.OK, place: Place | None = HERE) -> Outcome:
    """What comes of a probe of which the socket sees this."""

    async def seen(check: HealthCheck, target: Target, progress: prober.Progress) -> str:
        with socket.socket() as made:
            assert progress.prepare
            progress.prepare(made)
            sent.append((made.getsockname()[1], made.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)))
        if why is Why.TIMEOUT:
            await asyncio.sleep(60)
        if why is not Why.OK:
            raise Failed(why, "by the test")
        return "well"

    sent.clear()
    monkeypatch.setattr(prober, "_kind", lambda kind: seen)
    return await prober.Prober(way).probe(TCP, TARGET, lambda: place)


sent: list[tuple[int, int]] = []  # port and mark of sockets, in the order in which they were prepared


async def test_a_socket_is_marked_and_known_by_its_port_while_it_probes(
    door: Door, way: Open, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    outcome = await probed(way, monkeypatch)
    assert (outcome.why, outcome.detail) == (Why.OK, "well")
    [(port, mark)] = sent
    assert mark == 7
    assert door.begun == [(4, 6, port, HERE)]
    assert door.ended == [(4, 6, port)]


async def test_a_backend_without_a_way_is_waited_for(door: Door, way: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    door.ways = [False, False, True]
    assert (await probed(way, monkeypatch)).ok
    door.ways = [False]
    outcome = await probed(way, monkeypatch)
    assert (outcome.why, "next hop" in outcome.detail) == (Why.UNREACHABLE, True)
    outcome = await probed(way, monkeypatch, place=None)
    assert (outcome.why, sent) == (Why.OWN_FAULT, [])


async def test_a_backend_that_is_this_host_is_asked_like_any_server_here(
    door: Door, way: Open, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    seen = []

    async def asked(check: HealthCheck, target: Target, progress: prober.Progress) -> str:
        seen.append((target.address, progress.prepare))
        return "well"

    monkeypatch.setattr(prober, "_kind", lambda kind: asked)
    here = replace(TARGET, by=replace(BY, address=routing.address("127.0.0.1")))
    assert (await prober.Prober(way).probe(TCP, here, lambda: HERE)).ok
    assert (seen, door.begun) == ([(VIP, None)], [])


async def test_a_port_of_another_probe_is_not_taken_from_it(door: Door, way: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    door.free = False
    outcome = await probed(way, monkeypatch)
    assert (outcome.why, door.ended) == (Why.OWN_FAULT, [])


@pytest.mark.parametrize("why", [Why.OK, Why.REFUSED, Why.TIMEOUT, Why.STATUS])
async def test_what_was_seen_without_a_packet_of_it_leaving_is_not_believed(
    door: Door, way: Open, monkeypatch: pytest.MonkeyPatch, why: Why
) -> None:  # fmt: skip
    door.fate = Fate()
    outcome = await probed(way, monkeypatch, why)
    assert (outcome.why, outcome.detail) == (Why.OWN_FAULT, "taken away")


async def test_answers_that_this_host_would_not_take_are_its_own_fault(door: Door, way: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await probed(way, monkeypatch, Why.TIMEOUT)).why is Why.TIMEOUT
    way.refused = "rp_filter"
    assert (await probed(way, monkeypatch, Why.TIMEOUT)).why is Why.OWN_FAULT
    assert (await probed(way, monkeypatch, Why.REFUSED)).why is Why.REFUSED, "an answer did come"


async def test_a_probe_that_is_cancelled_gives_its_port_back(door: Door, way: Open) -> None:
    passing = Passing(way, TARGET, BY, lambda: HERE)
    await passing.wait()
    with socket.socket() as made:
        passing.prepare(made)
    passing.close()
    passing.close()
    assert len(door.ended) == 1


async def test_without_a_passage_nobody_probes_vips() -> None:
    assert (await prober.Prober().probe(TCP, TARGET)).why is Why.OWN_FAULT


async def test_a_passage_that_cannot_be_made_is_tried_again_after_a_pause(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    async def make(*_: object) -> int:
        tries.append(1)
        raise OSError(1, "not allowed")

    monkeypatch.setattr(passage.pair, "make", make)
    way = Passage(door, Numbers())
    for _ in range(3):
        outcome = await prober.Prober(way).probe(TCP, TARGET, lambda: HERE)
        assert (outcome.why, "not allowed" in outcome.detail) == (Why.OWN_FAULT, True)
    assert len(tries) == 1
    monkeypatch.setattr(passage, "PAUSE_SECONDS", 0.0)
    await prober.Prober(way).probe(TCP, TARGET, lambda: HERE)
    assert len(tries) == 2


class Missing:
    """In the place of a Netlink: no route is there, and nothing is whole."""

    async def ask(self, what: str, command: str, **arguments: object) -> list[object]:
        """Refused."""
        raise OSError(errno.ENETUNREACH, f"{what} {command}")


async def test_a_passage_that_is_lost_again_and_again_is_made_anew_less_and_less_often(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    now, made = 1000.0, []

    async def make(*_: object) -> int:
        made.append(now)
        return 1

    monkeypatch.setattr(passage.pair, "make", make)
    monkeypatch.setattr(passage.time, "monotonic", lambda: now)
    way = Passage(door, Numbers())
    monkeypatch.setattr(way, "netlink", Missing())
    while now < 1400.0:
        with contextlib.suppress(Failed):
            await way.ready()
            assert "made anew" in await way.lost(VIP)
        now += 1.0
    pauses = [after - before for before, after in itertools.pairwise(made)]
    assert pauses[0] <= 3.0
    assert pauses == sorted(pauses), "each longer than the one before"
    assert 60.0 <= pauses[-1] <= 62.0
    now += 200.0
    await way.lost(VIP)
    now += 2.0
    await way.ready()
    assert made[-1] == now, "after a quiet time it is soon"


def test_only_what_left_says_something_of_the_backend() -> None:
    assert stopped(Fate(1, LEFT)) is None
    assert stopped(Fate(2, Reason.BACKEND_UNRESOLVED * VERDICTS + Verdict.DROP)) == (
        Why.UNREACHABLE, "the datapath did not send it: BACKEND_UNRESOLVED"
    )  # fmt: skip
    assert stopped(Fate(2, Reason.NO_BACKEND * VERDICTS + Verdict.DROP)) == (Why.OWN_FAULT, "the datapath did not send it: NO_BACKEND")
