"""NAT's records: one for each flow, whatever races for it; full tables, floods, sweeps. `Balancer.records` checks, whenever it is asked,
that index, slots and free ids agree with the records."""

import dataclasses
import mmap
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.packet import Packet

from l4lb_agent.dataplane import syscall
from l4lb_agent.model.observed import Answers
from l4lb_agent.model.reasons import Reason
from tests.packet.balancer import Balancer, address
from tests.packet.bed import SIZES
from tests.packet.conftest import Make, furnish
from tests.packet.test_tcp_states import play
from tests.packet.wire import V4, V6, Family, each_family, each_protocol, from_backend, from_client, same, to_backend, to_client

SMALL = dataclasses.replace(SIZES, flows=64)
SYN_SECONDS = 5
ALL = SMALL.flows - 1  # records
emulated = pytest.mark.timeout(600)  # both CPUs of an emulated machine, of which the other one is mostly asleep


@pytest.fixture
def small(make: Make) -> Balancer:
    """A table of 63 flows, of which 32 may be unanswered."""
    lb = make(sizes=SMALL)
    furnish(lb)
    return lb


def establish(lb: Balancer, family: Family, kind: type[Packet], port: int) -> Reason:
    """One flow with an answer, from the client's port. Returns what became of its first packet."""
    made = lb.send(from_client(family, kind, port=port, flags="S", seq=1000)).reason
    if made is Reason.FLOW_CREATED:
        (flow,) = [one for one in lb.flows() if one.client_port == port and one.client == address(family.client)]
        for side, flags in ((from_backend, "SA"), (from_client, "A")):
            lb.send(side(family, kind, port=flow.snat_port if side is from_backend else port, flags=flags))
    return made


def raw(packets: Iterable[object]) -> list[bytes]:
    """Frames."""
    return [bytes(packet) for packet in packets]  # type: ignore[call-overload]


def flood(lb: Balancer, start: int, count: int, family: Family = V4, kind: type[Packet] = TCP) -> list[Reason]:
    """SYNs, or UDP packets, of as many clients that do not exist, from the one of that number on."""
    frame = bytearray(bytes(from_client(family, kind, flags="S")))
    addresses, ports = (28, 34) if family is V4 else (36, 54)  # the client's last two bytes, its port
    whole = int.from_bytes(frame[18:20], "big") + int.from_bytes(frame[addresses : addresses + 2], "big")
    before = lb.reasons()
    for number in range(start, start + count):
        frame[addresses : addresses + 2] = (0x8000 + number % 0x7FFF).to_bytes(2, "big")
        if family is V4:
            frame[18:20] = ((whole - 0x8000 - number % 0x7FFF) % 0xFFFF).to_bytes(2, "big")  # the identification keeps the checksum right
        frame[ports : ports + 2] = (1024 + number * 7919 % 60000).to_bytes(2, "big")
        lb.run(bytes(frame))
    counted = Counter({Reason(key[0]): value[0] - before.get(key, (0, 0))[0] for key, value in lb.reasons().items()})
    assert sum(counted.values()) == count
    return list((+counted).elements())


@each_family
def test_a_record_says_it_all(lb: Balancer, family: Family) -> None:
    lb.send(from_client(family, flags="S", seq=77))
    (one,) = lb.records()
    assert (one.client, one.vip, one.snat) == (address(family.client), address(family.vip), address(family.snat))
    assert one.backend_address == address(family.backends[0])
    assert (one.client_port, one.vip_port, one.backend_port, one.snat_port, one.protocol) == (40000, 80, 8080, 40000, 6)
    assert (one.backend, one.element.service, one.element.sequence) == ((1, 1, 77) if family is V4 else (4, 3, 77))
    assert one.held


@each_family
@each_protocol
def test_a_full_table_refuses_new_flows_and_keeps_old_ones(small: Balancer, family: Family, kind: type) -> None:
    lb = small
    reasons = [establish(lb, family, kind, 2000 + i) for i in range(ALL + 20)]
    assert reasons == [Reason.FLOW_CREATED] * ALL + [Reason.FLOW_TABLE_FULL] * 20
    assert len(lb.flows()) == ALL
    for own in (2000, 2000 + ALL - 1):
        there = lb.send(from_client(family, kind, b"x", port=own, flags="A"))
        same(there.data, to_backend(family, kind, b"x", port=own, flags="A"))
        back = lb.send(from_backend(family, kind, b"y", port=own, flags="A"))
        same(back.data, to_client(family, kind, b"y", port=own, flags="A"))


@each_family
def test_what_a_full_table_swept_is_there_for_new_flows(small: Balancer, family: Family) -> None:
    lb = small
    for turn in range(4):
        reasons = [establish(lb, family, TCP, 2000 + 100 * turn + i) for i in range(ALL + 1)]
        assert reasons.count(Reason.FLOW_CREATED) == ALL
        lb.age(903)
        counts = lb.sweep()
        assert (counts.deleted, counts.flows, counts.live, counts.entries_by_backend) == (ALL, 0, {}, {})
        assert not lb.records()


@each_family
@each_protocol
def test_a_flood_ends_no_answered_flow_and_keeps_no_new_client_out(small: Balancer, family: Family, kind: type) -> None:
    """Twenty times as many SYNs as the table has records."""
    lb = small
    old = [2000 + i for i in range(20)]
    assert all(establish(lb, family, kind, port) is Reason.FLOW_CREATED for port in old)
    for round_ in range(4):
        assert set(flood(lb, 5 * ALL * round_, 5 * ALL, family, kind)) == {Reason.FLOW_CREATED}
        assert establish(lb, family, kind, 9000 + round_) is Reason.FLOW_CREATED, "a new client in the middle of it"
    answered = [one for one in lb.flows() if not one.held]
    assert {one.client_port for one in answered} == {*old, 9000, 9001, 9002, 9003}
    for port in [*old, 9000, 9003]:
        same(lb.send(from_client(family, kind, b"x", port=port, flags="A")).data, to_backend(family, kind, b"x", port=port, flags="A"))
    assert lb.tracking(1 + 2 * (family is V6) + (kind is UDP))[2] > 10 * ALL, "what had to go is counted"


@each_family
def test_the_stalest_of_the_unanswered_goes_first(small: Balancer, family: Family) -> None:
    lb = small
    lb.configure(unanswered_mask=0)  # one bucket of sixteen
    for port in range(3000, 3040):
        there = {one.client_port for one in lb.flows()}
        lb.age(1)
        assert lb.send(from_client(family, port=port, flags="S")).reason is Reason.FLOW_CREATED
        assert there - {one.client_port for one in lb.flows()} == ({min(there)} if len(there) == 16 else set())


def test_a_flow_that_was_replaced_is_unknown_to_both_sides(small: Balancer) -> None:
    lb = small
    lb.configure(unanswered_mask=0)
    lb.send(from_client(V4, flags="S"))
    lb.age(1)
    for port in range(3000, 3016):
        lb.send(from_client(V4, port=port, flags="S"))
    assert lb.send(from_backend(V4, flags="SA")).reason is Reason.NO_FLOW
    assert lb.send(from_client(V4, flags="A")).reason is Reason.RST_LIMITED


@pytest.mark.parametrize(
    ("script", "held"),
    [
        ("c:S", True), ("c:S b:SA", True), ("c:S b:SA c:A", False), ("c:S b:SA c:PA", False), ("c:S b:SA c:FA", False),
        ("c:S c:R c:A", True), ("c:S b:SA c:R c:A", False), ("c:S b:RA", True), ("c:S b:SA c:S", True),
        # a forger's: SYN, ACK, FIN and RST, whatever the backend says to them
        ("c:S b:SA c:A?", True), ("c:S b:SA c:FA?", True), ("c:S b:SA c:A? b:R c:A?", True), ("c:S b:SA c:R c:A?", True),
        ("c:S c:FA b:A c:FA?", True), ("c:S b:SA c:R b:A c:A?", True),
        # a client's that the backend has heard, whatever it acknowledged first
        ("c:S b:SA c:A? b:A? c:A?", False), ("c:S b:SA c:A? c:A", False),
    ],
)  # fmt: skip
def test_a_flow_is_kept_from_the_clients_first_ack_after_the_backends_answer(lb: Balancer, script: str, held: bool) -> None:
    play(lb, script)
    (one,) = lb.records()
    assert one.held == held


def test_a_flow_over_udp_is_kept_from_its_first_answer(lb: Balancer) -> None:
    for _ in range(3):
        lb.send(from_client(V4, UDP, b"q"))
        assert [one.held for one in lb.records()] == [True]
    lb.send(from_backend(V4, UDP, b"a"))
    assert [one.held for one in lb.records()] == [False]


@each_family
@pytest.mark.parametrize(
    ("script", "timeout"), [("c:S", SYN_SECONDS), ("c:S b:SA c:A", 900), ("c:S b:SA c:A b:FA c:FA", 60), ("c:S b:RA", 5)]
)
def test_a_sweep_frees_what_has_been_over_for_two_seconds(lb: Balancer, family: Family, script: str, timeout: int) -> None:
    play(lb, script, family)
    now = lb.records()[0].element.seen
    backend = 1 if family is V4 else 4
    for later, live, stays in ((0, True, True), (timeout, True, True), (timeout + 1, False, True), (timeout + 2, False, True)):
        counts = lb.sweep(now + later)
        closed = script.endswith(("RA", "c:FA"))
        assert counts.live == ({backend: 1} if live and not closed else {}), later
        assert (counts.flows, counts.entries_by_backend, counts.deleted) == (int(stays), {backend: 1}, 0)
    counts = lb.sweep(now + timeout + 3)
    assert (counts.flows, counts.live, counts.entries_by_backend, counts.deleted) == (0, {}, {}, 1)
    assert not lb.records()
    assert lb.send(from_client(family, flags="S", seq=5)).reason is Reason.FLOW_CREATED


def test_a_sweep_frees_the_flows_of_a_service_that_is_gone(lb: Balancer) -> None:
    play(lb, "c:S b:SA c:A")
    lb.write("services", 1, bytes(64))
    now = lb.records()[0].element.seen
    assert (lb.sweep(now + 1).live, lb.sweep(now + 1).entries_by_backend) == ({}, {1: 1})
    assert lb.sweep(now + 3).deleted == 1


def test_a_displaced_flow_keeps_its_port_until_the_sweep(lb: Balancer) -> None:
    lb.send(from_client(V4, flags="S", seq=1000))
    lb.ring(1, [2])
    lb.send(from_client(V4, flags="S", seq=555))
    old, new = sorted(lb.records(), key=lambda one: one.backend)
    assert (old.displaced, new.displaced) == (True, False)
    assert lb.sweep().deleted == 0
    lb.forget(old)
    assert [one.backend for one in lb.records()] == [2]


@each_family
@pytest.mark.parametrize(
    ("script", "later", "live", "unanswered", "refused"),
    [
        ("c:S", 1, 1, 0, 0),  # it may be on its way
        ("c:S", 2, 1, 1, 0),
        ("c:S b:SA", 2, 1, 0, 0),
        ("c:S b:SA c:A", 2, 1, 0, 0),
        ("c:S b:RA", 2, 0, 0, 1),
        ("c:S b:SA c:R", 2, 0, 0, 0),  # a scan
        ("c:S b:SA c:A b:R", 2, 0, 0, 0),
        ("c:S b:SA c:A b:FA c:FA", 2, 0, 0, 0),
    ],
)
def test_a_sweep_tells_who_answers(lb: Balancer, family: Family, script: str, later: int, live: int, unanswered: int, refused: int) -> None:
    play(lb, script, family)
    found = lb.sweep(lb.records()[0].element.seen + later).answers
    assert found == {1 if family is V4 else 4: Answers(1, live, unanswered, refused)}


def test_flows_that_the_ring_took_elsewhere_were_refused_by_nobody(lb: Balancer) -> None:
    lb.ring(1, [1])
    play(lb, "c:S")
    lb.ring(1, [2])
    lb.send(from_client(V4, flags="S", seq=555))
    old, new = sorted(lb.records(), key=lambda one: one.backend)
    assert old.displaced
    assert [lb.sweep(new.element.seen + 1).answers[backend].refused for backend in (1, 2)] == [0, 0]


def test_a_sweep_tells_of_datagrams_without_answer(lb: Balancer) -> None:
    lb.send(from_client(V4, UDP, b"q"))
    now = lb.records()[0].element.seen
    assert [one.unanswered for one in lb.sweep(now + 2).answers.values()] == [1]
    lb.send(from_backend(V4, UDP, b"a"))
    assert [one.unanswered for one in lb.sweep(now + 2).answers.values()] == [0]


def test_a_sweep_counts_each_backend_afresh(lb: Balancer) -> None:
    lb.ring(1, [1, 2, 3])
    for port in range(2000, 2030):
        lb.send(from_client(V4, port=port, flags="S"))
    wanted = Counter(one.backend for one in lb.records())
    for _ in range(3):
        counts = lb.sweep()
        assert counts.live == counts.entries_by_backend == dict(wanted)
    lb.age(8)
    assert lb.sweep().deleted == 30
    assert lb.sweep().entries_by_backend == {}


class Sides:
    """Two processes, each on a CPU of its own, that run the same number of steps at the same moments."""

    def __init__(self, cpus: set[int]) -> None:
        self._cpus = (min(cpus), max(cpus))
        self._mine, self._theirs = (memoryview(mmap.mmap(-1, 4096)).cast("I") for _ in range(2))

    def run(self, mine: Callable[[int], None], theirs: Callable[[int], None], steps: int) -> None:
        """Both do step 0, 1, ...: neither begins one long before the other does."""
        child = os.fork()
        if child == 0:
            try:
                self._walk(theirs, steps, self._cpus[1], self._theirs, self._mine)
            except BaseException:
                os._exit(1)
            os._exit(0)
        self._walk(mine, steps, self._cpus[0], self._mine, self._theirs)
        assert os.waitpid(child, 0)[1] == 0

    @staticmethod
    def _walk(step: Callable[[int], None], steps: int, cpu: int, own: memoryview, other: memoryview) -> None:
        os.sched_setaffinity(0, {cpu})
        for number in range(steps):
            own[0] = number + 1
            for _ in range(2000):
                if other[0] > number:
                    break
            step(number)


def sender(lb: Balancer, frames: list[bytes]) -> Callable[[int], None]:
    """Sends frame n in step n."""
    program = lb.generation.program.fileno()
    return lambda number: syscall.prog_test_run(program, frames[number], ifindex=1, room=256) and None


def counted(lb: Balancer) -> dict[Reason, int]:
    """Packets by reason."""
    return {Reason(reason): packets for (reason, _), (packets, _) in lb.reasons().items()}


@emulated
@each_family
def test_two_cpus_that_start_the_same_flow_at_once_make_one(make: Make, alone: set[int], family: Family) -> None:
    """The loser of the race gives its claims back and follows the winner's flow."""
    lb = make(sizes=dataclasses.replace(SIZES, flows=16384))
    furnish(lb)
    frames = raw(from_client(family, UDP, b"x", port=2000 + i) for i in range(1500))
    Sides(alone).run(sender(lb, frames), sender(lb, frames), len(frames))
    assert len(lb.records()) == len(frames)
    assert counted(lb) == {Reason.FLOW_CREATED: len(frames), Reason.TO_BACKEND: len(frames)}


@emulated
@each_family
def test_two_cpus_that_want_the_same_port_at_once_get_two(make: Make, alone: set[int], family: Family) -> None:
    """Clients with equal ports: one of them keeps it, if any."""
    lb = make(sizes=dataclasses.replace(SIZES, flows=16384))
    furnish(lb)
    other = "198.51.100.8" if family is V4 else "2001:db8:1::8"
    ours, theirs = (raw(from_client(family, client=c, port=2000 + i, flags="S") for i in range(1500)) for c in (family.client, other))
    Sides(alone).run(sender(lb, ours), sender(lb, theirs), len(ours))
    records = lb.records()
    assert len(records) == 3000, counted(lb)
    assert len({(one.snat, one.snat_port, one.backend_address) for one in records}) == 3000
    assert counted(lb) == {Reason.FLOW_CREATED: 3000}


@emulated
def test_two_cpus_that_fight_over_few_slots_lose_no_record(make: Make, alone: set[int]) -> None:
    """Every SYN ends a flow that the other CPU has begun, or begins with it."""
    lb = make(sizes=SMALL)
    furnish(lb)
    lb.configure(unanswered_mask=0)
    frames = [raw(from_client(V4, port=2000 + first + 2 * i, flags="S") for i in range(1500)) for first in (0, 1)]
    Sides(alone).run(sender(lb, frames[0]), sender(lb, frames[1]), 1500)
    assert 1 <= len(lb.records()) <= 16
    assert set(counted(lb)) <= {Reason.FLOW_CREATED, Reason.FLOW_TABLE_FULL, Reason.NO_FLOW}
    assert counted(lb)[Reason.FLOW_CREATED] > 2900


@emulated
def test_sweeps_while_flows_come_and_go_lose_no_record(make: Make, alone: set[int]) -> None:
    """One CPU begins, answers and ends flows of both families; the other sweeps all the while, at a time when most are over."""
    lb = make(sizes=SMALL)
    furnish(lb)
    dice = random.Random(5)
    frames = []
    for _ in range(3000):
        family, port = dice.choice((V4, V6)), 2000 + dice.randrange(150)
        side, flags = dice.choice(((from_client, "S"), (from_client, "S"), (from_backend, "SA"), (from_client, "A"), (from_client, "R")))
        frames.append(bytes(side(family, port=port, flags=flags, seq=dice.randrange(1 << 32))))
    lb.send(from_client(V4, port=1999, flags="S"))
    (first,) = lb.records()
    now = first.element.seen

    def sweep(number: int) -> None:
        if number % 8 == 0:
            lb.sweep(now + 8 if number % 16 else None)

    Sides(alone).run(sender(lb, frames), sweep, len(frames))
    lb.records()
    lb.sweep(now + 100000)
    assert not lb.records()
