"""Runs the cases in rounds, so that yardstick, empty wrapper and datapath share whatever else the machine does at the time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.figures import CaseFigures, Spread
from bench.rig import Rig
from bench.traffic import UDP, V4, V6, Case, Packet

LEAST_ROUNDS = 3


@dataclass
class Samples:
    """Nanoseconds a packet of one case, by round."""

    gross: list[float] = field(default_factory=list)
    wrapper: list[float] = field(default_factory=list)


def establish(rig: Rig, cases: Sequence[Case]) -> None:
    """The flows that the cases need. IPv4 over TCP comes last: replies are addressed by the flows gathered last. Raises Void."""
    for packet in (Packet(V6), Packet(V4, UDP), Packet(V4)):
        needed = [case.flows for case in cases if case.established and case.packet.like(packet)]
        if needed:
            rig.establish(packet, max(needed))
    for packet in {case.packet for case in cases if case.tracked}:
        rig.track(packet, max(case.flows for case in cases if case.tracked and case.packet == packet))


def measure(
    rig: Rig, cases: Sequence[Case], chunk: int, rounds: int, seconds: float, floor: int = 0
) -> tuple[list[float], list[CaseFigures]]:  # fmt: skip
    """Samples of the yardstick, and every case's figures, from up to `rounds` rounds of `chunk` packets for each; no round starts after
    `seconds`, but LEAST_ROUNDS are run. With `floor` also what one line of the flow table costs among so many flows. Raises Void when a
    packet does not end as its case says."""
    samples, line = [Samples() for _ in cases], Samples()
    yardstick: list[float] = []
    deadline = time.monotonic() + seconds
    for number in range(rounds):
        if number >= LEAST_ROUNDS and time.monotonic() > deadline:
            break
        yardstick.append(rig.yardstick(chunk))
        if floor:
            line.wrapper.append(rig.empty(Packet(V4), floor, chunk, number + 1))
            line.gross.append(rig.line(Packet(V4), floor, chunk, number + 1))
        for case, found in zip(cases, samples):
            found.wrapper.append(rig.empty(case.packet, case.flows, chunk, None if case.fresh else number + 1))
            found.gross.append(rig.case(case, chunk, number + 1))
    named = [*([("floor/line", floor, line)] if floor else []), *((c.name, c.flows, s) for c, s in zip(cases, samples))]
    return yardstick, [CaseFigures(name, flows, Spread.of(s.gross), Spread.of(s.wrapper)) for name, flows, s in named]
