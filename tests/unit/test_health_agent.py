"""The whole agent over fakes: which backends take new flows because of their health, and what survives."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from l4lb_agent.control.agent import Agent
from l4lb_agent.control.applying import keeper, reconciler
from l4lb_agent.control.facade import HealthView
from l4lb_agent.model import errors, layout
from l4lb_agent.model.backend import AdminState
from l4lb_agent.model.changes import commands
from l4lb_agent.model.health.check import By, HealthCheck, Kind, OnAllDown, ProbeTarget
from l4lb_agent.model.health.check import target as check_target
from l4lb_agent.model.health.effective import EffectiveState
from l4lb_agent.model.health.outcome import Why
from l4lb_agent.model.health.passing import Place
from l4lb_agent.model.health.state import FLAP_TRANSITIONS, State
from l4lb_agent.model.service import Mode, Protocol, Tracking
from l4lb_agent.model.tables import array_key
from tests.fakes.values import address, backend, service
from tests.unit.test_agent import Node, collect, seen, until
from tests.unit.test_windows import homes

WEB = "services/web"
A, B = (f"{WEB}/backends/{name}" for name in "ab")
AT_A, AT_B = "10.0.0.1", "10.0.0.2"
CHECK = HealthCheck(Kind.TCP, interval_seconds=0.1, timeout_seconds=0.05, rise=2, fall=3)
SLOW = replace(CHECK, interval_seconds=3600.0, timeout_seconds=2.0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps here: what looks at it each second looks more often."""
    monkeypatch.setattr(reconciler, "BEAT_SECONDS", 0.02)


async def web(agent: Agent, check: HealthCheck | None = CHECK, **more: object) -> None:
    """A service with two backends."""
    await agent.change(commands.CreateService(service("web", health_check=check, **more)))
    for name, at in (("a", AT_A), ("b", AT_B)):
        await agent.change(commands.AddBackend(backend("web", name, at, 80)))


def health(agent: Agent, name: str) -> HealthView:
    """Of a backend that has a check."""
    found = seen(agent, name).health
    assert found is not None
    return found


async def passed(agent: Agent) -> None:
    """A pass of the reconciler began after this, and has ended: the first that ends may have begun before."""
    for _ in range(2):
        progress = agent._reconciler._progress  # noqa: SLF001
        agent._reconciler.wake()
        await progress.wait()


async def states(agent: Agent, a: State, b: State) -> None:
    """Waits until health says so, and the kernel forwards accordingly."""
    await until(lambda: (health(agent, A).health.state, health(agent, B).health.state) == (a, b))
    await passed(agent)


async def flap(node: Node, agent: Agent) -> None:
    """A goes up and down until it is held, with probes that are well. Expects a check with a rise and a fall of 1."""
    for _ in range(FLAP_TRANSITIONS // 2):
        node.prober.fail(AT_A)
        await states(agent, State.DOWN, State.UP)
        node.prober.fail()
        await states(agent, State.UP, State.UP)
    node.prober.fail(AT_A)
    await states(agent, State.DOWN, State.UP)
    node.prober.fail()


@contextlib.asynccontextmanager
async def both_up(node: Node, check: HealthCheck = CHECK, **more: object) -> AsyncIterator[Agent]:
    """An agent that runs, with a service of which both backends are UP."""
    async with node.running() as agent:
        await web(agent, check, **more)
        await states(agent, State.UP, State.UP)
        yield agent


def flags(node: Node, agent: Agent, name: str) -> int:
    """Of its element in the kernel."""
    element = node.datapath.maps_in_kernel["backends"].get(array_key(seen(agent, name).datapath_id))
    return layout.Backend.from_buffer_copy(element).flags if element else 0


async def test_a_new_backend_takes_new_flows_once_a_probe_was_well() -> None:
    node = Node()
    node.prober.hold.clear()
    async with node.running() as agent:
        await web(agent, SLOW)
        await until(lambda: len(node.prober.probed) == 2)
        assert node.served_by() == {"no_backend"}
        assert [seen(agent, name).effective for name in (A, B)] == [EffectiveState.HEALTH_UNKNOWN] * 2
        assert not seen(agent, A).reconciling
        node.prober.fail(AT_B)
        node.prober.hold.set()
        await states(agent, State.UP, State.DOWN)
        await until(lambda: node.served_by() == {AT_A})
        assert [seen(agent, name).effective for name in (A, B)] == [EffectiveState.TAKES_NEW_FLOWS, EffectiveState.UNHEALTHY]
        last = health(agent, B).health.last
        assert last is not None
        assert (last.outcome.why, last.outcome.detail) == (Why.REFUSED, "refused by the test")


async def test_new_flows_go_elsewhere_while_a_backend_is_down_and_come_back() -> None:
    node = Node()
    async with both_up(node) as agent:
        await until(lambda: node.served_by() == {AT_A, AT_B})
        events = agent.watch(WEB, 0)
        await collect(events, 3)
        node.prober.fail(AT_A)
        await states(agent, State.DOWN, State.UP)
        await until(lambda: node.served_by() == {AT_B})
        assert not flags(node, agent, A) & layout.BACKEND_ELIGIBLE
        assert flags(node, agent, A) & layout.BACKEND_KEEP
        told = [await anext(events), await anext(events)]
        assert {event.view.backend.name for event in told if event.view} == {A, B}
        node.prober.fail()
        await states(agent, State.UP, State.UP)
        await until(lambda: node.served_by() == {AT_A, AT_B})
        assert health(agent, A).health.transitions == 2


async def test_one_failure_less_than_fall_moves_nobody() -> None:
    node = Node()
    async with both_up(node, replace(CHECK, fall=100)) as agent:
        writes, probes = len(node.writes()), node.prober.probes_of(AT_A)
        node.prober.fail(AT_A)
        await until(lambda: node.prober.probes_of(AT_A) > probes + 5)
        assert health(agent, A).health.consecutive > 2
        assert (health(agent, A).health.state, len(node.writes())) == (State.UP, writes)


async def test_own_faults_move_nobody() -> None:
    node = Node()
    async with both_up(node) as agent:
        probes = node.prober.probes_of(AT_A)
        node.prober.fail(AT_A, AT_B, why=Why.OWN_FAULT)
        await until(lambda: node.prober.probes_of(AT_A) > probes + 5)
        assert health(agent, A).health.state is State.UP
        last = health(agent, A).health.last
        assert last is not None
        assert last.outcome.why is Why.OWN_FAULT


async def test_a_check_that_begins_takes_nobody_out_before_probes_have_failed() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent, None)
        assert seen(agent, A).health is None
        writes = len(node.writes())
        node.prober.hold.clear()
        await agent.change(commands.UpdateService(WEB, health_check=CHECK))
        assert (health(agent, A).health.state, health(agent, B).health.state) == (State.UP, State.UP)
        node.prober.fail(AT_B)
        node.prober.hold.set()
        probes = node.prober.probes_of(AT_B)
        await until(lambda: node.prober.probes_of(AT_B) == probes + 1)
        assert len(node.writes()) == writes
        await states(agent, State.UP, State.DOWN)
        await until(lambda: node.served_by() == {AT_A})
        await agent.change(commands.UpdateService(WEB, without_health_check=True))
        assert node.served_by() == {AT_A, AT_B}
        assert seen(agent, B).health is None


async def test_a_restart_changes_nothing_before_probes_have_failed() -> None:
    node = Node()
    async with both_up(node) as agent:
        await until(lambda: node.served_by() == {AT_A, AT_B})
    node.restarted()
    node.prober.hold.clear()
    node.prober.fail(AT_A)
    async with node.running() as agent:
        await until(lambda: node.prober.probed)
        assert (node.writes(), node.served_by()) == ([], {AT_A, AT_B})
        assert health(agent, A).health.state is State.UP
        node.prober.hold.set()
        await states(agent, State.DOWN, State.UP)
        await until(lambda: node.served_by() == {AT_B})


async def test_who_was_down_at_a_restart_comes_back_by_a_probe_only() -> None:
    node = Node()
    node.prober.fail(AT_A)
    async with node.running() as agent:
        await web(agent)
        await states(agent, State.DOWN, State.UP)
        await until(lambda: node.served_by() == {AT_B})
    node.restarted()
    node.prober.hold.clear()
    async with node.running() as agent:
        assert (health(agent, A).health.state, health(agent, B).health.state) == (State.UNKNOWN, State.UP)
        assert (node.writes(), node.served_by()) == ([], {AT_B})
        node.prober.fail()
        node.prober.hold.set()
        await states(agent, State.UP, State.UP)
        await until(lambda: node.served_by() == {AT_A, AT_B})


async def test_after_a_reboot_nobody_takes_new_flows_before_a_probe_was_well() -> None:
    node = Node()
    async with both_up(node):
        pass
    node.rebooted()
    node.prober.hold.clear()
    async with node.running() as agent:
        assert node.served_by() == {"no_backend"}
        node.prober.fail(AT_B)
        node.prober.hold.set()
        await states(agent, State.UP, State.DOWN)
        await until(lambda: node.served_by() == {AT_A})


async def test_when_all_are_down_they_go_on_also_after_a_restart() -> None:
    node = Node()
    async with both_up(node) as agent:
        node.prober.fail(AT_A, AT_B)
        await states(agent, State.DOWN, State.DOWN)
        await until(lambda: node.served_by() == {AT_A, AT_B})
        assert (health(agent, A).kept, seen(agent, A).effective) == (True, EffectiveState.TAKES_NEW_FLOWS)
        node.clock.ahead += 3600
        await passed(agent)
        assert flags(node, agent, A) & layout.BACKEND_KEEP
    node.restarted()
    async with node.running() as agent:
        await states(agent, State.DOWN, State.DOWN)
        await until(lambda: health(agent, A).kept and health(agent, B).kept)
        await until(lambda: node.served_by() == {AT_A, AT_B})
        node.prober.fail(AT_A)
        await states(agent, State.DOWN, State.UP)
        await until(lambda: node.served_by() == {AT_B})
        assert not health(agent, A).kept


async def test_with_reject_nobody_takes_new_flows_when_all_are_down() -> None:
    node = Node()
    async with both_up(node, replace(CHECK, on_all_down=OnAllDown.REJECT)) as agent:
        node.prober.fail(AT_A, AT_B)
        await states(agent, State.DOWN, State.DOWN)
        await until(lambda: node.served_by() == {"no_backend"})
        assert seen(agent, A).effective is EffectiveState.UNHEALTHY


async def test_while_fewer_are_up_than_asked_for_those_that_go_down_go_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "l4lb_agent.control.health.checker")
    node = Node()
    async with both_up(node, replace(CHECK, min_up_percent=51)) as agent:
        await until(lambda: node.served_by() == {AT_A, AT_B})
        writes = len(node.writes())
        node.prober.fail(AT_A)
        await states(agent, State.DOWN, State.UP)
        assert (node.served_by(), len(node.writes())) == ({AT_A, AT_B}, writes)
        assert (health(agent, A).kept, seen(agent, A).effective) == (True, EffectiveState.TAKES_NEW_FLOWS)
        await agent.change(commands.UpdateService(WEB, health_check=replace(CHECK, min_up_percent=50)))
        await until(lambda: node.served_by() == {AT_B})
        assert (health(agent, A).kept, seen(agent, A).effective) == (False, EffectiveState.UNHEALTHY)
    told = [record.getMessage() for record in caplog.records if "backends_up" in record.getMessage()]
    assert told == [f"event=too_few_backends_up service={WEB} up=1 kept=1", f"event=enough_backends_up service={WEB} up=1"]


@pytest.mark.parametrize("mode", [Mode.NAT, Mode.KEEP, Mode.DSR])
async def test_the_flows_of_who_is_down_are_cut_after_its_grace(mode: Mode) -> None:
    node = Node()
    tracking = Tracking.NONE if mode.translates else Tracking.CHANGES
    async with both_up(node, mode=mode, tracking=tracking, down_grace_seconds=300) as agent:
        node.prober.fail(AT_A)
        await states(agent, State.DOWN, State.UP)
        node.clock.ahead += 250
        await passed(agent)
        assert flags(node, agent, A) & layout.BACKEND_KEEP
        node.clock.ahead += 100
        await until(lambda: not flags(node, agent, A))
        assert flags(node, agent, B) & layout.BACKEND_KEEP
        node.prober.fail()
        await states(agent, State.UP, State.UP)
        await until(lambda: flags(node, agent, A) & layout.BACKEND_KEEP)


async def test_flows_of_who_is_not_known_yet_are_not_cut_however_long_that_lasts() -> None:
    node = Node()
    async with both_up(node, mode=Mode.DSR, tracking=Tracking.CHANGES, window_seconds=1, down_grace_seconds=1) as agent:
        # The ring is settled, and the journal has it: else flows without an entry go where it was before both were UP.
        while agent._reconciler.windows.held[1].before is not None:  # noqa: SLF001
            node.clock.ahead += 1
            await asyncio.sleep(0.02)
        node.clock.ahead += keeper.PAUSE_SECONDS
        await until(lambda: '"before"' in node.journal.records[-1] and '"slots"' not in node.journal.records[-1])
    node.rebooted()
    node.prober.hold.clear()
    async with node.running() as agent:
        node.clock.ahead += 60
        await passed(agent)
        assert [flags(node, agent, name) for name in (A, B)] == [layout.BACKEND_KEEP] * 2
        assert homes(node)[1] == {AT_A, AT_B}


async def test_nat_flows_of_a_backend_without_next_hop_stay_as_ever() -> None:
    node = Node()
    async with both_up(node, SLOW, down_grace_seconds=0) as agent:
        node.network.missing.add(address(AT_A))
        node.network.happen("neighbour")
        await until(lambda: node.network.lookups > 4)
        node.clock.ahead += 60
        await until(lambda: seen(agent, A).effective is EffectiveState.NO_WAY)
        await passed(agent)
        assert flags(node, agent, A) == layout.BACKEND_KEEP


async def test_two_services_share_the_probes_of_a_backend_that_are_alike() -> None:
    node = Node()
    async with node.running() as agent:
        await web(agent, SLOW)
        await agent.change(commands.CreateService(service("other", "192.0.2.2", health_check=replace(SLOW, rise=9))))
        await states(agent, State.UP, State.UP)
        before = node.prober.probes_of(AT_A)
        node.prober.fail(AT_A)
        await agent.change(commands.AddBackend(backend("other", "a", AT_A, 80)))
        other = f"{WEB.replace('web', 'other')}/backends/a"
        await until(lambda: health(agent, other).health.state is State.DOWN)
        assert node.prober.probes_of(AT_A) == before + 1
        assert health(agent, A).health.consecutive == 1
        assert health(agent, A).health.state is State.UP


async def test_another_check_goes_on_with_the_state_and_another_address_does_not() -> None:
    node = Node()
    async with both_up(node) as agent:
        node.prober.hold.clear()
        await agent.change(commands.UpdateService(WEB, health_check=replace(SLOW, kind=Kind.HTTP)))
        assert health(agent, A).health.state is State.UP
        await agent.change(commands.UpdateBackend(A, address=address("10.0.0.9")))
        assert health(agent, A).health.state is State.UNKNOWN
        await until(lambda: node.served_by() == {AT_B})


async def test_probes_end_with_their_backend() -> None:
    node = Node()
    async with both_up(node) as agent:
        await agent.change(commands.RemoveBackend(A, force=True))
        probes, others = node.prober.probes_of(AT_A), node.prober.probes_of(AT_B)
        await until(lambda: node.prober.probes_of(AT_B) > others + 3)
        assert node.prober.probes_of(AT_A) <= probes + 1
        await agent.change(commands.RemoveBackend(B, force=True))
        assert agent._checker.verdict.out == frozenset()  # noqa: SLF001
        await agent.change(commands.DeleteService(WEB))
        checker = agent._checker  # noqa: SLF001
        assert not checker.verdict.out
        assert (checker._watched, checker._series, checker._standings) == ({}, {}, {})  # noqa: SLF001


async def test_health_neither_drains_nor_undrains() -> None:
    node = Node()
    async with both_up(node) as agent:
        node.prober.fail(AT_A)
        await states(agent, State.DOWN, State.UP)
        await agent.change(commands.UpdateBackend(A, admin=AdminState.DISABLED))
        node.prober.fail()
        await states(agent, State.UP, State.UP)
        assert (seen(agent, A).effective, node.served_by()) == (EffectiveState.DISABLED, {AT_B})
        node.prober.fail(AT_A)
        await states(agent, State.DOWN, State.UP)
        await agent.change(commands.UpdateBackend(A, admin=AdminState.ENABLED))
        assert (seen(agent, A).effective, node.served_by()) == (EffectiveState.UNHEALTHY, {AT_B})


async def test_the_last_backend_that_is_up_is_not_drained_by_mistake() -> None:
    node = Node()
    async with both_up(node) as agent:
        node.prober.fail(AT_A)
        await states(agent, State.DOWN, State.UP)
        with pytest.raises(errors.FailedPrecondition, match="the last backend"):
            await agent.change(commands.DrainBackend(B))
        await agent.change(commands.DrainBackend(B, allow_empty=True))
        assert node.served_by() == {"no_backend"}


async def test_one_that_flaps_is_held_down_visibly() -> None:
    node = Node()
    async with both_up(node, replace(CHECK, rise=1, fall=1)) as agent:
        await flap(node, agent)
        now, held = node.clock.time(), health(agent, A).flapping_until
        assert now < held <= now + 5
        probes = node.prober.probes_of(AT_A)
        await until(lambda: node.prober.probes_of(AT_A) > probes + 4)
        assert health(agent, A).health.state is State.DOWN
        node.clock.ahead += 5
        await states(agent, State.UP, State.UP)


async def test_udp_services_have_health_too() -> None:
    node = Node()
    async with both_up(node, replace(CHECK, kind=Kind.UDP, send=b"ping"), protocol=Protocol.UDP):
        assert {(check.kind, target.port) for check, target in node.prober.probed} == {(Kind.UDP, 80)}


async def test_probes_of_the_vip_go_by_each_backend_on_its_own_where_the_datapath_has_it() -> None:
    node = Node()
    check = replace(CHECK, target=ProbeTarget.VIP)
    async with both_up(node, check, mode=Mode.DSR, tracking=Tracking.CHANGES) as agent:
        await agent.change(commands.UpdateBackend(A, weight=0))
        await passed(agent)
        node.prober.probed.clear(), node.prober.places.clear()
        await until(lambda: len(node.prober.places) > 8)
        seen_by = {(str(to.address), to.by.backend, place) for (_, to), place in zip(node.prober.probed, node.prober.places) if to.by}
        services = agent._reconciler.ids.services  # noqa: SLF001
        [number] = services.values()
        assert seen_by == {("192.0.2.1", name, Place(number, seen(agent, name).datapath_id)) for name in (A, B)}
        assert health(agent, A).target == check_target(check, address("192.0.2.1"), address(AT_A), 80, By(A, address(AT_A), "DSR"))
        await agent.change(commands.UpdateService(WEB, health_check=CHECK))
        node.prober.probed.clear()
        await until(lambda: {to.by for _, to in node.prober.probed[4:]} == {None})
        assert health(agent, A).health.state is State.UP, "another target of the same backends goes on with their state"
