"""How long changes take from when they come to when the kernel forwards accordingly."""

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds


@dataclass(frozen=True)
class Durations:
    """How many took at most so long, for each of BOUNDS, and in all. Grows from zero with each process."""

    within: tuple[int, ...] = (0,) * len(BOUNDS)
    count: int = 0
    seconds: float = 0.0


@dataclass
class Applies:
    """Changes that are on their way, and how long those before them took. Times are monotonic."""

    _waiting: deque[tuple[int, float]] = field(default_factory=deque)  # revision, when it came
    _counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    _seconds: float = 0.0

    def came(self, revision: int, when: float) -> None:
        """The change that makes `revision` came at `when` and is in the journal now."""
        self._waiting.append((revision, when))

    def applied(self, revision: int, now: float) -> None:
        """The kernel forwards as `revision` asks."""
        while self._waiting and self._waiting[0][0] <= revision:
            took = max(0.0, now - self._waiting.popleft()[1])
            self._counts[bisect_left(BOUNDS, took)] += 1
            self._seconds += took

    @property
    def durations(self) -> Durations:
        """Of all that have been applied."""
        within, sum_ = [], 0
        for count in self._counts:
            sum_ += count
            within.append(sum_)
        return Durations(tuple(within[:-1]), sum_, self._seconds)
