"""What is kept of the flight recorder's dumps."""

from dataclasses import dataclass


@dataclass(frozen=True)
class KeptDump:
    """A file that the recorder wrote by itself. `id` is its time and its cause, the event that tripped a guard: it sorts by time."""

    id: str
    time: float  # Unix seconds
    cause: str
    bytes: int
