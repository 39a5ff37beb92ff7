"""Says when the journal is to be told of a service's ring `before`: at once, but not again within some seconds."""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from l4lb_agent.control.applying.rings import identity
from l4lb_agent.control.applying.windows import Held, Look
from l4lb_agent.model.windows import kept
from l4lb_agent.model.windows.kept import Kept

PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class _Written:
    before: "array[int] | None"
    time: float


class Keeper:
    """`journaled` is what the journal has, by service name. A service that it does not have is settled on all its backends."""

    def __init__(self, journaled: Mapping[str, Kept]) -> None:
        self.due: float | None = None  # when something is to be written that had to wait
        self._journaled = dict(journaled)
        self._written: dict[str, _Written] = {}

    def news(self, look: Look, services: Iterable[Held]) -> list[Kept]:
        """What is to be written now."""
        found: list[Kept] = []
        waits: list[float] = []
        written: dict[str, _Written] = {}
        for held in services:
            name, before = held.service.name, held.before
            known = self._written.get(name) or self._begun(look, held)
            if _same(known.before, before):
                written[name] = known
            elif known.time + PAUSE_SECONDS > look.time:
                written[name] = known
                waits.append(known.time + PAUSE_SECONDS)
            else:
                written[name] = _Written(before, look.time)
                names = {number: identity(backend) for number, backend in look.backends(held.service)}
                found.append(kept.of(name, held.service.created, before, names))
        self._written, self.due = written, min(waits, default=None)
        return found

    def _begun(self, look: Look, held: Held) -> _Written:
        journaled = self._journaled.pop(held.service.name, None)
        if journaled is None or journaled.created != held.service.created:
            return _Written(None, look.time - PAUSE_SECONDS)
        ids = {identity(backend): number for number, backend in look.backends(held.service)}
        return _Written(kept.numbers(journaled, ids), look.time - PAUSE_SECONDS)


def _same(one: "array[int] | None", other: "array[int] | None") -> bool:
    return one is other or (one is not None and other is not None and one == other)
