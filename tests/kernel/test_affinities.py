"""What a sweep of `affinity` finds and sets to zero."""

from collections.abc import Iterator

import pytest

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.flows import affinities
from l4lb_agent.model import layout, mapspec
from l4lb_agent.model.choice import layout as choice_layout
from l4lb_agent.model.tables import array_key

SIZES = mapspec.Sizes(affinities=8 * 8192)  # two chunks of a sweep
BUCKETS = mapspec.affinity_buckets(SIZES)
GONE = {7, 9}


def backend(number: int) -> layout.Backend:
    return layout.Backend(flags=0 if number in GONE else layout.BACKEND_KEEP)


def entry(number: int, tag: int = 1) -> int:
    return tag << 40 | 1000 << 15 | number


@pytest.fixture
def table() -> Iterator[int]:
    spec = next(spec for spec in mapspec.specs(SIZES) if spec.name == "affinity")
    with Fd(syscall.map_create(spec.type, spec.key_size, spec.value_size, spec.max_entries, 0, spec.name)) as fd:
        yield fd.fileno()


def put(table: int, number: int, *entries: int) -> None:
    bucket = choice_layout.AffinityBucket()
    bucket.entry[: len(entries)] = list(entries)
    syscall.map_update(table, array_key(number), bytes(bucket))


def held(table: int, number: int) -> list[int]:
    return list(choice_layout.AffinityBucket.from_buffer_copy(syscall.map_lookup(table, array_key(number), 64) or bytes(64)).entry)


def test_entries_of_removed_backends_are_found_once_and_gone_afterwards(table: int) -> None:
    put(table, 0, entry(7), entry(8), entry(7, 2))
    put(table, BUCKETS - 1, entry(8), 0, entry(9), entry(5))
    assert affinities.sweep(table, backend) == {7: 2, 9: 1}
    assert affinities.sweep(table, backend) == {}
    assert held(table, 0) == [0, entry(8), 0, 0, 0, 0, 0, 0]
    assert held(table, BUCKETS - 1) == [entry(8), 0, 0, entry(5), 0, 0, 0, 0]


def test_a_sweep_writes_nothing_while_all_backends_are_there(table: int) -> None:
    put(table, 3, entry(8), entry(5))
    put(table, 5000, entry(32767))
    before = [held(table, number) for number in (3, 5000)]
    assert affinities.sweep(table, backend) == {}
    assert [held(table, number) for number in (3, 5000)] == before
