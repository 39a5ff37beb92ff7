"""The mirror of bpf/probe_types.h, as model/layout.py is of the others."""

import ctypes
from typing import Final

from l4lb_agent.model.layout import U8, U16, U32


class ProbeKey(ctypes.Structure):
    """Names a socket that probes a VIP."""

    _fields_ = [("port", U16), ("protocol", U8), ("family", U8)]


class Probe(ctypes.Structure):
    """probes[key]: whom the socket probes, and what has become of its packets."""

    _fields_ = [("service", U32), ("backend", U32), ("packets", U32), ("outcome", U32)]


PROBES: Final = 256
