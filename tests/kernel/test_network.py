"""Next hops and changes as the kernel of a network namespace has them."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from l4lb_agent.model.address import Address
from l4lb_agent.model.observed import NextHop
from l4lb_agent.system import network as network_module
from l4lb_agent.system.netlink import Netlink
from l4lb_agent.system.network import KernelNetwork
from tests.kernel.conftest import Pair


def address(text: str) -> Address:
    return Address.parse(text, "test")


@pytest.fixture
async def network(inside: Pair) -> AsyncIterator[KernelNetwork]:
    made = KernelNetwork()
    yield made
    made.close()


async def resolved(network: KernelNetwork, text: str, seconds: float = 10) -> NextHop:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        hop = await network.next_hop(address(text))
        if hop is not None:
            return hop
        await asyncio.sleep(0.05)
    raise AssertionError(f"{text} was not resolved")


def mac(pair: Pair, namespace: str) -> bytes:
    return bytes.fromhex(pair.ip(namespace, "link", "show", "eth0").split("link/ether ")[1].split()[0].replace(":", ""))


@pytest.mark.parametrize(("text", "own"), [("192.0.2.2", "192.0.2.1"), ("2001:db8::2", "2001:db8::1")])
async def test_a_neighbour_on_the_link_is_its_own_next_hop(network: KernelNetwork, inside: Pair, text: str, own: str) -> None:
    hop = await resolved(network, text)
    ifindex = (await network.interfaces())["eth0"]
    assert hop == NextHop("eth0", ifindex, mac(inside, inside.lb), mac(inside, inside.peer), None, 1500, Address.parse(own, "own"))


async def test_an_address_of_the_link_is_none_that_others_are_sent_to_from(network: KernelNetwork, inside: Pair) -> None:
    """A host with no other: the kernel would use it, or even ::1 while that one is tentative, and no router would send its packets on."""
    inside.ip(inside.lb, "address", "delete", "2001:db8::1/64", "dev", "eth0")
    inside.ip(inside.lb, "route", "add", "2001:db8::2", "dev", "eth0")
    said = inside.ip(inside.lb, "route", "get", "2001:db8::2")
    assert "src fe80::" in said or "src ::1 " in said
    assert (await resolved(network, "2001:db8::2")).source is None


@pytest.mark.parametrize(
    ("destination", "via", "gateway", "mtu"),
    [
        ("198.51.100.7", "192.0.2.2", "192.0.2.2", 1400),
        ("203.0.113.7", "inet6 2001:db8::2", "2001:db8::2", 1400),
        ("2001:db8:5::7", "2001:db8::2", "2001:db8::2", 1400),
    ],
)
async def test_behind_a_router_the_gateway_is_resolved_and_the_route_s_mtu_counts(
    network: KernelNetwork, inside: Pair, destination: str, via: str, gateway: str, mtu: int
) -> None:
    inside.ip(inside.lb, "route", "add", destination, "via", *via.split(), "mtu", str(mtu))
    hop = await resolved(network, destination)
    assert (hop.gateway, hop.mtu, hop.destination_mac) == (address(gateway), mtu, mac(inside, inside.peer))
    inside.ip(inside.lb, "route", "replace", destination, "via", *via.split(), "mtu", "9000")
    assert (await resolved(network, destination)).mtu == 1500, "what the link takes"


async def test_the_neighbour_is_managed_by_the_kernel_and_asked_for_once(network: KernelNetwork, inside: Pair) -> None:
    await resolved(network, "192.0.2.2")
    assert "managed extern_learn" in inside.ip(inside.lb, "neigh", "show", "192.0.2.2")
    changes = network.changes()
    assert await anext(changes) == "anything"
    for _ in range(3):
        await network.next_hop(address("192.0.2.2"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(changes), 0.5)


async def test_without_route_or_answer_or_for_an_own_address_there_is_no_next_hop(network: KernelNetwork, inside: Pair) -> None:
    inside.ip(inside.lb, "route", "add", "blackhole", "203.0.113.0/24")
    inside.ip(inside.lb, "route", "add", "unreachable", "2001:db8:9::/64")
    for text in ("198.51.100.9", "203.0.113.9", "2001:db8:9::1", "2001:db9::1", "192.0.2.1", "2001:db8::1", "192.0.2.77"):
        assert await network.next_hop(address(text)) is None, text


async def test_a_static_neighbour_is_used_and_left_as_it_is(network: KernelNetwork, inside: Pair) -> None:
    inside.ip(inside.lb, "neigh", "add", "192.0.2.50", "lladdr", "02:00:00:00:00:50", "dev", "eth0", "nud", "permanent")
    hop = await network.next_hop(address("192.0.2.50"))
    assert hop is not None
    assert hop.destination_mac == bytes.fromhex("020000000050")
    await network.forget(address("192.0.2.50"))
    shown = inside.ip(inside.lb, "neigh", "show", "192.0.2.50")
    assert "PERMANENT" in shown
    assert "managed" not in shown


async def test_a_shared_gateway_is_kept_until_the_last_address_is_forgotten(network: KernelNetwork, inside: Pair) -> None:
    inside.ip(inside.lb, "route", "add", "198.51.100.0/24", "via", "192.0.2.2")
    for text in ("198.51.100.1", "198.51.100.2"):
        await resolved(network, text)
    await network.forget(address("198.51.100.1"))
    assert "managed" in inside.ip(inside.lb, "neigh", "show", "192.0.2.2")
    await network.forget(address("198.51.100.2"))
    assert "managed" not in inside.ip(inside.lb, "neigh", "show", "192.0.2.2")
    await network.forget(address("198.51.100.2"))


async def test_many_behind_one_router_ask_for_it_once_until_something_changes(
    network: KernelNetwork, inside: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside.ip(inside.lb, "route", "add", "198.51.100.0/24", "via", "192.0.2.2")
    await resolved(network, "198.51.100.1")
    asked: list[str] = []
    ask = Netlink.ask

    async def counted(self: Netlink, what: str, command: str, **arguments: Any) -> list[Any]:
        asked.append(what)
        return await ask(self, what, command, **arguments)

    monkeypatch.setattr(Netlink, "ask", counted)
    monkeypatch.setattr(network_module, "KNOWN_SECONDS", 1000.0)
    found = await asyncio.gather(*(network.next_hop(address(f"198.51.100.{n}")) for n in range(1, 51)))
    assert {hop.destination_mac for hop in found if hop} == {mac(inside, inside.peer)}
    assert asked.count("route") == 50
    assert asked.count("link") <= 1
    changes = network.changes()
    assert await anext(changes) == "anything"
    inside.ip(inside.lb, "neigh", "replace", "192.0.2.2", "lladdr", "02:00:00:00:00:02", "dev", "eth0", "nud", "permanent")
    async with asyncio.timeout(20):
        while await anext(changes) != "neighbour":
            pass
    hop = await network.next_hop(address("198.51.100.1"))
    assert hop is not None
    assert hop.destination_mac == bytes.fromhex("020000000002")


async def test_a_route_that_moves_changes_the_next_hop_and_frees_the_old_neighbour(network: KernelNetwork, inside: Pair) -> None:
    inside.ip(inside.peer, "address", "add", "192.0.2.3/24", "dev", "eth0")
    inside.ip(inside.lb, "route", "add", "198.51.100.0/24", "via", "192.0.2.2")
    await resolved(network, "198.51.100.1")
    inside.ip(inside.lb, "route", "replace", "198.51.100.0/24", "via", "192.0.2.3")
    assert (await resolved(network, "198.51.100.1")).gateway == address("192.0.2.3")
    assert "managed" not in inside.ip(inside.lb, "neigh", "show", "192.0.2.2")


async def test_every_kind_of_change_is_seen(network: KernelNetwork, inside: Pair) -> None:
    await resolved(network, "192.0.2.2")
    changes = network.changes()
    assert await anext(changes) == "anything"

    async def until(kind: str) -> None:
        async with asyncio.timeout(20):
            while await anext(changes) != kind:
                pass

    inside.ip(inside.lb, "route", "add", "198.51.100.0/24", "via", "192.0.2.2")
    await until("route")
    inside.ip(inside.lb, "address", "add", "192.0.2.9/24", "dev", "eth0")
    await until("address")
    assert address("192.0.2.9") in await network.local_addresses()
    inside.ip(inside.lb, "link", "add", "dummy0", "type", "veth", "peer", "name", "x", "netns", inside.peer)
    await until("link")
    inside.ip(inside.peer, "link", "set", "eth0", "address", "02:00:00:00:00:99")
    inside.ip(inside.lb, "neigh", "replace", "192.0.2.2", "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "reachable")
    await until("neighbour")
    assert (await resolved(network, "192.0.2.2")).destination_mac == bytes.fromhex("020000000099")


async def test_an_overflow_of_the_monitor_means_that_anything_may_have_changed(inside: Pair) -> None:
    from pyroute2 import AsyncIPRoute

    network = KernelNetwork(lambda: AsyncIPRoute(rcvbuf=2048))
    changes = network.changes()
    assert await anext(changes) == "anything"
    for number in range(100):  # the loop does not read meanwhile
        inside.ip(inside.lb, "route", "add", f"198.51.100.{number}", "via", "192.0.2.2")
    async with asyncio.timeout(20):
        while await anext(changes) != "anything":
            pass
    await changes.aclose()
    network.close()


async def test_routing_is_the_same_bytes_until_replies_would_leave_otherwise(network: KernelNetwork, inside: Pair) -> None:
    inside.ip(inside.lb, "route", "add", "198.51.100.0/24", "via", "192.0.2.2")
    await resolved(network, "198.51.100.1")
    await resolved(network, "192.0.2.2")
    deadline = time.monotonic() + 10
    while (before := await network.routing()) != await network.routing() or b"gateway" not in before:
        assert time.monotonic() < deadline  # IPv6 goes on configuring itself for a moment
        await asyncio.sleep(0.5)
    other = KernelNetwork()
    assert await other.routing() == before
    other.close()
    inside.ip(inside.lb, "neigh", "replace", "192.0.2.2", "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "reachable")
    moved = await network.routing()
    inside.ip(inside.lb, "route", "add", "203.0.113.0/24", "nexthop", "via", "192.0.2.2", "nexthop", "via", "192.0.2.3", "weight", "2")
    routed = await network.routing()
    inside.ip(inside.lb, "link", "set", "eth0", "address", "02:00:00:00:00:11")
    assert len({before, moved, routed, await network.routing()}) == 4


async def test_a_gateway_s_new_mac_is_a_change_once_routing_was_asked(network: KernelNetwork, inside: Pair) -> None:
    inside.ip(inside.lb, "route", "add", "198.51.100.0/24", "via", "192.0.2.77")
    await network.routing()
    changes = network.changes()
    assert await anext(changes) == "anything"
    inside.ip(inside.lb, "neigh", "replace", "192.0.2.77", "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "reachable")
    async with asyncio.timeout(20):
        while await anext(changes) != "neighbour":
            pass


@pytest.mark.parametrize(("prefix", "gateway"), [("198.51.100.0/24", "192.0.2.2"), ("2001:db8:5::/64", "2001:db8::2")])
async def test_routers_before_clients_are_known_before_replies_need_them(
    network: KernelNetwork, inside: Pair, prefix: str, gateway: str
) -> None:
    """One that the host has never spoken to: without its MAC replies would go on to the router that was there before."""
    inside.ip(inside.lb, "route", "add", prefix, "via", gateway)
    deadline = time.monotonic() + 10
    while f'"{gateway}", "{mac(inside, inside.peer).hex()}"'.encode() not in await network.routing():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert "managed" in inside.ip(inside.lb, "neigh", "show", gateway)
    await resolved(network, gateway)
    inside.ip(inside.lb, "route", "delete", prefix)
    await network.routing()
    assert "managed" in inside.ip(inside.lb, "neigh", "show", gateway), "it is a backend, too"
    await network.forget(address(gateway))
    assert "managed" not in inside.ip(inside.lb, "neigh", "show", gateway)


async def test_a_gateway_over_a_link_that_is_down_is_nobody_to_ask_until_it_is_up(network: KernelNetwork, inside: Pair) -> None:
    def shown() -> str:
        return inside.ip(inside.lb, "neigh", "show", "192.0.2.2")

    inside.ip(inside.lb, "route", "add", "198.51.100.0/24", "via", "192.0.2.2")
    for state, expected in (("up", True), ("down", False), ("up", True)):
        inside.ip(inside.peer, "link", "set", "eth0", state)
        deadline = time.monotonic() + 10
        while ("NO-CARRIER" in inside.ip(inside.lb, "link", "show", "eth0")) == expected:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        await network.routing()
        assert ("managed" in shown()) == expected
    inside.ip(inside.lb, "neigh", "delete", "192.0.2.2", "dev", "eth0")
    await network.routing()
    assert "managed" in shown(), "whoever took it away"
