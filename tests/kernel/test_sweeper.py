"""Which flows are counted, which end, and in which order their halves go."""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.lifetimes import LINGER, Lifetimes
from l4lb_agent.dataplane.sweeper import Sweeper
from tests.kernel import flows
from tests.kernel.flows import ANSWERED, CLOSED, CLOSING, ESTABLISHED, SYN, UDP, UDP_ANSWERED, Entry, Table

BACKEND_FIN_FIRST = 4
TIMEOUTS = [
    (SYN, 0, 5), (ANSWERED, 0, 30), (ESTABLISHED, 0, 120), (CLOSING, 0, 60), (CLOSED, 0, 5), (CLOSED, BACKEND_FIN_FIRST, 60),
    (UDP, 0, 30), (UDP_ANSWERED, 0, 120),
]  # fmt: skip


@pytest.fixture
def table() -> Iterator[Table]:
    with flows.table() as made:
        yield made


@pytest.mark.parametrize(("state", "flags", "timeout"), TIMEOUTS)
def test_a_flow_is_live_to_its_timeout_and_deleted_two_seconds_after(table: Table, state: int, flags: int, timeout: int) -> None:
    def entry(number: int, age: int) -> Entry:
        return Entry(number, state, age, age, flags)

    at_the_end, over, gone = entry(1, timeout), entry(2, timeout + LINGER), entry(3, timeout + LINGER + 1)
    for each in (at_the_end, over, gone):
        table.put(each)
    counts = table.sweep()
    assert [table.holds(each) for each in (at_the_end, over, gone)] == [(True, True), (True, True), (False, False)]
    assert counts.live == ({} if state == CLOSED else {1: 1})
    assert (counts.flows, counts.replies, counts.deleted, counts.entries_by_backend) == (2, 2, 2, {1: 4})


def test_a_pair_lives_while_either_half_is_fresh(table: Table) -> None:
    upload, download = Entry(1, age=0, reply_age=5000), Entry(2, age=5000, reply_age=0)
    for entry in (upload, download):
        table.put(entry)
    counts = table.sweep()
    assert counts.live == {1: 2}
    assert counts.deleted == 0
    assert table.holds(upload) == table.holds(download) == (True, True)


def test_the_forward_half_goes_first(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its reply is gone a port is taken, so no new flow can get it while the old forward entry exists."""
    entry, order, take = Entry(1, age=5000, reply_age=5000), [], syscall.map_take
    table.put(entry)

    def watched(fd: int, *arguments: Any) -> bytes | None:
        order.append(fd)
        return take(fd, *arguments)

    monkeypatch.setattr(syscall, "map_take", watched)
    table.sweep()
    assert order == [table.flows.fileno(), table.replies.fileno()]


def test_an_orphan_reply_ends_with_its_own_timeout(table: Table) -> None:
    fresh, old = Entry(1, age=None, reply_age=10), Entry(2, age=None, reply_age=5000)
    for entry in (fresh, old):
        table.put(entry)
    counts = table.sweep()
    assert (table.holds(fresh), table.holds(old)) == ((False, True), (False, False))
    assert (counts.live, counts.replies, counts.entries_by_backend) == ({}, 1, {1: 1})


@pytest.mark.parametrize("later", [{"snat_port": 77}, {"backend": 2}])
def test_a_reply_whose_client_port_was_used_again_is_an_orphan(table: Table, later: dict[str, int]) -> None:
    overwritten, current = Entry(1, CLOSED, None, 30), Entry(1, **later)
    table.put(overwritten)
    table.put(current)
    counts = table.sweep()
    assert table.holds(overwritten)[1] is False
    assert table.holds(current) == (True, True)
    assert counts.live == {current.backend: 1}


def test_a_forward_entry_whose_port_was_claimed_anew_ends_alone(table: Table) -> None:
    old, new = Entry(1, age=5000, reply_age=None), Entry(1 + 60000, age=0, reply_age=0)
    for entry in (old, new):
        table.put(entry)
    table.sweep()
    assert table.holds(new) == (True, True)
    assert table.holds(old)[0] is False


def test_what_turns_out_fresh_is_put_back(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packet between the look and the deletion: the entry that was taken says so."""
    entry, take = Entry(1, age=5000, reply_age=5000), syscall.map_take
    table.put(entry)

    def touched(fd: int, key: Any, size: int) -> bytes | None:
        table.put(Entry(1, age=0, reply_age=0))
        return take(fd, key, size)

    monkeypatch.setattr(syscall, "map_take", touched)
    counts = table.sweep()
    assert table.holds(entry) == (True, True)
    assert (counts.flows, counts.deleted) == (1, 0)


def test_flows_of_a_removed_backend_or_service_end_and_are_counted_until_then(table: Table) -> None:
    entry = Entry(1, age=5000, reply_age=5000, backend=9999)
    table.put(entry)
    assert table.sweep().deleted == 2
    table.put(Entry(2, age=1, reply_age=1))
    flows_of_no_service = Lifetimes(flows.CONFIG, {})
    counts = Sweeper(table.flows.fileno(), table.replies.fileno(), lambda: flows.NOW).sweep(flows_of_no_service, flows.backend)
    assert (counts.live, counts.entries_by_backend, counts.deleted) == ({}, {1: 2}, 0)


def test_more_flows_than_one_chunk_agree_with_the_rules_one_by_one() -> None:
    dice = random.Random(7)
    with flows.table(20000) as table:
        entries = []
        for number in range(9000):
            state, flags, timeout = dice.choice(TIMEOUTS)
            ages = [dice.choice([0, timeout, timeout + LINGER, timeout + LINGER + 1, 9000]) for _ in range(2)]
            gone = dice.random()
            entries.append(
                Entry(number, state, None if gone < 0.05 else ages[0], None if gone > 0.95 else ages[1], flags, 1 + 2 * (number % 3))
            )
            table.put(entries[-1])
        counts = table.sweep()
        live: Counter[int] = Counter()
        for entry in entries:
            timeout = next(t for s, f, t in TIMEOUTS if (s, f) == (entry.state, entry.flags))
            youngest = min(age for age in (entry.age, entry.reply_age) if age is not None)
            stays = youngest <= timeout + LINGER
            assert table.holds(entry) == (stays and entry.age is not None, stays and entry.reply_age is not None), entry
            if entry.age is not None and entry.state != CLOSED and youngest <= timeout:
                live[entry.backend] += 1
        assert counts.live == dict(live)
        assert counts.flows == sum(table.holds(entry)[0] for entry in entries)
        assert counts.replies == sum(table.holds(entry)[1] for entry in entries)
