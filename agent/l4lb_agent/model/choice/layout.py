"""The mirror of bpf/choice.h, as model/layout.py is of the others."""

import ctypes
from typing import Final

from l4lb_agent.model.layout import U16, U64


class PortRanges(ctypes.Structure):
    """port_ranges[element]: ports from first[i] on lead to service[i]."""

    _fields_ = [("first", U16 * 128), ("service", U16 * 128)]


PORT_RANGES: Final = 128


class AffinityBucket(ctypes.Structure):
    """affinity[bucket]."""

    _fields_ = [("entry", U64 * 8)]


AFFINITY_LONGEST: Final = 86400
