"""Source affinity: a client's new flows go where its last one went, in every mode, as long as that backend takes new flows."""

from collections.abc import Iterator

import pytest
from scapy.layers.inet import TCP

from l4lb_agent.dataplane.ticks import Ticks
from l4lb_agent.model import layout, mapspec
from l4lb_agent.model.choice import layout as choice_layout
from l4lb_agent.model.choice.affinity import Affinity
from l4lb_agent.model.reasons import Reason
from tests.packet.balancer import Balancer
from tests.packet.bed import SIZES
from tests.packet.conftest import Make
from tests.packet.direct import SERVICE
from tests.packet.limits import Bucket, limit
from tests.packet.modes import EVERY_MODE, FIRST, MANY, backend_of, every_mode, furnish, spread
from tests.packet.wire import NUMBER, V4, V6, Family, each_family, each_protocol, from_client

TIMEOUT = 600
BUCKETS = mapspec.affinity_buckets(SIZES)
SECOND, SECOND_SHIFT, AGAIN = 0xFFFFFF, 15, 1 << 39


def sticky(make: Make, mode: str, family: Family, prefix: int = 0, seconds: int = TIMEOUT) -> Balancer:
    """The services of the family with MANY backends and affinity by so many bits of the client's address, by default all."""
    lb = furnish(make, mode)
    affinity = Affinity(seconds, prefix or (32 if family is V4 else 128))
    flags = 0 if mode == "nat" else layout.SERVICE_TRACK_ALL
    spread(lb, family, mode, flags, affinity=affinity)
    for number in range(MANY):
        lb.set_backend(FIRST + number, service=SERVICE[family.version, 6])
    return lb


def served_by(lb: Balancer, family: Family, kind: type) -> None:
    """All backends belong to the service of this protocol, as each backend does to one."""
    for number in range(MANY):
        lb.set_backend(FIRST + number, service=SERVICE[family.version, NUMBER[kind]])


def client(family: Family, number: int) -> str:
    return f"198.51.{100 + number // 250}.{1 + number % 250}" if family is V4 else f"2001:db8:1:{number // 250:x}::{1 + number % 250:x}"


def start(lb: Balancer, family: Family, port: int, kind: type = TCP, source: str = "") -> int:
    """Where a new flow goes."""
    payload = b"" if kind is TCP else b"q"
    return backend_of(lb.send(from_client(family, kind, payload, port=port, client=source or client(family, 0), flags="S", seq=port)))


def ports() -> Iterator[int]:
    yield from range(2000, 2010)


def entries(lb: Balancer) -> list[int]:
    """Entries that are not empty."""
    buckets = (choice_layout.AffinityBucket.from_buffer_copy(lb.read("affinity", number)) for number in range(BUCKETS))
    return [entry for bucket in buckets for entry in bucket.entry if entry]


def change(lb: Balancer, **fields: int) -> None:
    """Changes `until` (by so much), `again` or `backend` of every entry."""
    for number in range(BUCKETS):
        bucket = choice_layout.AffinityBucket.from_buffer_copy(lb.read("affinity", number))
        for place, entry in enumerate(bucket.entry):
            if not entry:
                continue
            until = (entry >> SECOND_SHIFT) + fields.get("until", 0) & SECOND
            entry = entry & ~(SECOND << SECOND_SHIFT) | until << SECOND_SHIFT
            bucket.entry[place] = entry | AGAIN if fields.get("again") else entry
        lb.write("affinity", number, bytes(bucket))


@each_family
@each_protocol
@every_mode
def test_all_flows_of_a_client_go_to_one_backend_and_clients_spread(make: Make, mode: str, family: Family, kind: type) -> None:
    lb = sticky(make, mode, family)
    served_by(lb, family, kind)
    for number in range(4):
        assert len({start(lb, family, port, kind, client(family, number)) for port in ports()}) == 1
    assert len({start(lb, family, 3000, kind, client(family, number)) for number in range(20)}) > 10


@each_family
@every_mode
def test_without_affinity_nothing_is_remembered_and_flows_spread(make: Make, mode: str, family: Family) -> None:
    lb = furnish(make, mode)
    spread(lb, family, mode, 0 if mode == "nat" else layout.SERVICE_TRACK_ALL)
    assert len({start(lb, family, port) for port in ports()}) > 4
    assert entries(lb) == []


@each_family
@every_mode
def test_a_change_of_the_ring_does_not_move_a_client_that_is_known(make: Make, mode: str, family: Family) -> None:
    lb = sticky(make, mode, family)
    before = start(lb, family, 2000)
    other = FIRST + (before - FIRST + 1) % MANY
    lb.ring(3, [other])
    assert {start(lb, family, port) for port in (2001, 2002, 2003)} == {before}
    assert start(lb, family, 2000, source=client(family, 9)) == other


@each_family
@pytest.mark.parametrize("gone", ["drained", "removed", "another service's"])
@every_mode
def test_a_client_leaves_at_once_a_backend_that_takes_no_new_flows(make: Make, mode: str, gone: str, family: Family) -> None:
    lb = sticky(make, mode, family)
    before = start(lb, family, 2000)
    fields = {"drained": {"flags": layout.BACKEND_KEEP}, "removed": {"flags": 0}, "another service's": {"service": 9}}[gone]
    lb.set_backend(before, **fields)
    other = FIRST + (before - FIRST + 1) % MANY
    lb.ring(3, [other])
    assert {start(lb, family, port) for port in (2001, 2002)} == {other}
    lb.set_backend(before, flags=layout.BACKEND_KEEP | layout.BACKEND_ELIGIBLE, service=SERVICE[family.version, 6])
    lb.ring(3, [before])
    assert start(lb, family, 2003) == other, "it has another one by now"


@each_family
@every_mode
def test_established_flows_stay_at_a_draining_backend_that_new_ones_have_left(make: Make, mode: str, family: Family) -> None:
    lb = sticky(make, mode, family)
    before = start(lb, family, 2000)
    lb.set_backend(before, flags=layout.BACKEND_KEEP)
    other = FIRST + (before - FIRST + 1) % MANY
    lb.ring(3, [other])
    assert start(lb, family, 2001) == other
    followed = lb.send(from_client(family, TCP, port=2000, client=client(family, 0), flags="A", seq=2001, ack=1))
    assert (followed.reason, backend_of(followed)) == (Reason.TO_BACKEND, before)


@each_family
@every_mode
def test_a_client_is_forgotten_after_the_timeout_which_only_new_flows_renew(make: Make, mode: str, family: Family) -> None:
    lb = sticky(make, mode, family)
    before = start(lb, family, 2000)
    other = FIRST + (before - FIRST + 1) % MANY
    lb.ring(3, [other])
    change(lb, until=-TIMEOUT + 5)
    followed = lb.send(from_client(family, TCP, port=2000, client=client(family, 0), flags="A", seq=2001, ack=1))
    assert backend_of(followed) == before
    (entry,) = entries(lb)
    assert start(lb, family, 2001) == before, "five seconds are left"
    (renewed,) = entries(lb)
    assert (renewed >> SECOND_SHIFT) - (entry >> SECOND_SHIFT) & SECOND in range(TIMEOUT - 6, TIMEOUT + 2)
    change(lb, until=-TIMEOUT - 5)
    assert start(lb, family, 2002) == other


def test_an_entry_of_half_a_year_ago_is_over(make: Make) -> None:
    """Its second has come round, and lies further ahead than any timeout."""
    lb = sticky(make, "nat", V4)
    before = start(lb, V4, 2000)
    other = FIRST + (before - FIRST + 1) % MANY
    lb.ring(3, [other])
    change(lb, until=TIMEOUT + 1)
    assert start(lb, V4, 2001) == other


@pytest.mark.parametrize(
    ("family", "prefix", "alike", "apart"),
    [
        (V4, 32, "198.51.100.1", "198.51.100.2"),
        (V4, 31, "198.51.100.0", "198.51.100.2"),
        (V4, 24, "198.51.100.250", "198.51.101.1"),
        (V4, 9, "198.1.2.3", "198.129.1.1"),
        (V4, 1, "203.0.113.200", "98.51.100.1"),
        (V6, 128, "2001:db8:1::1", "2001:db8:1::2"),
        (V6, 65, "2001:db8:1::7fff:0:0:2", "2001:db8:1::8000:0:0:1"),
        (V6, 64, "2001:db8:1::ffff:0:0:2", "2001:db8:1:1::1"),
        (V6, 48, "2001:db8:1:ffff::2", "2001:db8:2::1"),
        (V6, 33, "2001:db8:7fff::1", "2001:db8:8000::1"),
        (V6, 1, "2001::1", "a001:db8:1::1"),
    ],
)
@pytest.mark.parametrize("mode", ["nat", "ipip"])
def test_clients_that_are_equal_in_the_prefix_count_as_one(
    make: Make, mode: str, family: Family, prefix: int, alike: str, apart: str
) -> None:
    lb = sticky(make, mode, family, prefix)
    before = start(lb, family, 2000, source=client(family, 0))
    other = FIRST + (before - FIRST + 1) % MANY
    lb.ring(3, [other])
    assert start(lb, family, 2001, source=alike) == before
    assert start(lb, family, 2002, source=apart) == other


@each_family
@every_mode
def test_two_services_remember_a_client_each_for_itself(make: Make, mode: str, family: Family) -> None:
    lb = sticky(make, mode, family)
    before = start(lb, family, 2000)
    other = FIRST + (before - FIRST + 1) % MANY
    lb.ring(3, [other])
    flags = 0 if mode == "nat" else layout.SERVICE_TRACK_ALL
    lb.service(9, family.vip, 81, 6, now=3, mode=EVERY_MODE[mode], flags=flags, affinity=Affinity(TIMEOUT, 32))
    assert backend_of(lb.send(from_client(family, TCP, port=2001, client=client(family, 0), vip_port=81, flags="S"))) == other
    assert start(lb, family, 2002) == before
    assert len(entries(lb)) == 2


@pytest.mark.parametrize("mode", ["nat", "ipip"])
def test_the_table_is_full_of_clients_and_takes_more(make: Make, mode: str) -> None:
    """Without more entries than it has places, and each new client is remembered at the expense of another."""
    lb = sticky(make, mode, V4)
    for number in range(3 * BUCKETS * 8):
        start(lb, V4, 2000, TCP, client(V4, number))
        lb.erase()
    assert len(entries(lb)) == BUCKETS * 8


def test_forged_sources_do_not_push_out_clients_that_came_twice(make: Make) -> None:
    """A flood of SYNs with random sources takes the place of clients that came once, and of at most one other in each bucket."""
    lb = sticky(make, "dsr", V4)
    known = [client(V4, number) for number in range(40)]
    place = {source: start(lb, V4, 2000, source=source) for source in known}
    assert all(start(lb, V4, 2001, source=source) == place[source] for source in known)
    for number in range(6 * BUCKETS * 8):
        start(lb, V4, 2000, source=client(V4, 1000 + number))
    lb.ring(3, [FIRST])
    stayed = sum(start(lb, V4, 2002, source=source) == place[source] for source in known if place[source] != FIRST)
    moved = sum(place[source] != FIRST for source in known) - stayed
    full = sum(
        sum(bool(entry & AGAIN) for entry in choice_layout.AffinityBucket.from_buffer_copy(lb.read("affinity", number)).entry) >= 7
        for number in range(BUCKETS)
    )
    assert moved <= full, "only where nearly all had come twice"


def test_an_empty_place_is_taken_first_whatever_the_clock_says(make: Make) -> None:
    """A few minutes before the seconds of entries come round its number is that of one that has not ended."""
    lb, ticks = sticky(make, "dsr", V4, seconds=5), Ticks()
    lb.configure(second_multiplier=((1 << 48) - (600 << 24)) // (ticks.fine() // ticks.multiplier))
    ticks.close()
    for number in range(20):
        start(lb, V4, 2000, source=client(V4, number))
    assert len(entries(lb)) == 20


def test_the_client_that_ends_first_makes_room(make: Make) -> None:
    lb = sticky(make, "dsr", V4)
    for number in range(400):
        start(lb, V4, 2000, source=client(V4, number))
        change(lb, until=-1)
        change(lb, again=1)
    left = [(entry >> SECOND_SHIFT) & SECOND for entry in entries(lb)]
    assert len(left) == BUCKETS * 8
    newest = max(left)
    assert min(left) > newest - 400
    oldest_possible = newest - 400 + 1
    assert sum(one - oldest_possible for one in left) / len(left) > 250, "the older half went first"


@pytest.mark.parametrize("mode", ["dsr", "ipip"])
def test_a_segment_without_an_entry_follows_its_client_and_renews_nothing(make: Make, mode: str) -> None:
    """Its flow's entry was pushed out, or it comes from before a takeover."""
    lb = sticky(make, mode, V4)
    before = start(lb, V4, 2000)
    other = FIRST + (before - FIRST + 1) % MANY
    lb.ring(3, [other])
    change(lb, until=-5)
    kept = entries(lb)
    result = lb.send(from_client(V4, TCP, port=2001, client=client(V4, 0), flags="A", seq=5, ack=6))
    assert backend_of(result) == before
    assert entries(lb) == kept
    stranger = lb.send(from_client(V4, TCP, port=2001, client=client(V4, 1), flags="A", seq=5, ack=6))
    assert backend_of(stranger) == other
    assert entries(lb) == kept


@each_family
@every_mode
def test_an_empty_service_remembers_nobody(make: Make, mode: str, family: Family) -> None:
    lb = sticky(make, mode, family)
    lb.ring(3, [0])
    assert lb.send(from_client(family, TCP, client=client(family, 0), flags="S")).reason is Reason.NO_BACKEND
    assert entries(lb) == []


@each_protocol
@every_mode
def test_a_flow_beyond_a_limit_leaves_nobody_remembered(make: Make, mode: str, kind: type) -> None:
    lb = sticky(make, mode, V4)
    served_by(lb, V4, kind)
    limit(lb, SERVICE[4, NUMBER[kind]], service=Bucket(1, 3600))
    start(lb, V4, 2000, kind, client(V4, 0))
    remembered = entries(lb)
    refused = from_client(V4, kind, b"" if kind is TCP else b"q", port=2001, client=client(V4, 1), flags="S")
    assert lb.send(refused).reason is Reason.NEW_FLOWS_LIMITED
    assert (len(remembered), entries(lb)) == (1, remembered)
