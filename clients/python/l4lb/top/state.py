"""What `top` knows of an agent, and which rows it shows of that. Pure: messages come in, rows go out."""

import enum
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from l4lb import counting, names
from l4lb.streams import Event, EventKind
from l4lb.top import health
from l4lb.v1 import backend_pb2
from l4lb.v1.agent_pb2 import Agent
from l4lb.v1.backend_pb2 import Backend
from l4lb.v1.stats_pb2 import Stats, Traffic
from l4lb.v1.virtual_service_pb2 import VirtualService

HISTORY = 60  # samples that a sparkline can look back
MOST_ROWS = 300  # more would be slow to draw, and nobody reads them: filter, or look into a service


class Sort(enum.Enum):
    """What rows are ordered by; but for the name the largest comes first."""

    NAME = "name"
    PACKETS = "packets"
    BITS = "bits"
    NEW = "new flows"
    ACTIVE = "active flows"

    def next(self) -> "Sort":
        """The one after this, round and round."""
        every = list(Sort)
        return every[(every.index(self) + 1) % len(every)]


@dataclass(frozen=True)
class Rate:
    """What a service or a backend does in a second, and the packets of the last samples, oldest first."""

    packets: float = 0.0
    bits: float = 0.0
    new: float = 0.0
    active: int = 0
    trend: tuple[float, ...] = ()


@dataclass(frozen=True)
class Row:
    """One line: a service, or a backend of the service before it. `name` is the full one."""

    name: str
    is_backend: bool
    state: str
    rate: Rate
    health: str = ""


@dataclass(frozen=True)
class Lost:
    """Packets of one reason that are dropped: a second, and since the maps were made."""

    reason: str
    rate: float
    total: int


@dataclass(frozen=True)
class View:
    """Which rows are wanted. `service` is the full name of the one that is looked into, "" for all."""

    sort: Sort = Sort.PACKETS
    reverse: bool = False
    filter: str = ""
    service: str = ""


@dataclass
class State:
    """Everything that was heard."""

    agent: Agent | None = None
    services: dict[str, VirtualService] = field(default_factory=dict)
    backends: dict[str, Backend] = field(default_factory=dict)
    rates: dict[str, Rate] = field(default_factory=dict)
    lost: Sequence[Lost] = ()
    sample: Stats | None = None
    trouble: str = ""  # why nothing new is heard
    _trends: dict[str, deque[float]] = field(default_factory=dict)

    def heard(self, event: Event) -> None:
        """One event of a watch of all backends."""
        if event.backend is None:
            return
        if event.kind is EventKind.DELETED:
            self.backends.pop(event.backend.name, None)
        else:
            self.backends[event.backend.name] = event.backend

    def feed(self, sample: Stats) -> None:
        """One sample: rates are since the one before."""
        before, self.sample, self.trouble = self.sample, sample, ""
        past = counting.seconds(sample, before)
        now, old = (counting.traffic(one) if one else {} for one in (sample, before))
        self._trends = {name: self._trends.get(name, deque(maxlen=HISTORY)) for name in now}
        self.rates = {name: self._rate(name, traffic, old.get(name), past) for name, traffic in now.items()}
        lost = counting.dropped(before) if before else {}
        found = [Lost(n, counting.grown(c, lost.get(n, 0)) / past if past > 0 else 0.0, c) for n, c in counting.dropped(sample).items()]
        self.lost = sorted(found, key=lambda one: (-one.rate, -one.total))

    def _rate(self, name: str, now: Traffic, before: Traffic | None, past: float) -> Rate:
        if before is None or past <= 0:
            return Rate(active=now.active_flows)
        counters = ("packets_in", "bytes_in", "flows")
        packets, size, new = (counting.grown(getattr(now, counter), getattr(before, counter)) / past for counter in counters)
        self._trends[name].append(packets)
        return Rate(packets, 8 * size, new, now.active_flows, tuple(self._trends[name]))

    def rows(self, view: View) -> tuple[list[Row], int]:
        """What to show, and how many rows there would be without MOST_ROWS."""
        wanted = [name for name in self.services if not view.service or name == view.service]
        children: dict[str, list[str]] = {name: [] for name in wanted}
        for name in self.backends:
            children.get(names.split(name)[0], []).append(name)
        states = {name: self._service_state(name, children[name]) for name in wanted}
        healths = {name: health.of_service(self.backends[one] for one in children[name]) for name in wanted}
        text = view.filter.lower()
        if text:
            children = {name: [one for one in found if text in names.short(one).lower()] for name, found in children.items()}
            wanted = [name for name in wanted if children[name] or text in names.short(name).lower()]
        folded = not view.service and not text and len(wanted) + sum(map(len, children.values())) > MOST_ROWS
        rows = []
        for name in self._sorted(wanted, view):
            rows.append(Row(name, False, states[name], self.rates.get(name, Rate()), healths[name]))
            for backend in () if folded else self._sorted(children[name], view):
                one = self.backends[backend]
                rows.append(Row(backend, True, backend_state(one), self.rates.get(backend, Rate()), health.of_backend(one)))
        return rows[:MOST_ROWS], len(rows)

    def _sorted(self, wanted: Iterable[str], view: View) -> list[str]:
        by_name = sorted(wanted)
        if view.sort is Sort.NAME:
            return by_name[::-1] if view.reverse else by_name
        keys = {Sort.PACKETS: "packets", Sort.BITS: "bits", Sort.NEW: "new", Sort.ACTIVE: "active"}
        none = Rate()
        return sorted(by_name, key=lambda name: getattr(self.rates.get(name, none), keys[view.sort]), reverse=not view.reverse)

    def _service_state(self, name: str, backends: Sequence[str]) -> str:
        """How many of its backends receive new flows."""
        with_slots = sum(self.backends[one].slot_share > 0 for one in backends)
        return "waits" if self.services[name].reconciling else f"{with_slots} of {len(backends)}"


def backend_state(backend: Backend) -> str:
    """In one word or two; of a drain how much of it is done."""
    if backend.admin_state == backend_pb2.ADMIN_STATE_DRAINING:
        return f"drain {drained(backend):.0%}"
    if backend.reconciling:
        return "waits"
    if backend.admin_state == backend_pb2.ADMIN_STATE_ENABLED:
        return "ok" if backend.slot_share else health.why_out(backend) or "no slots"
    return backend_pb2.AdminState.Name(backend.admin_state).removeprefix("ADMIN_STATE_").lower()


def drained(backend: Backend) -> float:
    """Part of the flows that a drain began with which have ended, 0 to 1."""
    initial = max(backend.drain.initial_flows, backend.drain.remaining_flows)
    return 1 - backend.drain.remaining_flows / initial if initial else 1.0
