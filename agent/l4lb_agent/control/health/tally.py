"""What has come of probes since this process started, by service."""

from collections import Counter
from dataclasses import dataclass, field

from l4lb_agent.model.health.outcome import Why


@dataclass
class Tally:
    """Of one service. A probe that several backends share counts for each of them."""

    outcomes: Counter[Why] = field(default_factory=Counter)
    transitions: int = 0  # of its backends, from UP to DOWN and back


class Tallies:
    """By name of services that have had a check."""

    def __init__(self) -> None:
        self._of: dict[str, Tally] = {}

    def count(self, service: str, why: Why, transitions: int) -> None:
        """One probe of one backend has ended, with so many transitions."""
        tally = self._of.setdefault(service, Tally())
        tally.outcomes[why] += 1
        tally.transitions += transitions

    def forget(self, service: str) -> None:
        """It has no check any more."""
        self._of.pop(service, None)

    def taken(self) -> dict[str, Tally]:
        """Values that do not change any more."""
        return {name: Tally(Counter(tally.outcomes), tally.transitions) for name, tally in self._of.items()}
