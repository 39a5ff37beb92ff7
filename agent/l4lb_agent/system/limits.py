"""What the host gives: CPUs, memory, time that is kept right."""

import ctypes
import os
import struct
import time
from pathlib import Path

from l4lb_agent.model.doctor.facts import Clock, Memory

_UNSYNCHRONISED = 0x40  # STA_UNSYNC, linux/timex.h
_STATUS_OFFSET = 40  # of struct timex, on 64-bit machines
_NO_LIMIT = 1 << 60


def memory(root: Path = Path("/")) -> Memory:
    """What is free of the host's memory, or of the control group that this process is in, when that is less."""
    host = Memory(_available(root), "this host")
    found = [host, *_groups(root)]
    return min(found, key=lambda one: _NO_LIMIT if one.free is None else one.free)


def _available(root: Path) -> int | None:
    """MemAvailable, or, where /proc is hidden, the memory that nobody uses at all."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _groups(root: Path) -> list[Memory]:
    """Every limit on the way from this process's group to the root of its hierarchy, of either version of control groups."""
    found = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        base = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        if controllers not in ("", "memory"):
            continue
        parts = Path(path.lstrip("/"))
        for group in (parts, *parts.parents):
            limit, used = (_number(base / group / name) for name in names)
            if limit is not None and used is not None and limit < _NO_LIMIT:
                found.append(Memory(max(0, limit - used), f"the control group /{group}"))
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max"
        return None


def clock() -> Clock:
    """The time, and what adjtimex(2) says of it; a unit with ProtectClock= may not ask."""
    block = ctypes.create_string_buffer(256)  # modes 0: nothing is set
    state = ctypes.CDLL(None, use_errno=True).adjtimex(block)
    status = struct.unpack_from("=i", block.raw, _STATUS_OFFSET)[0]
    return Clock(time.time(), None if state < 0 else not status & _UNSYNCHRONISED)


def cpus() -> int:
    """CPUs of this host, also those that this process may not use: packets may."""
    return os.cpu_count() or 1
