"""What of a backend's health outlasts the agent: that it changes too often, and is held DOWN for it."""

from dataclasses import dataclass, replace

from l4lb_agent.model.backend import Backend
from l4lb_agent.model.health.state import FLAP_SECONDS, LONGEST_HOLD, Health, State


@dataclass(frozen=True)
class Flaps:
    """Of one backend that has been held; `holds` is 0 for one that does not flap any more. Times are Unix seconds, because they have to
    mean something to the next process."""

    backend: str
    created: float  # when the backend was: another one may have its name
    at: str  # its address and port: those of another are another backend
    since: float = 0.0
    changes: tuple[float, ...] = ()  # as in Health, as the following
    held_until: float = 0.0
    holds: int = 0

    def of(self, backend: Backend) -> bool:
        """Whether this is about that backend."""
        return (self.backend, self.created, self.at) == (backend.name, backend.created, _at(backend))

    def begun(self, health: Health, now: float, ahead: float) -> Health:
        """The health that the backend begins with `now` (monotonic), where it would begin with `health` had it never flapped; Unix seconds
        are `ahead`. One that takes new flows begins as UP nevertheless: nobody is taken out before probes have failed. The host's time
        may have been set meanwhile: that holds nobody for longer than an hour from now."""
        changes = tuple(min(time - ahead, now) for time in self.changes)
        down = bool(changes) and self.held_until > self.changes[-1] and health.state is not State.UP
        if not self.holds or not changes or (not down and now - changes[-1] >= FLAP_SECONDS):
            return health
        if not down:
            return replace(health, changes=changes, holds=self.holds)
        held = min(self.held_until - ahead, now + LONGEST_HOLD)
        return Health(State.DOWN, self.since, changes=changes, fell=changes[-1], held_until=held, holds=self.holds)


def of(backend: Backend, health: Health, ahead: float) -> Flaps:
    """What the next process has to know; Unix seconds are `ahead` of the monotonic clock."""
    changes = tuple(time + ahead for time in health.changes)
    return Flaps(backend.name, backend.created, _at(backend), health.since, changes, health.held_until + ahead, health.holds)


def _at(backend: Backend) -> str:
    return f"{backend.address} {backend.port}"
