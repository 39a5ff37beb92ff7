"""What probes make of a backend's health: the table, rise and fall whatever the results, pauses, flapping."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4lb_agent.model.health import state
from l4lb_agent.model.health.check import HealthCheck, Kind
from l4lb_agent.model.health.outcome import Outcome, Why
from l4lb_agent.model.health.state import Health, Probed, State, learned, other_check, pause

CHECK = HealthCheck(Kind.TCP, interval_seconds=1.0, timeout_seconds=0.5, rise=2, fall=3)
WELL, BAD, OWN = Why.OK, Why.TIMEOUT, Why.OWN_FAULT
UNKNOWN, UP, DOWN = (Health(one, 0.0) for one in State)


def after(health: Health, results: list[Why], check: HealthCheck = CHECK, begin: float = 0.0, step: float = 1.0) -> Health:
    """The health after these probes, one each `step`."""
    for number, why in enumerate(results, 1):
        now = begin + number * step
        health = learned(health, Probed(Outcome(why), 1e6 + now), now, check)
    return health


@pytest.mark.parametrize(
    ("before", "results", "wanted"),
    [
        (UNKNOWN, [WELL], State.UP),
        (UNKNOWN, [BAD], State.DOWN),
        (UNKNOWN, [OWN], State.UNKNOWN),
        (UP, [BAD, BAD], State.UP),
        (UP, [BAD, BAD, BAD], State.DOWN),
        (UP, [BAD, BAD, WELL, BAD, BAD], State.UP),
        (UP, [BAD, BAD, OWN, BAD], State.DOWN),
        (UP, [OWN] * 9, State.UP),
        (DOWN, [WELL], State.DOWN),
        (DOWN, [WELL, WELL], State.UP),
        (DOWN, [WELL, BAD, WELL], State.DOWN),
        (DOWN, [WELL, OWN, WELL], State.UP),
    ],
)
def test_the_table(before: Health, results: list[Why], wanted: State) -> None:
    assert after(before, results).state is wanted


@given(results=st.lists(st.sampled_from([WELL, BAD, OWN]), max_size=60), rise=st.integers(1, 4), fall=st.integers(1, 4))
def test_no_state_changes_without_as_many_conclusive_results_in_a_row_as_asked(results: list[Why], rise: int, fall: int) -> None:
    check, health, conclusive = replace(CHECK, rise=rise, fall=fall), UNKNOWN, list[bool]()
    for number, why in enumerate(results):
        now = number * state.FLAP_SECONDS  # no flapping
        before, health = health, learned(health, Probed(Outcome(why), now), now, check)
        conclusive += [why is WELL] if why is not OWN else []
        ups, downs = conclusive[-rise:] == [True] * rise, conclusive[-fall:] == [False] * fall
        if before.state is State.UNKNOWN:
            wanted = State.UNKNOWN if not conclusive else State.UP if conclusive[-1] else State.DOWN
        elif before.state is State.UP:
            wanted = State.DOWN if downs else State.UP
        else:
            wanted = State.UP if ups else State.DOWN
        assert health.state is wanted
        assert health.transitions - before.transitions == (before.state is not State.UNKNOWN and before.state is not health.state)


def test_what_is_told_of_it() -> None:
    health = after(UP, [WELL, BAD, BAD, BAD, BAD])
    assert (health.consecutive, health.ok, health.transitions) == (4, False, 1)
    assert health.since == 1e6 + 4
    assert health.last == Probed(Outcome(BAD), 1e6 + 5)
    assert len(after(UP, [WELL] * 100).history) == state.KEPT


def test_another_check_goes_on_with_the_state_and_all_of_fall_is_to_go() -> None:
    almost = after(UP, [BAD, BAD])
    assert after(almost, [BAD]).state is State.DOWN
    assert after(other_check(almost), [BAD, BAD]).state is State.UP
    assert after(other_check(almost), [BAD, BAD, BAD]).state is State.DOWN


def test_pauses_have_jitter_and_grow_when_it_has_failed_for_long() -> None:
    assert pause(UP, CHECK, 0.0) == 1.0
    assert (pause(UP, CHECK, 1.0), pause(UP, CHECK, -1.0)) == pytest.approx((1.1, 0.9))
    assert pause(after(UP, [BAD] * state.LONG), CHECK, 0.0) == 1.0
    assert pause(after(UP, [BAD] * (state.LONG + 1)), CHECK, 0.0) == pytest.approx(1.5)
    assert pause(after(UP, [BAD] * (state.LONG + 2)), CHECK, 0.0) == pytest.approx(2.25)
    assert pause(after(UP, [BAD] * 500), CHECK, 0.0) == state.LONGEST_PAUSE
    assert pause(after(UP, [BAD] * 500 + [WELL]), CHECK, 0.0) == 1.0
    assert pause(after(UP, [BAD] * 500), replace(CHECK, interval_seconds=0.1), 0.0) == state.LONGEST_PAUSE
    assert pause(after(UP, [BAD] * 500), replace(CHECK, interval_seconds=900.0), 0.0) == 900.0


QUICK = replace(CHECK, rise=1, fall=1)


def test_a_backend_that_changes_too_often_is_held_down_twice_as_long_each_time() -> None:
    health = after(UP, [BAD, WELL] * 3, QUICK)
    assert health.state is State.UP
    assert not health.held_until
    held = after(health, [BAD], QUICK, begin=6)
    seventh = 7.0
    assert held.held_until == seventh + state.SHORTEST_HOLD
    assert held.flapping(seventh)
    assert not held.flapping(seventh + state.SHORTEST_HOLD)


def flapping(cycles: int) -> tuple[Health, list[float]]:
    """A backend of which every second probe fails, one each second; how long each hold was."""
    health, holds, now = UP, list[float](), 0.0
    for number in range(cycles):
        now += 1.0
        before, health = health, learned(health, Probed(Outcome(BAD if number % 2 == 0 else WELL), now), now, QUICK)
        if health.held_until > before.held_until:
            holds.append(health.held_until - now)
    return health, holds


def test_holds_double_up_to_an_hour() -> None:
    _, holds = flapping(40_000)
    assert holds[:5] == [5.0, 10.0, 20.0, 40.0, 80.0]
    assert holds[-1] == state.LONGEST_HOLD


def test_a_held_backend_comes_back_by_the_first_success_after_the_hold() -> None:
    held = after(after(UP, [BAD, WELL] * 3, QUICK), [BAD], QUICK, begin=6)
    assert after(held, [WELL] * 4, QUICK, begin=7).state is State.DOWN
    assert after(held, [WELL] * 5, QUICK, begin=7).state is State.UP


def test_one_that_was_up_for_ten_minutes_is_not_flapping_any_more() -> None:
    held = after(after(UP, [BAD, WELL] * 3, QUICK), [BAD], QUICK, begin=6)
    back = after(held, [WELL] * 6, QUICK, begin=7)
    assert after(back, [BAD], QUICK, begin=12 + state.FLAP_SECONDS).held_until == held.held_until
    soon = after(back, [BAD], QUICK, begin=100)
    assert soon.held_until == 101 + 2 * state.SHORTEST_HOLD
