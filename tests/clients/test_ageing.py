"""Connections age out, so that a certificate that was taken back stops working; streams of those that have one go on."""

import re
import sys
import time
from collections.abc import Iterator

import pytest

from lab import netns
from lab.agent import Agent
from lab.laboratory import Laboratory
from lab.remote import Remote
from lab.services import balanced
from lab.topology import PORT_ECHO
from tests.clients.conftest import Commands, Reached
from tests.clients.program import Program

AGE = 2  # seconds


class Ageing(Remote):
    """An agent whose connections last AGE seconds."""

    def configuration(self, uid: int) -> str:
        """That of Remote, and the age."""
        return f"{super().configuration(uid)}max_connection_age = {AGE}\n"


@pytest.fixture
def ageing() -> Iterator[Reached]:
    """A laboratory with such an agent and an echo service."""
    with Laboratory() as lab:
        remote = Ageing(lab)
        agent = Agent(lab, remote=remote)
        try:
            with balanced(lab, agent) as made:
                made.add_service("echo", 4, protocol="tcp", port=PORT_ECHO, weights={"b": 1})
                yield Reached(made.lab, made.agent, made.client, remote)
        finally:
            print(agent.log())


def watching(client: Commands, ageing: Reached) -> Program:
    if client.language == "python":
        argv = ageing.from_controller([sys.executable, "-m", "l4lb.cli.main"], "backend", "watch", "echo", "-o", "json")
        return Program([word if word != "--target" else "-s" for word in argv])
    return Program(ageing.from_controller(client.command("example"), "watch", "echo", "0"))


def connections(ageing: Reached) -> set[str]:
    """Ports of the controller that are connected to the agent."""
    shown = netns.run(netns.entering(ageing.lab.namespace("controller"), ["ss", "-Htn", "state", "established"]))
    return set(re.findall(r"10\.77\.9\.2\]?:(\d+)", shown))


def test_a_watch_outlives_its_connections(client: Commands, ageing: Reached) -> None:
    program = watching(client, ageing)
    try:
        program.until("SYNCED")
        first = connections(ageing)
        assert len(first) == 1
        until = time.monotonic() + 20 * AGE
        while (now := connections(ageing)) <= first:
            assert time.monotonic() < until, "the connection does not age out"
            time.sleep(0.1)
        assert now
        for weight in (5, 6):
            revision = ageing.client.update_backend("echo/b", weight=weight).revision
            program.until(rf"MODIFIED.*\b{revision}\b")
            time.sleep(AGE)
    finally:
        program.end()
