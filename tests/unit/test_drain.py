"""How drains end, and the table of admin states."""

import pytest

from l4lb_agent.model.backend import AdminState, DeadlineAction, Drain, DrainResult
from l4lb_agent.model.drain import TRANSITIONS, Event, ending, transition
from l4lb_agent.model.errors import FailedPrecondition
from tests.fakes.values import backend

KEEP = Drain(0.0, 10.0, DeadlineAction.KEEP, "boot")


def test_a_drain_ends_empty_when_a_sweep_counts_no_flow() -> None:
    assert ending(KEEP, live_flows=0, expired=False, state_lost=False) is DrainResult.EMPTY


def test_a_drain_does_not_end_before_it_was_counted() -> None:
    assert ending(KEEP, live_flows=None, expired=False, state_lost=False) is None


def test_a_drain_goes_on_while_one_flow_is_left() -> None:
    assert ending(KEEP, live_flows=1, expired=False, state_lost=False) is None


@pytest.mark.parametrize(
    ("action", "result"),
    [
        (DeadlineAction.KEEP, DrainResult.DEADLINE_KEPT),
        (DeadlineAction.CUT, DrainResult.DEADLINE_CUT),
        (DeadlineAction.RESET, DrainResult.DEADLINE_CUT),
    ],
)
def test_the_deadline_ends_a_drain_with_its_action(action: DeadlineAction, result: DrainResult) -> None:
    assert ending(Drain(0.0, 10.0, action, "boot"), live_flows=2, expired=True, state_lost=False) is result


def test_a_drain_that_is_empty_at_its_deadline_ended_empty() -> None:
    assert ending(KEEP, live_flows=0, expired=True, state_lost=False) is DrainResult.EMPTY


def test_a_drain_of_which_not_all_flows_are_counted_is_not_empty() -> None:
    assert ending(KEEP, live_flows=0, uncounted=True, expired=False, state_lost=False) is None
    assert ending(KEEP, live_flows=0, uncounted=True, expired=True, state_lost=False) is DrainResult.DEADLINE_KEPT


def test_a_drain_whose_flow_table_is_gone_says_so() -> None:
    assert ending(KEEP, live_flows=0, expired=True, state_lost=True) is DrainResult.LOST_STATE


@pytest.mark.parametrize("state", list(AdminState))
@pytest.mark.parametrize("event", list(Event))
def test_what_the_table_does_not_hold_is_refused_with_what_is_possible(state: AdminState, event: Event) -> None:
    subject = backend("web", "a", "10.0.0.1", admin=state)
    if (state, event) in TRANSITIONS:
        assert transition(subject, event, "name") is TRANSITIONS[state, event]
        return
    with pytest.raises(FailedPrecondition) as caught:
        transition(subject, event, "name")
    assert "possible is" in caught.value.message


def test_every_state_can_be_left() -> None:
    for state in AdminState:
        assert any(before is state and after is not state for (before, _), after in TRANSITIONS.items())
