"""Lists of flows: prefixes, who has the most among any number, pages, limits, and that memory does not grow with them."""

import asyncio
import tracemalloc
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4lb_agent.control.agent import Agent
from l4lb_agent.control.facade import FlowPage, FlowsWanted
from l4lb_agent.control.seen import flow_lister
from l4lb_agent.control.seen.flow_lister import FlowLister
from l4lb_agent.model.changes import commands
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.errors import InvalidArgument, ResourceExhausted, Unavailable
from l4lb_agent.model.flows import record as flow_record
from l4lb_agent.model.flows.record import FlowFilter, FlowRecord, FlowState
from l4lb_agent.model.flows.tally import Talkers, Tally
from l4lb_agent.model.ids import Ids
from tests.fakes.node import Node
from tests.fakes.values import address, backend, service

MANY = 1 << 17  # more clients than are counted, thirty times over
WEB, A, B = "services/web", "services/web/backends/a", "services/web/backends/b"


def record(number: int, to: int = 1, idle: int = 0, client: str = "") -> FlowRecord:
    packed = address(client).packed if client else number.to_bytes(16)
    return FlowRecord(to, FlowState.ESTABLISHED, idle, packed, 1024, 80, address("10.0.0.200").packed, 2048)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
        ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
        ("0.0.0.0/0", "198.51.100.1", "2001:db8::1"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
        ("2001:db8::5", "2001:db8::5", "2001:db8::4"),
    ],
)
def test_a_client_is_an_address_or_a_prefix_of_its_family(text: str, inside: str, outside: str) -> None:
    wanted = FlowFilter(None, *flow_record.prefix(text, "client"))
    assert wanted.takes(address(inside).packed)
    assert not wanted.takes(address(outside).packed)
    assert not wanted.takes(b""), "who is not known is nobody's client"
    assert FlowFilter().takes(b"")


@pytest.mark.parametrize("text", ["web", "192.0.2.1/24", "192.0.2.0/33", "2001:db8::/129", "10.0.0.1-10.0.0.9", ""])
def test_what_is_no_prefix_is_refused_by_its_field(text: str) -> None:
    with pytest.raises(InvalidArgument, match="client: ") as caught:
        flow_record.prefix(text, "client")
    assert caught.value.reason == "INVALID_PREFIX"


@given(st.lists(st.lists(st.integers(0, 40), max_size=60), max_size=30))
def test_counts_of_clients_are_too_low_by_what_is_said_at_most_and_never_too_high(chunks: list[list[int]]) -> None:
    talkers, exact = Talkers(room=4), Counter[bytes]()
    for chunk in chunks:
        clients = [number.to_bytes(16) for number in chunk]
        talkers.add(clients)
        exact.update(clients)
    told = dict(talkers.top(100))
    assert len(told) <= 8
    for client, count in exact.items():
        assert told.get(client, 0) <= count <= told.get(client, 0) + talkers.uncertain
    assert talkers.uncertain <= exact.total() / 4
    if len(exact) <= 8:
        assert told == exact


def test_the_one_who_has_the_most_is_found_among_very_many() -> None:
    talkers = Talkers()
    for start in range(0, 200_000, 1000):
        talkers.add([number.to_bytes(16) for number in range(start, start + 1000)] + [b"x" * 16] * 100)
    [(client, count)] = talkers.top(1)
    assert client == b"x" * 16
    assert count <= 20_000 <= count + talkers.uncertain


def test_a_tally_is_of_all_flows_and_keeps_the_most_silent() -> None:
    tally = Tally(2)
    tally.add([record(n, to=1 + n % 2, idle=n) for n in range(10)])
    tally.add([FlowRecord(3, FlowState.PINNED, 500)])
    assert (tally.flows, tally.without_client) == (11, 1)
    assert tally.backends == {1: 5, 2: 5, 3: 1}
    assert tally.states == {FlowState.ESTABLISHED: 10, FlowState.PINNED: 1}
    assert [one.idle for one in tally.oldest] == [500, 9]


async def made(agent: Agent) -> None:
    await agent.change(commands.CreateService(service("web")))
    await agent.change(commands.AddBackend(backend("web", "a", "10.0.0.1", 80)))
    await agent.change(commands.AddBackend(backend("web", "b", "10.0.0.2", 80)))


async def pages(agent: Agent, wanted: FlowsWanted) -> tuple[list[FlowRecord], FlowPage]:
    """All flows that are told, and the last page."""
    found = [page async for page in agent.flows(wanted)]
    assert all(page.tally is None and len(page.records) <= flow_lister.PAGE for page in found[:-1])
    return [one for page in found for one in page.records], found[-1]


async def test_pages_hold_all_flows_and_the_last_one_what_they_are_together() -> None:
    node = Node()
    async with node.running() as agent:
        await made(agent)
        node.datapath.flow_chunks = [[record(n, to=1 + n % 2) for n in range(start, start + 1200)] for start in (0, 1200)]
        told, last = await pages(agent, FlowsWanted())
        assert [one.client for one in told] == [n.to_bytes(16) for n in range(2400)]
        assert last.tally is not None
        assert (last.tally.flows, last.tally.backends, last.names) == (2400, {1: 1200, 2: 1200}, {1: A, 2: B})
        assert set(last.protocols.values()) == {6}
        told, last = await pages(agent, FlowsWanted(backend=B, limit=7))
        assert ([one.client for one in told], last.tally and last.tally.flows) == ([n.to_bytes(16) for n in range(1, 14, 2)], 1200)
        told, last = await pages(agent, FlowsWanted(limit=0))
        assert (told, last.tally and last.tally.flows) == ([], 2400)
        told, _ = await pages(agent, FlowsWanted(service=WEB, client=5, bits=128))
        assert [one.client for one in told] == [(5).to_bytes(16)]
        told, _ = await pages(agent, FlowsWanted(service="services/other"))
        assert told == []


async def test_flows_of_a_removed_backend_are_nobodys() -> None:
    node = Node()
    async with node.running() as agent:
        await made(agent)
        node.datapath.flow_chunks = [[record(1, to=1), record(2, to=2)]]
        await agent.change(commands.RemoveBackend(A, force=True))
        told, _ = await pages(agent, FlowsWanted())
    assert [one.backend for one in told] == [2]


async def test_so_many_lists_are_made_at_a_time_and_an_abandoned_one_gives_its_place_back() -> None:
    node = Node()
    async with node.running() as agent:
        await made(agent)
        node.datapath.flow_chunks = [[record(n)] for n in range(3)]
        running = [agent.flows(FlowsWanted()) for _ in range(flow_lister.MOST)]
        for one in running:
            await anext(one)
        with pytest.raises(ResourceExhausted) as caught:
            await anext(agent.flows(FlowsWanted()))
        assert caught.value.reason == "TOO_MANY_LISTS"
        await running[0].aclose()
        told, _ = await pages(agent, FlowsWanted())
        assert len(told) == 3
        for one in running:
            await one.aclose()


async def test_a_kernel_that_does_not_give_the_flows_is_told() -> None:
    node = Node()
    async with node.running() as agent:
        await made(agent)
        node.datapath.flow_chunks, node.datapath.refuse_flows = [[record(1)]], True
        with pytest.raises(Unavailable, match="refused by the test"):
            await pages(agent, FlowsWanted())
        node.datapath.refuse_flows = False
        assert len((await pages(agent, FlowsWanted()))[0]) == 1


async def test_any_number_of_flows_is_listed_without_being_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_lister, "PAUSE_SECONDS", 0.0)

    class Many:
        """So many flows of as many clients, made when they are read."""

        def flows(self, _wanted: FlowFilter) -> Iterator[list[FlowRecord]]:
            """4096 at a time."""
            for start in range(0, MANY, 4096):
                yield [record(n) for n in range(start, start + 4096)]

    one = backend("web", "a", "10.0.0.1", 80)
    desired = Desired(2, {WEB: service("web")}, {A: one})
    ids = Ids({}, {}, {(service("web").identity, one.address, one.port): 1})
    lister, told = FlowLister(Many()), 0  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        async for page in lister.pages(desired, ids, FlowsWanted()):
            told += len(page.records)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    await asyncio.sleep(0)
    assert told == MANY
    assert peak < 12 << 20
