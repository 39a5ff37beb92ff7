"""Lists and limits on the real control: what is answered has been written, what was half written is completed, restarts write nothing."""

import asyncio

import pytest

import l4lb
from l4lb_agent.model import layout
from l4lb_agent.model.access.lists import Members
from l4lb_agent.model.access.prefixes import parse_all
from tests.api.test_agent import Node, node

__all__ = ["node"]


def held(node: Node, *numbers: int) -> dict[int, set[str]]:
    """Prefixes in the kernel's trie by the numbers of their lists."""
    found: dict[int, set[str]] = {number: set() for number in numbers}
    for key, value in node.datapath.maps_in_kernel.get("lists", {}).items():
        listed = layout.ListKey.from_buffer_copy(key)
        assert int.from_bytes(value, "little") == listed.bits - 31
        found.setdefault(listed.list >> 1, set()).add(bytes(listed.address).hex() + f"/{listed.bits - 32}")
    return found


def keys(*texts: str) -> set[str]:
    return {f"{prefix.packed.hex()}/{prefix.bits}" for prefix in parse_all(texts, "prefixes")}


async def test_an_answer_means_that_the_trie_holds_the_list(node: Node) -> None:
    async with node.running() as lb:
        made = await lb.create_list("bad", prefixes=["10.0.0.0/8", "2001:db8::/32"])
        assert (made.reconciling, held(node)) == (False, {1: keys("10.0.0.0/8", "2001:db8::/32")})
        await lb.update_list("bad", add=["11.0.0.0/8"], remove=["10.0.0.0/8"])
        assert held(node) == {1: keys("11.0.0.0/8", "2001:db8::/32")}
        await lb.delete_list("bad")
        assert held(node, 1) == {1: set()}


async def test_a_service_shows_its_lists_and_lists_their_services(node: Node) -> None:
    async with node.running() as lb:
        await lb.create_list("bad", prefixes=["10.0.0.0/8"])
        await lb.create_service("web", vip="192.0.2.1", port=80, ring_size=1021, deny_list="bad")
        assert list((await lb.get_list("bad")).services) == ["services/web"]
        [policy] = node.datapath.maps_in_kernel["policies"].values()
        assert layout.Policy.from_buffer_copy(policy).deny_list == 1
        config = await lb.config()
        assert [(one.name, list(one.prefixes)) for one in config.lists] == [("lists/bad", ["10.0.0.0/8"])]


async def test_a_restart_writes_nothing_and_keeps_numbers_prefixes_and_limits(node: Node) -> None:
    limit = {"per_source": {"flows_per_second": 7, "burst": 9}, "prefix_v4": 24}
    async with node.running() as lb:
        for number in range(3):
            await lb.create_list(f"l{number}", prefixes=[f"10.{number}.0.0/16"])
        await lb.delete_list("l0")
        await lb.create_service("web", vip="192.0.2.1", port=80, ring_size=1021, allow_list="l2", new_flow_limit=limit)
        before = await lb.get_service("web")
    kept = held(node)
    async with node.running() as lb:
        assert (await lb.agent()).map_writes == 0
        assert await lb.get_service("web") == before
        assert [str(prefix) for prefix in (await lb.get_list("l1")).prefixes] == ["10.1.0.0/16"]
    assert held(node) == kept == {2: keys("10.1.0.0/16"), 3: keys("10.2.0.0/16")}


@pytest.mark.parametrize("written", range(6))
async def test_a_list_that_was_half_written_is_completed_after_the_restart(node: Node, written: int) -> None:
    """The kernel takes some writes and then none; the agent is killed before it takes more."""
    async with node.running() as lb:
        await lb.create_list("bad", prefixes=["10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8"])
        node.datapath.accept_writes = written
        asked = asyncio.ensure_future(lb.update_list("bad", prefixes=["12.0.0.0/8", "13.0.0.0/8", "14.0.0.0/8"]))
        done, _ = await asyncio.wait([asked], timeout=5)
        if done and (error := asked.exception()) is not None:
            assert isinstance(error, l4lb.Error)
            assert error.reason == "APPLY_PENDING"
            assert (await lb.get_list("bad")).reconciling
        asked.cancel()
    async with node.running() as lb:
        assert held(node) == {1: keys("12.0.0.0/8", "13.0.0.0/8", "14.0.0.0/8")}
        assert not (await lb.get_list("bad")).reconciling


async def test_a_foreign_prefix_in_the_trie_is_taken_out_at_the_next_start(node: Node) -> None:
    async with node.running() as lb:
        await lb.create_list("bad", prefixes=["10.0.0.0/8"])
    node.datapath.maps_in_kernel["lists"] |= (
        Members(1, parse_all(["0.0.0.0/0"], "")).elements | Members(9, parse_all(["::/0"], "")).elements
    )
    async with node.running() as lb:
        assert (await lb.agent()).map_writes == 2
    assert held(node) == {1: keys("10.0.0.0/8")}


async def test_an_allow_list_that_lets_nobody_in_is_warned_of(node: Node) -> None:
    async with node.running() as lb:
        await lb.create_list("good", prefixes=["2001:db8::/32"])
        await lb.create_service("web", vip="192.0.2.1", port=80, ring_size=1021, allow_list="good")
        warned = [warning.message for warning in (await lb.agent()).warnings if warning.reason == "ALLOW_LIST_EMPTY"]
        assert warned == ["services/web lets nobody in: lists/good has no prefix of IPv4"]
        await lb.update_list("good", add=["10.0.0.0/8"])
        assert not [warning for warning in (await lb.agent()).warnings if warning.reason == "ALLOW_LIST_EMPTY"]


async def test_watchers_of_backends_are_not_disturbed_by_lists(node: Node) -> None:
    async with node.running() as lb:
        await lb.create_service("web", vip="192.0.2.1", port=80, ring_size=1021)
        events = lb.watch("-")
        assert (await anext(events)).kind.value == "SYNCED"
        await lb.create_list("bad", prefixes=["10.0.0.0/8"])
        await lb.delete_list("bad")
        await lb.add_backend("web/a", address="10.0.0.1")
        event = await anext(events)
        assert (event.kind.value, event.revision) == ("ADDED", 4)
        await events.aclose()  # type: ignore[attr-defined]
