"""Flows one by one, for whoever wants to see them: the one place that knows how the datapath keeps them.

NAT's are in `flows` with both sides' addresses; of DSR and ENCAP `flow_table` has those that a change put at risk, or all of a service that
tracks all, and knows each by a hash. Maps are read in chunks; nothing is held of a chunk once the next one is asked for.
"""

import ctypes
import socket
from collections.abc import Callable, Iterator, Mapping
from itertools import compress

from l4lb_agent.dataplane import lifetimes, sweeper, syscall, tracked
from l4lb_agent.dataplane.lifetimes import Lifetimes
from l4lb_agent.dataplane.maps import Maps
from l4lb_agent.model import layout
from l4lb_agent.model.flows.record import FlowFilter, FlowRecord, FlowState
from l4lb_agent.model.tables import array_key

_NAT_STATES = {
    layout.FLOW_SYN: FlowState.SYN, layout.FLOW_ANSWERED: FlowState.ANSWERED, layout.FLOW_ESTABLISHED: FlowState.ESTABLISHED,
    layout.FLOW_CLOSING: FlowState.CLOSING, layout.FLOW_CLOSED: FlowState.CLOSED, layout.FLOW_UDP: FlowState.UDP,
    layout.FLOW_UDP_ANSWERED: FlowState.UDP_ANSWERED,
}  # fmt: skip
_TRACKED_STATES = {
    layout.TRACKED_SYN: FlowState.SYN, layout.TRACKED_LIVE: FlowState.ESTABLISHED, layout.TRACKED_FIN: FlowState.CLOSING,
    layout.TRACKED_RST: FlowState.CLOSED, layout.TRACKED_UDP: FlowState.UDP_ANSWERED, layout.TRACKED_PINNED: FlowState.PINNED,
}  # fmt: skip
_HALVES = ctypes.sizeof(layout.FlowEntry) // 2


class FlowReader:
    """Reads the maps once. `clock` is the datapath's, in seconds."""

    def __init__(self, maps: Maps, clock: Callable[[], int]) -> None:
        raw = maps.lookup("config", array_key(0))
        self._config = layout.Config.from_buffer_copy(raw or bytes(ctypes.sizeof(layout.Config)))
        self._maps, self._clock = maps, clock
        self._idle: Mapping[int, int] = {
            index: layout.Service.from_buffer_copy(element).idle_seconds for index, element in maps.elements("services")
        }
        self._backends: dict[int, layout.Backend] = {}

    def read(self, wanted: FlowFilter) -> Iterator[list[FlowRecord]]:
        """The flows that are not over and that `wanted` takes, some at a time. Each step takes milliseconds."""
        yield from self._nat(wanted)
        if not wanted.bits:  # entries of flow_table know no client
            yield from self._tracked(wanted)

    def _backend(self, identity: int) -> layout.Backend:
        if identity not in self._backends:
            element = self._maps.lookup("backends", array_key(identity))
            self._backends[identity] = layout.Backend.from_buffer_copy(element) if element else layout.Backend()
        return self._backends[identity]

    def _nat(self, wanted: FlowFilter) -> Iterator[list[FlowRecord]]:
        life, key_size, size = Lifetimes(self._config, self._idle), ctypes.sizeof(layout.FlowKey), ctypes.sizeof(layout.Flow)
        for chunk in sweeper.chunks(self._maps.number("flows"), layout.FlowKey, layout.Flow):
            found = []
            for i in _of(wanted, chunk.backends.tolist()):
                key = layout.FlowKey.from_buffer_copy(chunk.keys, i * key_size)
                client = bytes(key.client)
                flow = layout.Flow.from_buffer_copy(chunk.values, i * size)
                if wanted.takes(client) and (idle := self._nat_idle(life, key, flow)) is not None:
                    state = _NAT_STATES.get(flow.state, FlowState.SYN)
                    ports = (socket.ntohs(key.client_port), socket.ntohs(key.vip_port))
                    found.append(FlowRecord(flow.backend, state, idle, client, *ports, bytes(flow.snat), socket.ntohs(flow.snat_port)))
            yield found

    def _nat_idle(self, life: Lifetimes, key: layout.FlowKey, flow: layout.Flow) -> int | None:
        """Seconds since the last packet in either direction; None when both halves are over."""
        halves: list[sweeper.Half] = [flow]
        now = self._clock()
        if sweeper.age(now, flow.seen) > 1:  # else nothing that the other half says matters
            reply_key = sweeper.reply_key_of(key, flow, self._backend(flow.backend))
            raw = syscall.map_lookup(self._maps.number("replies"), reply_key, ctypes.sizeof(layout.Reply))
            if raw is not None and sweeper.names_back(reply := layout.Reply.from_buffer_copy(raw), key):
                halves.append(reply)
        ages = [(sweeper.age(now, half.seen), life.of(half.service)[lifetimes.index(half.state | half.flags << 8)]) for half in halves]
        return min((age for age, limit in ages if age <= limit), default=None)

    def _tracked(self, wanted: FlowFilter) -> Iterator[list[FlowRecord]]:
        rows: dict[int, tuple[int, ...]] = {}
        for _, values, _ in tracked.chunks(self._maps.number("flow_table")):
            halves, now, found = memoryview(values).cast("H"), self._clock() & 0xFFFF, []
            backends = halves[::_HALVES].tolist()
            for place in _of(wanted, backends):
                if not (backend := backends[place]):
                    continue
                if backend not in rows:
                    rows[backend] = self._row(backend)
                stamp, state = halves[place * _HALVES + 6], halves[place * _HALVES + 7] & 7
                age = (now - stamp) & 0xFFFF
                age = 0 if age > tracked.FUTURE_SECONDS else age
                if rows[backend] and age <= rows[backend][state]:
                    found.append(FlowRecord(backend, _TRACKED_STATES.get(state, FlowState.ESTABLISHED), age))
            yield found

    def _row(self, backend: int) -> tuple[int, ...]:
        """Lives by state; none for a backend that keeps no flows."""
        element = self._backend(backend)
        keeps = element.flags & (layout.BACKEND_KEEP | layout.BACKEND_RESET)
        return tuple(tracked.row(self._config, self._idle.get(element.service, 0))) if keeps else ()


def _of(wanted: FlowFilter, backends: list[int]) -> Iterator[int]:
    """Places of a column of backend ids that are wanted."""
    if wanted.backends is None:
        return iter(range(len(backends)))
    return compress(range(len(backends)), map(wanted.backends.__contains__, backends))
