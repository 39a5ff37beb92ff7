"""What happened, in bounded memory: of each kind of event the last ones, so that many of one kind do not push out the others."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

KEPT: Final = 200  # events of one kind
LONGEST: Final = 1000  # characters of a value; of longer ones the middle is left out
MOST: Final = 4 << 20  # characters of all values together


@dataclass(frozen=True)
class Event:
    """A line of the log. `fields` are those of its event, without its name."""

    time: float  # Unix seconds
    level: str
    part: str
    name: str
    fields: Mapping[str, str]

    @property
    def characters(self) -> int:
        """What it takes."""
        return sum(len(name) + len(value) for name, value in self.fields.items())


class Timeline:
    """One writer at a time; any thread may read."""

    def __init__(self) -> None:
        self.forgotten = 0  # events that had to go
        self._kinds: dict[str, deque[Event]] = {}
        self._characters: dict[str, int] = {}  # by kind

    def add(self, event: Event) -> None:
        """Remembers it, and forgets the oldest of its kind, or of the largest kind, when there are too many."""
        short = Event(event.time, event.level, event.part, event.name, {name: _short(text) for name, text in event.fields.items()})
        kind = self._kinds.setdefault(short.name, deque())
        kind.append(short)
        self._characters[short.name] = self._characters.get(short.name, 0) + short.characters
        if len(kind) > KEPT:
            self._forget(short.name)
        while sum(self._characters.values()) > MOST:
            self._forget(max(self._characters, key=lambda name: self._characters[name]))

    def _forget(self, name: str) -> None:
        self._characters[name] -= self._kinds[name].popleft().characters
        self.forgotten += 1

    def events(self) -> list[Event]:
        """All that are remembered, the oldest first."""
        return sorted((event for kind in list(self._kinds.values()) for event in list(kind)), key=lambda event: event.time)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}...{text[-LONGEST // 2 :]}"
