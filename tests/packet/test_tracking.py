"""Flows that a change put at risk: each rule of the flow table by a story, on the real program.

Backends 1 and 2 are IPv4. Slots are at risk, ring 1 (`now`) sends everything to backend 2, ring 2 (`before`) sent everything to backend 1.
"""

import pytest
from scapy.layers.inet import TCP, UDP

from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason
from tests.packet import direct
from tests.packet.balancer import Balancer
from tests.packet.conftest import Make
from tests.packet.wire import CLIENT_PORT, V4, VIP_PORT, from_client

KEPT = layout.BACKEND_KEEP
NEW, OLD, THIRD = 2, 1, 3
MACS = {number: bytes([2, 0, 0, 0, 1, number]) for number in (OLD, NEW, THIRD)}


def changing(make: Make, **options: int) -> Balancer:
    """A balancer in the middle of a change."""
    lb = direct.furnish(make, layout.MODE_DSR, **options)
    for number, mac in MACS.items():
        lb.backend(number, V4.backends[number - 1], VIP_PORT, destination=mac, service=1)
    lb.ring(1, [NEW | layout.SLOT_AT_RISK])
    lb.ring(3, [OLD])
    lb.service(1, V4.vip, VIP_PORT, 6, now=1, before=3, mode=layout.MODE_DSR, **options)
    return lb


@pytest.fixture
def lb(make: Make) -> Balancer:
    return changing(make)


def settle(lb: Balancer, idle: int = 900) -> None:
    """The slots settle: ring `before` is ring `now`, the marks stay."""
    lb.service(1, V4.vip, VIP_PORT, 6, now=1, before=1, mode=layout.MODE_DSR, idle=idle)


def goes(lb: Balancer, flags: str = "A", seq: int = 1000, payload: bytes = b"", port: int = CLIENT_PORT) -> int:
    """The backend that a TCP packet goes to."""
    result = lb.send(from_client(V4, TCP, payload, flags=flags, seq=seq, port=port))
    assert result.reason in (Reason.TO_BACKEND, Reason.FLOW_CREATED)
    return next(number for number, mac in MACS.items() if result.data[:6] == mac)


def entries(lb: Balancer) -> list[layout.FlowEntry]:
    """Every entry of the flow table."""
    return [entry for bucket in lb.buckets().values() for entry in bucket.entry if entry.word]


def states(lb: Balancer) -> list[tuple[int, int]]:
    """Backend and state of every entry."""
    return sorted((entry.word & 0xFFFF, entry.state) for entry in entries(lb))


def test_a_packet_of_a_flow_without_entry_goes_where_it_went_and_is_pinned(lb: Balancer) -> None:
    assert goes(lb) == OLD
    assert states(lb) == [(OLD, layout.TRACKED_PINNED)]
    settle(lb)
    assert goes(lb) == OLD, "the entry holds when the ring no longer does"
    assert states(lb) == [(OLD, layout.TRACKED_LIVE)]


def test_a_new_flow_goes_to_the_newest_ring_from_its_first_syn(lb: Balancer) -> None:
    assert goes(lb, "S", 5000) == NEW
    assert goes(lb, "A", 5001) == NEW
    assert goes(lb, "PA", 5001, bytes(1000)) == NEW
    assert states(lb) == [(NEW, layout.TRACKED_LIVE)]


def test_a_flow_that_was_silent_all_the_window_is_given_up(lb: Balancer) -> None:
    settle(lb)
    assert goes(lb) == NEW


def test_a_repeated_syn_follows_its_first_as_long_as_the_backend_takes_new_flows(lb: Balancer) -> None:
    assert goes(lb, "S", 5000) == NEW
    lb.ring(1, [THIRD | layout.SLOT_AT_RISK])
    assert goes(lb, "S", 5000) == NEW
    lb.set_backend(NEW, flags=KEPT)
    assert goes(lb, "S", 5000) == THIRD


def test_a_reused_tuple_obeys_the_ring_although_its_old_entry_lives(lb: Balancer) -> None:
    assert goes(lb) == OLD
    lb.set_backend(OLD, flags=KEPT)  # draining
    assert goes(lb, "S", 1 << 30) == NEW
    assert goes(lb, "A", (1 << 30) + 1) == NEW
    assert goes(lb, "A", 1000) == OLD, "and the old flow goes on beside it"


@pytest.mark.parametrize("forged", [["S"], ["S", "A"], ["S", "S"], ["A"], ["A", "A"], ["R"], ["FA"], ["FA", "R"]], ids="+".join)
@pytest.mark.parametrize("known", [False, True], ids=["silent", "pinned"])
def test_one_or_two_forged_packets_cut_nobody(lb: Balancer, forged: list[str], known: bool) -> None:
    if known:
        assert goes(lb) == OLD
    for flags in forged:
        lb.send(from_client(V4, TCP, flags=flags, seq=(3 << 30) + ("S" not in flags), port=CLIENT_PORT))
    assert goes(lb) == OLD
    settle(lb)
    assert goes(lb) == OLD


def test_a_forged_syn_cuts_no_flow_of_the_new_ring(lb: Balancer) -> None:
    assert goes(lb, "S", 5000) == NEW
    assert goes(lb, "A", 5001) == NEW
    lb.ring(1, [THIRD | layout.SLOT_AT_RISK])
    for number in range(2):
        goes(lb, "S", (2 << 30) + (number << 24))
        goes(lb, "A", (2 << 30) + (number << 24) + 1)
    assert goes(lb, "A", 5001) == NEW


def test_two_forged_packets_within_reach_do_not_take_the_flow_out_of_reach(lb: Balancer) -> None:
    assert goes(lb, "S", 5000) == NEW
    assert goes(lb, "A", 5001) == NEW
    for ahead in (4_000_000, 8_000_000):
        goes(lb, "A", 5001 + ahead)
    assert goes(lb, "A", 5001) == NEW


def test_a_tuple_has_at_most_three_ways(lb: Balancer) -> None:
    assert goes(lb) == OLD
    for number in range(10):
        goes(lb, "S", (1 << 30) + (number << 24))
    assert len(entries(lb)) == 3
    assert goes(lb) == OLD
    assert goes(lb, "A", (1 << 30) + 1) == NEW, "the first one's way was not replaced either"
    assert lb.tracking(1)[2] == 0, "nothing went on in those that were replaced"


def test_a_way_that_went_on_and_was_replaced_by_another_of_its_tuple_is_counted(lb: Balancer) -> None:
    again(lb, ending="A")
    assert lb.tracking(1)[2] == 0
    assert goes(lb, "S", 1 << 31) == NEW
    assert lb.tracking(1)[2] == 1


def again(lb: Balancer, ending: str) -> int:
    """A client that comes three times with one port, each time with an end of these flags; what its third connection sends next."""
    connections = [number << 28 for number in (1, 2, 3)]
    assert goes(lb, "A", connections[0] + 1) == OLD
    for number, first in enumerate(connections):
        assert number == 0 or goes(lb, "S", first) == NEW
        assert goes(lb, "A", first + 1) == (NEW if number else OLD)
        assert first == connections[-1] or goes(lb, ending, first + 1) == (NEW if number else OLD)
    return connections[-1] + 1


@pytest.mark.parametrize("forged", [["A"], ["FA"], ["S"], ["S", "A"], ["A", "A"], ["A", "S"], ["S", "FA"]])
@pytest.mark.parametrize("ending", ["A", "FA", "R"])
@pytest.mark.parametrize("silent", [0, 2])
def test_forged_packets_do_not_cut_the_newest_of_a_clients_connections_with_one_port(
    lb: Balancer, forged: list[str], ending: str, silent: int
) -> None:
    sequence = again(lb, ending)
    lb.age_tracked(silent)
    for number, flags in enumerate(forged):
        goes(lb, flags, (1 << 31) + number)
    assert goes(lb, "A", sequence) == NEW


@pytest.mark.parametrize("ending", ["FA", "R"])
def test_a_connection_that_has_ended_gives_its_place_to_the_next_one_whatever_was_forged(lb: Balancer, ending: str) -> None:
    lb.set_backend(OLD, flags=KEPT)
    goes(lb, "A", 1 << 31)
    assert goes(lb, "A", 1001) == OLD
    assert goes(lb, ending, 1001) == OLD
    assert (goes(lb, "S", 1 << 28), goes(lb, "A", (1 << 28) + 1)) == (NEW, NEW)
    assert (goes(lb, "S", 1 << 29), goes(lb, "A", (1 << 29) + 1)) == (NEW, NEW)


def test_under_pressure_a_syn_goes_where_no_entry_is_needed(make: Make) -> None:
    lb = changing(make)
    full(lb)
    port = next(port for port in range(20_000, 60_000) if bucket_of(lb, port) == bucket_of(lb, CLIENT_PORT))
    assert goes(lb, "S", 5000, port=port) == OLD
    assert lb.tracking(1)[2] == 0
    assert goes(lb, "A", 5001, port=port) == OLD
    lb.set_backend(OLD, flags=KEPT)  # draining: it must get no new flow
    other = next(p for p in range(port + 1, 60_000) if bucket_of(lb, p) == bucket_of(lb, CLIENT_PORT))
    assert goes(lb, "S", 5000, port=other) == NEW
    assert goes(lb, "A", 5001, port=other) == NEW


def bucket_of(lb: Balancer, port: int) -> int:
    """The bucket of a client's port."""
    return lb.bucket_of("198.51.100.7", port, V4.vip, VIP_PORT, 6)


def full(lb: Balancer) -> list[int]:
    """Four confirmed flows in the bucket of CLIENT_PORT; their ports."""
    wanted = bucket_of(lb, CLIENT_PORT)
    ports = [port for port in range(1024, 20_000) if bucket_of(lb, port) == wanted][:4]
    for port in ports:
        assert goes(lb, port=port) == OLD
        assert goes(lb, port=port) == OLD
    return ports


def test_a_pin_replaces_the_stalest_when_all_are_live_and_that_is_counted(lb: Balancer) -> None:
    ports = full(lb)
    lb.age_tracked(5)
    for port in ports[1:]:
        goes(lb, port=port)
    assert lb.tracking(1)[2] == 0
    assert goes(lb) == OLD
    assert lb.tracking(1)[2] == 1
    settle(lb)
    assert goes(lb, port=ports[0]) == NEW, "its entry went"
    assert [goes(lb, port=port) for port in (*ports[1:], CLIENT_PORT)] == [OLD] * 4


def test_a_flow_that_has_lasted_outlives_a_flood_of_handshakes(lb: Balancer) -> None:
    """Of SYNs each followed by an ACK, which makes them confirmed; and it is the stalest."""
    assert goes(lb, "S", 5000) == NEW
    assert goes(lb, "A", 5001) == NEW
    lb.age_tracked(1)
    assert goes(lb, "PA", 5001, b"x") == NEW
    assert states(lb) == [(NEW, layout.TRACKED_LASTING)]
    lb.age_tracked(30)
    forged = [port for port in range(1024, 40_000) if bucket_of(lb, port) == bucket_of(lb, CLIENT_PORT)][:30]
    for port in forged:
        goes(lb, "S", port, port=port)
        goes(lb, "A", port + 1, port=port)
    assert lb.tracking(1)[2] > 0
    assert goes(lb, "PA", 5002, b"x") == NEW


@pytest.mark.parametrize(("seconds", "stays"), [(0, True), (1, False)])
def test_a_flow_that_has_lasted_outlives_udp_that_has_not(lb: Balancer, seconds: int, stays: bool) -> None:
    """Two datagrams at once are as easily forged as one."""
    lb.backend(THIRD, V4.backends[0], VIP_PORT, destination=MACS[THIRD], service=2)
    lb.ring(4, [THIRD])
    lb.service(2, V4.vip, VIP_PORT, 17, now=4, mode=layout.MODE_DSR, flags=layout.SERVICE_TRACK_ALL, idle=120)
    bucket = bucket_of(lb, CLIENT_PORT)
    ports = [port for port in range(1024, 40_000) if lb.bucket_of(V4.client, port, V4.vip, VIP_PORT, 17) == bucket][:3]
    goes(lb, "S", 5000)
    goes(lb, "A", 5001)
    lb.age_tracked(1)
    assert goes(lb, "PA", 5001, b"x") == NEW
    lb.age_tracked(30)
    for pause in (seconds, 0):
        for port in ports:
            lb.send(from_client(V4, UDP, b"x", port=port))
        lb.age_tracked(pause)
    other = next(port for port in range(1024, 40_000) if port != CLIENT_PORT and bucket_of(lb, port) == bucket)
    assert goes(lb, port=other) == OLD
    assert (goes(lb, "A", 5002) == NEW) is stays


def test_an_unconfirmed_entry_goes_before_a_confirmed_one(lb: Balancer) -> None:
    wanted = bucket_of(lb, CLIENT_PORT)
    ports = [port for port in range(1024, 20_000) if bucket_of(lb, port) == wanted][:4]
    for port in ports[:3]:
        goes(lb, port=port)
        goes(lb, port=port)
    goes(lb, "S", 7, port=ports[3])
    assert goes(lb) == OLD
    assert lb.tracking(1)[2] == 0
    settle(lb)
    assert [goes(lb, port=port) for port in (*ports[:3], CLIENT_PORT)] == [OLD] * 4


@pytest.mark.parametrize(("flags", "seconds"), [("FA", 60), ("FAU", 60), ("R", 5), ("RA", 5)], ids=["FIN", "FIN+URG", "RST", "RST+ACK"])
def test_fin_and_rst_shorten_the_life_of_an_entry(lb: Balancer, flags: str, seconds: int) -> None:
    goes(lb)
    goes(lb)
    goes(lb, flags)
    settle(lb)
    lb.age_tracked(seconds)
    probe(lb)
    lb.age_tracked(1)
    assert goes(lb) == NEW


@pytest.mark.parametrize("flags", ["FA", "R"])
def test_fin_and_rst_lengthen_no_life_that_is_short_already(lb: Balancer, flags: str) -> None:
    goes(lb)
    goes(lb)
    goes(lb, flags)
    settle(lb, idle=3)
    lb.age_tracked(3)
    probe(lb)
    lb.age_tracked(1)
    assert goes(lb) == NEW


def probe(lb: Balancer) -> None:
    """An entry is still alive: looked at, not touched."""
    assert goes(lb, "R", 77) == OLD


@pytest.mark.parametrize("flags", ["FA", "R"])
def test_the_next_packet_restores_what_a_forged_fin_or_rst_shortened(lb: Balancer, flags: str) -> None:
    goes(lb)
    goes(lb)
    goes(lb, flags)
    settle(lb)
    assert goes(lb, "PA", 1000, b"data") == OLD
    lb.age_tracked(800)
    assert goes(lb, "A", 1004) == OLD


def test_acknowledgements_after_a_fin_do_not_restore_the_flow(lb: Balancer) -> None:
    goes(lb)
    goes(lb)
    goes(lb, "FA", 1000)
    for _ in range(3):
        goes(lb, "A", 1001)
    assert states(lb) == [(OLD, layout.TRACKED_FIN)]


@pytest.mark.parametrize("flags", ["R", "RA", "SA"])
def test_rst_and_syn_with_ack_make_no_entry(lb: Balancer, flags: str) -> None:
    assert goes(lb, flags) == OLD
    assert entries(lb) == []


def test_an_entry_ends_with_the_idle_time_of_its_service(lb: Balancer) -> None:
    goes(lb)
    goes(lb)
    settle(lb)
    lb.age_tracked(900)
    assert goes(lb) == OLD
    lb.age_tracked(901)
    assert goes(lb) == NEW


def test_a_half_open_flow_ends_sooner(lb: Balancer) -> None:
    assert goes(lb, "S", 5000) == NEW
    lb.age_tracked(11)
    assert goes(lb, "A", 5001) == OLD, "its handshake is over: it counts as a flow without entry"


def test_entries_of_a_backend_that_keeps_none_are_invalid(lb: Balancer) -> None:
    goes(lb)
    goes(lb)
    lb.set_backend(OLD, flags=0)
    assert goes(lb) == NEW


def test_flows_of_a_backend_that_resets_them_hear_it_once_beyond_the_budget(lb: Balancer) -> None:
    goes(lb)
    goes(lb)
    lb.set_backend(OLD, flags=layout.BACKEND_RESET)
    packet = from_client(V4, TCP, flags="A", seq=1000, ack=4711)
    first, second = lb.send(packet), lb.send(packet)
    assert (first.reason, second.reason) == (Reason.DRAIN_RESET, Reason.RST_LIMITED)
    assert goes(lb, "S", 1 << 30) == NEW, "a new flow is none of its business"


def test_a_slot_that_is_not_at_risk_reads_no_table(lb: Balancer) -> None:
    goes(lb)
    reads = lb.tracking(1)[0]
    lb.ring(1, [NEW])
    for flags in ("S", "A", "FA", "R"):
        assert goes(lb, flags) == NEW
    assert lb.tracking(1)[0] == reads


def test_a_settled_slot_with_marks_writes_no_entry_but_for_a_tuple_that_has_one_elsewhere(lb: Balancer) -> None:
    goes(lb)
    settle(lb)
    assert goes(lb, "S", 77, port=CLIENT_PORT + 1) == NEW
    assert goes(lb, "A", 78, port=CLIENT_PORT + 1) == NEW
    assert len(entries(lb)) == 1
    assert goes(lb, "S", 1 << 30) == NEW
    assert len(entries(lb)) == 2
    assert (goes(lb, "A", (1 << 30) + 1), goes(lb)) == (NEW, OLD)


def test_stateless_udp_obeys_the_newest_ring_alone(lb: Balancer) -> None:
    lb.service(2, V4.vip, VIP_PORT, 17, now=1, before=3, mode=layout.MODE_DSR)
    result = lb.send(from_client(V4, UDP, b"x"))
    assert result.data[:6] == MACS[NEW]
    assert entries(lb) == []


def test_tracked_udp_stays_until_its_backend_goes(lb: Balancer) -> None:
    def udp() -> bytes:
        return lb.send(from_client(V4, UDP, b"x")).data[:6]

    lb.ring(4 - 1, [OLD])
    for backend in (OLD, NEW):
        lb.set_backend(backend, service=2)
    lb.service(2, V4.vip, VIP_PORT, 17, now=3, mode=layout.MODE_DSR, flags=layout.SERVICE_TRACK_ALL, idle=120)
    assert (udp(), udp()) == (MACS[OLD], MACS[OLD])
    lb.service(2, V4.vip, VIP_PORT, 17, now=1, before=3, mode=layout.MODE_DSR, flags=layout.SERVICE_TRACK_ALL, idle=120)
    assert udp() == MACS[OLD]
    lb.set_backend(OLD, flags=0)
    assert udp() == MACS[NEW]


@pytest.mark.parametrize("flags", [0, layout.BACKEND_RESET])
def test_tracked_udp_goes_on_at_another_backend_however_the_flows_of_its_own_end(lb: Balancer, flags: int) -> None:
    """Nobody hears of a reset over UDP."""
    lb.ring(3, [OLD])
    for backend in (OLD, NEW):
        lb.set_backend(backend, service=2)
    lb.service(2, V4.vip, VIP_PORT, 17, now=3, mode=layout.MODE_DSR, flags=layout.SERVICE_TRACK_ALL, idle=120)
    assert lb.send(from_client(V4, UDP, b"x")).data[:6] == MACS[OLD]
    lb.service(2, V4.vip, VIP_PORT, 17, now=1, before=3, mode=layout.MODE_DSR, flags=layout.SERVICE_TRACK_ALL, idle=120)
    lb.set_backend(OLD, flags=flags)
    assert [lb.send(from_client(V4, UDP, b"x")).data[:6] for _ in range(2)] == [MACS[NEW]] * 2


def test_all_flows_have_an_entry_when_all_are_tracked(make: Make) -> None:
    lb = changing(make)
    lb.ring(1, [NEW])
    lb.service(1, V4.vip, VIP_PORT, 6, now=1, mode=layout.MODE_DSR, flags=layout.SERVICE_TRACK_ALL)
    for port in range(3000, 3020):
        goes(lb, "S", 1, port=port)
    assert states(lb) == [(NEW, layout.TRACKED_SYN)] * 20
    for port in range(3000, 3020):
        goes(lb, "A", 2, port=port)
    assert states(lb) == [(NEW, layout.TRACKED_LIVE)] * 20


def test_an_entry_of_another_services_backend_is_none(lb: Balancer) -> None:
    """As after 18 hours: its stamp looks new again, and the backend's id has been given to another service."""
    assert goes(lb) == OLD
    settle(lb)
    assert goes(lb) == OLD
    lb.set_backend(OLD, service=3)
    assert goes(lb) == NEW
    lb.set_backend(OLD, service=1)
    assert goes(lb) == OLD
