"""Counting live flows and deleting those that ended, by one walk over `flows` and one over `replies`.

A pair of entries lives while either half is fresh. The datapath never deletes and never revives an expired entry, so what has been
expired for LINGER seconds is nobody's; it goes by lookup-and-delete, and what turns out fresh after all is put back. The forward entry
goes first and the reply last: the reply is what owns the source port. A reply that no forward entry names is an orphan (a forward entry
overwritten by a new connection, a creation cut short) and ends with its own timeout.

Entries are read in chunks into two buffers and looked at through strided views: no object is made for an entry that is fresh. The loops
are plain bytecode, so other threads get the interpreter every few milliseconds.
"""

import ctypes
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from l4lb_agent.dataplane import lifetimes, syscall
from l4lb_agent.dataplane.lifetimes import LINGER, Lifetimes
from l4lb_agent.model import layout
from l4lb_agent.model.observed import FlowCounts

_CHUNK = 4096
Half = layout.Flow | layout.Reply
HalfType = type[layout.Flow] | type[layout.Reply]


@dataclass(frozen=True)
class Chunk:
    """Some entries of one map; the columns are those of one entry each, in the same order."""

    keys: bytearray
    values: bytearray
    count: int
    states: memoryview  # state and flags, 16 bits
    seen: memoryview
    services: memoryview
    backends: memoryview


def chunks(fd: int, key: type[ctypes.Structure], value: HalfType, count: int = _CHUNK) -> Iterator[Chunk]:
    """Every entry of a hash map. A chunk is valid until the next one."""
    key_size, size = ctypes.sizeof(key), ctypes.sizeof(value)
    keys, values, state = bytearray(key_size * count), bytearray(size * count), bytearray(8)
    first, end = True, False
    while not end:
        found, end = syscall.map_lookup_batch(fd, state, first, keys, values, count)
        first = False
        halves = memoryview(values).cast("H")[: found * size // 2]
        words = memoryview(values).cast("I")[: found * size // 4]
        columns = [halves[field.offset // 2 :: size // 2] for field in (value.state, value.service, value.backend)]
        seen = words[value.seen.offset // 4 :: size // 4]
        yield Chunk(keys, values, found, columns[0], seen, columns[1], columns[2])


def age(now: int, seen: int) -> int:
    """Seconds since `seen`; 0 when a packet came after `now` was read."""
    return max(0, now - seen)


def flow_key_of(reply_key: layout.ReplyKey, reply: layout.Reply) -> layout.FlowKey:
    """Key of the forward entry that a reply belongs to."""
    return layout.FlowKey(reply.client, reply.vip, reply.client_port, reply.vip_port, reply_key.protocol)


def reply_key_of(flow_key: layout.FlowKey, flow: layout.Flow, backend: layout.Backend) -> layout.ReplyKey:
    """Key of the reply that a forward entry belongs to."""
    return layout.ReplyKey(backend.address, flow.snat, backend.port or flow_key.vip_port, flow.snat_port, flow_key.protocol)


def names(flow: layout.Flow, reply_key: layout.ReplyKey, reply: layout.Reply) -> bool:
    """True when the forward entry belongs to this reply and not to a later connection of the same client port."""
    mine = (bytes(reply_key.snat), reply_key.snat_port, reply.backend)
    return (bytes(flow.snat), flow.snat_port, flow.backend) == mine


class Sweeper:
    """Sweeps the maps behind the two descriptors."""

    def __init__(self, flows: int, replies: int, clock: Callable[[], int]) -> None:
        self._flows, self._replies, self._clock = flows, replies, clock

    def sweep(self, life: Lifetimes, backends: Callable[[int], layout.Backend]) -> FlowCounts:
        """One walk. `backends` gives an id's element of the map of that name."""
        walk = _Walk(self._flows, self._replies, self._clock(), life, backends)
        walk.forward()
        walk.backward()
        return FlowCounts(
            live=dict(+walk.live), entries_by_backend=dict(+walk.entries), flows=walk.flows, replies=walk.replies,
            deleted=walk.deleted, at=time.time(),
        )  # fmt: skip


class _Walk:
    """State of one sweep."""

    def __init__(self, flows: int, replies: int, now: int, life: Lifetimes, backends: Callable[[int], layout.Backend]) -> None:
        self._flow_map, self._reply_map, self._now, self._life, self._backends = flows, replies, now, life, backends
        self.live: Counter[int] = Counter()
        self.entries: Counter[int] = Counter()
        self.flows = self.replies = self.deleted = 0

    def _left(self, half: Half) -> int:
        """Seconds of life left by this half alone; negative: over."""
        states = half.state | half.flags << 8
        return self._life.of(half.service)[lifetimes.index(states)] - age(self._now, half.seen)

    def forward(self) -> None:
        """Count the flows; delete the pairs that ended."""
        of, index, closed, now = self._life.of, lifetimes.index, lifetimes.closed, self._now
        for chunk in chunks(self._flow_map, layout.FlowKey, layout.Flow):
            self.flows += chunk.count
            backends = Counter(chunk.backends.tolist())
            self.live.update(backends)
            self.entries.update(backends)
            columns = zip(chunk.states, chunk.seen, chunk.services)
            odd = [i for i, (s, seen, service) in enumerate(columns) if closed(s) or now - seen > of(service)[index(s)]]
            for i in odd:
                key = layout.FlowKey.from_buffer_copy(chunk.keys, i * ctypes.sizeof(layout.FlowKey))
                self._forward_entry(key, layout.Flow.from_buffer_copy(chunk.values, i * ctypes.sizeof(layout.Flow)))

    def _forward_entry(self, key: layout.FlowKey, flow: layout.Flow) -> None:
        left = self._left(flow)
        if left >= 0:  # in quarantine
            self.live[flow.backend] -= 1
            return
        reply_key = reply_key_of(key, flow, self._backends(flow.backend))
        reply = self._reply(reply_key)
        if reply is not None and names_back(reply, key):  # else its port was claimed anew meanwhile
            left = max(left, self._left(reply))
        if left < 0 or lifetimes.closed(flow.state):
            self.live[flow.backend] -= 1
        if left >= -LINGER or not self._take(self._flow_map, key, layout.Flow):
            return
        self.flows -= 1
        self.entries[flow.backend] -= 1
        self.deleted += 1
        if reply is not None and names_back(reply, key):
            self.deleted += self._take(self._reply_map, reply_key, layout.Reply)

    def _reply(self, key: layout.ReplyKey) -> layout.Reply | None:
        raw = syscall.map_lookup(self._reply_map, key, ctypes.sizeof(layout.Reply))
        return layout.Reply.from_buffer_copy(raw) if raw is not None else None

    def backward(self) -> None:
        """Count the replies; delete the orphans that ended."""
        of, index, now = self._life.of, lifetimes.index, self._now
        for chunk in chunks(self._reply_map, layout.ReplyKey, layout.Reply):
            self.replies += chunk.count
            self.entries.update(chunk.backends.tolist())
            columns = zip(chunk.states, chunk.seen, chunk.services)
            ended = [i for i, (s, seen, service) in enumerate(columns) if now - seen > of(service)[index(s)] + LINGER]
            for i in ended:
                key = layout.ReplyKey.from_buffer_copy(chunk.keys, i * ctypes.sizeof(layout.ReplyKey))
                self._backward_entry(key, layout.Reply.from_buffer_copy(chunk.values, i * ctypes.sizeof(layout.Reply)))

    def _backward_entry(self, key: layout.ReplyKey, reply: layout.Reply) -> None:
        raw = syscall.map_lookup(self._flow_map, flow_key_of(key, reply), ctypes.sizeof(layout.Flow))
        if raw is not None and names(layout.Flow.from_buffer_copy(raw), key, reply):
            return  # half of a pair: it goes with its forward entry
        if self._take(self._reply_map, key, layout.Reply):
            self.replies -= 1
            self.entries[reply.backend] -= 1
            self.deleted += 1

    def _take(self, fd: int, key: layout.FlowKey | layout.ReplyKey, value: HalfType) -> bool:
        """Delete an entry, unless it is fresh by now: then it is put back, or stays away if a new one is there already."""
        raw = syscall.map_take(fd, key, ctypes.sizeof(value))
        if raw is None:
            return False
        if self._left(value.from_buffer_copy(raw)) < -LINGER:
            return True
        try:
            syscall.map_update(fd, key, raw, syscall.NOEXIST)
        except FileExistsError:
            return True
        return False


def names_back(reply: layout.Reply, key: layout.FlowKey) -> bool:
    """True when the reply belongs to the forward entry with this key."""
    mine = (bytes(key.client), bytes(key.vip), key.client_port, key.vip_port)
    return (bytes(reply.client), bytes(reply.vip), reply.client_port, reply.vip_port) == mine
