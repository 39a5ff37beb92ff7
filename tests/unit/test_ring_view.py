"""What GetRing tells: every slot is counted once, and what a change moves is told from what has settled."""

from collections import Counter

from l4lb_agent.control import changer
from l4lb_agent.control.agent import Agent
from l4lb_agent.control.facade import RingShare, RingView
from l4lb_agent.model.changes import commands
from l4lb_agent.model.service import Mode, Tracking
from tests.fakes.node import Node
from tests.fakes.values import address, backend, service

WEB = "services/web"
A, B = f"{WEB}/backends/a", f"{WEB}/backends/b"


async def made(agent: Agent, **of_service: object) -> None:
    """With two backends, of weights 3 and 1."""
    await agent.change(commands.CreateService(service("web", **of_service)))
    await agent.change(commands.AddBackend(backend("web", "a", "10.0.0.1", 80, weight=3)))
    await agent.change(commands.AddBackend(backend("web", "b", "10.0.0.2", 80)))


async def ring(agent: Agent, *, slots: bool = True) -> RingView:
    found = await agent.ring(WEB, slots=slots)
    assert found is not None
    return found


def shares(view: RingView) -> dict[str, RingShare]:
    return {share.view.backend.name: share for share in view.shares}


async def test_every_slot_is_somebodys_by_weight_and_a_service_of_nat_has_nothing_to_settle() -> None:
    async with Node().running() as agent:
        await made(agent)
        view = await ring(agent)
        found = shares(view)
    assert sum(share.slots for share in view.shares) == 1021 == len(view.slots)
    assert Counter(view.slots) == {share.view.datapath_id: share.slots for share in view.shares}
    assert abs(found[A].slots / 1021 - 0.75) < 0.01
    assert (found[A].view.wanted_share, found[B].view.wanted_share) == (0.75, 0.25)
    assert [(share.before_slots, share.arriving_slots, share.leaving_slots) for share in view.shares] == [
        (share.slots, 0, 0) for share in view.shares
    ]
    assert (view.empty_slots, view.before, view.service.differing_slots) == (0, (), 0)
    assert view.service.ring_digest


async def test_a_change_that_has_not_settled_shows_what_moves_where() -> None:
    async with Node().running() as agent:
        await made(agent, mode=Mode.IPIP, tracking=Tracking.CHANGES)
        await agent.change(commands.AddBackend(backend("web", "c", "10.0.0.3", 80, weight=4)))
        view = await ring(agent)
        found = shares(view)
        without = await ring(agent, slots=False)
    c = found[f"{WEB}/backends/c"]
    moved = sum(now != before for now, before in zip(view.slots, view.before, strict=True))
    assert moved == view.service.differing_slots > 400
    assert sum(share.arriving_slots for share in view.shares) == sum(share.leaving_slots for share in view.shares) == moved
    assert c.arriving_slots + found[B].arriving_slots + found[A].arriving_slots == moved
    for share in view.shares:
        number = share.view.datapath_id
        assert share.slots == list(view.slots).count(number)
        assert share.before_slots == list(view.before).count(number)
        assert share.slots - share.arriving_slots == share.before_slots - share.leaving_slots, "what stays is in both"
    assert (without.slots, without.before, without.service.at_risk_slots) == ((), (), view.service.at_risk_slots)


async def test_a_backend_without_slots_says_why_and_without_any_all_slots_are_empty() -> None:
    node = Node()
    node.network.missing |= {address("10.0.0.1"), address("10.0.0.2")}
    seconds, changer.NEXT_HOP_SECONDS = changer.NEXT_HOP_SECONDS, 0.05
    try:
        async with node.running() as agent:
            await made(agent)
            view = await ring(agent)
    finally:
        changer.NEXT_HOP_SECONDS = seconds
    assert (view.empty_slots, view.service.ring_digest) == (1021, "")
    assert all(share.slots == 0 and "next hop" in share.view.reconciling for share in view.shares)
    assert set(view.slots) == {0}


async def test_a_service_that_there_is_not_has_no_ring() -> None:
    async with Node().running() as agent:
        assert await agent.ring("services/none") is None
