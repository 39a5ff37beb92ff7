"""What a sweep of `flow_table` counts, pins and sets to zero."""

import ctypes
import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.flows import tracked
from l4lb_agent.dataplane.flows.tracked import LONG_SECONDS, Tracked, TrackedSweeper
from l4lb_agent.model import layout
from l4lb_agent.model.observed import Answers, FlowCounts

NOW = 5_000_000
IDLE = {1: 900, 2: 120, 3: 64800, 4: 3}
CONFIG = layout.Config(tracked_syn=10, tracked_fin=60, tracked_rst=5)
SYN, LIVE, FIN, RST, UDP, PINNED = range(1, 7)
LIFETIMES = [(SYN, 10), (LIVE, 900), (FIN, 60), (RST, 5), (UDP, 900), (PINNED, 900)]
BUCKET = ctypes.sizeof(layout.FlowBucket)
KEPT = layout.BACKEND_KEEP


def backend(identity: int) -> layout.Backend:
    """Ids 1 to 9 are of service 1, 11 to 19 of service 2 and so on; those that end in 9 keep no flows, in 8 reset them."""
    flags = {9: 0, 8: layout.BACKEND_RESET}.get(identity % 10, KEPT)
    return layout.Backend(service=1 + identity // 10, flags=flags)


@dataclass
class Table:
    """The map, unpinned."""

    fd: Fd
    buckets: int
    now: int = field(default=NOW)

    def put(self, bucket: int, way: int, age: int, *, state: int = LIVE, to: int = 1, pick: int = 0) -> None:
        """One entry, whose last packet was so long ago."""
        key = bucket.to_bytes(4, "little")
        element = layout.FlowBucket.from_buffer_copy(syscall.map_lookup(self.fd.fileno(), key, BUCKET) or bytes(BUCKET))
        stamp = (self.now - age) & 0xFFFF
        element.entry[way] = layout.FlowEntry(word=pick << 32 | 77 << 16 | to, sequence=1, stamp=stamp, state=state, rank=0xFF)
        syscall.map_update(self.fd.fileno(), key, element)

    def holds(self, bucket: int, way: int) -> bool:
        """Whether an entry is there."""
        raw = syscall.map_lookup(self.fd.fileno(), bucket.to_bytes(4, "little"), BUCKET)
        assert raw is not None
        return bool(layout.FlowBucket.from_buffer_copy(raw).entry[way].word)

    def sweep(self, rings: dict[int, "array[int]"] | None = None, of: Callable[[int], layout.Backend] = backend) -> Tracked:
        """One sweep at `now`."""
        return TrackedSweeper(self.fd.fileno(), lambda: self.now, CONFIG, IDLE).sweep(of, rings or {})


@pytest.fixture(params=[64, 8192])
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    with Fd(syscall.map_create(2, 4, BUCKET, request.param)) as fd:
        yield Table(fd, request.param)


def test_an_empty_table_holds_nothing(table: Table) -> None:
    assert table.sweep() == Tracked({}, {}, {})


def test_syns_that_no_client_acknowledged_are_counted_by_backend(table: Table) -> None:
    for way, age in enumerate((-1, 1, 2, 10)):  # the first by a CPU that is ahead
        table.put(0, way, age, state=SYN)
    table.put(1, 0, 11, state=SYN)
    table.put(1, 1, 5, state=SYN, to=2)
    table.put(1, 2, 5, state=SYN, to=9)  # keeps no flows
    for way, state in enumerate((LIVE, FIN, UDP, PINNED)):
        table.put(2, way, 5, state=state, to=2)
    found = table.sweep()
    assert found.unconfirmed == {1: 2, 2: 1}
    both = tracked.together(FlowCounts(answers={7: Answers(5, 4, 3, 2)}), found)
    assert both.answers == {1: Answers(0, 4, 2), 2: Answers(0, 5, 1), 7: Answers(5, 4, 3, 2)}


@pytest.mark.parametrize(("state", "seconds"), LIFETIMES)
def test_an_entry_is_live_to_the_end_of_its_lifetime(table: Table, state: int, seconds: int) -> None:
    table.put(0, 0, seconds, state=state)
    table.put(0, 1, seconds + 1, state=state)
    table.put(table.buckets - 1, 3, 0, state=state, to=2)
    found = table.sweep()
    assert (found.live, found.entries) == ({1: 1, 2: 1}, {1: 1, 2: 1})
    assert table.holds(0, 1)


def test_an_entry_of_a_processor_that_is_ahead_is_live(table: Table) -> None:
    table.put(0, 0, -1)
    assert table.sweep().live == {1: 1}


def test_stamps_count_across_their_wrap(table: Table) -> None:
    table.now = 65536 * 7 + 3
    table.put(0, 0, 10)
    table.put(1, 0, 1000)
    assert table.sweep().live == {1: 1}


def test_each_service_has_its_own_idle_time_and_one_that_is_gone_has_none(table: Table) -> None:
    table.put(0, 0, 500, to=1)
    table.put(1, 0, 500, to=11)
    table.put(2, 0, 64000, to=21)
    table.put(3, 0, 1, to=71)
    assert table.sweep().live == {1: 1, 21: 1}


@pytest.mark.parametrize("state", [FIN, RST])
def test_a_fin_or_a_rst_lengthens_no_life(table: Table, state: int) -> None:
    table.put(0, 0, 3, state=state, to=31)
    table.put(0, 1, 4, state=state, to=31)
    assert table.sweep().live == {31: 1}


def test_entries_of_a_backend_that_keeps_no_flows_are_not_live_and_hold_its_id(table: Table) -> None:
    table.put(0, 0, 1, to=9)
    table.put(0, 1, 1, to=8)
    found = table.sweep({1: array("H", [5])})
    assert (found.live, found.entries, found.pinned) == ({8: 1}, {9: 1, 8: 1}, {1: frozenset({0})})


def test_a_slot_is_pinned_by_a_live_entry_of_another_backend(table: Table) -> None:
    ring, far = array("H", [1, 2, 3, 4]), array("H", [11])
    table.put(0, 0, 1, to=1, pick=0)  # slot 0 is its own
    table.put(0, 1, 1, to=1, pick=1 << 30)  # slot 1 is another's
    table.put(0, 2, 1000, to=1, pick=2 << 30)  # over
    table.put(1, 0, 1, to=3, pick=(1 << 32) - 1)  # slot 3
    table.put(1, 1, 1, to=12, pick=5)
    table.put(1, 2, 1, to=21, pick=5)  # of a service that nobody asks about
    assert table.sweep({1: ring, 2: far}).pinned == {1: frozenset({1, 3}), 2: frozenset({0})}


def test_a_bucket_is_set_to_zero_when_all_in_it_have_been_over_for_hours(table: Table) -> None:
    for way in range(4):
        table.put(0, way, 901 + LONG_SECONDS)
    table.put(1, 0, 901 + LONG_SECONDS)
    table.put(1, 2, 900 + LONG_SECONDS)  # not so long
    table.put(2, 1, 901 + LONG_SECONDS)
    table.put(3, 1, 901 + LONG_SECONDS)
    table.put(3, 2, 1)  # live
    found = table.sweep()
    assert (found.live, found.reset) == ({1: 1}, 2)
    holds = [[table.holds(bucket, way) for way in range(4)] for bucket in range(4)]
    assert holds == [[False] * 4, [True, False, True, False], [False] * 4, [False, True, True, False]]


def test_a_bucket_that_is_written_meanwhile_stays(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    table.put(0, 0, 901 + LONG_SECONDS)
    lookup = syscall.map_lookup

    def written(fd: int, key: Any, size: int) -> bytes | None:
        monkeypatch.setattr(syscall, "map_lookup", lookup)
        table.put(0, 1, 0)
        return lookup(fd, key, size)

    monkeypatch.setattr(syscall, "map_lookup", written)
    assert table.sweep().reset == 0
    assert table.holds(0, 1)


def test_the_resets_of_one_sweep_are_bounded(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracked, "_MOST_RESETS", 10)
    for bucket in range(25):
        table.put(bucket, 0, 901 + LONG_SECONDS)
    assert [table.sweep().reset for _ in range(4)] == [10, 10, 5, 0]


def test_the_table_is_counted_as_entries_say_one_by_one(table: Table) -> None:
    draw, ring = random.Random(4), array("H", [1, 2, 3] * 7)
    live: Counter[int] = Counter()
    pinned = set()
    for bucket in range(64):
        for way in range(4):
            state, age, to, pick = draw.randrange(1, 7), draw.choice([0, 4, 50, 500, 2000]), draw.randrange(1, 4), draw.getrandbits(32)
            table.put(bucket, way, age, state=state, to=to, pick=pick)
            if age <= dict(LIFETIMES)[state]:
                live[to] += 1
                pinned |= {pick * 21 >> 32} if ring[pick * 21 >> 32] != to else set()
    found = table.sweep({1: ring})
    assert (found.live, found.pinned) == (live, {1: pinned})


def test_counts_of_nat_and_of_tracked_flows_come_together() -> None:
    nat = FlowCounts({1: 2, 5: 1}, {1: 4, 5: 2}, 3, 1, at=7.0)
    both = tracked.together(nat, Tracked({1: 1, 6: 2}, {1: 1, 6: 3}, {4: frozenset({9})}))
    assert (both.live, both.entries_by_backend, both.tracked) == ({1: 3, 5: 1, 6: 2}, {1: 5, 5: 2, 6: 3}, 4)
    assert (both.pinned, both.flows, both.deleted, both.at) == ({4: frozenset({9})}, 3, 1, 7.0)


def test_a_full_table_of_the_default_size_is_counted_whole() -> None:
    with Fd(syscall.map_create(2, 4, BUCKET, 65536)) as fd:
        table = Table(fd, 65536)
        entry = layout.FlowEntry(word=77 << 16 | 1, sequence=1, stamp=NOW & 0xFFFF, state=LIVE)
        element = layout.FlowBucket((layout.FlowEntry * 4)(entry, entry, entry, entry))
        keys = array("I", range(65536))
        syscall.map_update_batch(fd.fileno(), bytearray(keys.tobytes()), bytearray(bytes(element) * 65536), 65536)
        found = table.sweep({1: array("H", [2] * 16381)})
        assert found.live == {1: 262144}
