"""The whole agent over fakes: how changes of services that track flows settle, and what of that survives."""

import asyncio
import contextlib
import json

import pytest

from l4lb_agent.control import changer, sampler, surroundings
from l4lb_agent.control.agent import Agent
from l4lb_agent.control.applying import keeper, reconciler
from l4lb_agent.control.facade import ServiceView
from l4lb_agent.model import errors, layout, records
from l4lb_agent.model.backend import AdminState, DeadlineAction, DrainResult
from l4lb_agent.model.changes import commands
from l4lb_agent.model.observed import FlowCounts
from l4lb_agent.model.pool import rings_of
from l4lb_agent.model.service import Mode, Protocol, Tracking
from l4lb_agent.model.tables import array_key
from tests.fakes.packet import Fates, packets
from tests.fakes.values import address, backend, service
from tests.unit.test_agent import SECONDS, Node, drained, seen, until

WEB = "services/web"
A, B, C = (f"{WEB}/backends/{name}" for name in "abc")
WINDOW, IDLE, GRACE = 60, 90, 20
HASHES = [n << 22 for n in range(1024)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps here: what looks at it each second looks more often."""
    monkeypatch.setattr(reconciler, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(sampler, "SHORTEST", 0.02)
    monkeypatch.setattr(sampler, "LONGEST", 0.1)  # a sweep during which the clock jumps seems to have taken very long


async def web(agent: Agent, *, tracking: Tracking = Tracking.CHANGES) -> None:
    """A DSR service that is settled on a and b."""
    asked = service("web", mode=Mode.DSR, tracking=tracking, idle_seconds=IDLE, window_seconds=WINDOW, down_grace_seconds=GRACE)
    await agent.change(commands.CreateService(asked))
    await agent.change(commands.AddBackend(backend("web", "a", "10.0.0.1", 80)))
    await agent.change(commands.AddBackend(backend("web", "b", "10.0.0.2", 80)))


async def settled(node: Node, agent: Agent) -> None:
    """Lets what is open settle, and marks go."""
    node.clock.ahead += WINDOW + 1
    await until(lambda: view(agent).differing_slots == view(agent).at_risk_slots == 0)


def view(agent: Agent) -> ServiceView:
    found = agent.service(WEB)
    assert found is not None
    return found


def begun(node: Node, began: float, end: float, seconds: float) -> bool:
    """Whether what ends then, in whole seconds, lasts so long and has begun since `began`."""
    return began + seconds <= end <= node.clock.time() + seconds + 2


def fates(node: Node) -> list[Fates]:
    tables = node.datapath.read_tables()
    return [packets(tables, address("192.0.2.1"), 80, 6, hashed) for hashed in HASHES]


def homes(node: Node) -> tuple[set[str], set[str]]:
    """Where new flows go, and where flows without an entry go."""
    found = fates(node)
    return {str(f.first.backend and f.first.backend[0]) for f in found}, {
        str(f.without_entry.backend and f.without_entry.backend[0]) for f in found
    }


def befores(node: Node) -> list[object]:
    """Where each slot's flows without an entry go."""
    return [f.without_entry.backend for f in fates(node)]


def words(node: Node) -> tuple[int, int]:
    (element,) = node.datapath.maps_in_kernel["services"].values()
    return rings_of(element)[1]


async def test_a_change_opens_a_window_settles_by_itself_and_its_marks_go() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        before, digest, began = befores(node), view(agent).ring_digest, node.clock.time()
        assert (view(agent).before_ring_digest, view(agent).settle_time, words(node)[0]) == (digest, 0.0, words(node)[1])
        await agent.change(commands.AddBackend(backend("web", "c", "10.0.0.3", 80)))
        opened = view(agent)
        assert (opened.before_ring_digest, opened.ring_digest != digest) == (digest, True)
        assert 300 < opened.differing_slots < 380  # a third of 1021
        assert opened.at_risk_slots == opened.differing_slots
        assert begun(node, began, opened.settle_time, WINDOW)
        assert homes(node)[0] == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
        assert befores(node) == before
        node.clock.ahead += WINDOW - 2
        await asyncio.sleep(0.1)
        assert befores(node) == before
        node.clock.ahead += 3
        await until(lambda: not view(agent).differing_slots)
        assert befores(node) == [f.first.backend for f in fates(node)]
        await until(lambda: not view(agent).at_risk_slots)
        assert (words(node)[0], not any(f.with_entry for f in fates(node))) == (words(node)[1], True)


async def test_a_mark_stays_where_a_live_entry_names_another_backend() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        number, b = next(iter((await agent.stats()).service_ids.values())), seen(agent, B).datapath_id
        await agent.change(commands.UpdateBackend(A, weight=3))
        slot = next(s for f, s in ((f, h * 1021 >> 32) for f, h in zip(fates(node), HASHES)) if f.first != f.without_entry)
        node.datapath.tracked = [(number, slot, b)]
        node.clock.ahead += WINDOW + 1
        await until(lambda: view(agent).at_risk_slots == 1)
        sweeps = node.datapath.sweeps
        await until(lambda: node.datapath.sweeps > sweeps + 2)
        assert (view(agent).at_risk_slots, view(agent).differing_slots) == (1, 0)
        node.datapath.tracked.clear()
        await until(lambda: not view(agent).at_risk_slots)


async def test_a_flap_settles_at_once() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        before = befores(node)
        await agent.change(commands.UpdateBackend(A, weight=3))
        await agent.change(commands.UpdateBackend(A, weight=1))
        assert view(agent).differing_slots == 0
        assert befores(node) == [f.first.backend for f in fates(node)] == before


async def test_three_changes_inside_a_window_keep_the_first_before_and_settle_one_after_the_other() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        before = befores(node)
        for weight in (3, 9, 27):
            await agent.change(commands.UpdateBackend(A, weight=weight))
            node.clock.ahead += WINDOW / 4
            assert befores(node) == before
        left = [view(agent).differing_slots]
        for _ in range(3):
            node.clock.ahead += WINDOW / 4 + 1
            await until(lambda: view(agent).differing_slots < left[-1])
            left.append(view(agent).differing_slots)
        assert left[3] == 0


async def test_a_drain_holds_its_slots_ends_when_silence_is_proven_and_lets_them_settle() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        before, began = befores(node), node.clock.time()
        after = await agent.change(commands.DrainBackend(A))
        assert drained(after).admin is AdminState.DRAINING  # nothing is counted, and nothing proves that nobody is there
        assert after.backend is not None
        assert begun(node, began, after.backend.uncounted_until, IDLE)
        assert (homes(node)[0], befores(node)) == ({"10.0.0.2"}, before)
        node.clock.ahead += WINDOW + 5
        sweeps = node.datapath.sweeps
        await until(lambda: node.datapath.sweeps > sweeps + 1)
        assert (seen(agent, A).backend.admin, befores(node)) == (AdminState.DRAINING, before)
        node.clock.ahead += IDLE - WINDOW
        await until(lambda: seen(agent, A).backend.admin is AdminState.DRAINED)
        assert drained_result(agent) is DrainResult.EMPTY
        await until(lambda: view(agent).differing_slots == 0)
        assert homes(node) == ({"10.0.0.2"}, {"10.0.0.2"})


def drained_result(agent: Agent) -> DrainResult | None:
    drain = seen(agent, A).backend.drain
    return drain.result if drain else None


async def test_a_drain_with_live_entries_goes_on_although_the_idle_timeout_is_over() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        number, a = next(iter((await agent.stats()).service_ids.values())), seen(agent, A).datapath_id
        await agent.change(commands.DrainBackend(A))
        node.datapath.tracked = [(number, 0, a)]
        node.clock.ahead += IDLE + 5
        sweeps = node.datapath.sweeps
        await until(lambda: node.datapath.sweeps > sweeps + 1)
        assert (seen(agent, A).backend.admin, seen(agent, A).live_flows) == (AdminState.DRAINING, 1)
        node.datapath.tracked.clear()
        await until(lambda: drained_result(agent) is DrainResult.EMPTY)


async def test_a_drain_of_a_service_that_tracks_all_flows_ends_by_count() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent, tracking=Tracking.ALL)
        after = await agent.change(commands.DrainBackend(A))
        assert drained(after).admin is AdminState.DRAINED


async def test_a_drain_that_ends_by_cutting_moves_both_rings_at_once() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        await agent.change(commands.DrainBackend(A, 30.0, DeadlineAction.CUT))
        assert homes(node)[1] == {"10.0.0.1", "10.0.0.2"}
        node.clock.ahead += 31
        await until(lambda: drained_result(agent) is DrainResult.DEADLINE_CUT)
        await until(lambda: homes(node)[1] == {"10.0.0.2"})
        assert view(agent).differing_slots == 0


async def test_an_undrain_gives_the_slots_back() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        before = befores(node)
        await agent.change(commands.DrainBackend(A))
        await agent.change(commands.UndrainBackend(A))
        assert (view(agent).differing_slots, befores(node)) == (0, before)


async def test_a_backend_may_be_removed_unforced_once_silence_is_proven() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        with pytest.raises(errors.FailedPrecondition) as caught:
            await agent.change(commands.RemoveBackend(A))
        assert caught.value.reason == "FLOWS_UNCOUNTED"
        await agent.change(commands.UpdateBackend(A, weight=0))
        with pytest.raises(errors.FailedPrecondition):
            await agent.change(commands.RemoveBackend(A))
        node.clock.ahead += IDLE + 1
        await agent.change(commands.RemoveBackend(A))
        assert homes(node) == ({"10.0.0.2"}, {"10.0.0.2"})


async def test_a_backend_that_never_had_slots_may_be_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changer, "NEXT_HOP_SECONDS", 0.05)
    node = Node()
    node.network.missing = {address("10.0.0.3")}
    async with node.running() as agent:
        await web(agent)
        await agent.change(commands.AddBackend(backend("web", "c", "10.0.0.3", 80)))
        await agent.change(commands.RemoveBackend(C))


async def test_a_removed_backend_leaves_both_rings_in_one_write_of_the_word() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        await agent.change(commands.AddBackend(backend("web", "c", "10.0.0.3", 80)))
        count = len(node.writes())
        await agent.change(commands.RemoveBackend(A, force=True))
        assert [write.map for write in node.writes()[count:]] == ["rings_1021", "rings_1021", "services", "backends"]
        assert "10.0.0.1" not in homes(node)[1]
        assert view(agent).differing_slots > 0  # of b, which c took


async def lose(node: Node, agent: Agent, text: str) -> None:
    """The next hop is lost for longer than it is held."""
    node.network.missing = {address(text)}
    node.network.happen("neighbour")
    await asyncio.sleep(0.2)
    node.clock.ahead += surroundings.HOLD_SECONDS
    await until(lambda: homes(node)[0] == {"10.0.0.2"})


async def test_a_backend_that_dies_leaves_new_flows_at_once_and_old_ones_after_its_grace() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        number, began = seen(agent, A).datapath_id, node.clock.time()
        await lose(node, agent, "10.0.0.1")
        assert homes(node)[1] == {"10.0.0.1", "10.0.0.2"}
        assert begun(node, began, view(agent).settle_time, GRACE)
        assert keeps(node, number)
        node.clock.ahead += GRACE + 1
        await until(lambda: homes(node)[1] == {"10.0.0.2"})
        assert (view(agent).differing_slots, keeps(node, number)) == (0, False)
        node.network.missing.clear()
        await until(lambda: homes(node)[0] == {"10.0.0.1", "10.0.0.2"})
        assert (seen(agent, A).datapath_id, keeps(node, number)) == (number, True)


def keeps(node: Node, number: int) -> bool:
    element = layout.Backend.from_buffer_copy(node.datapath.maps_in_kernel["backends"][array_key(number)])
    return bool(element.flags & layout.BACKEND_KEEP)


async def test_a_backend_that_is_back_within_its_grace_has_lost_no_flow() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        before = befores(node)
        await lose(node, agent, "10.0.0.1")
        node.clock.ahead += GRACE - 10
        node.network.missing.clear()
        await until(lambda: homes(node)[0] == {"10.0.0.1", "10.0.0.2"})
        assert (view(agent).differing_slots, befores(node)) == (0, before)


async def test_a_service_without_any_backend_left_keeps_its_flows_where_they_are() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        before = befores(node)
        await agent.change(commands.UpdateBackend(A, weight=0))
        await agent.change(commands.UpdateBackend(B, weight=0))
        node.clock.ahead += 10 * WINDOW
        await asyncio.sleep(0.1)
        assert ({f.first.what for f in fates(node)}, befores(node)) == ({"no_backend"}, before)
        assert (view(agent).ring_digest, view(agent).differing_slots) == ("", 1021)
        await agent.change(commands.UpdateBackend(A, weight=1))
        assert homes(node) == ({"10.0.0.1"}, {"10.0.0.1"})  # whoever spoke within the window has an entry


async def test_udp_and_nat_have_no_window() -> None:
    node = Node()
    async with node.running() as agent:
        asked = service("web", mode=Mode.DSR, tracking=Tracking.CHANGES, protocol=Protocol.UDP, window_seconds=WINDOW)
        await agent.change(commands.CreateService(asked))
        for number, name in ((1, "a"), (2, "b")):
            await agent.change(commands.AddBackend(backend("web", name, f"10.0.0.{number}", 80)))
        assert words(node)[0] == words(node)[1] != 0
        assert (view(agent).differing_slots, view(agent).at_risk_slots, view(agent).before_ring_digest) == (0, 0, "")
        assert drained(await agent.change(commands.DrainBackend(A))).admin is AdminState.DRAINED


async def test_a_restart_in_a_window_writes_nothing_and_begins_it_anew() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        await agent.change(commands.AddBackend(backend("web", "c", "10.0.0.3", 80)))
        opened, before = view(agent), befores(node)
        node.clock.ahead += WINDOW - 10
    node.restarted()
    began = node.clock.time()
    async with node.running() as agent:
        assert (node.writes(), befores(node)) == ([], before)
        again = view(agent)
        assert (again.differing_slots, again.at_risk_slots) == (opened.differing_slots, opened.at_risk_slots)
        assert (again.ring_digest, again.before_ring_digest) == (opened.ring_digest, opened.before_ring_digest)
        assert begun(node, began, again.settle_time, WINDOW)
        node.clock.ahead += WINDOW + 2
        await until(lambda: view(agent).at_risk_slots == 0)


async def test_marks_that_linger_at_a_restart_still_go() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        await agent.change(commands.UpdateBackend(A, weight=3))
        await agent.change(commands.UpdateBackend(A, weight=1))
        marked = view(agent).at_risk_slots
    node.restarted()
    async with node.running() as agent:
        assert (marked > 0, node.writes()) == (True, [])
        await until(lambda: view(agent).at_risk_slots == 0)
        assert {write.map for write in node.writes()} == {"rings_1021", "services"}


async def test_a_reboot_in_a_window_opens_with_the_ring_before_of_the_journal() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        node.clock.ahead += keeper.PAUSE_SECONDS
        await agent.change(commands.AddBackend(backend("web", "c", "10.0.0.3", 80)))
        opened, before = view(agent), befores(node)
        await until(lambda: journaled(node) == opened.before_ring_digest != "")
    node.rebooted()
    began = node.clock.time()
    async with node.running() as agent:
        again = view(agent)
        assert (again.before_ring_digest, again.differing_slots) == (opened.before_ring_digest, opened.differing_slots)
        assert (befores(node), homes(node)[0]) == (before, {"10.0.0.1", "10.0.0.2", "10.0.0.3"})
        assert begun(node, began, again.settle_time, WINDOW)


def journaled(node: Node) -> str:
    """Digest of ring `before` of services/web in the journal; "" when it is that of all backends for new flows."""
    from l4lb_agent.model import ring
    from tests.fakes.values import SECRETS

    replayed = records.replay(node.journal.load())
    assert replayed is not None
    kept = replayed.kept.get(WEB)
    if kept is None or kept.slots is None:
        return ""
    return ring.digest(len(kept.slots), kept.owners, type(kept.slots)("H", [slot - 1 & 0xFFFF for slot in kept.slots]), SECRETS.slot)


async def test_a_settled_window_is_told_to_the_journal_and_a_snapshot_keeps_an_open_one() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        node.clock.ahead += keeper.PAUSE_SECONDS
        await agent.change(commands.AddBackend(backend("web", "c", "10.0.0.3", 80)))
        before = view(agent).before_ring_digest
        await until(lambda: journaled(node) == before)
        await agent._store.snapshot()
        assert (len(node.journal.records), journaled(node)) == (1, before)
        await settled(node, agent)
        node.clock.ahead += keeper.PAUSE_SECONDS
        await until(lambda: journaled(node) == "")


async def test_after_a_reboot_of_a_settled_service_late_next_hops_move_no_flow() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        before = befores(node)
        node.clock.ahead += keeper.PAUSE_SECONDS
        await until(lambda: journaled(node) == "")
    node.rebooted()
    node.network.missing = {address("10.0.0.2")}
    async with node.running() as agent:
        assert (homes(node)[0], befores(node)) == ({"10.0.0.1"}, before)
        node.network.missing.clear()
        await until(lambda: homes(node)[0] == {"10.0.0.1", "10.0.0.2"})
        assert (view(agent).differing_slots, befores(node)) == (0, before)


async def test_records_of_one_service_are_some_seconds_apart() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        count = len(kept_records(node))
        for weight in range(2, 30):
            await agent.change(commands.UpdateBackend(A, weight=weight))
        assert len(kept_records(node)) - count <= 1
        node.clock.ahead += keeper.PAUSE_SECONDS
        await agent.change(commands.UpdateBackend(A, weight=40))
        await until(lambda: journaled(node) == view(agent).before_ring_digest)


def kept_records(node: Node) -> list[object]:
    return [record for record in map(json.loads, node.journal.records) if record["kind"] == "before"]


async def test_a_journal_that_refuses_a_ring_gets_it_with_the_next_record() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        node.clock.ahead += keeper.PAUSE_SECONDS
        await until(lambda: journaled(node) == "")
        await agent.change(commands.AddBackend(backend("web", "c", "10.0.0.3", 80)))
        before = view(agent).before_ring_digest
        await until(lambda: journaled(node) == before)
        node.clock.ahead += WINDOW + 1
        node.journal.refuse = OSError(5, "broken")
        await until(lambda: "JOURNAL_FAILED" in dict(agent.agent().warnings))
        assert journaled(node) == before
        node.journal.refuse = None
        await agent.change(commands.UpdateBackend(A, annotations={"any": "change"}))
        await until(lambda: journaled(node) == "")


async def test_half_a_plan_that_the_kernel_refused_leaves_its_marks_behind() -> None:
    """Packets have seen the rings of the first half, and may have written entries."""
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        await agent.change(commands.CreateService(service("other", "192.0.2.2")))
        node.datapath.accept_writes = 3  # the ring, the configuration without an address of the other, and the word of services/web
        asked = (commands.UpdateBackend(A, weight=3), commands.DeleteService("services/other"))
        answers = await asyncio.gather(*map(agent.change, asked), return_exceptions=True)
        assert [type(answer) for answer in answers] == [errors.Unavailable] * 2
        marked = {hashed for hashed, f in zip(HASHES, fates(node)) if f.with_entry}
        assert len(marked) > 100
        with contextlib.suppress(errors.Unavailable):
            await agent.change(commands.UpdateBackend(A, weight=1))
        node.datapath.accept_writes, node.datapath.sweep = None, failing  # type: ignore[method-assign]
        await until(lambda: agent.ready and view(agent).ring_digest == view(agent).before_ring_digest)
        assert {hashed for hashed, f in zip(HASHES, fates(node)) if f.with_entry} == marked


def failing(rings: object) -> FlowCounts:
    raise OSError(5, "refused by the test")


@pytest.mark.parametrize("size", [1021, 4093])
async def test_a_service_that_is_deleted_and_made_again_at_once_is_another_one(size: int) -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        again = service("web", mode=Mode.DSR, tracking=Tracking.CHANGES, ring_size=size)
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(
                agent.change(commands.DeleteService(WEB, force=True)),
                agent.change(commands.CreateService(again)),
                agent.change(commands.AddBackend(backend("web", "a", "10.0.0.1", 80))),
                agent.change(commands.AddBackend(backend("web", "b", "10.0.0.2", 80, weight=5))),
            )
        assert (view(agent).differing_slots, view(agent).at_risk_slots) == (0, 0), "no flow of it is at risk"
        assert node.served_by() == {"10.0.0.1", "10.0.0.2"}
        size_in_kernel, (now, before) = rings_of(node.datapath.maps_in_kernel["services"][array_key(1)])
        assert (size_in_kernel, now) == (size, before)


async def test_the_id_of_a_removed_backend_waits_for_the_end_of_its_entries() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        service_id, number = next(iter((await agent.stats()).service_ids.values())), seen(agent, A).datapath_id
        node.datapath.tracked = [(service_id, 0, number)]
        await agent.change(commands.RemoveBackend(A, force=True))
        sweeps = node.datapath.sweeps
        await until(lambda: node.datapath.sweeps > sweeps + 1)
        assert array_key(number) in node.datapath.maps_in_kernel["backends"]
        node.datapath.tracked.clear()
        sweeps = node.datapath.sweeps
        await until(lambda: node.datapath.sweeps > sweeps + 2)
        assert array_key(number) in node.datapath.maps_in_kernel["backends"], "later fragments may still be on their way to it"
        node.clock.ahead += reconciler.REST_SECONDS
        await until(lambda: array_key(number) not in node.datapath.maps_in_kernel["backends"])


async def test_a_service_that_is_settled_is_not_written_by_changes_of_others() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await settled(node, agent)
        await agent.change(commands.CreateService(service("other", "192.0.2.2")))
        count = len(node.writes())
        await agent.change(commands.AddBackend(backend("other", "a", "10.0.0.9", 80)))
        other = array_key((await agent.stats()).service_ids["services/other"])
        assert {write.key for write in node.writes()[count:] if write.map == "services"} == {other}
        assert sum(write.map.startswith("rings_") for write in node.writes()[count:]) == 1
        count = len(node.writes())
        node.clock.ahead += 10 * WINDOW
        await asyncio.sleep(0.1)
        assert len(node.writes()) == count
