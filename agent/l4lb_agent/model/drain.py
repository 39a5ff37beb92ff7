"""Admin states of a backend and how a drain ends. The table is the law: what it does not hold is refused."""

import enum
from collections.abc import Mapping

from l4lb_agent.model.backend import AdminState, Backend, DeadlineAction, Drain, DrainResult
from l4lb_agent.model.errors import FailedPrecondition


class Event(enum.Enum):
    """What can happen to an admin state; the value is how a person asks for it."""

    ENABLE = "UpdateBackend with admin_state ENABLED"
    DISABLE = "UpdateBackend with admin_state DISABLED"
    DRAIN = "DrainBackend"
    END = "the end of a drain"
    UNDRAIN = "UndrainBackend"


TRANSITIONS: Mapping[tuple[AdminState, Event], AdminState] = {
    (AdminState.ENABLED, Event.ENABLE): AdminState.ENABLED,
    (AdminState.ENABLED, Event.DISABLE): AdminState.DISABLED,
    (AdminState.ENABLED, Event.DRAIN): AdminState.DRAINING,
    (AdminState.DISABLED, Event.ENABLE): AdminState.ENABLED,
    (AdminState.DISABLED, Event.DISABLE): AdminState.DISABLED,
    (AdminState.DISABLED, Event.DRAIN): AdminState.DRAINING,
    (AdminState.DRAINING, Event.DRAIN): AdminState.DRAINING,  # another deadline or action for the running drain
    (AdminState.DRAINING, Event.END): AdminState.DRAINED,
    (AdminState.DRAINING, Event.UNDRAIN): AdminState.ENABLED,
    (AdminState.DRAINED, Event.UNDRAIN): AdminState.ENABLED,
}


def transition(backend: Backend, event: Event, field: str) -> AdminState:
    """The state after `event`. Raises FailedPrecondition saying what is possible instead."""
    after = TRANSITIONS.get((backend.admin, event))
    if after is not None:
        return after
    possible = " or ".join(e.value for s, e in TRANSITIONS if s is backend.admin and e is not Event.END)
    raise FailedPrecondition(
        f"{backend.name} is {backend.admin.name}: {event.value} is not possible; possible is {possible}",
        reason="WRONG_ADMIN_STATE",
        field=field,
        metadata={"backend": backend.name, "admin_state": backend.admin.name},
    )


def ending(drain: Drain, *, live_flows: int | None, expired: bool, state_lost: bool, uncounted: bool = False) -> DrainResult | None:
    """How the running `drain` ends now, None while it goes on. `live_flows` is None while no sweep has begun since the ring without the
    backend was published; `uncounted`: flows without an entry may go on there; `state_lost`: the flow table that the drain began with is
    gone (another boot, or the maps were made anew)."""
    if state_lost:
        return DrainResult.LOST_STATE
    if live_flows == 0 and not uncounted:
        return DrainResult.EMPTY
    if not expired:
        return None
    return DrainResult.DEADLINE_KEPT if drain.action is DeadlineAction.KEEP else DrainResult.DEADLINE_CUT
