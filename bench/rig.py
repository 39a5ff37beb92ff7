"""The datapath loaded with tables of its own, and the programs that drive it. Nothing is attached and nothing is pinned."""

import ctypes
import struct
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from bench import state
from bench.programs import Programs
from bench.traffic import ACK, SYN, TCP, V4, Case, Packet
from l4lb_agent.dataplane import info, syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.flows.sweeper import Sweeper
from l4lb_agent.dataplane.maps import cpus
from l4lb_agent.dataplane.ticks import Ticks
from l4lb_agent.model import layout, mapspec
from l4lb_agent.model.capture import taken
from l4lb_agent.model.observed import NextHop
from l4lb_agent.model.reasons import REASONS, VERDICTS, Reason, Verdict
from l4lb_agent.model.tables import array_key

Counts = dict[tuple[Reason, Verdict], int]
_WORDS: Final = {4: 7, 6: 10}  # 8-byte words of headers, by family
_TUPLE_BYTES: Final = 40
_UNANSWERED: Final = 16384
_SEED: Final = 0x9E3779B97F4A7C15


class Plan(ctypes.Structure):
    """struct plan in wrapper.c."""

    _fields_ = [
        ("frame", layout.U64 * 10), ("random", layout.U64), ("flows", layout.U32), ("choose", layout.U32), ("next", layout.U32),
        ("words", layout.U32), ("reply", layout.U32), ("sum", layout.U32), ("failed", layout.U32), ("bytes", layout.U32),
        ("services", layout.U32), ("reserved", layout.U32),
    ]  # fmt: skip


class Void(Exception):
    """A run whose packets did not all end as they must: its time means nothing."""


class Rig:
    """Create inside the namespace where the packets are to arrive. `tuples` is how many flows may be answered."""

    def __init__(self, code: Programs, table: int, tuples: int, hop: NextHop, crowd: int = 0) -> None:
        """Maps with a flow table of `table` entries, filled (`crowd`: with 1,000 services of rings of that size), and every program. Raises
        OSError, VerifierError."""
        self._ifindex = hop.ifindex
        self._cpus = cpus()
        self._ticks = Ticks()
        settings = state.config(table, crowd)
        with ExitStack() as undo:
            specs = (*_own_maps(tuples), *mapspec.specs(settings.sizes))
            self._maps = {spec.name: undo.enter_context(_create(spec)) for spec in specs}
            numbers = {name: fd.fileno() for name, fd in self._maps.items()}
            for write in state.writes(settings, hop, self._ticks.multiplier, crowd):
                syscall.map_update(numbers[write.map], write.key, write.value)
            self.generation = code.load_datapath(numbers)
            undo.callback(self.generation.close)
            self._sweep = undo.enter_context(code.load_sweep(numbers))
            self.programs: Mapping[str, Fd] = code.load_driving(numbers | {"scratch": undo.enter_context(code.scratch()).fileno()})
            for target, fd in enumerate((self.generation.program, self.programs["nothing"], self.programs["line"])):
                syscall.map_update(numbers["targets"], array_key(target), array_key(fd.fileno()))
            self._undo = undo.pop_all()

    def close(self) -> None:
        """Give everything back to the kernel."""
        for fd in self.programs.values():
            fd.close()
        self._ticks.close()
        self._undo.close()

    def counts(self) -> Counts:
        """How often packets ended for each reason with each verdict, since the maps exist."""
        elements = REASONS * VERDICTS
        keys, values = bytearray(4 * elements), bytearray(16 * self._cpus * elements)
        found, _ = syscall.map_lookup_batch(self._maps["reason_counters"].fileno(), bytearray(8), True, keys, values, elements)
        counted: Counts = {}
        for i in range(found):
            packets = sum(memoryview(values)[16 * self._cpus * i : 16 * self._cpus * (i + 1)].cast("Q")[::2])
            if packets:
                reason, verdict = divmod(struct.unpack_from("=I", keys, 4 * i)[0], VERDICTS)
                counted[Reason(reason), Verdict(verdict)] = packets
        return counted

    def datapath(
        self, packet: Packet, flows: int, repeat: int, expected: tuple[Reason, Verdict], seed: int | None = None, start: int = 0
    ) -> int:  # fmt: skip
        """Nanoseconds a packet of `repeat` packets through wrapper and datapath, of flows in order from `start` or, with a seed, at random.
        Raises Void unless every one ended as expected."""
        before = self.counts()
        duration = self._run("wrapper", packet, flows, repeat, seed, start).duration
        after = self.counts()
        ended = {key: count - before.get(key, 0) for key, count in after.items() if count != before.get(key, 0)}
        if ended != {expected: repeat}:
            seen = ", ".join(f"{count} {reason.name}/{verdict.name}" for (reason, verdict), count in ended.items())
            raise Void(f"{repeat} packets were to end as {expected[0].name}/{expected[1].name}, but: {seen or 'none was counted'}")
        return duration

    def empty(self, packet: Packet, flows: int, repeat: int, seed: int | None = None) -> int:
        """The same packets through the wrapper alone."""
        return self._checked("empty_wrapper", packet, flows, repeat, seed)

    def line(self, packet: Packet, flows: int, repeat: int, seed: int) -> int:
        """The same packets through the wrapper and a program that reads one line of the flow table for each."""
        return self._checked("line_wrapper", packet, flows, repeat, seed)

    def yardstick(self, repeat: int) -> int:
        """Nanoseconds a packet of the bare program that swaps MACs and sends back."""
        return self._checked("yardstick", Packet(V4), 1, repeat, None)

    def establish(self, packet: Packet, flows: int) -> None:
        """Flows 0 .. `flows` - 1, by the handshake's three packets; over UDP by two. Some at a time, as only so many may be unanswered.
        Raises Void when one is refused."""
        tcp = packet.protocol == TCP
        first, reply = replace(packet, flags=SYN), replace(packet, flags=SYN | ACK, reply=True)
        for start in range(0, flows, _UNANSWERED):
            end = min(flows, start + _UNANSWERED)
            self.datapath(first, end, end - start, (Reason.FLOW_CREATED, Verdict.TX), start=start)
            self.gather(first, start, end)
            self.datapath(reply, end, end - start, (Reason.TO_CLIENT, Verdict.TX), start=start)
            if tcp:
                self.datapath(replace(packet, flags=ACK), end, end - start, (Reason.TO_BACKEND, Verdict.TX), start=start)

    def track(self, packet: Packet, flows: int) -> None:
        """Flows 0 .. `flows` - 1 of a service that tracks all: a SYN and an ACK of each. Raises Void."""
        for flags, reason in ((SYN, Reason.FLOW_CREATED), (ACK, Reason.TO_BACKEND)):
            self.datapath(replace(packet, flags=flags), flows, flows, (reason, Verdict.TX))

    def gather(self, packet: Packet, start: int, end: int) -> None:
        """Note how the answers of these flows are addressed. Raises Void when one is not there."""
        self._run("gather", packet, end, end - start, None, start)
        raw = syscall.map_lookup(self._maps["plans"].fileno(), array_key(0), ctypes.sizeof(Plan))
        failed = Plan.from_buffer_copy(raw or bytes(ctypes.sizeof(Plan))).failed
        if failed:
            raise Void(f"gather: {failed} of {end - start} flows are not there")

    def clear(self, flows: int) -> None:
        """Free the records of as many flows that no backend has answered. Raises Void when hardly any is there."""
        later = self._ticks.second() + state.SYN_SECONDS + 10
        deleted = Sweeper(self._sweep.fileno(), lambda name: self._maps[name].fileno(), lambda: later).sweep().deleted
        if not 0.99 * flows <= deleted <= flows:
            raise Void(f"{deleted} records of {flows} new flows are freed")

    def case(self, case: Case, repeat: int, seed: int) -> int:
        """One run of a case; new flows are deleted again."""
        until = self._ticks.second() + 60 if case.recorded else 0
        syscall.map_update(self._maps["capture_switch"].fileno(), array_key(0), taken.switch((), until))
        duration = self.datapath(case.packet, case.flows, repeat, (case.reason, case.verdict), None if case.fresh else seed)
        if case.fresh:
            self.clear(repeat)
        return duration

    def arrived(self) -> int:
        """Frames that came to the sink since the maps exist."""
        values = bytearray(8 * self._cpus)
        syscall.map_lookup_into(self._maps["arrived"].fileno(), array_key(0), values)
        return sum(memoryview(values).cast("Q"))

    def prepare(self, packet: Packet, flows: int, seed: int | None, start: int = 0) -> bytes:
        """Tell the wrapper what to send; returns the frame to start with."""
        frame = packet.frame()
        plan = Plan(flows=flows, choose=seed is not None, next=start, words=_WORDS[packet.family.number], reply=packet.reply)
        plan.bytes, plan.services = len(frame), packet.services
        plan.random = _SEED ^ (seed or 0)
        plan.sum = packet.header_sum() if packet.family is V4 else 0
        ctypes.memmove(plan.frame, frame, min(len(frame), 80))
        syscall.map_update(self._maps["plans"].fileno(), array_key(0), plan)
        return frame

    def _run(self, program: str, packet: Packet, flows: int, repeat: int, seed: int | None, start: int = 0) -> info.Run:
        frame = self.prepare(packet, flows, seed, start)
        return syscall.prog_test_run(self.programs[program].fileno(), frame, ifindex=self._ifindex, repeat=repeat, room=256)

    def _checked(self, program: str, packet: Packet, flows: int, repeat: int, seed: int | None) -> int:
        run = self._run(program, packet, flows, repeat, seed)
        if run.retval != Verdict.TX:
            raise Void(f"{program} ended with verdict {run.retval}")
        return run.duration


def _own_maps(tuples: int) -> tuple[mapspec.MapSpec, ...]:
    kind = mapspec.MapType
    return (
        mapspec.MapSpec("plans", kind.ARRAY, 4, ctypes.sizeof(Plan), 1, False),
        mapspec.MapSpec("tuples", kind.ARRAY, 4, _TUPLE_BYTES, tuples, False),
        mapspec.MapSpec("targets", kind.PROG_ARRAY, 4, 4, 3, False),
        mapspec.MapSpec("arrived", kind.PERCPU_ARRAY, 4, 8, 1, False),
    )


def _create(spec: mapspec.MapSpec) -> Fd:
    return Fd(syscall.map_create(spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags, spec.name))
