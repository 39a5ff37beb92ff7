"""Health checks with real servers: who takes new flows, what becomes of the flows of who is down, and what a killed agent leaves."""

import time
from collections.abc import Iterator

import pytest

from l4lb.v1.health_pb2 import EffectiveState, HealthState, ProbeOutcome
from lab.direct.modes import Mode
from lab.services import EVEN, Balanced
from lab.topology import PORT_ECHO, PORT_HTTP
from tests.netns.conftest import set_up
from tests.netns.test_changes import eventually
from tests.netns.test_drain import slow_download_from

UP, DOWN = HealthState.HEALTH_STATE_UP, HealthState.HEALTH_STATE_DOWN
CHECK = {"http": {"path": "/healthy"}, "interval": 0.3, "timeout": 0.25, "rise": 2, "fall": 2}
PATIENT = {**CHECK, "fall": 20}  # a machine that is busy for a moment takes nobody out


@pytest.fixture(scope="module")
def checked() -> Iterator[Balanced]:
    """`web4` and `web6` with a check, of two backends each."""
    with set_up() as running:
        running.add_web(EVEN)
        yield running


@pytest.fixture
def web(checked: Balanced) -> Iterator[Balanced]:
    """All of them well, and everything of a test put back."""
    for name in ("web4", "web6"):
        checked.client.update_service(name, health_check=CHECK)
    up(checked, "a", "b")
    yield checked
    for server in checked.lab.nginx.values():
        server.sick(sick=False)
        server.crash()
        server.restart()
    up(checked, "a", "b")


def states(running: Balanced, host: str) -> set[int]:
    """What probes say of a host's backends."""
    return {running.client.get_backend(f"{service}/{host}").health.state for service in ("web4", "web6")}


def up(running: Balanced, *hosts: str) -> None:
    """Waits until they are."""
    assert eventually(lambda: all(states(running, host) == {UP} for host in hosts), 20)


def down(running: Balanced, *hosts: str) -> None:
    """Waits until they are."""
    assert eventually(lambda: all(states(running, host) == {DOWN} for host in hosts), 20)


def answers(running: Balanced, marker: str) -> set[str]:
    """Who answers new flows, every one of which is answered."""
    seen = running.lab.traffic.counted(running.vips(), 60, marker)
    assert seen["errors"] == {}
    return set(seen["by_backend"])


def test_new_flows_leave_a_server_that_dies_and_return_when_it_is_back(web: Balanced) -> None:
    web.lab.nginx["a"].crash()
    down(web, "a")
    assert answers(web, "dead") == {"backend-b"}
    backend = web.client.get_backend("web4/a")
    assert (backend.effective_state, backend.reconciling) == (EffectiveState.EFFECTIVE_STATE_UNHEALTHY, False)
    assert backend.health.last_probe.outcome == ProbeOutcome.PROBE_OUTCOME_REFUSED
    assert len(backend.health.history) >= 2
    web.lab.nginx["a"].restart()
    up(web, "a")
    assert answers(web, "back") == {"backend-a", "backend-b"}


def test_a_server_that_says_503_gets_no_new_flow_and_keeps_those_it_has(web: Balanced) -> None:
    download = slow_download_from(web, "a")
    web.lab.nginx["a"].sick(sick=True)
    down(web, "a")
    last = web.client.get_backend("web6/a").health.last_probe
    assert (last.outcome, "503" in last.detail) == (ProbeOutcome.PROBE_OUTCOME_STATUS, True)
    assert answers(web, "sick") == {"backend-b"}
    assert download.running()
    web.lab.nginx["a"].sick(sick=False)
    up(web, "a")
    result = download.result()
    assert (result["errors"], result["sha256"]) == ({}, web.lab.digests["slow.bin"])


def test_when_all_are_down_new_flows_go_on_unless_asked_otherwise(web: Balanced) -> None:
    for server in web.lab.nginx.values():
        server.sick(sick=True)
    down(web, "a", "b")
    assert answers(web, "kept") == {"backend-a", "backend-b"}
    assert web.client.get_backend("web4/b").health.kept_by_on_all_down
    rejecting = {**CHECK, "on_all_down": "reject"}
    for name in ("web4", "web6"):
        web.client.update_service(name, health_check=rejecting, on_empty="reset")
    assert eventually(lambda: web.lab.traffic.counted(web.vips(), 5, "none")["failed"] == 10, 10)
    seen = web.lab.traffic.counted(web.vips(), 5, "refused")
    assert all("ConnectionRefused" in text for text in seen["errors"]), seen["errors"]
    web.lab.nginx["b"].sick(sick=False)
    up(web, "b")
    assert answers(web, "one") == {"backend-b"}


def test_a_killed_agent_loses_no_request_and_changes_nobodys_place(web: Balanced) -> None:
    web.lab.nginx["a"].sick(sick=True)
    down(web, "a")
    for name in ("web4", "web6"):
        web.client.update_service(name, health_check=PATIENT)
    load = web.lab.traffic.constant(web.vips(), 100, "one")
    kill(web)
    seen = load.result()
    assert (seen["errors"], set(seen["by_backend"])) == ({}, {"backend-b"})
    web.lab.nginx["a"].sick(sick=False)
    up(web, "a", "b")
    load = web.lab.traffic.constant(web.vips(), 100, "both")
    kill(web)
    time.sleep(1)
    seen = load.result()
    assert (seen["errors"], set(seen["by_backend"])) == ({}, {"backend-a", "backend-b"})


def kill(web: Balanced) -> None:
    """The agent, and starts it again: it has nothing to write, before the first probes or by them."""
    web.agent.kill()
    time.sleep(0.5)
    web.agent.start()
    assert web.agent.wait_ready(web.client).map_writes == 0
    assert eventually(lambda: all(one.health.HasField("last_probe") for one in web.client.list_backends()), 10)
    assert web.client.agent().map_writes == 0


def test_flows_of_who_is_down_are_cut_when_its_grace_ends(web: Balanced) -> None:
    check = {"http": {"path": "/healthy"}, "port": PORT_HTTP, "interval": 0.2, "timeout": 0.15, "fall": 1}
    web.client.create_service("echo", vip=web.vips()[0], port=PORT_ECHO, health_check=check, down_grace=1)
    try:
        for host in EVEN:
            web.add_backend(f"echo/{host}", 4)
        assert eventually(lambda: all(one.health.state == UP for one in web.client.list_backends("echo")), 10)
        load = web.lab.traffic.connections([web.vips()[0]], 10, interval=0.1)
        time.sleep(0.3)
        on_a = list(web.client.flows("echo/a", flows=False))[-1].summary.flows
        assert 0 < on_a < 10
        web.lab.nginx["a"].sick(sick=True)
        time.sleep(3)
        seen = load.result()
        assert seen["open"] == 10 - on_a
        assert all("ConnectionReset" in text for text in seen["errors"]), seen["errors"]
    finally:
        web.client.delete_service("echo", force=True)


@pytest.mark.parametrize("mode", [Mode.KEEP, Mode.DSR], ids=lambda mode: str(mode.value))
def test_in_other_modes_backends_are_probed_at_their_own_address_too(mode: Mode) -> None:
    with set_up(forwarding=mode) as running:
        running.add_web(EVEN)
        for name in ("web4", "web6"):
            running.client.update_service(name, health_check=CHECK)
        running.lab.nginx["a"].crash()
        down(running, "a")
        assert answers(running, "dead") == {"backend-b"}
