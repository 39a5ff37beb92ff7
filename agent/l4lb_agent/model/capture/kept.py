"""What is kept of the flight recorder's dumps, and what each is called."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

PREFIX: Final = "dumps/"  # of names
ID: Final = re.compile(r"(\d{8}T\d{6})\.(\d{3})Z-([a-z_]{1,63})", re.ASCII)
_SECOND: Final = "%Y%m%dT%H%M%S"


@dataclass(frozen=True)
class KeptDump:
    """A file that the recorder wrote by itself. `id` is its time and its cause, the event that tripped a guard: it sorts by time."""

    id: str
    time: float  # Unix seconds
    cause: str
    bytes: int

    @property
    def name(self) -> str:
        """In the API."""
        return f"{PREFIX}{self.id}"


def id_of(when: float, cause: str) -> str:
    """The id of a dump of Unix time `when`."""
    return f"{datetime.fromtimestamp(int(when), UTC).strftime(_SECOND)}.{int(when * 1000) % 1000:03d}Z-{cause}"


def named(dump_id: str, size: int) -> KeptDump:
    """The dump of that id. Raises ValueError for what no id can be."""
    matched = ID.fullmatch(dump_id)
    if not matched:
        raise ValueError(f"{dump_id!r} is no time with a cause")
    seconds = datetime.strptime(matched[1], _SECOND).replace(tzinfo=UTC).timestamp()
    return KeptDump(dump_id, seconds + int(matched[2]) / 1000, matched[3], size)
