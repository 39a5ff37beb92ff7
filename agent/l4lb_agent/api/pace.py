"""When the next sample of a stream is due, and how many its reader missed."""

from dataclasses import dataclass


@dataclass
class Pace:
    """Ticks every `interval` seconds from `start` on. There is no queue: a tick that comes while the last message still waits for its
    reader is skipped and counted, so that the next message is always the newest."""

    start: float
    interval: float
    ticks: int = 0  # that have been taken or skipped

    def wait(self, now: float) -> float:
        """Seconds until the next tick, 0 when it has come."""
        return max(0.0, self.start + self.ticks * self.interval - now)

    def take(self, now: float) -> int:
        """Takes the newest tick that has come; the number of those before it that nobody took. Call when wait(now) is 0."""
        newest = max(int((now - self.start) / self.interval), self.ticks)
        skipped = newest - self.ticks
        self.ticks = newest + 1
        return skipped
