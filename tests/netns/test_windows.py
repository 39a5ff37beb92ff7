"""Changes settle under a running agent, and long-lived connections through a DSR service stay where they are meanwhile."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

import l4lb
from l4lb.v1.backend_pb2 import AdminState, DrainResult
from l4lb.v1.virtual_service_pb2 import VirtualService
from lab.direct.modes import Mode
from lab.services import EVEN, Balanced
from lab.topology import FAMILIES, PORT_ECHO
from tests.netns.conftest import set_up
from tests.netns.test_changes import eventually

WINDOW, IDLE = 3, 5
OPTIONS: dict[str, Any] = {"change_window": WINDOW, "idle_timeout": IDLE, "down_grace": 2, "ring_size": 1021}
NAMES = [f"echo{family}" for family in FAMILIES]


@pytest.fixture(params=[Mode.DSR, Mode.IPIP], ids=["dsr", "ipip"])
def running(request: pytest.FixtureRequest) -> Iterator[Balanced]:
    with set_up(forwarding=request.param, options=OPTIONS) as made:
        for name, family in zip(NAMES, FAMILIES):
            made.add_service(name, family, protocol="tcp", port=PORT_ECHO, weights=EVEN)
        assert eventually(lambda: settled(made), within=WINDOW + 15)
        yield made


def services(running: Balanced) -> list[VirtualService]:
    return [running.client.get_service(name) for name in NAMES]


def settled(running: Balanced) -> bool:
    return not any(service.at_risk_slots for service in services(running))


def table_reads(running: Balanced) -> int:
    [sample] = running.client.stats(samples=1)
    return sum(service.traffic.table_reads for service in sample.services)


def weigh(running: Balanced, host: str, weight: int) -> None:
    for name in NAMES:
        running.client.update_backend(f"{name}/{host}", weight=weight)


def test_three_changes_in_a_window_settle_and_no_connection_moves(running: Balanced) -> None:
    before = [service.ring_digest for service in services(running)]
    load = running.lab.traffic.connections(running.vips(), 40, interval=0.1)
    reads = table_reads(running)
    for weight in (5, 0, 2):
        weigh(running, "a", weight)
        assert [service.before_ring_digest for service in services(running)] == before
        assert all(0 < service.differing_slots <= service.at_risk_slots for service in services(running))
    assert all(service.settle_time.seconds for service in services(running))
    assert eventually(lambda: table_reads(running) > reads, within=WINDOW)
    assert eventually(lambda: not any(service.differing_slots for service in services(running)), within=WINDOW + 5)
    assert [service.before_ring_digest for service in services(running)] == [service.ring_digest for service in services(running)]
    assert eventually(lambda: 0 < sum(service.at_risk_slots for service in services(running)) < 80, within=10)  # those with entries
    result = load.result()
    assert (result["errors"], result["open"]) == ({}, 40)
    assert eventually(lambda: settled(running), within=IDLE + 10)


def test_a_settled_service_reads_no_table(running: Balanced) -> None:
    reads = table_reads(running)
    result = running.lab.traffic.connections(running.vips(), 20).result()
    assert (result["errors"], table_reads(running)) == ({}, reads)


def test_an_agent_that_is_killed_in_a_window_goes_on_with_it(running: Balanced) -> None:
    load = running.lab.traffic.connections(running.vips(), 20, interval=0.1)
    weigh(running, "b", 3)
    before = [(s.ring_digest, s.before_ring_digest, s.differing_slots) for s in services(running)]
    running.agent.kill()
    running.agent.start()
    running.agent.wait_ready(running.client)
    assert [(s.ring_digest, s.before_ring_digest, s.differing_slots) for s in services(running)] == before
    assert eventually(lambda: not any(service.differing_slots for service in services(running)), within=WINDOW + 5)
    result = load.result()
    assert (result["errors"], result["open"]) == ({}, 20)
    assert eventually(lambda: settled(running), within=IDLE + 10)


def test_a_drain_keeps_connections_ends_after_them_and_after_silence(running: Balanced) -> None:
    load = running.lab.traffic.connections(running.vips(), 20, interval=0.1)
    for name in NAMES:
        drained = running.client.drain(f"{name}/a").drain
        assert drained.earliest_empty_time.seconds - drained.start_time.seconds in range(IDLE, IDLE + 3)
    assert eventually(lambda: bool(drain(running).remaining_flows), within=5)
    fresh = running.lab.traffic.connections(running.vips(), 10)
    assert eventually(lambda: time.time() > drained.earliest_empty_time.seconds + 1, within=IDLE + 5)
    assert {running.client.get_backend(f"{name}/a").admin_state for name in NAMES} == {AdminState.ADMIN_STATE_DRAINING}
    for connections, count in ((load, 20), (fresh, 10)):
        result = connections.result()
        assert (result["errors"], result["open"]) == ({}, count)
    for name in NAMES:
        running.client.wait_drained(f"{name}/a", timeout=30)
    assert drain(running).result == DrainResult.DRAIN_RESULT_EMPTY
    running.client.remove_backend(f"{NAMES[0]}/a")
    assert eventually(lambda: settled(running), within=IDLE + 10)


def drain(running: Balanced) -> Any:
    return running.client.get_backend(f"{NAMES[0]}/a").drain


def test_a_backend_that_is_in_the_ring_is_removed_only_by_force(running: Balanced) -> None:
    with pytest.raises(l4lb.Error) as refused:
        running.client.remove_backend(f"{NAMES[0]}/a")
    assert refused.value.code == "FAILED_PRECONDITION"
    running.client.remove_backend(f"{NAMES[0]}/a", force=True)
    assert services(running)[0].differing_slots == 0
