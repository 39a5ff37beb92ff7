"""Windows of slots: what settles when, what stays at risk, and that no flow moves which could have stayed."""

from array import array
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from l4lb_agent.model import layout
from l4lb_agent.model.windows import settle
from l4lb_agent.model.windows.settle import NOBODY, Pair, Rules

A, B, C, D = 1, 2, 3, 4
WINDOW, IDLE, GRACE = 10.0, 20.0, 0.05


def ring(*owners: int) -> "array[int]":
    return array("H", owners)


def rules(*, gone: tuple[int, ...] = (), draining: tuple[int, ...] = (), **down: float) -> Rules:
    """`down` by letter."""
    letters = {"A": A, "B": B, "C": C, "D": D}
    return Rules(WINDOW, {A, B, C, D} - set(gone), frozenset(draining), {letters[name]: until for name, until in down.items()})


def step(pair: Pair, now: "array[int]", time: float, known: Rules | None = None) -> Pair:
    """Advanced and published."""
    return settle.published(settle.advance(pair, now, time, known or rules()), time)


def marks(pair: Pair) -> list[int]:
    slots = array("H", pair.now_element or bytes(2 * len(pair.now)))
    return [number for number, slot in enumerate(slots[: len(pair.now)]) if slot & layout.SLOT_AT_RISK]


def test_a_first_ring_puts_nothing_at_risk() -> None:
    pair = settle.first(ring(A, B))
    assert (pair.differing, pair.at_risk, pair.now_element) == (0, 0, pair.before_element)
    assert settle.due(pair, rules()) is None


def test_a_slot_that_changes_is_marked_and_settles_when_its_window_is_over() -> None:
    pair = step(settle.first(ring(A, A)), ring(A, B), 100.0)
    assert (list(pair.before), marks(pair), pair.differing) == ([A, A], [1], 1)
    assert settle.due(pair, rules()) == settle.ends(pair, rules()) == 110.0
    assert settle.advance(pair, pair.now, 109.9, rules()) is pair
    pair = step(pair, pair.now, 110.0)
    assert (list(pair.before), marks(pair), pair.differing, pair.at_risk) == ([A, B], [1], 0, 1)
    assert pair.before is pair.now
    assert pair.before_element is pair.now_element


def test_a_window_counts_from_when_its_rings_were_published_in_whole_seconds() -> None:
    pair = settle.advance(settle.first(ring(A)), ring(B), 100.0, rules())
    assert settle.due(pair, rules()) is None
    assert settle.advance(pair, pair.now, 1000.0, rules()) is pair
    pair = settle.published(pair, 1000.2)
    assert settle.due(pair, rules()) == 1011.0


def test_a_flap_is_settled_at_once_and_lingers() -> None:
    pair = step(settle.first(ring(A, A)), ring(A, B), 100.0)
    pair = step(pair, ring(A, A), 101.0)
    assert (list(pair.before), pair.differing, marks(pair)) == ([A, A], 0, [1])
    pair = step(pair, ring(A, B), 102.0)
    assert settle.due(pair, rules()) == 112.0  # the flap has begun a new window


def test_several_changes_inside_a_window_count_from_the_first() -> None:
    pair = step(settle.first(ring(A, A, A)), ring(B, A, A), 100.0)
    pair = step(pair, ring(C, B, A), 104.0)
    pair = step(pair, ring(D, C, B), 108.0)
    assert list(pair.before) == [A, A, A]
    pair = step(pair, pair.now, 110.0)
    assert (list(pair.before), settle.due(pair, rules())) == ([D, A, A], 114.0)
    pair = step(pair, pair.now, 114.0)
    assert (list(pair.before), settle.due(pair, rules()), settle.ends(pair, rules())) == ([D, C, A], 118.0, 118.0)


def test_a_slot_under_permanent_change_settles_too() -> None:
    pair, settled = settle.first(ring(A)), []
    for second in range(100, 150):
        pair = step(pair, ring((B, C, D)[second % 3]), float(second))
        settled.append(pair.before[0])
    assert settled[9] == A
    assert A not in settled[10:]
    assert len(pair.open) <= 1


def test_slots_of_a_draining_backend_wait_for_the_end_of_its_drain() -> None:
    pair = step(settle.first(ring(A, B, A)), ring(C, B, C), 100.0, rules(draining=(A,)))
    pair = step(pair, ring(C, C, C), 105.0, rules(draining=(A,)))
    pair = step(pair, pair.now, 500.0, rules(draining=(A,)))
    assert list(pair.before) == [A, C, A]
    assert settle.due(pair, rules(draining=(A,))) is None
    assert settle.ends(pair, rules(draining=(A,))) == 110.0
    ended = step(pair, pair.now, 501.0)
    assert list(ended.before) == [C, C, C]
    cut = step(pair, pair.now, 501.0, rules(gone=(A,)))
    assert list(cut.before) == [C, C, C]


def test_an_undrained_backend_gets_its_slots_back_settled() -> None:
    pair = step(settle.first(ring(A, B)), ring(B, B), 100.0, rules(draining=(A,)))
    pair = step(pair, ring(A, B), 101.0)
    assert (pair.differing, marks(pair)) == (0, [0])


def test_a_drain_begun_inside_a_window_holds_the_slots_that_are_still_before() -> None:
    pair = step(settle.first(ring(A, A)), ring(B, A), 100.0)
    pair = step(pair, ring(B, C), 105.0, rules(draining=(A,)))
    pair = step(pair, pair.now, 111.0, rules(draining=(A,)))
    assert list(pair.before) == [A, A]


def test_a_removed_backend_leaves_both_rings_in_one_step() -> None:
    pair = step(settle.first(ring(A, B, A)), ring(B, B, C), 100.0)
    assert list(pair.before) == [A, B, A]
    pair = step(pair, ring(B, C, C), 101.0, rules(gone=(A, B)))
    assert (list(pair.before), pair.differing) == ([B, C, C], 0)
    assert marks(pair) == [0, 2]  # slot 1 was never at risk: nothing can be there but flows that are cut


def test_a_dead_backend_leaves_now_at_once_and_before_after_its_grace() -> None:
    pair = step(settle.first(ring(A, B)), ring(B, B), 100.0, rules(A=103.0))
    assert (list(pair.before), settle.due(pair, rules(A=103.0))) == ([A, B], 103.0)
    assert settle.advance(pair, pair.now, 102.9, rules(A=103.0)) is pair
    pair = step(pair, pair.now, 103.0, rules(A=103.0))
    assert (list(pair.before), pair.differing) == ([B, B], 0)


def test_a_grace_longer_than_the_window_holds_the_slot() -> None:
    pair = step(settle.first(ring(A)), ring(B), 100.0, rules(A=160.0))
    assert list(step(pair, pair.now, 159.0, rules(A=160.0)).before) == [A]
    assert list(step(pair, pair.now, 160.0, rules(A=160.0)).before) == [B]


def test_a_backend_that_is_back_within_its_grace_has_its_slots_settled() -> None:
    pair = step(settle.first(ring(A, B)), ring(B, B), 100.0, rules(A=103.0))
    pair = step(pair, ring(A, B), 102.0)
    assert (list(pair.before), pair.differing, marks(pair)) == ([A, B], 0, [0])


def test_without_grace_a_dead_backend_puts_nothing_at_risk() -> None:
    pair = step(settle.first(ring(A, B)), ring(B, B), 100.0, rules(A=100.0))
    assert (list(pair.before), marks(pair)) == ([B, B], [])


def test_slots_that_nobody_has_never_settle_and_the_ring_after_it_does() -> None:
    pair = step(settle.first(ring(A, B)), settle.nobody(2), 100.0)
    pair = step(pair, pair.now, 10_000.0)
    assert (list(pair.before), marks(pair)) == ([A, B], [0, 1])
    assert settle.due(pair, rules()) is None
    pair = step(pair, ring(C, B), 10_001.0)
    assert (list(pair.before), pair.differing) == ([C, B], 0)


def test_the_first_ring_after_none_puts_nothing_at_risk() -> None:
    pair = step(settle.first(ring(A, A)), settle.nobody(2), 100.0, rules(gone=(A,)))
    assert (pair.now_element, pair.before_element) == (b"", b"")
    pair = step(pair, ring(B, C), 101.0)
    assert (list(pair.before), pair.at_risk) == ([B, C], 0)


def test_entries_at_a_backend_that_still_drains_keep_an_empty_ring_marked() -> None:
    pair = step(settle.first(ring(A, A)), ring(B, A), 100.0)
    pair = step(pair, settle.nobody(2), 101.0, rules(gone=(A,), draining=(B,)))
    assert (list(pair.before), marks(pair)) == ([NOBODY, NOBODY], [0])


def test_a_mark_goes_after_publication_grace_and_a_sweep_without_entries() -> None:
    settled = settle.advance(step(settle.first(ring(A, A, A)), ring(A, B, B), 100.0), ring(A, B, B), 110.0, rules())
    assert not settle.watched(settled)
    assert settle.swept(settled, 1000.0, (), GRACE) is settled  # not published yet
    settled = settle.published(settled, 110.5)
    assert settle.watched(settled)
    assert settle.swept(settled, 110.55, (), GRACE) is settled  # begun within the grace period
    assert settle.swept(settled, 111.0, {1, 2}, GRACE) is settled
    one_left = settle.swept(settled, 111.0, {2}, GRACE)
    assert marks(one_left) == [2]
    clear = settle.swept(one_left, 112.0, (), GRACE)
    assert (marks(clear), clear.before_element is clear.now_element) == ([], True)


def test_what_a_sweep_saw_of_a_slot_is_void_once_its_backend_is_another() -> None:
    pair = step(step(settle.first(ring(A, A)), ring(B, B), 100.0), ring(B, B), 110.0)
    pair = step(pair, ring(C, B), 111.0, rules(gone=(B,)))  # both rings of slot 0 at once
    assert list(pair.before) == [C, B]
    assert marks(settle.swept(pair, 110.9, (), GRACE)) == [0]


def test_a_restart_finds_rings_and_marks_and_begins_the_windows_anew() -> None:
    pair = step(step(settle.first(ring(A, A, A, A)), ring(A, A, A, B), 100.0), ring(A, A, B, A), 105.0)
    found = settle.adopted(pair.now_element, pair.before_element, 4, 108.3)
    assert (list(found.now), list(found.before), marks(found)) == (list(pair.now), list(pair.before), [2, 3])
    assert (found.now_element, found.before_element) == (pair.now_element, pair.before_element)
    assert settle.due(found, rules()) == 119.0
    assert (found.differing, found.at_risk) == (1, 2)
    assert settle.adopted(b"", b"", 4, 1.0).now_element == b""


def test_a_service_without_window_never_differs() -> None:
    pair = step(settle.first(ring(A)), ring(B), 100.0, Rules(0.0, {A, B}))
    assert (list(pair.before), pair.at_risk) == ([B], 0)


def test_windows_that_open_within_a_second_end_together() -> None:
    pair = settle.first(array("H", [A] * 100))
    now = pair.now
    for number in range(100):
        now = now[:]
        now[number] = B
        pair = step(pair, now, 100.0 + number / 50)
    assert len(pair.open) <= 3
    assert settle.due(pair, rules()) == 110.0
    assert settle.ends(pair, rules()) == 112.0


@pytest.mark.parametrize("size", layout.RING_SIZES)
def test_a_settled_ring_is_one_element_and_a_step_gives_the_same_value(size: int) -> None:
    owners = array("H", (1 + number % 4 for number in range(size)))
    pair = settle.first(owners)
    assert settle.advance(pair, array("H", owners), 1.0, rules()) is pair
    assert settle.published(pair, 1.0) is pair
    assert settle.swept(pair, 5.0, (), GRACE) is pair
    assert len(pair.now_element) == 2 * layout.ring_slots(size)


@dataclass
class Flow:
    """One TCP connection."""

    slot: int
    backend: int
    speaks: bool  # at least once in each window; else it is silent for ever
    entry: tuple[int, float] | None = None  # backend, time of the last packet
    born: int = 0  # exchanges of rings before it
    promised: bool = False  # silent, without an entry, and sits where a drain began


@dataclass
class Kernel:
    """What packets meet: two elements."""

    now: "array[int]"
    before: "array[int]"

    @classmethod
    def of(cls, pair: Pair) -> "Kernel":
        """As the maps hold it."""
        size = len(pair.now)
        return cls(array("H", pair.now_element or bytes(2 * size)), array("H", pair.before_element or bytes(2 * size)))


@dataclass
class Begun:
    """A sweep that has looked at the table and not reported yet."""

    began: float
    pinned: frozenset[int] = field(default_factory=frozenset)


SIZE, BACKENDS = 2, 4
slots = st.integers(0, SIZE - 1)
backends = st.integers(1, BACKENDS)


class Windows(RuleBasedStateMachine):
    """A service with flows that speak at least every few seconds, any changes, writes that come late, sweeps that end late, packets that
    read the rings before they were exchanged, restarts of the agent."""

    @initialize(owners=st.lists(st.integers(1, 3), min_size=SIZE, max_size=SIZE))
    def begin(self, owners: list[int]) -> None:
        """A settled service."""
        self.time = 100.0
        self.flows: list[Flow] = []
        self.state = dict.fromkeys(range(1, BACKENDS + 1), "up")
        self.down: dict[int, float] = {}
        self.pair = settle.first(array("H", owners))
        self.wanted = self.pair.now
        self.kernel = self.old = Kernel.of(self.pair)
        self.exchanges = 0
        self.keeps = set(range(1, BACKENDS + 1))  # as the kernel knows it
        self.sweep: Begun | None = None

    def known(self) -> Rules:
        """As control would say it."""
        keeps = {one for one, state in self.state.items() if state not in ("removed", "cut")}
        return Rules(WINDOW, keeps, frozenset(one for one, state in self.state.items() if state == "draining"), dict(self.down))

    def eligible(self) -> list[int]:
        """Backends for new flows."""
        return [one for one, state in self.state.items() if state == "up" and one not in self.down]

    def changed(self, owners: list[int], *, late: bool = False) -> None:
        """A ring for new flows out of the eligible backends; `late`: the kernel does not get it yet."""
        eligible = self.eligible()
        self.wanted = array("H", [eligible[n % len(eligible)] for n in owners]) if eligible else settle.nobody(SIZE)
        self.pair = settle.advance(self.pair, self.wanted, self.time, self.known())
        if not late:
            self.publish()

    def publish(self) -> None:
        """Exchanges the rings; flows of backends that keep nothing end then."""
        self.old, self.kernel = self.kernel, Kernel.of(self.pair)
        self.exchanges += 1
        self.time += 0.01
        self.pair = settle.published(self.pair, self.time)
        self.keeps = {backend for backend in self.state if not self.known().lost(backend, self.time)}
        self.flows = [flow for flow in self.flows if flow.backend in self.keeps]

    def where(self, flow: Flow, kernel: Kernel, *, pins: bool = True) -> int:
        """Where a packet of the flow goes, as bpf/ decides it."""
        now, before = kernel.now[flow.slot], kernel.before[flow.slot] & layout.SLOT_BACKEND
        if not now & layout.SLOT_AT_RISK:
            return now
        now &= layout.SLOT_BACKEND
        if flow.entry and flow.entry[0] in self.keeps and self.time - flow.entry[1] <= IDLE:
            if pins:
                flow.entry = (flow.entry[0], self.time)
            return flow.entry[0]
        if pins and now != before:
            flow.entry = (before, self.time)
        return before

    def speak(self, flow: Flow, kernel: Kernel) -> None:
        """A packet that is no SYN."""
        assert self.where(flow, kernel) == flow.backend, (flow, self.pair)

    @rule(owners=st.lists(st.integers(0, 3), min_size=SIZE, max_size=SIZE), late=st.booleans())
    def change(self, owners: list[int], late: bool) -> None:
        """Any ring."""
        self.changed(owners, late=late)

    @rule(slot=slots, one=st.integers(0, 3), other=st.integers(0, 3))
    def flap(self, slot: int, one: int, other: int) -> None:
        """There and back, with a flow that begins in between."""
        self.changed([one] * SIZE)
        self.flow(slot, True)
        self.changed([other] * SIZE)

    @rule(seconds=st.sampled_from([0.3, 1.0, 2.5, 4.0]))
    def wait(self, seconds: float) -> None:
        """Flows that speak do so, then what is due settles."""
        self.time += seconds
        for flow in self.flows:
            if flow.speaks:
                self.speak(flow, self.kernel)
        self.changed_nothing()

    @rule()
    def wait_long(self) -> None:
        """Longer than a window."""
        for _ in range(5):
            self.wait(4.0)

    def changed_nothing(self) -> None:
        """A pass that finds the same ring wanted."""
        self.pair = settle.advance(self.pair, self.wanted, self.time, self.known())
        self.publish()

    @rule(slot=slots, speaks=st.booleans())
    def flow(self, slot: int, speaks: bool) -> None:
        """A SYN: to `now`, with an entry where `before` differs."""
        now = self.kernel.now[slot]
        backend, before = now & layout.SLOT_BACKEND, self.kernel.before[slot] & layout.SLOT_BACKEND
        if backend in self.keeps:
            entry = (backend, self.time) if now & layout.SLOT_AT_RISK and before != backend else None
            self.flows.append(Flow(slot, backend, speaks, entry, self.exchanges))

    @rule(backend=backends)
    def drain(self, backend: int) -> None:
        """Idle flows without an entry are promised to stay."""
        if self.state[backend] == "up":
            self.state[backend] = "draining"
            for flow in self.flows:
                steady = self.kernel.before[flow.slot] & layout.SLOT_BACKEND == backend == self.pair.before[flow.slot]
                flow.promised |= flow.backend == backend and not flow.entry and steady and backend not in self.down
            self.changed(list(range(SIZE)))

    @rule(backend=backends, how=st.sampled_from(["drained", "cut", "up"]))
    def end_drain(self, backend: int, how: str) -> None:
        """By its result, or by an undrain."""
        if self.state[backend] == "draining":
            self.state[backend] = how
            for flow in self.flows:
                flow.promised &= flow.backend != backend
            self.changed(list(range(SIZE)))

    @rule(backend=backends, grace=st.sampled_from([0.0, 3.0, 25.0]))
    def die(self, backend: int, grace: float) -> None:
        """Its next hop is lost."""
        if backend not in self.down and self.state[backend] != "removed":
            self.down[backend] = self.time + grace
            for flow in self.flows:
                flow.promised &= flow.backend != backend
            self.changed(list(range(SIZE)))

    @rule(backend=backends)
    def rise(self, backend: int) -> None:
        """It is back."""
        if backend in self.down:
            self.changed_nothing()
            del self.down[backend]
            self.changed(list(range(SIZE)))

    @rule(backend=backends)
    def remove(self, backend: int) -> None:
        """For ever: its id is not given again."""
        self.state[backend] = "removed"
        self.changed(list(range(SIZE)))

    @rule()
    def restart(self) -> None:
        """Whatever was not written is forgotten."""
        now, before = self.kernel.now.tobytes(), self.kernel.before.tobytes()
        self.pair = settle.adopted(now, before, SIZE, self.time)
        self.sweep = None
        self.changed_nothing()

    @rule()
    def begin_sweep(self) -> None:
        """The worst one: it sees nothing of what is written from now on."""
        self.time += 0.1
        self.old = self.kernel  # no packet is so late
        pinned = [f.slot for f in self.flows if f.entry and self.time - f.entry[1] <= IDLE and f.entry[0] != self.pair.now[f.slot]]
        self.sweep = Begun(self.time, frozenset(pinned))

    @precondition(lambda self: self.sweep is not None)
    @rule()
    def end_sweep(self) -> None:
        """Reports what it saw when it began."""
        assert self.sweep
        self.pair = settle.swept(self.pair, self.sweep.began, self.sweep.pinned, GRACE)
        self.sweep = None
        self.changed_nothing()

    @rule(number=st.integers(0, 50))
    def late_packet(self, number: int) -> None:
        """Of a flow that speaks, with the rings as they were before the last exchange."""
        speaking = [flow for flow in self.flows if flow.speaks and flow.born < self.exchanges]
        if speaking:
            self.speak(speaking[number % len(speaking)], self.old)
            self.old = self.kernel

    @invariant()
    def idle_flows_live_to_the_end_of_the_drain(self) -> None:
        """What a drain promises."""
        for flow in getattr(self, "flows", ()):
            if flow.promised and not flow.speaks:
                assert self.where(flow, self.kernel, pins=False) == flow.backend, (flow, self.pair)

    @invariant()
    def pairs_are_consistent(self) -> None:
        """Groups and rings say the same."""
        pair = self.pair
        differing = sorted(slot for group in pair.open for slot in group.slots)
        lingering = sorted(slot for group in pair.lingering for slot in group.slots)
        assert differing == [slot for slot in range(SIZE) if pair.now[slot] != pair.before[slot]]
        assert len(set(lingering)) == len(lingering)
        assert not set(lingering) & set(differing)
        assert all(group.owners == {pair.before[slot] for slot in group.slots} for group in pair.open)
        assert [group.at for group in pair.open] == sorted(group.at for group in pair.open)
        assert (pair.before is pair.now) is not bool(differing)


Windows.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestNoFlowMovesThatCouldStay = Windows.TestCase
