"""What happens to the agent by itself is one line in its log: attachments, modes, next hops."""

import logging
from collections.abc import Iterator

import pytest

from l4lb_agent.control import surroundings
from l4lb_agent.model.changes import commands
from l4lb_agent.system import log
from tests.fakes.node import Node, until
from tests.fakes.values import address, backend, service

Told = list[dict[str, str]]


@pytest.fixture
def told() -> Iterator[Told]:
    """Fields of every line, as they come."""
    found: Told = []

    class Taken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append({name: value for name, value in log.line(record).fields.items() if name.startswith("L4LB_")})

    logger = logging.getLogger("l4lb_agent")
    handler, level = Taken(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(level)


def events(told: Told, *names: str) -> Told:
    return [line for line in told if line["L4LB_EVENT"] in names]


async def test_an_attachment_and_a_change_of_mode_are_told(told: Told) -> None:
    node = Node(interfaces=Node().interfaces[:1])
    async with node.running() as agent:
        await until(lambda: agent.ready)
        assert [(line["L4LB_INTERFACE"], line["L4LB_MODE"]) for line in events(told, "attached")] == [("eth0", "native")]
        node.datapath.attached["eth0"] = "generic"
        agent._monitor.wake()
        await until(lambda: events(told, "mode_changed"))
        [changed] = events(told, "mode_changed")
        assert (changed["L4LB_INTERFACE"], changed["L4LB_BEFORE"], changed["L4LB_MODE"]) == ("eth0", "native", "generic")
        agent._monitor.wake()
        node.datapath.refuse_attaches = 1
        await until(lambda: not node.datapath.refuse_attaches and agent.ready)
    assert len(events(told, "attach_failed")) == 1


async def test_a_next_hop_is_told_when_it_is_found_and_when_it_is_lost(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "HOLD_SECONDS", 0.0)
    node = Node(interfaces=Node().interfaces[:1])
    async with node.running() as agent:
        await until(lambda: agent.ready)
        await agent.change(commands.CreateService(service("web")))
        await agent.change(commands.AddBackend(backend("web", "a", "10.0.0.7", 80)))
        [found] = events(told, "next_hop_found")
        assert (found["L4LB_ADDRESS"], found["L4LB_INTERFACE"]) == ("10.0.0.7", "eth0")
        node.network.missing.add(address("10.0.0.7"))
        node.network.happen("neighbour")
        await until(lambda: events(told, "next_hop_lost"))
        node.network.missing.clear()
        node.network.happen("neighbour")
        await until(lambda: len(events(told, "next_hop_found")) == 2)
    assert len(events(told, "next_hop_lost")) == 1


async def test_the_end_of_a_drain_names_service_and_backend(told: Told) -> None:
    node = Node(interfaces=Node().interfaces[:1])
    async with node.running() as agent:
        await until(lambda: agent.ready)
        await agent.change(commands.CreateService(service("web")))
        await agent.change(commands.AddBackend(backend("web", "a", "10.0.0.7", 80)))
        await agent.change(commands.DrainBackend("services/web/backends/a", None, allow_empty=True))
        [ended] = events(told, "drain_ended")
    assert (ended["L4LB_SERVICE"], ended["L4LB_BACKEND"], ended["L4LB_RESULT"]) == ("web", "a", "EMPTY")
