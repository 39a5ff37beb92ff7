"""Counting NAT's flows and freeing the records of those that ended, by a program that the agent runs: bpf/sweep.h.

The datapath never frees a record and never revives one that is over; what has been over for LINGER seconds is nobody's. All that frees is
one program, so that nothing in Python has to know how long flows live, and a million records take a few hundredths of a second.
"""

import ctypes
import time
from collections.abc import Callable
from typing import TypeVar

from l4lb_agent.dataplane import syscall
from l4lb_agent.model.flows import layout as record_layout
from l4lb_agent.model.observed import Answers, FlowCounts
from l4lb_agent.model.tables import array_key

_PACKET = bytes(14)
_RUNS = 4096  # of the program in one system call: a millisecond
_CHUNK = 4096  # backends
Element = TypeVar("Element", record_layout.Sweep, record_layout.Pool)


class Sweeper:
    """Runs `program` on `flows`, `pool`, `sweep_state` and `flow_counts`, whose descriptors `maps` has by name. One at a time."""

    def __init__(self, program: int, maps: Callable[[str], int], clock: Callable[[], int]) -> None:
        self._program, self._maps, self._clock = program, maps, clock

    def sweep(self) -> FlowCounts:
        """One walk over all records that were ever taken."""
        last = self._read("sweep_state", record_layout.Sweep)
        state = record_layout.Sweep(now=self._clock(), number=(last.number + 1) % (1 << 32) or 1, next=1, end=self._end())
        key = array_key(0)
        syscall.map_update(self._maps("sweep_state"), key, bytes(state))
        for _ in range(0, state.end, _RUNS * record_layout.SWEEP_STEP):
            syscall.prog_test_run(self._program, _PACKET, repeat=_RUNS, room=64)
        done = self._read("sweep_state", record_layout.Sweep)
        answers = self._counts(done.number)
        live = {backend: one.live for backend, one in answers.items() if one.live}
        entries = {backend: one.records for backend, one in answers.items()}
        return FlowCounts(live, entries, done.flows, done.deleted, at=time.time(), answers=answers)

    def _read(self, name: str, kind: type[Element]) -> Element:
        raw = syscall.map_lookup(self._maps(name), array_key(0), ctypes.sizeof(kind))
        return kind.from_buffer_copy(raw or bytes(ctypes.sizeof(kind)))

    def _end(self) -> int:
        """The first id that was never taken: they are taken in order, until all were."""
        return min(int(self._read("pool", record_layout.Pool).taken), syscall.map_info(self._maps("flows")).max_entries - 1) + 1

    def _counts(self, number: int) -> dict[int, Answers]:
        """By backend, of those that have records."""
        counts: dict[int, Answers] = {}
        size, fd = ctypes.sizeof(record_layout.FlowCount), self._maps("flow_counts")
        keys, values, state = bytearray(4 * _CHUNK), bytearray(size * _CHUNK), bytearray(8)
        first, end = True, False
        while not end:
            found, end = syscall.map_lookup_batch(fd, state, first, keys, values, _CHUNK)
            first = False
            backends = memoryview(keys).cast("I")
            words = memoryview(values).cast("I")
            for i, its_number in enumerate(words[: found * size // 4 : size // 4]):
                if its_number == number:
                    one = record_layout.FlowCount.from_buffer_copy(values, i * size)
                    counts[backends[i]] = Answers(one.entries, one.live, one.unanswered, one.refused)
        return counts
