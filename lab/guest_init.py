#!/usr/bin/python3
"""The first process of the emulated machine: makes it usable, runs the one command of /guest/job.json, reports, switches off.

It runs inside the guest only and uses nothing but the standard library. Serial ports: ttyS0 the kernel's log, ttyS1 what the command
prints, ttyS2 one JSON object with its exit status.
"""

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import tty
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
FINIT_MODULE = 313  # system call number on x86-64
POWER_OFF = 0x4321FEDC  # reboot(2)
MOUNTS = (
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/run"),
    ("bpf", "/sys/fs/bpf"),
)


def check(result: int, what: str) -> None:
    """Raises OSError when a call of the C library failed."""
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def prepare(modules: list[str]) -> None:
    """Mounts the kernel's file systems, loads the modules in the order given and brings the loopback interface up."""
    for kind, where in MOUNTS:
        os.makedirs(where, exist_ok=True)
        check(LIBC.mount(kind.encode(), where.encode(), kind.encode(), 0, None), f"mount {where}")
    for module in modules:
        with open(module, "rb") as file:
            check(LIBC.syscall(FINIT_MODULE, file.fileno(), b"", 0), module)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def run(job: dict[str, Any]) -> int:
    """Runs the job's command with its output on ttyS1 and returns its exit status."""
    port = os.open("/dev/ttyS1", os.O_RDWR | os.O_NOCTTY)
    tty.setraw(port)
    done = subprocess.run(job["command"], cwd=job["cwd"], env=job["environment"], stdin=subprocess.DEVNULL, stdout=port, stderr=port)
    return done.returncode


def report(result: dict[str, object]) -> None:
    """Writes the outcome to ttyS2."""
    port = os.open("/dev/ttyS2", os.O_RDWR | os.O_NOCTTY)
    tty.setraw(port)
    os.write(port, json.dumps(result).encode() + b"\n")
    with contextlib.suppress(OSError):
        os.fsync(port)


def main() -> None:
    """Never returns: the kernel panics when its first process ends."""
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    result: dict[str, object] = {"uname": " ".join(os.uname())}
    try:
        job = json.loads(Path("/guest/job.json").read_text())
        prepare(job["modules"])
        result["exit"] = run(job)
    except Exception as error:
        result["error"] = f"{type(error).__name__}: {error}"
        sys.excepthook(*sys.exc_info())
    report(result)
    os.sync()
    LIBC.reboot(POWER_OFF)


if __name__ == "__main__":
    main()
