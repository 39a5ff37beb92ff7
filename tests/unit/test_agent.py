"""The whole agent over fakes: what an answer promises, what survives, what is tried again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from l4lb_agent.control import changer, start, surroundings
from l4lb_agent.control.agent import Agent
from l4lb_agent.control.applying import rings
from l4lb_agent.control.applying.reconciler import Reconciler
from l4lb_agent.control.facade import BackendEvent, BackendView, Outcome
from l4lb_agent.control.host import Host
from l4lb_agent.control.monitor import MOST_IN_VLANS, Interface
from l4lb_agent.control.ports import Doors
from l4lb_agent.model import errors, layout
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import AdminState, Backend, DeadlineAction, DrainResult
from l4lb_agent.model.changes import commands
from l4lb_agent.model.config import Echo
from l4lb_agent.model.service import Mode, Tracking
from l4lb_agent.model.tables import Elements, Step, Write, array_key
from l4lb_agent.model.ways.vlan import Vlan
from tests.fakes.datapath import FakeDatapath
from tests.fakes.packet import first_packet
from tests.fakes.values import SECRETS, SNAT, address, backend, config, hop, service
from tests.fakes.world import FakeClock, FakeExaminer, FakeJournal, FakeNetwork, FakeProber

WEB = "services/web"
A, B = f"{WEB}/backends/a", f"{WEB}/backends/b"
SECONDS = 20.0  # a guard, never a speed


@dataclass
class Node:
    """One agent at a time over the same kernel, disk and network."""

    network: FakeNetwork = field(default_factory=FakeNetwork)
    prober: FakeProber = field(default_factory=FakeProber)
    clock: FakeClock = field(default_factory=FakeClock)
    journal: FakeJournal = field(default_factory=FakeJournal)
    datapath: FakeDatapath = field(default_factory=lambda: FakeDatapath(config().sizes))
    boot_id: str = "boot-1"
    interfaces: tuple[Interface, ...] = (Interface("eth0"),)

    @contextlib.asynccontextmanager
    async def running(self, *, wait: bool = True) -> AsyncIterator[Agent]:
        """The agent, ready; killed at the end like a process is."""
        host = Host(self.boot_id, "6.1.0", self.interfaces, config())
        doors = Doors(self.datapath, self.network, self.clock, self.journal, FakeExaminer(), self.prober)
        started = start.begin(self.datapath, self.journal, SECRETS)
        made = Agent(doors, host, started, lambda: None)
        task = asyncio.create_task(made.run())
        try:
            if wait:
                await until(lambda: made.ready)
            yield made
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def restarted(self) -> None:
        """The next agent finds the pins of the last one."""
        live = self.datapath.live
        self.datapath = FakeDatapath(config().sizes, self.datapath.maps_in_kernel)
        self.datapath.live = live

    def rebooted(self) -> None:
        """The next agent finds only the disk."""
        self.datapath, self.boot_id = FakeDatapath(config().sizes), "boot-2"

    def writes(self) -> list[Write]:
        """All map writes of this agent."""
        return [step for step in self.datapath.steps if isinstance(step, Write)]

    def echoing(self) -> set[str]:
        """Addresses that answer ping."""
        elements = [layout.OwnedAddress.from_buffer_copy(e) for e in self.datapath.maps_in_kernel["addresses"].values()]
        return {str(Address(bytes(e.address))) for e in elements if e.flags & layout.ADDRESS_ECHO}

    def served_by(self) -> set[str]:
        """Addresses that new flows of services/web go to."""
        fates = [first_packet(self.datapath.read_tables(), address("192.0.2.1"), 80, 6, n << 24) for n in range(256)]
        return {str(fate.backend[0]) if fate.backend and fate.what == "forwarded" else fate.what for fate in fates}


async def until(condition: object) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


async def web(agent: Agent) -> None:
    await agent.change(commands.CreateService(service("web")))
    await agent.change(commands.AddBackend(backend("web", "a", "10.0.0.1", 80)))
    await agent.change(commands.AddBackend(backend("web", "b", "10.0.0.2", 80)))


async def draining(node: Node, agent: Agent, flows: int, *policy: Any) -> int:
    """Backend A with so many flows is being drained; its datapath id."""
    await web(agent)
    number = seen(agent, A).datapath_id
    node.datapath.live[number] = flows
    await agent.change(commands.DrainBackend(A, *policy))
    return number


def seen(agent: Agent, name: str) -> BackendView:
    return next(view for view in agent.snapshot().backends if view.backend.name == name)


def drained(outcome: Outcome) -> Backend:
    assert outcome.backend is not None
    return outcome.backend.backend


async def test_ok_means_that_the_kernel_forwards_accordingly() -> None:
    node = Node()
    async with node.running() as agent:
        await agent.change(commands.CreateService(service("web")))
        assert node.served_by() == {"no_backend"}
        outcome = await agent.change(commands.AddBackend(backend("web", "a", "10.0.0.1", 80)))
        assert node.served_by() == {"10.0.0.1"}
        assert outcome.revision == 2
        assert outcome.backend is not None
        assert (outcome.backend.reconciling, outcome.backend.slot_share, outcome.backend.wanted_share) == ("", 1.0, 1.0)
        await agent.change(commands.AddBackend(backend("web", "b", "10.0.0.2", 80)))
        assert node.served_by() == {"10.0.0.1", "10.0.0.2"}
        await agent.change(commands.RemoveBackend(A))
        assert node.served_by() == {"10.0.0.2"}
        await agent.change(commands.DeleteService(WEB, force=True))
        assert node.served_by() == {"foreign"}


async def test_a_restart_after_a_kill_adopts_everything_and_writes_nothing() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        before = agent.snapshot()
        views = list(before.backends), list(before.services)
    node.restarted()
    async with node.running() as agent:
        assert agent.agent().map_writes == 0
        assert node.writes() == []
        assert node.datapath.cleared == []
        after = agent.snapshot()
        assert after.revision == before.revision
        assert [view.backend for view in after.backends] == [view.backend for view in views[0]]
        assert [view.datapath_id for view in after.backends] == [view.datapath_id for view in views[0]]
        assert [view.ring_digest for view in after.services] == [view.ring_digest for view in views[1]]


async def test_a_restart_before_neighbours_answer_keeps_what_the_maps_use() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
    node.restarted()
    node.network.missing = {address("10.0.0.1"), address("10.0.0.2")}
    async with node.running():
        assert node.writes() == []
        assert node.served_by() == {"10.0.0.1", "10.0.0.2"}


async def test_a_reboot_makes_the_same_maps_from_the_journal() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
    maps: dict[str, Elements] = {name: dict(elements) for name, elements in node.datapath.maps_in_kernel.items()}
    node.rebooted()
    async with node.running() as agent:
        assert first_packet(node.datapath.read_tables(), address("192.0.2.1"), 80, 6, 1 << 31).what == "forwarded"
        assert node.datapath.maps_in_kernel["backends"] == maps["backends"]
        ring = max(node.datapath.maps_in_kernel["rings_1021"].values())
        assert ring in maps["rings_1021"].values()


async def test_pins_without_a_journal_are_not_wiped() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
    node.restarted()
    node.journal = FakeJournal()
    with pytest.raises(start.JournalMissing):
        async with node.running():
            raise AssertionError("started")
    assert node.served_by() == {"10.0.0.1", "10.0.0.2"}


async def test_the_secrets_of_adopted_maps_win_and_are_journaled() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
    node.restarted()
    node.journal.records[0] = node.journal.records[0].replace(SECRETS.slot.hex(), "ff" * 16)
    async with node.running():
        assert node.writes() == []
    assert SECRETS.slot.hex() in node.journal.records[0]


async def test_a_backend_without_next_hop_is_accepted_says_so_and_gets_slots_once_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changer, "NEXT_HOP_SECONDS", 0.1)
    node = Node()
    node.network.missing = {address("10.0.0.2")}
    async with node.running() as agent:
        await agent.change(commands.CreateService(service("web")))
        await agent.change(commands.AddBackend(backend("web", "a", "10.0.0.1", 80)))
        outcome = await agent.change(commands.AddBackend(backend("web", "b", "10.0.0.2", 80)))
        assert outcome.backend is not None
        assert "10.0.0.2" in outcome.backend.reconciling
        assert (outcome.backend.slot_share, node.served_by()) == (0.0, {"10.0.0.1"})
        node.network.missing.clear()
        await until(lambda: node.served_by() == {"10.0.0.1", "10.0.0.2"})
        await until(lambda: not seen(agent, B).reconciling)


async def test_a_dsr_backend_behind_a_router_gets_no_slots_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The router would find the VIP in what it gets, and send it back to us, until the packet's last hop."""
    monkeypatch.setattr(changer, "NEXT_HOP_SECONDS", 0.1)
    node = Node()
    node.network.moved[address("10.0.0.2")] = replace(hop(), gateway=address("10.0.0.254"))
    async with node.running() as agent:
        for name, port, mode in (("web", 80, Mode.DSR), ("far", 81, Mode.NAT)):
            tracking = Tracking.CHANGES if mode is Mode.DSR else Tracking.NONE
            await agent.change(commands.CreateService(service(name, port=port, mode=mode, tracking=tracking)))
            await agent.change(commands.AddBackend(backend(name, "a", "10.0.0.1", port)))
            await agent.change(commands.AddBackend(backend(name, "b", "10.0.0.2", port)))
        behind = seen(agent, B)
        assert (behind.slot_share, seen(agent, A).slot_share) == (0.0, 1.0)
        assert "behind the router 10.0.0.254" in behind.reconciling
        assert seen(agent, "services/far/backends/b").reconciling == ""


async def test_add_backend_waits_for_its_next_hop() -> None:
    node = Node()
    node.network.missing = {address("10.0.0.1")}
    async with node.running() as agent:
        await agent.change(commands.CreateService(service("web")))
        asyncio.get_running_loop().call_later(0.1, node.network.missing.clear)
        outcome = await agent.change(commands.AddBackend(backend("web", "a", "10.0.0.1", 80)))
        assert outcome.backend is not None
        assert outcome.backend.reconciling == ""
        assert node.served_by() == {"10.0.0.1"}


async def test_each_ring_that_is_made_is_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    async with node.running() as agent:
        for number in range(1, 4):
            await agent.change(commands.CreateService(service(f"s{number}", f"192.0.2.{number}")))
            await agent.change(commands.AddBackend(backend(f"s{number}", "a", "10.0.0.1", 80)))
    node.restarted()
    happened: list[str] = []
    made = rings._built

    def making(*given: Any) -> rings.Image:
        happened.append("ring")
        return made(*given)

    monkeypatch.setattr(rings, "_built", making)
    monkeypatch.setattr(Reconciler, "beat", lambda self: happened.append("sign"))
    async with node.running():
        pass
    assert happened[-6:] == ["ring", "sign"] * 3


async def test_a_changed_mac_reaches_the_kernel() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        node.network.moved[address("10.0.0.1")] = hop(99)
        node.network.happen("neighbour")
        key = array_key(seen(agent, A).datapath_id)
        await until(lambda: layout.Backend.from_buffer_copy(node.datapath.maps_in_kernel["backends"][key]).destination_mac[5] == 99)


async def test_a_next_hop_that_flickers_moves_nothing_and_one_that_stays_away_does(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        count = len(node.writes())
        node.network.missing = {address("10.0.0.1")}
        node.network.happen("neighbour")
        await asyncio.sleep(0.2)
        assert len(node.writes()) == count
        node.clock.ahead += surroundings.HOLD_SECONDS
        await until(lambda: node.served_by() == {"10.0.0.2"})
        assert seen(agent, A).reconciling


async def test_a_backend_whose_way_is_gone_waits_before_the_kernel_has_taken_it_out() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        told: list[bool] = []
        execute = node.datapath.execute

        def watched(step: Step) -> None:
            execute(step)
            told.append(seen(agent, A).reconciling)

        node.datapath.execute = watched  # type: ignore[method-assign]
        node.network.missing = {address("10.0.0.1")}
        node.network.happen("neighbour")
        await asyncio.sleep(0.2)
        node.clock.ahead += surroundings.HOLD_SECONDS
        await until(lambda: node.served_by() == {"10.0.0.2"})
        assert told
        assert all(told)


async def test_lookups_that_fail_are_counted_and_made_again() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        node.network.refuse = 3
        node.network.moved[address("10.0.0.1")] = hop(99)
        node.network.happen("neighbour")
        await until(lambda: node.network.refuse == 0)
        await until(lambda: seen(agent, A).next_hop == hop(99))
        assert agent.agent().reconcile_retries >= 1


async def test_a_start_looks_everything_up_once_and_what_changed_meanwhile_again() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
    node.restarted()
    node.network = FakeNetwork()
    async with node.running() as agent:
        await until(lambda: agent.ready)
        await asyncio.sleep(2 * surroundings.QUIET_SECONDS)
        assert node.network.lookups == 2
    node.restarted()
    node.network = FakeNetwork()
    node.network.happen("route")  # told of only while the start looks
    async with node.running():
        await until(lambda: node.network.lookups == 4)


async def test_a_start_whose_look_fails_looks_again() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
    node.restarted()
    node.network = FakeNetwork()
    node.network.refuse = 1
    node.network.moved[address("10.0.0.1")] = hop(99)
    async with node.running() as agent:
        await until(lambda: seen(agent, A).next_hop == hop(99))


async def test_next_hops_are_kept_only_for_backends_there_are() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        assert node.network.kept == {address("10.0.0.1"), address("10.0.0.2")}
        await agent.change(commands.RemoveBackend(A))
        await until(lambda: node.network.kept == {address("10.0.0.2")})


async def test_changed_routes_move_the_route_generation_and_nothing_else() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        count = len(node.writes())
        node.network.happen("route")
        await asyncio.sleep(0.2)
        assert len(node.writes()) == count
        node.network.routes = b"others"
        node.network.happen("route")
        await until(lambda: len(node.writes()) > count)
        assert [write.map for write in node.writes()[count:]] == ["config"]


async def test_a_change_that_waits_for_the_kernel_when_the_agent_ends_is_answered_pending() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        node.datapath.refuse_writes = 10**6
        with pytest.raises(errors.Unavailable):
            await agent.change(commands.UpdateBackend(A, weight=5))
        asked = asyncio.create_task(agent.change(commands.UpdateBackend(A, weight=6)))
        await until(lambda: seen(agent, A).backend.weight == 6)
    async with asyncio.timeout(10):
        with pytest.raises(errors.Unavailable) as caught:
            await asked
    assert caught.value.reason == "APPLY_PENDING"


async def test_a_refused_kernel_write_answers_pending_and_is_tried_again_until_it_is_done() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        node.datapath.refuse_writes = 3
        with pytest.raises(errors.Unavailable) as caught:
            await agent.change(commands.UpdateBackend(A, weight=5))
        assert caught.value.reason == "APPLY_PENDING"
        assert seen(agent, A).backend.weight == 5
        assert not agent.ready
        await until(lambda: agent.ready)
        assert agent.agent().reconcile_retries == 3
        assert abs(seen(agent, A).slot_share - 5 / 6) < 0.01
        assert agent.agent().applied_revision == 4


@pytest.mark.parametrize("writes", range(12))
async def test_a_crash_after_any_write_is_made_good_by_the_next_start(writes: int) -> None:
    """From an empty service to two changed ones: whichever write is the last before the crash, no packet dangles, before and after."""
    node = Node()
    async with node.running() as agent:
        await web(agent)
        await agent.change(commands.CreateService(service("other", "192.0.2.2")))
        node.datapath.accept_writes = writes
        for command in (
            commands.AddBackend(backend("web", "c", "10.0.0.3", 80)),
            commands.AddBackend(backend("other", "a", "10.0.0.1", 80)),
            commands.RemoveBackend(A),
            commands.UpdateBackend(B, address=address("10.0.0.9")),
        ):
            with contextlib.suppress(errors.Unavailable):
                await agent.change(command)
        assert node.served_by() <= {"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.9", "cut"}
        assert agent.snapshot().revision == 8
    node.restarted()
    async with node.running() as agent:
        assert node.served_by() == {"10.0.0.3", "10.0.0.9"}
        assert first_packet(node.datapath.read_tables(), address("192.0.2.2"), 80, 6, 0).what == "forwarded"
        assert len({view.datapath_id for view in agent.snapshot().backends}) == 3


async def test_a_journal_that_cannot_be_written_refuses_and_changes_nothing() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        count = len(node.writes())
        for error, kind in ((OSError(28, "full"), errors.ResourceExhausted), (OSError(5, "broken"), errors.Unavailable)):
            node.journal.refuse = error
            with pytest.raises(kind):
                await agent.change(commands.UpdateBackend(A, weight=5))
        assert seen(agent, A).backend.weight == 1
        assert len(node.writes()) == count
        assert "JOURNAL_FAILED" in dict(agent.agent().warnings)
        node.journal.refuse = None
        await agent.change(commands.UpdateBackend(A, weight=5))
        assert "JOURNAL_FAILED" not in dict(agent.agent().warnings)


async def test_a_change_goes_on_when_its_caller_leaves() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        asked = asyncio.create_task(agent.change(commands.UpdateBackend(A, weight=5)))
        await until(lambda: len(node.journal.records) == 5)
        asked.cancel()
        await until(lambda: abs(seen(agent, A).slot_share - 5 / 6) < 0.01)


async def test_many_callers_share_one_append() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        appends = node.journal.appends
        await asyncio.gather(*(agent.change(commands.UpdateBackend(A, weight=weight)) for weight in range(2, 52)))
        assert agent.snapshot().revision == 3 + 50
        assert node.journal.appends - appends < 10


async def test_a_repeated_request_is_answered_the_same_after_a_restart() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        first = await agent.change(commands.UpdateBackend(A, weight=5), request_id="id", request_hash="hash")
        await agent.change(commands.UpdateBackend(A, weight=7))
    node.restarted()
    async with node.running() as agent:
        again = await agent.change(commands.UpdateBackend(A, weight=5), request_id="id", request_hash="hash")
        assert (again.revision, drained(again)) == (first.revision, drained(first))
        assert seen(agent, A).backend.weight == 7


async def test_validate_only_changes_nothing() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        records, writes = len(node.journal.records), len(node.writes())
        outcome = await agent.change(commands.UpdateBackend(A, weight=5), validate_only=True)
        assert drained(outcome).weight == 5
        with pytest.raises(errors.NotFound):
            await agent.change(commands.RemoveBackend("services/web/backends/none"), validate_only=True)
        assert (len(node.journal.records), len(node.writes()), agent.snapshot().revision) == (records, writes, 3)


async def test_a_drain_without_flows_is_over_in_its_answer() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        after = drained(await agent.change(commands.DrainBackend(A)))
        assert after.drain is not None
        assert (after.admin, after.drain.result) == (AdminState.DRAINED, DrainResult.EMPTY)
        assert node.served_by() == {"10.0.0.2"}


async def test_a_drain_lasts_until_a_sweep_finds_no_flow() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        number = seen(agent, A).datapath_id
        node.datapath.live[number] = 2
        after = drained(await agent.change(commands.DrainBackend(A)))
        assert after.drain is not None
        assert (after.admin, after.drain.initial_flows) == (AdminState.DRAINING, 2)
        assert node.served_by() == {"10.0.0.2"}
        sweeps = node.datapath.sweeps
        await until(lambda: node.datapath.sweeps > sweeps + 1)
        assert seen(agent, A).backend.admin is AdminState.DRAINING
        assert seen(agent, A).live_flows == 2
        node.datapath.live[number] = 0
        await until(lambda: seen(agent, A).backend.admin is AdminState.DRAINED)


@pytest.mark.parametrize(
    ("action", "result", "flags"),
    [
        (DeadlineAction.KEEP, DrainResult.DEADLINE_KEPT, layout.BACKEND_KEEP),
        (DeadlineAction.CUT, DrainResult.DEADLINE_CUT, 0),
        (DeadlineAction.RESET, DrainResult.DEADLINE_CUT, layout.BACKEND_RESET),
    ],
)
async def test_the_deadline_ends_a_drain_across_a_restart(action: DeadlineAction, result: DrainResult, flags: int) -> None:
    node = Node()
    async with node.running() as agent:
        number = await draining(node, agent, 2, 3600.0, action)
    node.restarted()
    async with node.running() as agent:
        assert seen(agent, A).backend.admin is AdminState.DRAINING
    node.restarted()
    node.clock.ahead += 3601
    async with node.running() as agent:
        await until(lambda: seen(agent, A).backend.admin is AdminState.DRAINED)
        drain = seen(agent, A).backend.drain
        assert drain is not None
        assert (drain.result, drain.remaining_flows) == (result, 2)
        key = array_key(number)
        await until(lambda: layout.Backend.from_buffer_copy(node.datapath.maps_in_kernel["backends"][key]).flags == flags)


async def test_a_step_of_the_wall_clock_does_not_end_a_drain() -> None:
    node = Node()
    async with node.running() as agent:
        await draining(node, agent, 2, 60.0)
        node.clock.wall += 3600
        sweeps = node.datapath.sweeps
        await until(lambda: node.datapath.sweeps > sweeps + 1)
        assert seen(agent, A).backend.admin is AdminState.DRAINING


async def test_a_drain_that_a_reboot_interrupts_has_lost_its_state() -> None:
    node = Node()
    async with node.running() as agent:
        await draining(node, agent, 2)
    node.rebooted()
    async with node.running() as agent:
        await until(lambda: seen(agent, A).backend.admin is AdminState.DRAINED)
        drain = seen(agent, A).backend.drain
        assert drain is not None
        assert drain.result is DrainResult.LOST_STATE


async def test_removal_with_flows_needs_force_and_is_judged_by_a_fresh_count() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        node.datapath.live[seen(agent, A).datapath_id] = 1
        with pytest.raises(errors.FailedPrecondition):
            await agent.change(commands.RemoveBackend(A))
        node.datapath.live.clear()
        await agent.change(commands.RemoveBackend(A))


async def test_the_id_of_a_removed_backend_is_used_again_only_after_its_entries_have_gone() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        number = seen(agent, A).datapath_id
        node.datapath.closed[number] = 1
        await agent.change(commands.RemoveBackend(A))
        await agent.change(commands.AddBackend(backend("web", "c", "10.0.0.3", 80)))
        assert seen(agent, f"{WEB}/backends/c").datapath_id != number
        assert array_key(number) in node.datapath.maps_in_kernel["backends"]
        node.datapath.closed.clear()
        await until(lambda: array_key(number) not in node.datapath.maps_in_kernel["backends"])
        node.datapath.cleared.clear()
        await agent.change(commands.AddBackend(backend("web", "d", "10.0.0.4", 80)))
        assert seen(agent, f"{WEB}/backends/d").datapath_id == number
        assert node.datapath.cleared == [("backend", number)]


async def test_a_missing_interface_is_tried_again_until_it_is_there() -> None:
    node = Node()
    node.datapath.present.clear()
    async with node.running(wait=False) as agent:
        await until(lambda: node.datapath.attempts >= 3)
        assert not agent.ready
        assert "no interface eth0" in agent.not_ready_reason
        assert agent.agent().reconcile_retries >= 3
        node.datapath.present["eth0"] = 5
        node.network.happen("link")
        await until(lambda: agent.ready)
        assert agent.agent().interfaces[0].mode == "native"


async def test_an_interface_that_somebody_else_holds_is_named_with_the_program() -> None:
    node = Node()
    node.datapath.refuse_attaches = 2
    async with node.running(wait=False) as agent:
        await until(lambda: "XDP program 7" in agent.not_ready_reason)
        await until(lambda: agent.ready)


async def test_addresses_are_announced_when_attached_and_when_they_appear() -> None:
    node = Node()
    async with node.running() as agent:
        await until(lambda: (address(SNAT), "eth0") in node.datapath.announced)
        await web(agent)
        await until(lambda: (address("192.0.2.1"), "eth0") in node.datapath.announced)
        await agent.change(commands.DeleteService(WEB, force=True))
        await until(lambda: (address("192.0.2.1"), "eth0") not in node.datapath.announced)


async def test_addresses_are_announced_in_the_vlans_of_an_interface_too() -> None:
    """Whoever is in one has learnt the address there. Not in those of another interface, nor in more than can be told of."""
    node = Node()
    outer = Vlan(7, 2, 100, name="eth0.100")
    node.network.vlans_here = frozenset({
        outer, Vlan(8, 7, 5, name="eth0.100.5"), Vlan(9, 3, 100, name="eth1.100"), Vlan(11, 2, 7, name="eth0.7", up=False),
    })  # fmt: skip

    def told() -> set[str]:
        return {interface for one, interface in node.datapath.announced if one == address(SNAT)}

    async with node.running():
        await until(lambda: told() == {"eth0", "eth0.100", "eth0.100.5"})
        node.datapath.announced.clear()
        node.network.vlans_here |= {Vlan(10, 2, 101, name="eth0.101")}
        node.network.happen("link")
        await until(lambda: told() == {"eth0.101"})
        node.network.vlans_here = frozenset({replace(outer, device=77)})
        node.network.happen("link")
        await until(lambda: told() == {"eth0.101", "eth0.100"})
    many = Node()
    many.network.vlans_here = frozenset(Vlan(100 + number, 2, number, name="eth0.1") for number in range(MOST_IN_VLANS + 1))
    async with many.running():
        await until(lambda: (address(SNAT), "eth0") in many.datapath.announced)
        await asyncio.sleep(0.1)
        assert {interface for _, interface in many.datapath.announced} == {"eth0"}


async def test_a_vip_that_is_local_is_flagged_and_warned_of() -> None:
    node = Node()
    node.network.local = frozenset({address("192.0.2.1")})
    async with node.running() as agent:
        await web(agent)
        assert "VIP_IS_LOCAL" in dict(agent.agent().warnings)
        element = next(e for e in node.datapath.maps_in_kernel["addresses"].values() if e[:16] == address("192.0.2.1").packed)
        assert layout.OwnedAddress.from_buffer_copy(element).flags == layout.ADDRESS_VIP | layout.ADDRESS_LOCAL


async def test_a_vip_answers_ping_as_long_as_one_of_its_services_has_a_backend_for_new_flows() -> None:
    node = Node()
    async with node.running() as agent:
        await agent.change(commands.CreateService(service("web")))
        assert not node.echoing()
        await agent.change(commands.AddBackend(backend("web", "a", "10.0.0.1", 80)))
        await agent.change(commands.CreateService(service("other", port=81)))
        assert node.echoing() == {"192.0.2.1"}
        await agent.change(commands.UpdateBackend(A, weight=0))
        assert not node.echoing()
        await agent.change(commands.AddBackend(backend("other", "b", "10.0.0.2", 81)))
        assert node.echoing() == {"192.0.2.1"}


async def test_the_policy_of_echo_may_change_while_the_agent_runs() -> None:
    node = Node()
    async with node.running() as agent:
        await agent.change(commands.CreateService(service("web")))
        agent.configure(config(echo=Echo.ALWAYS, icmp_rate=7))
        await until(lambda: node.echoing() == {"192.0.2.1"})
        await agent.change(commands.AddBackend(backend("web", "a", "10.0.0.1", 80)))
        agent.configure(config(echo=Echo.NEVER, icmp_rate=7))
        await until(lambda: not node.echoing())
        [element] = node.datapath.maps_in_kernel["config"].values()
        assert layout.Config.from_buffer_copy(element).icmp_rate == 7
        agent.configure(config())
        await until(lambda: node.echoing() == {"192.0.2.1"})


async def test_a_service_without_snat_address_of_its_family_says_so() -> None:
    node = Node()
    async with node.running() as agent:
        outcome = await agent.change(commands.CreateService(service("six", "2001:db8::1")))
        assert outcome.service is not None
        assert "SNAT" in outcome.service.reconciling
        assert "NO_SNAT_ADDRESS" in dict(agent.agent().warnings)


async def test_counters_are_read_at_most_every_fifty_milliseconds() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        sample = await agent.stats()
        await agent.stats()
        assert node.datapath.counter_reads == 1
        assert set(sample.backend_ids) == {A, B}
        assert set(sample.service_ids) == {WEB}
        node.clock.ahead += 1
        await agent.stats()
        assert node.datapath.counter_reads == 2


async def collect(events: AsyncIterator[BackendEvent], count: int) -> list[tuple[str, str]]:
    found = []
    async with asyncio.timeout(SECONDS):
        for _ in range(count):
            event = await anext(events)
            found.append((event.kind, event.view.backend.name if event.view else ""))
    return found


async def test_a_watcher_sees_everything_then_every_change() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        events = agent.watch("", 0)
        assert await collect(events, 3) == [("ADDED", A), ("ADDED", B), ("SYNCED", "")]
        await agent.change(commands.RemoveBackend(A))
        kinds = await collect(events, 1)
        assert kinds == [("DELETED", A)]
        await agent.change(commands.AddBackend(backend("web", "c", "10.0.0.3", 80)))
        told = await collect(events, 1)
        if told == [("MODIFIED", B)]:  # its share of the ring has changed: on a slow machine that is told before
            told = await collect(events, 1)
        assert told == [("ADDED", f"{WEB}/backends/c")]


async def test_a_slow_watcher_gets_one_newest_event_for_each_backend() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
        events = agent.watch(WEB, 0)
        await collect(events, 3)
        for weight in range(2, 50):
            await agent.change(commands.UpdateBackend(A, weight=weight))
        event = await anext(events)
        assert event.view is not None
        # The other backend is told of as well: its share of the ring has changed.
        if event.view.backend.name == B:
            assert event.kind == "MODIFIED"
            event = await anext(events)
        assert event.view is not None
        assert (event.kind, event.view.backend.name, event.view.backend.weight) == ("MODIFIED", A, 49)


async def test_what_changes_right_after_a_watcher_was_told_of_everything_reaches_it() -> None:
    node = Node()
    async with node.running() as agent:
        number = await draining(node, agent, 3)
        before = seen(agent, A).live_flows
        events = agent.watch(WEB, 0)
        await collect(events, 3)
        # No pass of the report has seen this watcher yet: what it was told is what counts.
        node.datapath.live[number] = 2
        async with asyncio.timeout(SECONDS):
            event = await anext(events)
        assert event.view is not None
        assert (before, event.kind, event.view.live_flows) == (3, "MODIFIED", 2)


async def test_a_watcher_resumes_across_a_restart_and_is_told_when_it_cannot() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent)
    node.restarted()
    async with node.running() as agent:
        events = agent.watch("", 2)
        assert await collect(events, 2) == [("ADDED", B), ("SYNCED", "")]
        with pytest.raises(errors.OutOfRange):
            await anext(agent.watch("", 99))


async def test_a_watcher_follows_the_progress_of_a_drain() -> None:
    node = Node()
    async with node.running() as agent:
        number = await draining(node, agent, 3)
        events = agent.watch(WEB, 0)
        await collect(events, 3)
        node.datapath.live[number] = 1
        event = await anext(events)
        assert event.view is not None
        assert (event.kind, event.view.live_flows) == ("MODIFIED", 1)
        node.datapath.live[number] = 0
        async with asyncio.timeout(SECONDS):
            async for event in events:
                if event.view and event.view.backend.admin is AdminState.DRAINED:
                    break


async def test_the_end_of_a_drain_is_told_at_once_and_once_more_when_the_kernel_has_it() -> None:
    node = Node()
    async with node.running() as agent:
        number = await draining(node, agent, 3)
        events = agent.watch(WEB, 0)
        await collect(events, 3)
        node.datapath.live[number] = 0
        views: list[BackendView] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.5):  # sweeps come each second and have nothing to tell
                async for event in events:
                    if event.view:
                        views.append(event.view)
        ends = [view for view in views if view.backend.admin is AdminState.DRAINED]
        assert views[-2:] == ends
        assert [view.reconciling for view in ends] == ["being written", ""]
        assert replace(ends[0], reconciling="", counted=0.0) == replace(ends[1], counted=0.0)
