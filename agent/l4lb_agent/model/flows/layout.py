"""The mirror of bpf/records.h, as layout.py is of the other structures: what finds NAT's records, which are free, how they are counted."""

import ctypes
from typing import Final

from l4lb_agent.model.layout import U16, U32, U64

FLOW_PENDING: Final = 0x80000000


class Unanswered(ctypes.Structure):
    """unanswered[bucket]; a slot is id << 36 | version << 24 | 1/16 seconds."""

    _fields_ = [("slot", U64 * 16)]


SLOT_ID_SHIFT: Final = 36
SLOT_VERSION_SHIFT: Final = 24
SLOT_BUSY: Final = 0xFFFFFFF


class Pool(ctypes.Structure):
    """pool[0]: how many ids were taken and given back."""

    _fields_ = [("taken", U64), ("reserved", U64 * 7), ("given", U64), ("more_reserved", U64 * 7)]


class Sweep(ctypes.Structure):
    """sweep_state[0]: what the sweep program has to do and what it has found."""

    _fields_ = [
        ("now", U32), ("number", U32), ("next", U32), ("end", U32), ("flows", U32), ("deleted", U32), ("reserved", U32 * 2),
    ]  # fmt: skip


SWEEP_STEP: Final = 8
LINGER: Final = 2


class FlowCount(ctypes.Structure):
    """flow_counts[backend]."""

    _fields_ = [("number", U32), ("live", U32), ("entries", U32), ("unanswered", U16), ("refused", U16)]


ANSWER_SECONDS: Final = 1
