"""Flapping outlasts the agent: what of it is journaled, what the next one makes of it, and what ends it."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from l4lb_agent.control import start
from l4lb_agent.control.agent import Agent
from l4lb_agent.model import records
from l4lb_agent.model.changes import commands
from l4lb_agent.model.desired import Change, Desired
from l4lb_agent.model.health import flaps
from l4lb_agent.model.health.check import HealthCheck, Kind, OnAllDown
from l4lb_agent.model.health.flaps import Flaps
from l4lb_agent.model.health.outcome import Outcome, Why
from l4lb_agent.model.health.state import FLAP_SECONDS, LONGEST_HOLD, Health, Probed, State, learned
from tests.fakes.values import SECRETS, address, backend, service
from tests.unit.test_agent import Node, until
from tests.unit.test_health_agent import AT_A, AT_B, CHECK, WEB, A, B, both_up, flap, health, quick, states

__all__ = ["quick"]  # a fixture

NERVOUS = replace(CHECK, rise=1, fall=1)
ONE = backend("web", "a", AT_A, 80)
AHEAD = 1e6  # Unix seconds before the monotonic clock
UNKNOWN, UP = Health(State.UNKNOWN, 7.0), Health(State.UP, 7.0)


def flapped(until_state: State = State.DOWN, holds: int = 1) -> tuple[Health, float]:
    """A health that has been held so often, and when (monotonic) it came to this state."""
    check, now = HealthCheck(Kind.TCP, rise=1, fall=1), 100.0
    one = replace(UP, since=AHEAD)
    while one.holds < holds or one.state is not until_state:
        now = max(now + 1.0, one.held_until)
        why = Why.REFUSED if one.state is State.UP else Why.OK
        one = learned(one, Probed(Outcome(why), now + AHEAD), now, check)
    return one, now


def again(one: Health, since: float, begins: Health = UNKNOWN, stepped: float = 0.0) -> Health:
    """What the next process begins with, whose monotonic clock stands at `since`, and whose host's time was set by `stepped` seconds."""
    kept = flaps.of(ONE, one, AHEAD)
    return kept.begun(begins, since, AHEAD + stepped)


def test_one_that_is_held_goes_on_being_held_to_the_same_time() -> None:
    one, now = flapped(holds=3)
    begun = again(one, now + 1.0)
    assert (begun.state, begun.held_until, begun.holds, begun.changes, begun.fell, begun.since) == (
        State.DOWN, one.held_until, 3, one.changes, now, one.since
    )  # fmt: skip
    assert begun.held_until == now + 20.0
    assert begun.flapping(now + 19.9)
    assert not begun.flapping(now + 20.0)


def test_one_whose_hold_is_over_begins_as_down_and_the_next_hold_is_twice_as_long() -> None:
    one, now = flapped(holds=8)
    assert one.held_until > now + FLAP_SECONDS
    later = one.held_until + 1.0
    begun = again(one, later)
    assert begun.state is State.DOWN
    up = learned(begun, Probed(Outcome(Why.OK), 0.0), later, NERVOUS)
    assert up.state is State.UP
    down = learned(up, Probed(Outcome(Why.REFUSED), 0.0), later + 1.0, NERVOUS)
    assert down.held_until - later - 1.0 == 2 * (one.held_until - now)


@pytest.mark.parametrize("begins", [UNKNOWN, UP])
def test_one_that_came_back_begins_as_others_do_and_is_held_longer_when_it_falls_again(begins: Health) -> None:
    one, now = flapped(State.UP, holds=2)
    begun = again(one, now + 1.0, begins)
    assert replace(begun, changes=(), holds=0) == begins
    up = learned(begun, Probed(Outcome(Why.OK), 0.0), now + 2.0, NERVOUS)
    down = learned(up, Probed(Outcome(Why.REFUSED), 0.0), now + 3.0, NERVOUS)
    assert down.held_until == now + 3.0 + 20.0


def test_one_that_was_up_for_ten_minutes_begins_as_if_it_never_had_flapped() -> None:
    one, now = flapped(State.UP)
    assert again(one, now + FLAP_SECONDS) == UNKNOWN
    assert again(one, now + FLAP_SECONDS - 1.0).holds == 1


def test_one_that_takes_new_flows_begins_as_up_although_it_was_held() -> None:
    one, now = flapped()
    begun = again(one, now + 1.0, UP)
    assert (begun.state, begun.flapping(now + 1.0), begun.holds) == (State.UP, False, 1)


@pytest.mark.parametrize("stepped", [-1e6, 1e6])
def test_however_the_time_is_set_nobody_is_held_for_longer_than_an_hour(stepped: float) -> None:
    one, now = flapped()
    begun = again(one, now, stepped=stepped)
    assert begun.held_until <= now + LONGEST_HOLD
    assert all(time <= now for time in begun.changes)


def test_what_is_kept_is_read_back_from_records_and_from_a_snapshot_and_forgotten_when_it_ended() -> None:
    desired = Desired().apply(Change(1, 0.0, services=(service("web"),), backends=(ONE,)))
    kept, ended = flaps.of(ONE, flapped()[0], AHEAD), flaps.of(ONE, UNKNOWN, AHEAD)

    def read(*written: records.Record) -> records.Replayed:
        replayed = records.replay(json.loads(json.dumps(record)) for record in written)
        assert replayed is not None
        assert (replayed.desired, replayed.changes) == (desired, ())
        return replayed

    empty, whole = records.snapshot(desired, SECRETS), records.snapshot(desired, SECRETS, [kept])
    assert read(empty, records.note(kept, desired, 1.0)).flaps == {A: kept}
    assert read(whole).flaps == {A: kept}
    assert read(whole, records.note(ended, desired, 2.0)).flaps == {}
    del empty["flaps"]
    assert read(empty).flaps == {}


@pytest.mark.parametrize(
    "other", [replace(ONE, created=5.0), replace(ONE, port=81), replace(ONE, address=address(AT_B)), replace(ONE, name=B)]
)
def test_another_backend_has_nothing_of_it(other: object) -> None:
    kept = flaps.of(ONE, flapped()[0], AHEAD)
    desired = Desired().apply(Change(1, 0.0, services=(service("web"),), backends=(other,)))  # type: ignore[arg-type]
    replayed = records.replay([records.snapshot(desired, SECRETS, [kept])])
    assert replayed is not None
    assert replayed.flaps == {}


async def flap_and_note(node: Node, agent: Agent) -> None:
    """The same, until the journal has it."""
    await flap(node, agent)
    await until(lambda: kept(node))
    assert health(agent, A).flapping_until


def kept(node: Node) -> dict[str, Flaps]:
    """What a process that started now would know."""
    replayed = records.replay(node.journal.load())
    assert replayed is not None
    return dict(replayed.flaps)


async def test_a_restart_frees_no_backend_that_is_held() -> None:
    node = Node()
    async with both_up(node, NERVOUS) as agent:
        await flap_and_note(node, agent)
        held = health(agent, A).flapping_until
        appends = node.journal.appends
        probes = node.prober.probes_of(AT_A)
        await until(lambda: node.prober.probes_of(AT_A) > probes + 4)
        assert node.journal.appends == appends, "probes are no news"
    node.restarted()
    async with node.running() as agent:
        assert (health(agent, A).health.state, node.writes(), node.served_by()) == (State.DOWN, [], {AT_B})
        assert health(agent, A).flapping_until == pytest.approx(held, abs=0.01)
        known = kept(node)
        await agent._store.snapshot()  # noqa: SLF001
        assert kept(node) == known
        probes = node.prober.probes_of(AT_A)
        await until(lambda: node.prober.probes_of(AT_A) > probes + 4)
        assert health(agent, A).health.state is State.DOWN
        node.clock.ahead += 5
        await states(agent, State.UP, State.UP)
        await until(lambda: not kept(node)[A].held_until > kept(node)[A].changes[-1])
        assert not health(agent, A).flapping_until


async def test_when_the_secrets_of_adopted_maps_are_journaled_what_is_kept_stays() -> None:
    node = Node()
    async with both_up(node, NERVOUS) as agent:
        await flap_and_note(node, agent)
        known = kept(node)
    node.restarted()
    node.journal.records[0] = node.journal.records[0].replace(SECRETS.slot.hex(), "ff" * 16)
    start.begin(node.datapath, node.journal, SECRETS)
    assert (len(node.journal.records), kept(node)) == (1, known)


async def test_after_a_reboot_nobody_is_held() -> None:
    node = Node()
    async with both_up(node, NERVOUS) as agent:
        await flap_and_note(node, agent)
    node.rebooted()
    async with node.running() as agent:
        assert not health(agent, A).flapping_until
        await states(agent, State.UP, State.UP)


async def test_those_that_go_on_although_all_are_down_go_on_after_a_restart_when_they_were_held_too() -> None:
    node = Node()
    async with both_up(node, NERVOUS) as agent:
        await flap_and_note(node, agent)
        node.clock.ahead += 5
        await states(agent, State.UP, State.UP)
        node.prober.fail(AT_A, AT_B)
        await states(agent, State.DOWN, State.DOWN)
        await until(lambda: node.served_by() == {AT_A, AT_B})
        assert health(agent, A).flapping_until
        await until(lambda: kept(node)[A].holds == 2)
    node.restarted()
    node.prober.hold.clear()
    async with node.running() as agent:
        assert (node.writes(), node.served_by()) == ([], {AT_A, AT_B})
        assert not health(agent, A).flapping_until


def other_check() -> commands.Command:
    return commands.UpdateService(WEB, without_health_check=True)


def other_address() -> commands.Command:
    return commands.UpdateBackend(A, address=address("10.0.0.9"))


def removed() -> commands.Command:
    return commands.RemoveBackend(A, force=True)


@pytest.mark.parametrize("end", [other_check, other_address, removed])
async def test_what_ends_a_check_or_its_backend_ends_its_flapping_for_good(end: Callable[[], commands.Command]) -> None:
    node = Node()
    async with both_up(node, replace(NERVOUS, on_all_down=OnAllDown.REJECT)) as agent:
        await flap_and_note(node, agent)
        await agent.change(end())
        await until(lambda: not kept(node))


async def test_once_it_was_quiet_the_journal_forgets_it() -> None:
    node = Node()
    async with both_up(node, NERVOUS) as agent:
        await flap_and_note(node, agent)
        node.clock.ahead += 5
        await states(agent, State.UP, State.UP)
        node.clock.ahead += FLAP_SECONDS
        node.prober.fail(AT_A)
        await states(agent, State.DOWN, State.UP)
        await until(lambda: not kept(node))
        assert not health(agent, A).flapping_until
