"""Drift: what somebody else writes into the maps is found, put right and told; what the agent writes never is."""

import asyncio

import pytest

from l4lb_agent.control.applying import drift
from l4lb_agent.model.changes import commands
from l4lb_agent.model.mapspec import specs
from l4lb_agent.model.tables import array_key
from tests.fakes.values import config
from tests.unit.test_agent import WEB, A, Node, until, web

CONTROL = [spec.name for spec in specs(config().sizes) if spec.control]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at every map within a moment."""
    monkeypatch.setattr(drift, "SHORTEST", 0.0)
    monkeypatch.setattr(drift, "SHARE", 1000.0)
    monkeypatch.setattr("l4lb_agent.control.applying.reconciler.BEAT_SECONDS", 0.001)


async def test_what_somebody_else_changes_is_put_right_by_itself_and_told(quick: None) -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        kernel = node.datapath.maps_in_kernel
        asked = {name: dict(kernel.get(name, {})) for name in CONTROL}
        backends = kernel["backends"]
        first, second = sorted(backends)[:2]
        backends[first] = bytes(len(backends[first]) - 1) + b"\1"  # another one
        del backends[second]  # one less
        key_bytes = next(spec.key_size for spec in specs(config().sizes) if spec.name == "lists")
        kernel["lists"] = {bytes(key_bytes): b"\1\0\0\0"}  # one that nobody asked for
        await until(lambda: {name: kernel.get(name, {}) for name in CONTROL} == asked)
        await until(lambda: {"backends", "lists"} <= set(agent._reconciler.drift.found))
        told = dict.fromkeys(text for reason, text in agent.agent().warnings if reason == "MAP_DRIFTED")
        assert any("2 elements of the map backends" in text and A in text for text in told), told
        assert any("1 element of the map lists" in text for text in told), told
        assert node.served_by() == {"10.0.0.1", "10.0.0.2"}
        assert agent._reconciler.drift.restored == dict.fromkeys(CONTROL, 0) | {"backends": 2, "lists": 1}
        node.clock.ahead += drift.TOLD_SECONDS
        assert "MAP_DRIFTED" not in dict(agent.agent().warnings)


async def test_changes_of_our_own_are_none(quick: None) -> None:
    node = Node()
    async with node.running() as agent:
        for _ in range(20):
            await web(agent)
            await agent.change(commands.DeleteService(WEB, force=True))
        await asyncio.sleep(0.1)
        assert agent._reconciler.drift.found == {}
        assert not any(agent._reconciler.drift.restored.values())


@pytest.mark.parametrize("name", ["services", "config", "index", "addresses"])
async def test_the_doctor_reads_every_map_before_it_answers(name: str) -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        elements = node.datapath.maps_in_kernel[name]
        key = sorted(elements)[0]
        before, elements[key] = elements[key], bytes(len(elements[key]) - 1) + b"\7"
        await agent.diagnose()
        assert elements[key] == before
        assert [one.map for one in agent._reconciler.drift.found.values()] == [name]


async def test_a_kernel_that_refuses_is_tried_again_and_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    monkeypatch.setattr(drift, "WAIT_SECONDS", 0.2)
    node = Node()
    async with node.running() as agent:
        await web(agent)
        kernel = node.datapath.maps_in_kernel
        [key] = kernel["config"]
        assert key == array_key(0)
        before, kernel["config"][key] = kernel["config"][key], b"\2" + bytes(len(kernel["config"][key]) - 1)
        node.datapath.refuse_writes = 1000
        await agent.diagnose()
        assert "refused by the test" in agent.not_ready_reason
        node.datapath.refuse_writes = 0
        await until(lambda: kernel["config"][key] == before and agent.ready)


async def test_a_large_map_that_is_read_is_no_standstill() -> None:
    node, size = Node(), next(spec.key_size for spec in specs(config().sizes) if spec.name == "lists")
    prefixes = {number.to_bytes(size, "big"): b"\1\0\0\0" for number in range(5 * drift.BEAT_ELEMENTS)}
    beats: list[int] = []
    node.datapath.maps_in_kernel["lists"] = prefixes
    found = drift.Drift(node.datapath, node.clock, ["lists"], lambda: None, lambda: beats.append(1), dict)
    await found.turn({"lists": dict(prefixes)}, lambda: False)
    assert (len(beats), found.found) == (5, {})


async def test_a_look_gives_way_to_changes_and_is_made_again() -> None:
    node = Node()
    node.datapath.maps_in_kernel["snat"] = {array_key(3): bytes(15) + b"\1"}
    found = drift.Drift(node.datapath, node.clock, ["snat", "config"], lambda: None, lambda: None, dict)
    answers = iter([False, True])  # nobody waits when it begins, and somebody does once an element is read
    await found.turn({}, lambda: next(answers))
    assert found.found == {}
    node.clock.ahead += drift.SHORTEST
    await found.turn({}, lambda: False)
    assert list(found.found) == ["snat"]
