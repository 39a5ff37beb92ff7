"""rolling_drain.py takes an address out of two load balancers, one after the other, and survives what happens meanwhile."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from l4lb.v1.backend_pb2 import AdminState, Backend, DrainResult
from lab import netns
from lab.agent import Agent
from lab.laboratory import Laboratory
from lab.remote import Remote
from lab.services import EVEN, balanced
from lab.topology import PORT_ECHO
from lab.traffic import Load
from tests.clients.conftest import ROOT, Reached, files
from tests.clients.program import Program

SCRIPT = ROOT / "clients/python/examples/rolling_drain.py"
ENABLED, DRAINING, DRAINED = AdminState.ADMIN_STATE_ENABLED, AdminState.ADMIN_STATE_DRAINING, AdminState.ADMIN_STATE_DRAINED
Roll = Callable[..., Program]


def join(here: Laboratory, there: Laboratory) -> str:
    """A link from the controller of one laboratory to the load balancer of another. Returns the address of that end."""
    peer = f"link add eth1 type veth peer name mgmt1 netns {there.namespace('lb')}"
    netns.batch(here.namespace("controller"), [peer, "addr add 10.77.10.2/30 dev eth1", "link set eth1 up"])
    netns.batch(there.namespace("lb"), ["addr add 10.77.10.1/30 dev mgmt1", "link set mgmt1 up"])
    return "10.77.10.1"


@pytest.fixture(scope="module")
def agents() -> Iterator[tuple[Reached, Reached]]:
    """Two load balancers with backends of their own, at the same addresses."""
    with ExitStack() as stack:
        labs = [stack.enter_context(Laboratory()) for _ in range(2)]
        second = join(labs[0], labs[1])
        made: list[Reached] = []
        for lab, address in zip(labs, ("", second)):
            remote = Remote(lab, address=address, authority=made[0].remote.authority if made else None)
            agent = Agent(lab, remote=remote)
            stack.callback(lambda agent=agent: print(agent.log()))
            running = stack.enter_context(balanced(lab, agent))
            made.append(Reached(lab, agent, running.client, remote))
        yield made[0], made[1]


def clean(running: Reached) -> None:
    """As when the module began, whatever a test that failed has left."""
    running.lab.traffic.kill()
    if not running.agent.runs():
        running.agent.start()
        running.agent.wait_ready(running.client)
    for service in list(running.client.list_services()):
        running.client.delete_service(service.name, force=True)


@pytest.fixture
def both(agents: tuple[Reached, Reached]) -> Iterator[tuple[Reached, Reached]]:
    """An echo service on each."""
    with ExitStack() as stack:
        for running in agents:
            stack.callback(clean, running)
            running.add_service("echo", 4, protocol="tcp", port=PORT_ECHO, weights=EVEN)
        yield agents


@pytest.fixture
def roll(both: tuple[Reached, Reached]) -> Iterator[Roll]:
    """Starts the script for backend a of both, with more arguments."""
    programs: list[Program] = []

    def start(*arguments: str, address: str = both[0].lab.topology.host("a").v4) -> Program:
        targets = [running.remote.target for running in both]
        words = ["--address", address, *files(both[0].remote, "operator"), *arguments, *targets]
        programs.append(Program(netns.entering(both[0].lab.namespace("controller"), [sys.executable, str(SCRIPT), *words])))
        return programs[-1]

    yield start
    for program in programs:
        program.end()
        print("program:", *program.lines, sep="\n  ")


def connections(running: Reached) -> Load:
    return running.lab.traffic.connections([running.lab.topology.vip().v4], 20, interval=0.1)


def states(both: tuple[Reached, Reached]) -> list[AdminState.ValueType]:
    return [running.client.get_backend("echo/a").admin_state for running in both]


def a_of(running: Reached) -> Backend:
    return running.client.get_backend("echo/a")


def test_the_second_agent_comes_when_the_first_has_no_flow_left(both: tuple[Reached, Reached], roll: Roll) -> None:
    first, second = connections(both[0]), connections(both[1])
    program = roll()
    program.until(r"echo/a: draining, [1-9]\d* of ")
    assert states(both) == [DRAINING, ENABLED]
    assert first.result()["errors"] == {}
    program.until(f"{both[1].remote.target} echo/a: draining, [1-9]")
    assert states(both) == [DRAINED, DRAINING]
    assert second.result()["errors"] == {}
    assert program.until("drained$")
    assert program.wait() == 0
    assert [a_of(running).drain.result for running in both] == [DrainResult.DRAIN_RESULT_EMPTY] * 2


def test_run_again_it_changes_nothing(both: tuple[Reached, Reached], roll: Roll) -> None:
    assert roll().wait() == 0
    before = [running.client.config() for running in both]
    assert roll().wait() == 0
    assert [running.client.config() for running in both] == before
    assert states(both) == [DRAINED, DRAINED]


def test_a_killed_script_is_run_again_and_keeps_the_deadline(both: tuple[Reached, Reached], roll: Roll) -> None:
    load = connections(both[0])
    program = roll("--timeout", "200")
    program.until(r"echo/a: draining, [1-9]\d* of ")
    program.end()
    assert states(both) == [DRAINING, ENABLED]
    deadline = a_of(both[0]).drain.deadline
    again = roll("--timeout", "100")
    again.until(r"echo/a: draining, [1-9]\d* of ")
    assert a_of(both[0]).drain.deadline == deadline
    assert load.result()["errors"] == {}
    assert again.wait() == 0
    assert states(both) == [DRAINED, DRAINED]


def test_an_agent_killed_midway_is_waited_for(both: tuple[Reached, Reached], roll: Roll) -> None:
    load = connections(both[0])
    program = roll()
    program.until(r"echo/a: draining, [1-9]\d* of ")
    both[0].agent.kill()
    assert both[1].client.get_backend("echo/a").admin_state == ENABLED
    both[0].agent.start()
    both[0].agent.wait_ready(both[0].client)
    assert states(both) == [DRAINING, ENABLED]
    assert load.result()["errors"] == {}
    assert program.wait() == 0
    assert states(both) == [DRAINED, DRAINED]


def test_an_agent_that_does_not_come_back_ends_it_before_the_next(both: tuple[Reached, Reached], roll: Roll) -> None:
    load = connections(both[0])
    program = roll("--patience", "2")
    program.until(r"echo/a: draining, [1-9]\d* of ")
    both[0].agent.kill()
    program.until("^stopped: 0 of 2 agents are drained", within=40)
    assert program.wait() == 1
    assert a_of(both[1]).admin_state == ENABLED
    assert load.result()["errors"] == {}
    both[0].agent.start()
    both[0].agent.wait_ready(both[0].client)
    assert roll().wait() == 0
    assert states(both) == [DRAINED, DRAINED]


def test_an_agent_that_refuses_ends_it_and_nothing_has_begun(both: tuple[Reached, Reached], roll: Roll) -> None:
    """The second of two services would lose its last backend: the agent is asked before the first is drained."""
    both[0].add_service("last", 4, protocol="udp", port=PORT_ECHO, weights={"a": 1})
    program = roll()
    program.until("LAST_BACKEND|last backend")
    program.until("^stopped: 0 of 2")
    assert program.wait() == 1
    assert states(both) == [ENABLED, ENABLED]
    both[0].client.delete_service("last", force=True)


def test_flows_left_at_the_deadline_end_it_until_they_are_gone(both: tuple[Reached, Reached], roll: Roll) -> None:
    load = connections(both[0])
    program = roll("--timeout", "1")
    program.until("DRAIN_RESULT_DEADLINE_KEPT, and [1-9][0-9]* flows go on")
    assert program.wait() == 1
    assert states(both) == [DRAINED, ENABLED]
    again = roll()
    again.until("flows go on")
    assert again.wait() == 1
    assert load.result()["errors"] == {}
    assert any(roll().wait() == 0 for _ in range(20)), "the next sweep does not see that the flows have ended"
    assert states(both) == [DRAINED, DRAINED]


def test_an_address_that_no_backend_has_ends_it(both: tuple[Reached, Reached], roll: Roll) -> None:
    program = roll(address="10.99.99.99")
    program.until("no backend has the address 10.99.99.99")
    assert program.wait() == 1
    assert states(both) == [ENABLED, ENABLED]
