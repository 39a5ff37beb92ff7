"""Drains: no new flow to the backend, no harm to those it has, and an honest end."""

import threading
import time
from typing import Any

import pytest

import l4lb
from l4lb.v1.backend_pb2 import AdminState, DrainResult
from lab.services import EVEN, Balanced
from lab.topology import PORT_ECHO
from lab.traffic import Load

PORTS = range(21000, 21040)


def slow_download_from(running: Balanced, name: str, family: int = 4) -> Load:
    """A download that lasts about 12 s and is served by one backend."""
    for number in range(40):
        load = running.lab.traffic.download(running.lab.topology.vip().of(family), "/slow/slow.bin", f"slow-{number}")
        if load.backend == f"backend-{name}":
            return load
        load.kill()
    raise AssertionError(f"no download reached backend-{name}")


def waiting(running: Balanced, name: str) -> tuple[threading.Thread, list[tuple[float, l4lb.DrainProgress]]]:
    """A thread that waits for the end of a drain, and what is reported to it meanwhile."""
    reports: list[tuple[float, l4lb.DrainProgress]] = []
    arguments: dict[str, Any] = {"timeout": 60, "on_progress": lambda progress: reports.append((time.monotonic(), progress))}
    thread = threading.Thread(target=running.client.wait_drained, args=(name,), kwargs=arguments)
    thread.start()
    return thread, reports


def test_a_drained_backend_gets_no_new_flow_and_ends_its_old_ones_in_peace(web: Balanced) -> None:
    traffic = web.lab.traffic
    assert traffic.counted(web.vips(), len(PORTS), "warm", ports=PORTS)["by_backend"]["backend-a"] > 0
    download = slow_download_from(web, "a")
    web.client.drain("web4/a")
    web.client.drain("web6/a")
    thread, reports = waiting(web, "web4/a")
    reused = traffic.counted(web.vips(), len(PORTS), "reused", ports=PORTS)
    fresh = traffic.counted(web.vips(), 150, "fresh")
    for seen in (reused, fresh):
        assert (seen["errors"], set(seen["by_backend"])) == ({}, {"backend-b"})
    assert web.lab.nginx["a"].logged("reused") + web.lab.nginx["a"].logged("fresh") == []
    with pytest.raises(l4lb.Error) as refused:
        web.client.remove_backend("web4/a")
    assert refused.value.code == "FAILED_PRECONDITION"
    result = download.result()
    thread.join()
    assert (result["errors"], result["sha256"]) == ({}, web.lab.digests["slow.bin"])
    at, last = reports[-1]
    assert last.done
    assert at >= result["ended"], "DRAINED before the last FIN"
    remaining = [progress.remaining for _, progress in reports]
    assert remaining == sorted(remaining, reverse=True)
    assert (remaining[0], remaining[-1]) == (1, 0)
    assert web.client.get_backend("web4/a").drain.result == DrainResult.DRAIN_RESULT_EMPTY
    web.client.remove_backend("web4/a")


def echoes_on_a(running: Balanced, count: int = 10) -> Load:
    """Long-lived connections of which some are on each backend."""
    running.add_service("echo", 4, protocol="tcp", port=PORT_ECHO, weights=EVEN)
    load = running.lab.traffic.connections([running.lab.topology.vip().v4], count, interval=0.1)
    time.sleep(0.3)
    return load


@pytest.mark.parametrize(
    ("action", "result", "cut"),
    [
        ("keep", DrainResult.DRAIN_RESULT_DEADLINE_KEPT, False),
        ("cut", DrainResult.DRAIN_RESULT_DEADLINE_CUT, True),
        ("reset", DrainResult.DRAIN_RESULT_DEADLINE_CUT, True),
    ],
)
def test_at_the_deadline_what_is_left_is_kept_cut_or_reset(running: Balanced, action: str, result: int, cut: bool) -> None:
    load = echoes_on_a(running)
    drained = running.client.drain("echo/a", timeout=2, at_deadline=action)
    on_a = drained.drain.initial_flows
    assert 0 < on_a < 10
    backend = running.client.wait_drained("echo/a", timeout=20)
    assert (backend.admin_state, backend.drain.result) == (AdminState.ADMIN_STATE_DRAINED, result)
    time.sleep(1)
    seen = load.result()
    assert seen["open"] == (10 - on_a if cut else 10)
    if cut:
        # Answered, never left hanging: the client is told by RST, in time.
        assert sum(seen["errors"].values()) == on_a
        assert all("ConnectionReset" in text for text in seen["errors"]), seen["errors"]


def test_a_drain_without_flows_ends_at_once(web: Balanced) -> None:
    assert web.client.drain("web4/a").admin_state == AdminState.ADMIN_STATE_DRAINED


def test_undrain_brings_new_flows_back(web: Balanced) -> None:
    web.client.drain("web4/a")
    vip = [web.lab.topology.vip().v4]
    assert web.lab.traffic.counted(vip, 40, "drained")["by_backend"] == {"backend-b": 40}
    web.client.undrain("web4/a")
    seen = web.lab.traffic.counted(vip, 100, "back")
    assert seen["failed"] == 0
    assert seen["by_backend"]["backend-a"] > 40


def test_the_last_backend_is_drained_only_when_asked_explicitly(web: Balanced) -> None:
    web.client.drain("web4/a")
    with pytest.raises(l4lb.Error) as refused:
        web.client.drain("web4/b")
    assert refused.value.code == "FAILED_PRECONDITION"
    web.client.drain("web4/b", allow_empty=True)
    assert web.lab.traffic.counted([web.lab.topology.vip().v4], 3, "none", patience=1.5)["failed"] == 3


def test_a_drain_goes_on_over_a_killed_agent(running: Balanced) -> None:
    load = echoes_on_a(running)
    running.client.drain("echo/a", timeout=5, at_deadline="keep")
    deadline = running.client.get_backend("echo/a").drain.deadline
    running.agent.kill()
    running.agent.start()
    running.agent.wait_ready(running.client)
    after = running.client.get_backend("echo/a")
    assert (after.admin_state, after.drain.deadline) == (AdminState.ADMIN_STATE_DRAINING, deadline)
    running.client.wait_drained("echo/a", timeout=20)
    assert load.result()["open"] == 10
