"""The examples in Go and TypeScript do what their READMEs say."""

import re
import subprocess
from collections.abc import Callable, Iterator

import pytest

from lab.topology import PORT_ECHO
from tests.clients.conftest import Commands, Reached
from tests.clients.program import Program

Start = Callable[..., Program]


@pytest.fixture
def start(example: Commands, running: Reached) -> Iterator[Start]:
    """Starts the example of a language with words; the agent has an echo service with one backend."""
    running.add_service("echo", 4, protocol="tcp", port=PORT_ECHO, weights={"b": 1})
    programs: list[Program] = []

    def run(*words: str, role: str = "operator") -> Program:
        programs.append(Program(running.from_controller(example.command("example"), *words, role=role)))
        return programs[-1]

    yield run
    for program in programs:
        program.end()
    running.lab.traffic.kill()
    running.client.delete_service("echo", force=True)


def address_of_a(running: Reached) -> str:
    return running.lab.topology.host("a").v4


def test_a_backend_is_added(start: Start, running: Reached) -> None:
    program = start("add", "echo/a", address_of_a(running), "3")
    assert program.until("added")[-1] == "added services/echo/backends/a, 75 % of the slots"
    assert program.wait() == 0
    assert running.client.get_backend("echo/a").weight == 3


def test_a_refusal_is_told_with_its_reason(start: Start) -> None:
    program = start("add", "echo/b", "10.0.0.1", "1")
    assert "ALREADY_EXISTS ALREADY_EXISTS: " in program.until("example")[-1]
    assert program.wait() == 1


def test_a_drain_reports_its_progress_to_the_last_flow(start: Start, running: Reached) -> None:
    running.add_backend("echo/a", 4)
    load = running.lab.traffic.connections([running.lab.topology.vip().v4], 20, interval=0.1)
    program = start("drain", "echo/a")
    first = program.until(r"echo/a: [1-9]\d* of [1-9]\d* flows left")[-1]
    flows = int(first.split()[1])
    load.result()
    lines = program.until("drained")
    assert lines[-1] == "echo/a: drained, DRAIN_RESULT_EMPTY"
    left = [int(line.split()[1]) for line in lines[:-1]]
    assert left == sorted(left, reverse=True)
    assert left[0] <= flows
    assert left[-1] == 0
    assert program.wait() == 0


def test_statistics_are_streamed(start: Start, running: Reached) -> None:
    load = running.lab.traffic.connections([running.lab.topology.vip().v4], 4, interval=0.1)
    program = start("stats", "5")
    packets = [int(re.findall(r"(\d+) packets in", program.until("echo/backends/b: [1-9]")[-1])[0]) for _ in range(5)]
    load.result()
    assert packets == sorted(packets)
    assert packets[-1] > packets[0]
    assert program.wait() == 0


def test_a_watch_goes_on_after_the_agent_was_killed(start: Start, running: Reached) -> None:
    program = start("watch", "echo", "0")
    assert re.match(r"(EVENT_)?ADDED services/echo/backends/b at", program.until("SYNCED")[0])
    running.agent.kill()
    running.agent.start()
    running.agent.wait_ready(running.client)
    changed = running.client.update_backend("echo/b", weight=7)
    program.until(rf"MODIFIED services/echo/backends/b at revision {changed.revision}$")


def test_a_viewer_may_watch_but_not_drain(start: Start, running: Reached) -> None:
    program = start("drain", "echo/b", role="viewer")
    program.until("example: PERMISSION_DENIED ROLE_NOT_ALLOWED: ")
    assert program.wait() == 1
    program = start("watch", "echo", "1", role="viewer")
    program.until("ADDED services/echo/backends/b")
    assert program.wait() == 0


def test_without_an_agent_the_example_fails(example: Commands) -> None:
    done = subprocess.run(
        [*example.command("example"), "--target", "unix:///nonexistent/l4lb.sock", "watch", "-", "1"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "example: " in done.stderr
