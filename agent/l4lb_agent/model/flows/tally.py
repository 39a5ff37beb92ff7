"""What very many flows are together, in bounded memory."""

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from l4lb_agent.model.flows.record import FlowRecord, FlowState

ROOM = 4096  # clients that are counted at least; twice as many are before the small ones are given up


class Talkers:
    """Who has the most, among any number of them, with memory for some thousands (Misra and Gries, "Finding repeated elements", 1982):
    when there are too many, the same number is taken from all counts, and who has none left is given up. A count is so much too low at
    most as was taken."""

    def __init__(self, room: int = ROOM) -> None:
        self.uncertain = 0
        self._room = room
        self._counts: Counter[bytes] = Counter()

    def add(self, clients: Iterable[bytes]) -> None:
        """One flow more for each."""
        self._counts.update(clients)
        if len(self._counts) > 2 * self._room:
            cut = sorted(self._counts.values(), reverse=True)[self._room]
            self._counts = Counter({client: count - cut for client, count in self._counts.items() if count > cut})
            self.uncertain += cut

    def top(self, number: int) -> list[tuple[bytes, int]]:
        """So many with the most, and how many at least."""
        return heapq.nsmallest(number, self._counts.items(), key=lambda one: (-one[1], one[0]))


@dataclass
class Tally:
    """What flows are together."""

    top: int
    flows: int = 0
    without_client: int = 0
    backends: Counter[int] = field(default_factory=Counter)
    states: Counter[FlowState] = field(default_factory=Counter)
    talkers: Talkers = field(default_factory=Talkers)
    oldest: list[FlowRecord] = field(default_factory=list)  # the most silent first

    def add(self, records: list[FlowRecord]) -> None:
        """Some more."""
        clients = [record.client for record in records if record.client]
        self.flows += len(records)
        self.without_client += len(records) - len(clients)
        self.backends.update(record.backend for record in records)
        self.states.update(record.state for record in records)
        self.talkers.add(clients)
        self.oldest = heapq.nlargest(self.top, [*self.oldest, *records], key=lambda record: record.idle)
