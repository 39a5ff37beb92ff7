"""When the recorder writes by itself: events that say that something is not as it must be, and how often at most."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

PAUSE_SECONDS: Final = 600.0  # between two files because of the same event
# Event of the log -> what it means. docs/operations.md has the same list.
GUARDS: Final[Mapping[str, str]] = {
    "stalled": "the loop that keeps the kernel as asked does not turn: the watchdog is about to end the agent",
    "apply_failed": "the kernel refused a write",
    "map_drifted": "somebody else has changed the agent's maps",
    "attach_failed": "an interface is without the program, or has lost it",
    "mode_changed": "the program runs in another mode than before",
    "sweep_failed": "the flow tables cannot be read",
    "drops_surged": "packets are dropped as in a flood",
    "all_backends_down": "probes say that no backend of a service is well any more",
    "journal_damaged": "the journal was not whole at the start",
    "journal_failed": "the journal cannot be written",
    "audit_failed": "the audit cannot be written",
    "decision_failed": "a change failed in a way that nobody foresaw",
    "failed": "a call failed in a way that nobody foresaw",
    "part_failed": "a part of the agent has ended: the agent ends",
    "crashed": "the agent ends by an error that nobody foresaw",
}


@dataclass
class Pace:
    """Whether a file is due because of an event. Times are monotonic."""

    _last: dict[str, float] = field(default_factory=dict)

    def due(self, name: str, now: float) -> bool:
        """Whether one is due because of the event `name`, which then counts as written."""
        if name not in GUARDS or now < self._last.get(name, -PAUSE_SECONDS) + PAUSE_SECONDS:
            return False
        self._last[name] = now
        return True
