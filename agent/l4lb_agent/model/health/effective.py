"""Whether a backend takes new flows, and if not, why: one answer for everything that shows it."""

import enum

from l4lb_agent.model.backend import AdminState, Backend
from l4lb_agent.model.health.state import State


class EffectiveState(enum.IntEnum):
    """Numbers as in the API."""

    TAKES_NEW_FLOWS = 1
    DRAINING = 2
    DRAINED = 3
    DISABLED = 4
    NO_WEIGHT = 5
    NO_WAY = 6  # its next hop is not resolved, or not of use
    UNHEALTHY = 7
    HEALTH_UNKNOWN = 8


_ADMIN = {
    AdminState.DRAINING: EffectiveState.DRAINING, AdminState.DRAINED: EffectiveState.DRAINED, AdminState.DISABLED: EffectiveState.DISABLED
}  # fmt: skip


def effective(backend: Backend, health: State | None, *, kept: bool, with_way: bool) -> EffectiveState:
    """`health` is None without a check; `kept`: it takes new flows although it is DOWN, since too few of its service are UP. Of several
    reasons the one that comes first: what the operator asked, then the network, which fails probes too, then health."""
    if backend.admin in _ADMIN:
        return _ADMIN[backend.admin]
    if not backend.weight:
        return EffectiveState.NO_WEIGHT
    if not with_way:
        return EffectiveState.NO_WAY
    if health is None or health is State.UP or kept:
        return EffectiveState.TAKES_NEW_FLOWS
    return EffectiveState.UNHEALTHY if health is State.DOWN else EffectiveState.HEALTH_UNKNOWN
