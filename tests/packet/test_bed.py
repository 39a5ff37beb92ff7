"""Beds: what one test writes is gone for the next, and what cannot be made new is not used again."""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.maps import cpus
from l4lb_agent.dataplane.program import Objects
from l4lb_agent.model import layout, mapspec
from l4lb_agent.model.access.lists import Members
from l4lb_agent.model.access.prefixes import parse_all
from l4lb_agent.model.capture import layout as capture_layout
from l4lb_agent.model.mapspec import MapType
from l4lb_agent.model.reasons import Reason
from l4lb_agent.model.tables import array_key
from tests.packet.balancer import Balancer
from tests.packet.bed import SIZES, Bed, Beds, LeftOver
from tests.packet.conftest import furnish
from tests.packet.wire import V4, from_client

OURS = replace(SIZES, services=17)  # no other test has beds of this size


def spoiled(bed: Bed) -> dict[str, list[bytes]]:
    """First, middle and last element of every map of values, by the map's name and number."""
    found = {}
    for name, contents in bed.watched.items():
        number, info = contents.fd.fileno(), syscall.map_info(contents.fd.fileno())
        if info.type in (MapType.ARRAY, MapType.PERCPU_ARRAY):
            size = info.value_size if info.type == MapType.ARRAY else -(-info.value_size // 8) * 8 * cpus()
            places = (0, info.max_entries // 2, info.max_entries - 1)
            found[name] = [syscall.map_lookup(number, array_key(place), size) or b"" for place in places]
    return found


def spoil(bed: Bed) -> None:
    """Makes these elements other than zero, and puts prefixes into the trie."""
    for name, values in spoiled(bed).items():
        number = bed.watched[name].fd.fileno()
        last = syscall.map_info(number).max_entries - 1
        for place, value in zip((0, last // 2 + last % 2, last), values):
            syscall.map_update(number, array_key(place), b"\xff" * len(value))
    for key, value in Members(1, parse_all(("198.51.100.0/24", "2001:db8:1::/48"), "prefixes")).elements.items():
        syscall.map_update(bed.maps["lists"].fileno(), key, value)


def capture_one(bed: Bed) -> None:
    """Has a packet captured."""
    lb = Balancer(bed)
    furnish(lb)
    every = capture_layout.Capture(reasons=(layout.U64 * 2)(*[(1 << 64) - 1] * 2), verdicts=255, until=1 << 30, rate=1 << 20)
    lb.write("captures", 0, bytes(every))
    lb.write("capture_switch", 0, bytes(capture_layout.CaptureSwitch(flags=capture_layout.CAPTURE_ALL)))
    assert lb.send(from_client(V4, flags="S")).reason is Reason.FLOW_CREATED


def test_every_map_of_every_program_is_watched(beds: Beds, objects: Objects) -> None:
    with beds.lent(OURS) as bed:
        names = sorted(name.split()[0] for name in bed.watched)
    own = {name for name in objects.maps if name not in bed.specs} - {"probes"}  # which who loads their program makes with it
    every = [*(spec.name for spec in mapspec.specs(OURS)), *own, "scratch"]
    assert names == sorted(name[:15] for name in every)


def test_what_was_written_is_gone_for_the_next_test(beds: Beds) -> None:
    with beds.lent(OURS) as bed:
        spoil(bed)
        assert all(any(value) for values in spoiled(bed).values() for value in values)
        assert sorted(bed.used()) == sorted([*spoiled(bed), *(name for name in bed.watched if name.startswith("lists"))])
    with beds.lent(OURS) as again:
        assert again is bed
        assert not any(any(value) for values in spoiled(again).values() for value in values)
        assert Balancer(again).keyed("lists") == {}
        assert again.used() == []


def test_packets_leave_nothing_for_the_next_test(beds: Beds) -> None:
    """The same packets find the same, with the same budgets, however often."""
    seen = []
    for _ in range(2):
        with beds.lent(OURS) as bed:
            lb = Balancer(bed)
            furnish(lb, icmp_rate=1, icmp_burst=2, rst_rate=1, rst_burst=2)
            frames = [*[from_client(V4, flags="S", port=port) for port in range(40000, 40040)], *[from_client(V4, flags="A", port=9)] * 6]
            seen.append([lb.send(frame) for frame in frames])
            assert bed.used()
    assert seen[0] == seen[1]


def test_beds_of_two_tests_at_once_are_two(beds: Beds) -> None:
    with beds.lent(OURS) as one, beds.lent(OURS) as other:
        assert one is not other


@pytest.mark.parametrize("change", [capture_one, lambda bed: replaced(bed)], ids=["captured", "another_program"])
def test_a_bed_that_cannot_be_made_new_is_not_used_again(beds: Beds, change: Callable[[Bed], None]) -> None:
    with beds.lent(OURS) as bed:
        change(bed)
    with beds.lent(OURS) as other:
        assert other is not bed


def replaced(bed: Bed) -> None:
    """Has it run other programs."""
    bed.generation.close()
    bed.generation = dataclasses.replace(bed.generation, program=Fd(os.dup(bed.sweep.fileno())), tails=Fd(os.dup(bed.sweep.fileno())))


def test_a_program_that_is_gone_from_its_slot_is_told(objects: Objects) -> None:
    bed = Bed(objects, OURS)
    bed.look()
    syscall.map_delete(bed.generation.tails.fileno(), array_key(layout.TAIL_ODD))
    with pytest.raises(LeftOver, match="tails"):
        bed.renew()
    bed.close()
