"""Named network namespaces: making them, doing things inside, finding the processes in them, removing them.

Names are entries of /run/netns, as `ip netns` keeps them. Nothing here touches the namespace of the caller.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

FOLDER: Final = Path("/run/netns")
_CLONE_NEWNET: Final = 0x40000000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


class CommandFailed(RuntimeError):
    """A command of the laboratory failed; the message holds the command and what it said."""


def run(argv: Sequence[str], *, text: str = "") -> str:
    """Run a command, `text` on its standard input; returns its output. Raises CommandFailed."""
    done = subprocess.run(list(argv), input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip() or done.returncode}\n{text}".strip())
    return done.stdout


def create(names: Iterable[str]) -> None:
    """Make namespaces, each with its loopback up."""
    names = list(names)
    run(["ip", "-batch", "-"], text="".join(f"netns add {name}\n" for name in names))
    for name in names:
        batch(name, ["link set lo up"])


def batch(name: str, lines: Iterable[str]) -> None:
    """Run commands of ip(8) inside a namespace. Raises CommandFailed at the first that fails."""
    run(["ip", "-n", name, "-batch", "-"], text="".join(f"{line}\n" for line in lines))


def entering(name: str, argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` inside. nsenter and not `ip netns exec`, which mounts a /sys of its own whose bpffs ends with it."""
    return ["nsenter", f"--net={FOLDER / name}", "--", *argv]


def enter(name: str) -> None:
    """Move the calling thread (and those it starts later) into a namespace. Raises OSError."""
    with (FOLDER / name).open() as handle:
        if _LIBC.setns(handle.fileno(), _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"enter {name}: {os.strerror(code)}")


def inside(name: str, function: Callable[[], T]) -> T:
    """What `function` returns (or raises) when a thread of its own calls it inside the namespace."""
    results: list[T] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            enter(name)
            results.append(function())
        except BaseException as failure:  # noqa: BLE001 (handed to the caller)
            failures.append(failure)

    thread = threading.Thread(target=work, name=f"in {name}")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def set_sysctls(name: str, values: dict[str, str]) -> None:
    """Write net.* settings inside, keys with slashes (`ipv4/conf/all/forwarding`)."""

    def write() -> None:
        for key, value in values.items():
            Path("/proc/sys/net", key).write_text(value)

    inside(name, write)


def processes(names: Iterable[str]) -> list[int]:
    """Ids of the processes whose main thread is in one of the namespaces, without this one."""
    inodes = set()
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            inodes.add(f"net:[{(FOLDER / name).stat().st_ino}]")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # it ended meanwhile
                if os.readlink(entry / "ns/net") in inodes:
                    found.append(int(entry.name))
    return found


def end_processes(names: Sequence[str], within: float = 5.0) -> None:
    """SIGKILL every process in the namespaces and wait until they are gone. Raises TimeoutError naming those left."""
    until = time.monotonic() + within
    while left := processes(names):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > until:
            raise TimeoutError(f"processes {left} do not end")
        time.sleep(0.02)


def delete(names: Iterable[str]) -> None:
    """Remove namespaces; those that do not exist are fine."""
    run(["ip", "-force", "-batch", "-"], text="".join(f"netns del {name}\n" for name in names if (FOLDER / name).exists()))


def existing(prefix: str) -> list[str]:
    """Names that begin with `prefix`."""
    return sorted(p.name for p in FOLDER.iterdir() if p.name.startswith(prefix)) if FOLDER.is_dir() else []
