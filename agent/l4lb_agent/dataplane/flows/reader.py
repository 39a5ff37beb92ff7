"""Flows one by one, for whoever wants to see them: the one place that knows how the datapath keeps them.

NAT's records are in `flows`; of DSR and ENCAP `flow_table` has those that a change put at risk, or all of a service that
tracks all, and knows each by a hash. Maps are read in chunks; nothing is held of a chunk once the next one is asked for.
"""

import ctypes
import socket
from collections.abc import Callable, Iterator, Mapping
from itertools import compress

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.flows import lifetimes, tracked
from l4lb_agent.dataplane.flows.lifetimes import Lifetimes
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
_CHUNK = 4096  # records
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
        life, size = Lifetimes(self._config, self._idle), ctypes.sizeof(layout.Flow)
        for keys, values, count in _records(self._maps.number("flows"), size):
            found, now = [], self._clock()
            backends = memoryview(values).cast("H")[layout.Flow.backend.offset // 2 :: size // 2][:count].tolist()
            for i in _of(wanted, backends):
                flow = layout.Flow.from_buffer_copy(values, i * size)
                record = self._record(int.from_bytes(keys[4 * i : 4 * i + 4], "little"), flow, max(0, now - flow.seen))
                if record and record.idle <= life.of(flow.service)[lifetimes.index(flow.word)] and wanted.takes(record.client):
                    found.append(record)
            yield found

    def _record(self, number: int, flow: layout.Flow, idle: int) -> FlowRecord | None:
        """A record of `flows`; None when it is no flow's, or one's that only keeps its port because the client's tuple has another."""
        state = _NAT_STATES.get(flow.word >> layout.FLOW_STATE_SHIFT & 15)
        if state is None or flow.word >> layout.FLOW_FLAGS_SHIFT & layout.FLOW_DISPLACED:
            return None
        client, source = _mapped(flow.client), _mapped(flow.snat)
        if not flow.client:
            wide = layout.FlowV6.from_buffer_copy(self._maps.lookup("flows_v6", array_key(number)) or bytes(ctypes.sizeof(layout.FlowV6)))
            client, source = bytes(wide.client), bytes(wide.snat)
        ports = (socket.ntohs(flow.client_port), socket.ntohs(flow.vip_port))
        return FlowRecord(flow.backend, state, idle, client, *ports, source, socket.ntohs(flow.snat_port))

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


def _records(fd: int, size: int) -> Iterator[tuple[bytearray, bytearray, int]]:
    """Keys, records and their number, of all chunks that hold any. They are valid until the next ones."""
    keys, values, state = bytearray(4 * _CHUNK), bytearray(size * _CHUNK), bytearray(8)
    zeros, first, end = bytes(size * _CHUNK), True, False
    while not end:
        found, end = syscall.map_lookup_batch(fd, state, first, keys, values, _CHUNK)
        first = False
        if values[: found * size] != zeros[: found * size]:
            yield keys, values, found


def _mapped(word: int) -> bytes:
    return bytes(10) + b"\xff\xff" + int(word).to_bytes(4, "little")


def _of(wanted: FlowFilter, backends: list[int]) -> Iterator[int]:
    """Places of a column of backend ids that are wanted."""
    if wanted.backends is None:
        return iter(range(len(backends)))
    return compress(range(len(backends)), map(wanted.backends.__contains__, backends))
