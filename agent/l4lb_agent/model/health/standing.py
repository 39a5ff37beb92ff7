"""What the health of a service's backends means for its new flows."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from l4lb_agent.model.backend import Backend
from l4lb_agent.model.health.check import HealthCheck, OnAllDown
from l4lb_agent.model.health.state import JITTER, Health, State


@dataclass(frozen=True)
class Standing:
    """Names of backends of one service. `kept` are DOWN and take new flows all the same, because none is UP, or too few (KEEP_LAST)."""

    up: frozenset[str] = frozenset()  # that also are to have new flows
    kept: frozenset[str] = frozenset()
    out: frozenset[str] = frozenset()  # take no new flows because of health
    down: frozenset[str] = frozenset()  # of them those that are DOWN, not UNKNOWN
    all_down: bool = False  # none of those that are to have new flows is UP, and there are such


NOBODY = Standing()


@dataclass(frozen=True)
class Verdict:
    """Of all services together: backends that take no new flows because of health, and of them those whose flows are given up when their
    grace ends."""

    out: frozenset[str] = frozenset()
    down: frozenset[str] = frozenset()


def stand(check: HealthCheck, backends: Collection[Backend], healths: Mapping[str, Health], before: Standing) -> Standing:
    """How a service with a check stands; `before` is how it stood. Health decides on its own: a drain of the last backend that is UP brings
    nobody back who is DOWN."""
    of = {backend.name: healths[backend.name] for backend in backends if backend.name in healths}
    wanted = frozenset(backend.name for backend in backends if backend.wants_new_flows and backend.name in of)
    up = frozenset(name for name in wanted if of[name].state is State.UP)
    kept: frozenset[str] = frozenset()
    if check.on_all_down is OnAllDown.KEEP_LAST and too_few(check, backends, healths):
        down = frozenset(name for name in wanted if of[name].state is State.DOWN)
        fell = before.up & down
        kept = before.kept & down | fell if before.kept else _last(check, of, down, fell)
    out = frozenset(name for name, health in of.items() if health.state is not State.UP) - kept
    given_up = frozenset(name for name in out if of[name].state is State.DOWN)
    return Standing(up, kept, out, given_up, all_down=bool(wanted) and not up)


def too_few(check: HealthCheck, backends: Collection[Backend], healths: Mapping[str, Health]) -> bool:
    """Whether none is UP of those that are to have new flows, or less of their weight than the check asks for. Those of which nothing is
    known yet count for nothing."""
    weights = dict.fromkeys(State, 0)
    for backend in backends:
        if backend.wants_new_flows and backend.name in healths:
            weights[healths[backend.name].state] += backend.weight
    up = weights[State.UP]
    return not up or 100 * up < check.min_up_percent * (up + weights[State.DOWN])


def together(check: HealthCheck) -> float:
    """Seconds within which probes find those DOWN that failed at one time: each is probed when its turn comes."""
    return check.interval_seconds * (1 + JITTER * (2 * check.fall - 1)) + check.timeout_seconds


def _last(check: HealthCheck, of: Mapping[str, Health], down: frozenset[str], last: frozenset[str]) -> frozenset[str]:
    """Of those that are DOWN the last that were UP, and those that went DOWN together with them: were only the last one kept, a fault of
    the probes themselves would send everything there."""
    fell = [time for name in last if (time := of[name].fell) is not None]
    if not fell:
        return frozenset()
    since = min(fell) - together(check)
    return last | {name for name in down if (time := of[name].fell) is not None and time >= since}
