"""Who takes new flows: what health says of a service, and the one answer that is shown."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4lb_agent.model.backend import AdminState, Backend
from l4lb_agent.model.health.check import HealthCheck, Kind, OnAllDown
from l4lb_agent.model.health.effective import EffectiveState, effective
from l4lb_agent.model.health.standing import NOBODY, Standing, stand, together, too_few
from l4lb_agent.model.health.state import Health, State
from tests.fakes.values import backend

KEEP = HealthCheck(Kind.TCP, interval_seconds=1.0, timeout_seconds=0.5)
REJECT = replace(KEEP, on_all_down=OnAllDown.REJECT)
BACKENDS = [backend("web", name, f"10.0.0.{number}") for number, name in enumerate("abc", 1)]
NAMES = {name: one.name for name, one in zip("abc", BACKENDS, strict=True)}


def names(letters: str) -> frozenset[str]:
    """Of these backends."""
    return frozenset(NAMES[letter] for letter in letters)


def healths(**states: object) -> dict[str, Health]:
    """a=State.UP; a time is one that went from UP to DOWN then."""
    made = {}
    for letter, one in states.items():
        fell = one if isinstance(one, float) else None
        made[NAMES[letter]] = Health(one if isinstance(one, State) else State.DOWN, 0.0, fell=fell)
    return made


def seen(before: Standing, check: HealthCheck = KEEP, backends: list[Backend] = BACKENDS, **states: object) -> Standing:
    """What a step makes of it."""
    return stand(check, backends, healths(**states), before)


ALL_UP = seen(NOBODY, a=State.UP, b=State.UP, c=State.UP)


def test_those_that_are_not_up_are_out_and_only_those_that_are_down_are_given_up() -> None:
    now = seen(NOBODY, a=State.UP, b=State.DOWN, c=State.UNKNOWN)
    assert (now.up, now.out, now.down, now.kept, now.all_down) == (names("a"), names("bc"), names("b"), frozenset(), False)


def test_backends_without_health_are_in() -> None:
    assert not seen(NOBODY, a=State.UP).out


def test_when_all_fail_at_one_time_all_go_on_although_they_are_found_one_after_the_other() -> None:
    one = seen(ALL_UP, a=10.0, b=State.UP, c=State.UP)
    two = seen(one, a=10.0, b=10.4, c=State.UP)
    assert two.out == names("ab")
    three = seen(two, a=10.0, b=10.4, c=11.0)
    assert (three.kept, three.out, three.down, three.all_down) == (names("abc"), frozenset(), frozenset(), True)


def test_one_that_was_down_long_before_is_not_kept() -> None:
    before = seen(ALL_UP, a=10.0, b=State.UP, c=State.UP)
    late = 10.0 + together(KEEP) + 1
    now = seen(before, a=10.0, b=late, c=late + 0.5)
    assert (now.kept, now.out) == (names("bc"), names("a"))


def test_who_is_kept_stays_so_until_one_is_up() -> None:
    kept = seen(ALL_UP, a=10.0, b=10.0, c=10.0)
    assert seen(kept, a=10.0, b=10.0, c=10.0).kept == names("abc")
    up = seen(kept, a=10.0, b=State.UP, c=10.0)
    assert (up.kept, up.out) == (frozenset(), names("ac"))


def test_nobody_is_kept_who_never_was_up() -> None:
    now = seen(seen(NOBODY, a=State.UNKNOWN, b=State.UNKNOWN), a=State.DOWN, b=State.UNKNOWN)
    assert (now.kept, now.out, now.all_down) == (frozenset(), names("ab"), True)


def test_with_reject_nobody_is_kept() -> None:
    now = seen(ALL_UP, REJECT, a=10.0, b=10.0, c=10.0)
    assert (now.kept, now.out, now.down, now.all_down) == (frozenset(), names("abc"), names("abc"), True)


def test_a_drain_of_the_last_one_that_is_up_brings_nobody_back() -> None:
    before = seen(ALL_UP, a=10.0, b=10.0, c=State.UP)
    drained = [*BACKENDS[:2], replace(BACKENDS[2], admin=AdminState.DRAINING)]
    now = stand(KEEP, drained, healths(a=10.0, b=10.0, c=State.UP), before)
    assert (now.kept, now.out, now.all_down) == (frozenset(), names("ab"), True)
    later = stand(KEEP, drained, healths(a=10.0, b=10.0, c=10.5), now)
    assert not later.kept


def test_one_that_is_disabled_while_it_is_kept_does_not_come_back_by_being_enabled() -> None:
    kept = seen(ALL_UP, a=10.0, b=10.0, c=10.0)
    disabled = stand(KEEP, [replace(BACKENDS[0], admin=AdminState.DISABLED), *BACKENDS[1:]], healths(a=10.0, b=10.0, c=10.0), kept)
    assert disabled.kept == names("bc")
    assert seen(disabled, a=10.0, b=10.0, c=10.0).kept == names("bc")


def test_a_service_of_which_no_backend_is_to_have_new_flows_is_not_all_down() -> None:
    idle = [replace(one, weight=0) for one in BACKENDS]
    assert not stand(KEEP, idle, healths(a=State.DOWN, b=State.DOWN, c=State.DOWN), NOBODY).all_down


HALF = replace(KEEP, min_up_percent=50)
THREE_QUARTERS = replace(KEEP, min_up_percent=75)


def test_when_fewer_are_up_than_asked_for_those_that_went_down_together_go_on() -> None:
    one = seen(ALL_UP, HALF, a=10.0, b=State.UP, c=State.UP)
    assert (one.kept, one.out) == (frozenset(), names("a"))
    two = seen(one, HALF, a=10.0, b=10.4, c=State.UP)
    assert (two.up, two.kept, two.out, two.down, two.all_down) == (names("c"), names("ab"), frozenset(), frozenset(), False)
    three = seen(two, HALF, a=10.0, b=10.4, c=99.0)
    assert (three.kept, three.out, three.all_down) == (names("abc"), frozenset(), True)
    back = seen(three, HALF, a=State.UP, b=10.4, c=99.0)
    assert (back.up, back.kept, back.all_down) == (names("a"), names("bc"), False)
    enough = seen(back, HALF, a=State.UP, b=State.UP, c=99.0)
    assert (enough.up, enough.kept, enough.out) == (names("ab"), frozenset(), names("c"))


def test_the_share_is_of_the_weight_of_those_that_are_known_and_are_to_have_new_flows() -> None:
    def few(percent: int, *backends: Backend, **states: object) -> bool:
        return too_few(replace(KEEP, min_up_percent=percent), backends, healths(**states))

    a, b, c = (replace(one, weight=weight) for one, weight in zip(BACKENDS, (60, 30, 10), strict=True))
    assert not few(60, a, b, c, a=State.UP, b=State.DOWN, c=State.DOWN)
    assert few(61, a, b, c, a=State.UP, b=State.DOWN, c=State.DOWN)
    assert not few(100, a, b, c, a=State.UP, b=State.UNKNOWN, c=State.UNKNOWN)
    assert not few(100, a, replace(b, admin=AdminState.DRAINING), c, a=State.UP, b=State.DOWN, c=State.UP)
    assert few(0, a, b, c, a=State.DOWN, b=State.UNKNOWN, c=State.DOWN)
    assert not few(0, a, b, c, a=State.DOWN, b=State.DOWN, c=State.UP)


def test_who_is_kept_because_too_few_are_up_is_not_one_that_was_down_long_before_or_that_nobody_knows() -> None:
    before = seen(ALL_UP, THREE_QUARTERS, a=10.0, b=State.UP, c=State.UP)
    assert before.kept == names("a")
    long_before = seen(ALL_UP, HALF, a=10.0, b=State.UP, c=State.UP)
    now = seen(long_before, HALF, a=10.0, b=10.0 + together(KEEP) + 1, c=State.UP)
    assert (now.kept, now.out) == (names("b"), names("a"))
    another = seen(now, HALF, a=10.0, b=State.UNKNOWN, c=State.UP)
    assert (another.kept, another.out) == (frozenset(), names("ab"))


def test_a_drain_that_leaves_too_few_brings_nobody_back() -> None:
    before = seen(ALL_UP, HALF, a=10.0, b=State.UP, c=State.UP)
    drained = [BACKENDS[0], replace(BACKENDS[1], admin=AdminState.DRAINING), replace(BACKENDS[2], weight=1)]
    heavy = [replace(drained[0], weight=9), *drained[1:]]
    assert not stand(HALF, heavy, healths(a=10.0, b=State.UP, c=State.UP), before).kept


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0.1, 5.0)), max_size=40)


@given(STEPS)
def test_who_was_ever_up_leaves_the_service_never_empty_and_each_that_is_up_is_in(steps: list[tuple[str, bool, float]]) -> None:
    """Whoever goes up and down, and when; only one that was UP is ever in."""
    now, standing, of, ever = 0.0, NOBODY, {name: Health(State.UNKNOWN, 0.0) for name in NAMES.values()}, set[str]()
    for letter, well, pause in steps:
        now, name = now + pause, NAMES[letter]
        before = of[name]
        fell = now if before.state is State.UP and not well else before.fell
        of[name] = replace(before, state=State.UP if well else State.DOWN, fell=fell)
        ever |= {name} if well else set()
        standing = stand(KEEP, BACKENDS, of, standing)
        inside = of.keys() - standing.out
        assert inside >= {one for one, health in of.items() if health.state is State.UP}
        assert bool(inside) == bool(ever)
        assert inside <= ever
        assert standing.down <= standing.out
        assert not (standing.up and standing.kept)


@given(STEPS, st.integers(0, 100))
def test_while_too_few_are_up_nobody_leaves_and_one_that_is_up_is_always_in(steps: list[tuple[str, bool, float]], percent: int) -> None:
    check = replace(KEEP, min_up_percent=percent)
    now, standing, of = 0.0, NOBODY, {name: Health(State.UNKNOWN, 0.0) for name in NAMES.values()}
    short, inside = True, set[str]()
    for letter, well, pause in steps:
        now, name = now + pause, NAMES[letter]
        fell = now if of[name].state is State.UP and not well else of[name].fell
        of[name] = replace(of[name], state=State.UP if well else State.DOWN, fell=fell)
        standing = stand(check, BACKENDS, of, standing)
        was_short, was_inside = short, inside
        short, inside = too_few(check, BACKENDS, of), set(of) - standing.out
        assert inside >= {one for one, health in of.items() if health.state is State.UP}
        assert not (was_short and short) or inside >= was_inside
        assert short or not standing.kept


WELL = backend("web", "a", "10.0.0.1")


@pytest.mark.parametrize(
    ("one", "health", "kept", "with_way", "wanted"),
    [
        (WELL, None, False, True, EffectiveState.TAKES_NEW_FLOWS),
        (WELL, State.UP, False, True, EffectiveState.TAKES_NEW_FLOWS),
        (WELL, State.DOWN, False, True, EffectiveState.UNHEALTHY),
        (WELL, State.DOWN, True, True, EffectiveState.TAKES_NEW_FLOWS),
        (WELL, State.UNKNOWN, False, True, EffectiveState.HEALTH_UNKNOWN),
        (WELL, State.DOWN, True, False, EffectiveState.NO_WAY),
        (replace(WELL, weight=0), State.DOWN, False, False, EffectiveState.NO_WEIGHT),
        (replace(WELL, admin=AdminState.DRAINING), State.DOWN, False, False, EffectiveState.DRAINING),
        (replace(WELL, admin=AdminState.DRAINED), State.UP, False, True, EffectiveState.DRAINED),
        (replace(WELL, admin=AdminState.DISABLED, weight=0), None, False, True, EffectiveState.DISABLED),
    ],
)
def test_the_effective_state(one: Backend, health: State | None, *, kept: bool, with_way: bool, wanted: EffectiveState) -> None:
    assert effective(one, health, kept=kept, with_way=with_way) is wanted
