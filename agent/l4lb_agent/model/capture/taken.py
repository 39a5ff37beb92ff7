"""What a capture asks the datapath for, and what the datapath hands over: elements and records of bpf/capture_types.h."""

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from l4lb_agent.model.access.prefixes import Prefix
from l4lb_agent.model.capture import layout
from l4lb_agent.model.layout import U8, U64
from l4lb_agent.model.reasons import REASONS, VERDICTS, Reason, Verdict
from l4lb_agent.model.service import Protocol

EVERY_REASON: Final = frozenset(range(REASONS))
EVERY_VERDICT: Final = frozenset(range(VERDICTS))
_HEADER: Final = layout.Captured.data.offset
_U64: Final = (1 << 64) - 1


@dataclass(frozen=True)
class Filter:
    """Which packets a capture takes, as they came; an empty or zero field takes any. `rate` is packets a second for each reason and CPU."""

    reasons: frozenset[Reason] = frozenset()
    verdicts: frozenset[Verdict] = frozenset()
    service: str = ""  # resource name
    prefix: Prefix | None = None  # of the source or the destination
    port: int = 0  # source or destination
    protocol: Protocol | None = None
    interface: str = ""
    rate: int = 1000

    @property
    def drops_only(self) -> bool:
        """Whether it can take nothing but packets that are dropped."""
        return self.verdicts == {Verdict.DROP}


@dataclass(frozen=True)
class Captured:
    """One packet with what became of it. `service` and `backend` are the datapath's numbers, 0 = none; `captures` are those that took it,
    and RECORDER. Lengths are whole frames; `came` and `left` may be shorter. `left` is empty when it was dropped."""

    nanoseconds: int  # CLOCK_MONOTONIC
    ifindex: int
    reason: Reason
    verdict: Verdict
    service: int
    backend: int
    captures: frozenset[int]
    came_bytes: int
    came: bytes
    left_bytes: int
    left: bytes


def element(wanted: Filter, until: int, service: int = 0, ifindex: int = 0) -> bytes:
    """captures[slot] for a filter that expires in that second of the datapath's clock."""
    reasons = _bits(wanted.reasons or EVERY_REASON)
    raw = layout.Capture(
        reasons=(U64 * 2)(reasons & _U64, reasons >> 64), until=until, service=service, ifindex=ifindex, rate=wanted.rate,
        port=int.from_bytes(wanted.port.to_bytes(2, "big"), "little"), protocol=wanted.protocol or 0,
        verdicts=_bits(wanted.verdicts or EVERY_VERDICT), filters_address=wanted.prefix is not None,
    )  # fmt: skip
    if wanted.prefix is not None:
        mask = (((1 << 128) - 1) << (128 - wanted.prefix.bits) & ((1 << 128) - 1)).to_bytes(16, "big")
        raw.address, raw.mask = (U8 * 16)(*wanted.prefix.packed), (U8 * 16)(*mask)
    return bytes(raw)


def flags(filters: Iterable[Filter]) -> int:
    """What capture_switch[0] asks for because of these."""
    found = [layout.CAPTURE_DROPS if one.drops_only else layout.CAPTURE_ALL for one in filters]
    return max(found, default=0)


def switch(filters: Iterable[Filter], recorder_until: int) -> bytes:
    """capture_switch[0] while these are asked for and, until that second unless it is 0, the recorder takes drops."""
    recorded = layout.CAPTURE_RECORD if recorder_until else 0
    return bytes(layout.CaptureSwitch(flags=flags(filters) | recorded, recorder_until=recorder_until))


def read(record: bytes) -> Captured:
    """A record of the ring buffer. Raises ValueError when it is shorter than it says."""
    if len(record) < _HEADER:
        raise ValueError(f"a captured record has {len(record)} bytes, its header alone {_HEADER}")
    head = layout.Captured.from_buffer_copy(record.ljust(ctypes.sizeof(layout.Captured), b"\0"))
    data = record[_HEADER : _HEADER + head.came_bytes + head.left_bytes]
    if len(data) != head.came_bytes + head.left_bytes:
        raise ValueError(f"a captured record has {len(data)} bytes of packets, {head.came_bytes + head.left_bytes} were announced")
    reason, verdict = divmod(head.outcome, VERDICTS)
    takers = frozenset(slot for slot in range(layout.RECORDER + 1) if head.takers >> slot & 1)
    return Captured(
        head.nanoseconds, head.ifindex, Reason(reason), Verdict(verdict), head.service, head.backend, takers, head.frame_bytes,
        data[: head.came_bytes], head.left_frame_bytes, data[head.came_bytes :],
    )  # fmt: skip


def budgets(words: Iterable[tuple[int, tuple[int, ...]]]) -> dict[int, tuple[int, int]]:
    """By slot: packets beyond the rate and packets lost, of capture_budgets' (index, words) summed over CPUs."""
    found: dict[int, tuple[int, int]] = {}
    for index, (_, _, limited, lost) in words:
        before = found.get(index // REASONS, (0, 0))
        found[index // REASONS] = (before[0] + limited, before[1] + lost)
    return found


def _bits(numbers: Iterable[int]) -> int:
    return sum(1 << number for number in numbers)
