"""The mirror of bpf/capture_types.h, as layout.py is of the others."""

import ctypes
from typing import Final

from l4lb_agent.model.layout import U8, U16, U32, U64, Address, Budget


class CaptureSwitch(ctypes.Structure):
    """capture_switch[0]."""

    _fields_ = [("flags", U32), ("recorder_until", U32)]


CAPTURE_DROPS: Final = 1
CAPTURE_ALL: Final = 2
CAPTURE_RECORD: Final = 4


class Capture(ctypes.Structure):
    """captures[slot]."""

    _fields_ = [
        ("reasons", U64 * 2), ("address", Address), ("mask", Address), ("until", U32), ("service", U32), ("ifindex", U32), ("rate", U32),
        ("port", U16), ("protocol", U8), ("verdicts", U8), ("filters_address", U8), ("reserved", U8 * 11),
    ]  # fmt: skip


CAPTURES: Final = 4


class CaptureBudget(ctypes.Structure):
    """capture_budgets[slot * REASONS + reason] and recorder_budgets[reason], one per CPU."""

    _fields_ = [("budget", Budget), ("limited", U64), ("lost", U64)]


RECORDER_RATE: Final = 1
RECORDER_BURST: Final = 8
RECORDER_BYTES: Final = 256
RECORDER: Final = 4
CAPTURE_BYTES: Final = 2048


class Captured(ctypes.Structure):
    """A record in the ring buffer; `data` ends after came_bytes + left_bytes."""

    _fields_ = [
        ("nanoseconds", U64), ("ifindex", U32), ("frame_bytes", U32), ("left_frame_bytes", U32), ("service", U32), ("outcome", U32),
        ("backend", U16), ("takers", U16), ("came_bytes", U32), ("left_bytes", U32), ("data", U8 * (2 * CAPTURE_BYTES)),
    ]  # fmt: skip
