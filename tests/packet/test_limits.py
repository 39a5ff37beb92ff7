"""Limits of new flows: exact counts while the clock stands still, whose flows are counted, and whom a full table forgets."""

import os
import threading
import time
from collections.abc import Iterable

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.packet import Packet

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.ticks import Ticks
from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason
from tests.packet import direct
from tests.packet.balancer import Balancer
from tests.packet.conftest import Make
from tests.packet.limits import Bucket, age_limits, clients_of_one_line, limit, line_and_tag, stop_clock
from tests.packet.modes import every_mode, furnish
from tests.packet.odd import cut
from tests.packet.wire import NUMBER, V4, V6, VIP_PORT, Family, each_family, from_backend, from_client, quick_ipv4

PASSES = {Reason.FLOW_CREATED}
THREE = Bucket(3, 10)
OTHERS = {4: ("198.51.100.8", "203.0.113.99"), 6: ("2001:db8:1::8", "2001:db8:1:1::7")}  # in the client's /24 or /64, and not


def service_of(family: Family, kind: type[Packet] = TCP) -> int:
    return direct.SERVICE[family.version, NUMBER[kind]]


def syns(lb: Balancer, family: Family, count: int, *, client: str = "", port: int = 10000, kind: type[Packet] = TCP) -> list[Reason]:
    """What becomes of `count` first packets, each of another flow."""
    return [lb.send(from_client(family, kind, client=client, port=port + n, flags="S", seq=1)).reason for n in range(count)]


def created(reasons: Iterable[Reason]) -> int:
    return sum(reason is Reason.FLOW_CREATED for reason in reasons)


def everything(lb: Balancer, service: int) -> list[object]:
    """What packets leave in the maps."""
    arrays = [lb.used(name) for name in ("flow_table", "service_limits", "source_limits")]
    return [lb.elements("flows"), lb.elements("flow_index"), lb.elements("unanswered"), lb.traffic("service_counters", service), *arrays]


@pytest.fixture
def nat(lb: Balancer) -> Balancer:
    """NAT, at a standstill of time."""
    stop_clock(lb)
    return lb


@every_mode
@each_family
def test_a_service_takes_its_burst_and_then_its_rate(make: Make, mode: str, family: Family) -> None:
    lb = furnish(make, mode)
    stop_clock(lb)
    limit(lb, service_of(family), service=Bucket(burst=3, seconds=10))
    assert syns(lb, family, 5) == [Reason.FLOW_CREATED] * 3 + [Reason.NEW_FLOWS_LIMITED] * 2
    age_limits(lb, 9)
    assert syns(lb, family, 1, port=11000) == [Reason.NEW_FLOWS_LIMITED], "a flow's worth of time is not over"
    age_limits(lb, 1)
    assert syns(lb, family, 2, port=12000) == [Reason.FLOW_CREATED, Reason.NEW_FLOWS_LIMITED]
    age_limits(lb, 25)
    assert created(syns(lb, family, 4, port=13000)) == 2, "half a flow that was too much is kept for later"
    age_limits(lb, 5)
    assert created(syns(lb, family, 2, port=14000)) == 1
    age_limits(lb, 1_000_000)
    assert created(syns(lb, family, 9, port=15000)) == 3, "however long nobody came, a bucket holds its burst"


@every_mode
@each_family
def test_a_refused_flow_leaves_nothing(make: Make, mode: str, family: Family) -> None:
    flags = 0 if mode == "nat" else layout.SERVICE_TRACK_ALL
    lb = furnish(make, mode, flags)
    stop_clock(lb)
    number = service_of(family)
    limit(lb, number, service=Bucket(1, 10))
    syns(lb, family, 1)
    before = everything(lb, number)
    assert syns(lb, family, 20, port=20000) == [Reason.NEW_FLOWS_LIMITED] * 20
    assert everything(lb, number) == before


@every_mode
@each_family
def test_sources_of_one_prefix_share_a_bucket_and_others_have_their_own(make: Make, mode: str, family: Family) -> None:
    lb = furnish(make, mode)
    stop_clock(lb)
    limit(lb, service_of(family), source=Bucket(4, 10), prefix_v4=24, prefix_v6=64)
    near, far = OTHERS[family.version]
    assert created(syns(lb, family, 2)) == 2
    assert created(syns(lb, family, 2, client=near)) == 2
    for client in ("", near):
        assert syns(lb, family, 2, client=client, port=20000) == [Reason.SOURCE_LIMITED] * 2
    assert created(syns(lb, family, 9, client=far)) == 4
    age_limits(lb, 10)
    assert created(syns(lb, family, 3, client=near, port=30000)) == 1
    assert created(syns(lb, family, 3, client=far, port=30000)) == 1


@pytest.mark.parametrize(("prefix", "shared"), [(128, False), (65, False), (64, True), (48, True), (1, True)])
def test_the_prefix_of_an_ipv6_source_has_any_length(make: Make, prefix: int, shared: bool) -> None:
    lb = furnish(make, "dsr")
    stop_clock(lb)
    limit(lb, service_of(V6), source=Bucket(1, 10), prefix_v6=prefix)
    assert syns(lb, V6, 1) == [Reason.FLOW_CREATED]
    other = "2001:db8:1::8000:0:0:7" if prefix == 65 else OTHERS[6][0]
    assert syns(lb, V6, 1, client=other) == [Reason.SOURCE_LIMITED if shared else Reason.FLOW_CREATED]


@pytest.mark.parametrize(("prefix", "other", "shared"), [(32, "198.51.100.6", False), (31, "198.51.100.6", True), (1, "128.0.0.1", True)])
def test_the_prefix_of_an_ipv4_source_has_any_length(make: Make, prefix: int, other: str, shared: bool) -> None:
    lb = furnish(make, "dsr")
    stop_clock(lb)
    limit(lb, service_of(V4), source=Bucket(1, 10), prefix_v4=prefix)
    assert syns(lb, V4, 1) == [Reason.FLOW_CREATED]
    assert syns(lb, V4, 1, client=other) == [Reason.SOURCE_LIMITED if shared else Reason.FLOW_CREATED]


def test_services_have_limits_of_their_own(nat: Balancer) -> None:
    nat.service(7, V4.vip, 81, 6, now=1)
    limit(nat, service_of(V4), service=Bucket(5, 10), source=Bucket(3, 10))
    limit(nat, 7, source=Bucket(1, 10))
    assert created(syns(nat, V4, 9)) == 3
    others = [nat.send(from_client(V4, port=10000 + n, vip_port=81, flags="S")).reason for n in range(3)]
    assert others == [Reason.FLOW_CREATED, Reason.SOURCE_LIMITED, Reason.SOURCE_LIMITED]
    assert created(syns(nat, V4, 9, client=OTHERS[4][1])) == 2, "what the service has left"
    assert created(syns(nat, V4, 50, port=30000, kind=UDP)) == 50, "a service without limits"


def test_one_source_over_its_limit_takes_nothing_from_the_others(nat: Balancer) -> None:
    limit(nat, service_of(V4), service=Bucket(3, 10), source=Bucket(1, 10))
    assert created(syns(nat, V4, 50)) == 1
    assert created(syns(nat, V4, 1, client=OTHERS[4][0])) == 1
    assert created(syns(nat, V4, 1, client=OTHERS[4][1])) == 1


def test_a_service_over_its_limit_takes_nothing_from_its_sources(nat: Balancer) -> None:
    limit(nat, service_of(V4), service=Bucket(1, 10), source=Bucket(2, 10_000))
    assert syns(nat, V4, 9) == [Reason.FLOW_CREATED] + [Reason.NEW_FLOWS_LIMITED] * 8
    age_limits(nat, 10)
    assert created(syns(nat, V4, 1, port=20000)) == 1


@each_family
def test_a_nat_flow_that_is_there_is_never_limited(nat: Balancer, family: Family) -> None:
    limit(nat, service_of(family), service=Bucket(1, 10), source=Bucket(1, 10))
    repeated = [nat.send(from_client(family, flags="S", seq=1000)).reason for _ in range(4)]
    assert repeated == [Reason.FLOW_CREATED] + [Reason.TO_BACKEND] * 3, "a SYN that comes again makes no flow"
    assert nat.send(from_backend(family, flags="SA", seq=5, ack=1001)).reason is Reason.TO_CLIENT
    for number in range(20):
        assert nat.send(from_client(family, flags="A", seq=1001 + number, ack=6)).reason is Reason.TO_BACKEND
    assert nat.send(from_client(family, flags="S", seq=77)).reason is Reason.TO_BACKEND, "the backend answers it by a challenge ACK"
    assert syns(nat, family, 1) == [Reason.NEW_FLOWS_LIMITED]
    assert nat.send(from_client(family, flags="FA", seq=1050, ack=6)).reason is Reason.TO_BACKEND


@each_family
def test_a_connection_that_begins_anew_in_a_closed_flow_counts(nat: Balancer, family: Family) -> None:
    limit(nat, service_of(family), service=Bucket(2, 10))
    for round_ in range(2):
        base = 1000 + 100_000 * round_
        assert nat.send(from_client(family, flags="S", seq=base)).reason is Reason.FLOW_CREATED
        nat.send(from_backend(family, flags="SA", seq=5, ack=base + 1))
        nat.send(from_client(family, flags="FA", seq=base + 1, ack=6))
        nat.send(from_backend(family, flags="FA", seq=6, ack=base + 2))
    states = nat.states()
    assert nat.send(from_client(family, flags="S", seq=900_000)).reason is Reason.NEW_FLOWS_LIMITED
    assert nat.states() == states, "the closed flow stays as it was"


@each_family
def test_a_refused_syn_displaces_no_flow(nat: Balancer, family: Family) -> None:
    limit(nat, service_of(family), service=Bucket(1, 10))
    assert nat.send(from_client(family, flags="S", seq=1000)).reason is Reason.FLOW_CREATED
    base = 1 if family is V4 else 4
    nat.ring(base if base == 1 else 2, [base + 1])  # the SYN belongs to another backend by now
    states = nat.states()
    assert nat.send(from_client(family, flags="S", seq=999_000)).reason is Reason.NEW_FLOWS_LIMITED
    assert nat.states() == states


@each_family
def test_udp_flows_of_nat_count_once(nat: Balancer, family: Family) -> None:
    limit(nat, service_of(family, UDP), service=Bucket(2, 10))
    assert created(syns(nat, family, 4, kind=UDP)) == 2
    assert [nat.send(from_client(family, UDP, port=10000)).reason for _ in range(9)] == [Reason.TO_BACKEND] * 9
    assert nat.send(from_client(family, UDP, port=10003)).reason is Reason.NEW_FLOWS_LIMITED


@pytest.mark.parametrize("mode", direct.MODES)
@each_family
def test_tracked_udp_flows_count_once(make: Make, mode: str, family: Family) -> None:
    lb = furnish(make, mode, layout.SERVICE_TRACK_ALL)
    lb.set_backend(1 if family is V4 else 4, service=service_of(family, UDP))
    stop_clock(lb)
    limit(lb, service_of(family, UDP), service=Bucket(2, 10))
    passed = [r is Reason.TO_BACKEND for r in syns(lb, family, 4, kind=UDP)]
    assert passed == [True, True, False, False]
    for _ in range(3):
        again = [lb.send(from_client(family, UDP, port=10000 + n)).reason for n in range(4)]
        assert again == [Reason.TO_BACKEND] * 2 + [Reason.NEW_FLOWS_LIMITED] * 2


@each_family
def test_tracked_udp_without_room_for_an_entry_is_not_limited(make: Make, family: Family) -> None:
    """Each of its packets would count as a flow."""
    lb = furnish(make, "dsr", layout.SERVICE_TRACK_ALL)
    stop_clock(lb)
    number = service_of(family, UDP)
    limit(lb, number, service=Bucket(1000, 10))
    bucket = lb.bucket_of(family.client, 10000, family.vip, VIP_PORT, 17)
    ports = [p for p in range(10001, 40000) if lb.bucket_of(family.client, p, family.vip, VIP_PORT, 17) == bucket][:4]
    for port in ports:
        lb.send(from_client(family, UDP, port=port))
    limit(lb, number, service=Bucket(1, 10_000_000))
    used = lb.used("service_limits")
    assert [lb.send(from_client(family, UDP, port=10000)).reason for _ in range(5)] == [Reason.TO_BACKEND] * 5
    assert lb.used("service_limits") == used


@every_mode
@each_family
def test_a_fragmented_datagram_counts_once(make: Make, mode: str, family: Family) -> None:
    lb = furnish(make, mode, 0 if mode in ("nat", "keep") else layout.SERVICE_TRACK_ALL)
    stop_clock(lb)
    limit(lb, service_of(family, UDP), service=Bucket(1, 10))
    for port, passes in ((10000, True), (10001, False)):
        first, *later = cut(from_client(family, UDP, bytes(4000), port=port), 1480, port)
        assert lb.send(first).reason is (Reason.NEW_FLOWS_LIMITED if not passes else first_reason(mode))
        assert {lb.send(piece).reason for piece in later} == {Reason.TO_BACKEND if passes else Reason.FRAGMENT}


def first_reason(mode: str) -> Reason:
    """What the first packet of a UDP flow is counted as."""
    return Reason.FLOW_CREATED if mode in ("nat", "keep") else Reason.TO_BACKEND


@pytest.mark.parametrize("mode", direct.MODES)
def test_packets_that_start_no_flow_are_not_limited(make: Make, mode: str) -> None:
    lb = furnish(make, mode)
    stop_clock(lb)
    limit(lb, service_of(V4), service=Bucket(1, 10), source=Bucket(1, 10))
    assert syns(lb, V4, 2) == [Reason.FLOW_CREATED, Reason.NEW_FLOWS_LIMITED]
    for flags in ("A", "SA", "R", "FA", "PA"):
        assert lb.send(from_client(V4, flags=flags)).reason is Reason.TO_BACKEND


def test_a_frame_for_another_station_takes_nothing(make: Make) -> None:
    lb = furnish(make, "dsr")
    stop_clock(lb)
    limit(lb, service_of(V4), service=Bucket(1, 10))
    lb.write("interfaces", 1, bytes(layout.Interface(ifindex=1, mac=(layout.U8 * 6)(2, 0, 0, 0, 0, 2))))
    foreign = from_client(V4, flags="S")
    foreign.dst = "02:00:00:00:00:77"
    assert [lb.send(foreign).reason for _ in range(3)] == [Reason.FRAME_FOREIGN] * 3
    assert syns(lb, V4, 1) == [Reason.FLOW_CREATED]


def test_eight_prefixes_of_one_line_are_told_apart(make: Make) -> None:
    lb = furnish(make, "dsr")
    stop_clock(lb)
    number = service_of(V4)
    limit(lb, number, source=THREE)
    clients = clients_of_one_line(8, number, THREE)
    for _ in range(3):
        assert [created(syns(lb, V4, 1, client=client)) for client in clients] == [1] * 8
    assert [syns(lb, V4, 1, client=client)[0] for client in clients] == [Reason.SOURCE_LIMITED] * 8
    (line, raw), *others = lb.used("source_limits")
    assert not others, "all of them are in one cache line"
    tags = {word & 0xFFFF for word in layout.LimitLine.from_buffer_copy(raw).word}
    assert {(line, tag) for tag in tags} == {line_and_tag(client, number, 32, THREE) for client in clients}


def test_a_ninth_prefix_is_let_in_and_who_had_least_is_forgotten(make: Make) -> None:
    lb = furnish(make, "dsr")
    stop_clock(lb)
    number = service_of(V4)
    limit(lb, number, source=THREE)
    *heavy, light, ninth = clients_of_one_line(9, number, THREE)
    for client in heavy:
        assert created(syns(lb, V4, 4, client=client)) == 3
    assert created(syns(lb, V4, 1, client=light)) == 1
    assert created(syns(lb, V4, 4, client=ninth)) == 3, "nobody is refused for what others did"
    for client in heavy:
        assert syns(lb, V4, 1, client=client, port=20000) == [Reason.SOURCE_LIMITED], "those that took most stay limited"


def test_a_place_that_is_full_again_is_given_away_first(make: Make) -> None:
    lb = furnish(make, "dsr")
    stop_clock(lb)
    number = service_of(V4)
    limit(lb, number, source=THREE)
    idle, *busy, late = clients_of_one_line(9, number, THREE)
    syns(lb, V4, 1, client=idle)
    age_limits(lb, 10)
    for client in busy:
        syns(lb, V4, 1, client=client)
    syns(lb, V4, 1, client=late)
    for client in (*busy, late):
        assert created(syns(lb, V4, 4, client=client, port=20000)) == 2, "each still has its own bucket"


def test_a_word_far_ahead_of_the_clock_is_a_full_bucket(make: Make) -> None:
    """As after half a year without a flow, when the clock of the buckets has come round."""
    lb = furnish(make, "dsr")
    stop_clock(lb)
    number = service_of(V4)
    limit(lb, number, service=Bucket(2, 10))
    for word in ((1 << 52) + (1 << 40), 1 << 63, (1 << 64) - 1):
        lb.write("service_limits", number, bytes(layout.LimitLine(word=(layout.U64 * 8)(word))))
        assert created(syns(lb, V4, 3)) == 2


def test_a_bucket_that_nobody_has_used_is_full_whatever_the_clock_says(make: Make) -> None:
    """Half an hour before the clock of the buckets comes round its numbers are those of a bucket that is used up."""
    lb, ticks = furnish(make, "dsr"), Ticks()
    lb.configure(second_multiplier=((1 << 48) - (1800 << 24)) // (ticks.fine() // ticks.multiplier))
    ticks.close()
    limit(lb, service_of(V4), service=Bucket(4, 10), source=Bucket(2, 10))
    for client in (V4.client, OTHERS[4][1]):
        assert created(syns(lb, V4, 3, client=client)) == 2
    assert syns(lb, V4, 1, client=OTHERS[4][0]) == [Reason.NEW_FLOWS_LIMITED]


@each_family
@pytest.mark.parametrize("other", [Bucket(100, 1 / 64), Bucket(2, 10)])
def test_sources_begin_anew_when_their_limit_changes(make: Make, family: Family, other: Bucket) -> None:
    """What they have taken is time: a flow may cost less of it than they owe."""
    lb = furnish(make, "dsr")
    stop_clock(lb)
    number = service_of(family)
    limit(lb, number, source=Bucket(100, 10))
    assert created(syns(lb, family, 101)) == 100
    limit(lb, number, source=other)
    assert created(syns(lb, family, other.burst + 1, port=20000)) == other.burst


def test_the_clock_brings_flows_back(make: Make) -> None:
    lb = furnish(make, "dsr")
    limit(lb, service_of(V4), service=Bucket(1, 2), source=Bucket(1, 2))
    deadline = time.monotonic() + 120
    began = time.monotonic()
    assert created(syns(lb, V4, 1)) == 1
    while not created(syns(lb, V4, 1)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert time.monotonic() - began > 1.9


def test_two_cpus_take_from_one_bucket_what_it_holds(make: Make, alone: set[int]) -> None:
    """At most one flow for each CPU comes too early, and later flows wait for it."""
    lb = furnish(make, "dsr")
    stop_clock(lb)
    limit(lb, service_of(V4), service=Bucket(20_000, 1 / 64), source=Bucket(15_000, 1 / 64))
    lb.set_backend(1, flags=layout.BACKEND_KEEP | layout.BACKEND_HERE)  # which changes no byte: a test run sends the same bytes again
    raw = quick_ipv4(6, bytes([198, 51, 100, 7]), bytes([192, 0, 2, 10]), (10000, 80), flags="S")

    def run(cpu: int) -> None:
        os.sched_setaffinity(0, {cpu})
        syscall.prog_test_run(lb.generation.program.fileno(), raw, ifindex=1, repeat=30_000)

    threads = [threading.Thread(target=run, args=(cpu,)) for cpu in (min(alone), max(alone))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = lb.reasons()
    passed = sum(packets for (reason, _), (packets, _) in counts.items() if reason == Reason.FLOW_CREATED)
    assert 15_000 <= passed <= 15_001
    words = [word for _, line in lb.used("source_limits") for word in layout.LimitLine.from_buffer_copy(line).word if word]
    assert [word >> 34 for word in words] == [passed]
