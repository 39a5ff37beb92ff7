"""Counting the entries of `flow_table`: which backends have live flows, and in which slots one still needs its entry.

Nothing is deleted here. What is over is invisible to the datapath, which writes over it, and user space has no compare-and-swap: a word set
to zero here could be one that a packet has written the instant before, and its flow would move. Entries that are over count as absent.

But a stamp is 16 bits of a second, so an entry that nothing is written over looks fresh again after 18 hours. Before that, a bucket of
which every entry has been over for hours is set to zero, if it still is what the sweep has read: it is read again right before, some
microseconds earlier. A flow whose entry is written between the two loses it and goes on at `before`. For that the first packet to meet a
bucket in two hours has to come within the ten microseconds of its reset: about one in a thousand million resets. Three kinds of entries
are left to look alive again for one lifetime: those beside an entry that is not over, those of services with an idle timeout of more than
16 hours, and those of a day without an agent. They keep a mark and are counted; a packet follows one only with the tuple of the old flow,
and TCP only with its sequence numbers too.

Entries are read in chunks and looked at through strided views, as those of NAT are (sweeper.py); chunks of zeros are passed over.
"""

import ctypes
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress

from l4lb_agent.dataplane import syscall
from l4lb_agent.model import layout
from l4lb_agent.model.observed import Answers, FlowCounts

LONG_SECONDS = 2 * 3600  # an entry that has been over for so long may be set to zero
SYN_SECONDS = 2  # within which who hears a SYN+ACK has acknowledged it, and who does not has mostly sent the next SYN
FUTURE_SECONDS = 65500  # an age beyond is a stamp of a CPU that is ahead: FUTURE of bpf/entry.h
_CHUNK = 4096  # buckets
_WAYS = 4
_MOST_RESETS = 4096  # in one sweep, which bounds its time
_ENTRY_HALVES, _ENTRY_WORDS = 8, 4  # 16-bit and 32-bit numbers in an entry
_STATES = 8


@dataclass(frozen=True)
class Tracked:
    """What one sweep found. Live entries are those that the datapath sees."""

    live: Mapping[int, int]  # by backend
    entries: Mapping[int, int]  # by backend; not over, seen or not: such an id is not reused
    pinned: Mapping[int, frozenset[int]]  # by service: slots in which a live entry names another backend than `now`
    reset: int = 0  # buckets
    unconfirmed: Mapping[int, int] = field(default_factory=dict)  # by backend: live entries that a SYN has made SYN_SECONDS ago or longer,
    # and since when no ACK has come, nor another SYN


def row(config: layout.Config, idle_seconds: int) -> Sequence[int]:
    """Seconds that an entry lives without packets, by enum tracked_state: tracked_timeout() of bpf/entry.h."""
    seconds = [idle_seconds] * _STATES
    seconds[layout.TRACKED_SYN] = config.tracked_syn
    seconds[layout.TRACKED_FIN] = min(config.tracked_fin, idle_seconds)
    seconds[layout.TRACKED_RST] = min(config.tracked_rst, idle_seconds)
    return tuple(seconds)


def together(nat: FlowCounts, tracked: Tracked) -> FlowCounts:
    """One sweep of NAT's flows and of the tracked ones."""
    return replace(
        nat,
        live=Counter(nat.live) + Counter(tracked.live),
        entries_by_backend=Counter(nat.entries_by_backend) + Counter(tracked.entries),
        tracked=sum(tracked.entries.values()),
        pinned=tracked.pinned,
        answers={**nat.answers, **{id: Answers(0, live, tracked.unconfirmed.get(id, 0)) for id, live in tracked.live.items()}},
    )


class TrackedSweeper:
    """Sweeps the map behind `fd`. `idle` are the idle seconds of each service."""

    def __init__(self, fd: int, clock: Callable[[], int], config: layout.Config, idle: Mapping[int, int]) -> None:
        self._fd, self._clock, self._config, self._idle = fd, clock, config, idle

    def sweep(self, backends: Callable[[int], layout.Backend], rings: Mapping[int, "array[int]"]) -> Tracked:
        """One walk. `backends` gives an id's element of the map of that name; `rings` are, by service, the backends of the slots of `now`
        of which `pinned` is asked."""
        walk = _Walk(self._fd, self._clock(), self._config, self._idle, backends, rings)
        for keys, values, count in chunks(self._fd):
            walk.chunk(keys, values, count)
        pinned = {service: frozenset(slots) for service, slots in walk.pinned.items() if slots}
        return Tracked(walk.live, walk.entries, pinned, walk.resets, walk.unconfirmed)


def chunks(fd: int) -> Iterator[tuple[bytearray, bytearray, int]]:
    """Keys, buckets and their number, of all chunks that hold anything. They are valid until the next ones."""
    size = ctypes.sizeof(layout.FlowBucket)
    keys, values, state = bytearray(4 * _CHUNK), bytearray(size * _CHUNK), bytearray(8)
    zeros, first, end = bytes(size * _CHUNK), True, False
    while not end:
        found, end = syscall.map_lookup_batch(fd, state, first, keys, values, _CHUNK)
        first = False
        if found < _CHUNK:
            values[found * size :] = bytes((_CHUNK - found) * size)
        if values != zeros:
            yield keys, values, found


@dataclass
class _Walk:
    """State of one sweep."""

    fd: int
    now: int
    config: layout.Config
    idle: Mapping[int, int]
    element: Callable[[int], layout.Backend]
    rings: Mapping[int, "array[int]"]
    live: Counter[int] = field(default_factory=Counter)
    entries: Counter[int] = field(default_factory=Counter)
    pinned: dict[int, set[int]] = field(default_factory=dict)
    unconfirmed: Counter[int] = field(default_factory=Counter)
    resets: int = 0
    _rows: dict[int, Sequence[int]] = field(default_factory=dict)  # by backend
    _services: dict[int, int] = field(default_factory=dict)  # by backend that keeps flows

    def chunk(self, keys: bytearray, values: bytearray, count: int) -> None:
        """Count one chunk; reset what is old in it."""
        halves, words = memoryview(values).cast("H"), memoryview(values).cast("I")
        backends = halves[::_ENTRY_HALVES].tolist()
        stamps, states, picks = halves[6::_ENTRY_HALVES], halves[7::_ENTRY_HALVES], words[1::_ENTRY_WORDS]
        now, rows, entries = self.now & 0xFFFF, self._rows, self.entries
        old: list[int] = []
        for place in compress(range(len(backends)), backends):
            backend = backends[place]
            state = states[place] & 7
            limit = (rows.get(backend) or self._row(backend))[state]
            age = (now - stamps[place]) & 0xFFFF
            if limit < age <= FUTURE_SECONDS:
                if age - limit > LONG_SECONDS:
                    old.append(place)
                continue
            entries[backend] += 1
            if backend in self._services:
                self._live(backend, picks[place])
                if state == layout.TRACKED_SYN and SYN_SECONDS <= age <= limit:
                    self.unconfirmed[backend] += 1
        if old:
            self._reset(keys, values, backends, old)

    def _row(self, backend: int) -> Sequence[int]:
        element = self.element(backend)
        if element.flags & (layout.BACKEND_KEEP | layout.BACKEND_RESET):
            self._services[backend] = element.service
        self._rows[backend] = found = row(self.config, self.idle.get(element.service, 0))
        return found

    def _live(self, backend: int, pick: int) -> None:
        self.live[backend] += 1
        service = self._services[backend]
        ring = self.rings.get(service)
        if ring is not None and ring[slot := pick * len(ring) >> 32] != backend:
            self.pinned.setdefault(service, set()).add(slot)

    def _reset(self, keys: bytearray, values: bytearray, backends: Sequence[int], old: Sequence[int]) -> None:
        """Buckets of which every entry is old."""
        size = ctypes.sizeof(layout.FlowBucket)
        for bucket, olds in Counter(place // _WAYS for place in old).items():
            entries = backends[bucket * _WAYS : (bucket + 1) * _WAYS]
            if olds < _WAYS - entries.count(0) or self.resets >= _MOST_RESETS:
                continue
            key = bytes(keys[bucket * 4 : bucket * 4 + 4])
            if syscall.map_lookup(self.fd, key, size) == bytes(values[bucket * size : (bucket + 1) * size]):
                syscall.map_update(self.fd, key, bytes(size))
                self.resets += 1
