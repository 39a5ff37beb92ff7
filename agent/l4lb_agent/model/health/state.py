"""The health of one backend: what probe after probe makes of it. Times that are compared are on a clock that never steps."""

import enum
from dataclasses import dataclass, replace

from l4lb_agent.model.health.check import HealthCheck
from l4lb_agent.model.health.outcome import Outcome

KEPT = 32  # probes that are remembered
JITTER = 0.1  # of a pause, to either side
LONG = 10  # failures in a row, after which pauses grow
GROWTH, MOST_GROWTHS = 1.5, 16  # more make every interval longer than the longest pause
LONGEST_PAUSE = 60.0  # seconds, unless the interval is longer
FLAP_SECONDS, FLAP_TRANSITIONS = 600.0, 6  # more transitions than these within so long are flapping
SHORTEST_HOLD, LONGEST_HOLD = 5.0, 3600.0  # seconds


class State(enum.IntEnum):
    """What probes say; numbers as in the API."""

    UNKNOWN = 1
    UP = 2
    DOWN = 3


@dataclass(frozen=True, slots=True)
class Probed:
    """One probe; `time` is when it ended, Unix seconds."""

    outcome: Outcome
    time: float


@dataclass(frozen=True)
class Health:
    """`since` is Unix seconds; the fields after `history` are on the monotonic clock."""

    state: State
    since: float
    ok: bool | None = None  # how the last conclusive probe ended
    consecutive: int = 0  # conclusive probes in a row that ended so
    transitions: int = 0  # from UP to DOWN and back
    history: tuple[Probed, ...] = ()  # the oldest first
    changes: tuple[float, ...] = ()  # transitions within FLAP_SECONDS of the last one
    fell: float | None = None  # when it last went from UP to DOWN
    held_until: float = 0.0  # DOWN until then whatever probes say
    holds: int = 0  # how often it has been held without a quiet time in between

    @property
    def last(self) -> Probed | None:
        """The newest probe."""
        return self.history[-1] if self.history else None

    def flapping(self, now: float) -> bool:
        """Whether it is held DOWN because it changes too often."""
        return self.state is State.DOWN and now < self.held_until


def learned(health: Health, probed: Probed, now: float, check: HealthCheck) -> Health:
    """The health after one more probe that ended `now` (monotonic). From UNKNOWN one result decides; afterwards `rise` successes or `fall`
    failures in a row do, and any opposite one begins anew. What is not conclusive is remembered, and changes nothing."""
    history = (*health.history, probed)[-KEPT:]
    ok = probed.outcome.ok
    if not probed.outcome.conclusive:
        return replace(health, history=history)
    met = replace(health, history=history, ok=ok, consecutive=health.consecutive + 1 if health.ok is ok else 1)
    needed = {State.UNKNOWN: 1, State.UP: check.fall, State.DOWN: check.rise}[met.state]
    if met.state is (State.UP if ok else State.DOWN) or met.consecutive < needed or met.flapping(now):
        return met
    if met.state is State.UNKNOWN:
        return replace(met, state=State.UP if ok else State.DOWN, since=probed.time)
    return _turned(met, probed, now)


def other_check(health: Health) -> Health:
    """The health when another check goes on with it: the state stays, and all of `rise` or `fall` is to go."""
    return replace(health, ok=None, consecutive=0)


def pause(health: Health, check: HealthCheck, jitter: float) -> float:
    """Seconds from the start of a probe to that of the next; `jitter` is -1 to 1. Longer when the backend has been failing for long, until
    the first success."""
    seconds = check.interval_seconds
    if health.state is State.DOWN and health.ok is False and health.consecutive > LONG:
        grown = seconds * GROWTH ** min(health.consecutive - LONG, MOST_GROWTHS)
        seconds = min(grown, max(seconds, LONGEST_PAUSE))
    return seconds * (1 + JITTER * jitter)


def _turned(health: Health, probed: Probed, now: float) -> Health:
    """From UP to DOWN or back. Whoever does so too often is held DOWN, twice as long each time, until it was UP for FLAP_SECONDS."""
    quiet = not health.changes or now - health.changes[-1] >= FLAP_SECONDS
    changes = (*(time for time in health.changes if now - time < FLAP_SECONDS), now)
    after = replace(health, since=probed.time, transitions=health.transitions + 1, changes=changes)
    if health.state is State.DOWN:
        return replace(after, state=State.UP)
    holds = 0 if quiet else health.holds
    if holds or len(changes) > FLAP_TRANSITIONS:
        hold = min(LONGEST_HOLD, SHORTEST_HOLD * 2.0**holds)
        return replace(after, state=State.DOWN, fell=now, held_until=now + hold, holds=min(holds + 1, 32))
    return replace(after, state=State.DOWN, fell=now, holds=0)
