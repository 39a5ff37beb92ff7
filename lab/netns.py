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
from collections.abc import Callable, Container, Iterable, Sequence
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


def enter(name: str | Path) -> None:
    """Move the calling thread (and those it starts later) into a namespace, given by name or by path. Raises OSError."""
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


def link_of(name: str | Path) -> str:
    """What /proc/PID/ns/net of a process in a namespace reads; the kernel gives the number of a namespace that is gone to a new one."""
    return f"net:[{(FOLDER / name).stat().st_ino}]"


def processes(links: Container[str]) -> list[int]:
    """Ids of the processes whose main thread is in one of the namespaces (`link_of`), without this one."""
    own = str(os.getpid())
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and p.name != own and _is_in(p.name, links)]


def _is_in(pid: int | str, links: Container[str]) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/net") in links
    except OSError:  # it has ended
        return False


def end_processes(names: Sequence[str], within: float = 5.0) -> None:
    """SIGKILL every process in the namespaces and wait until they are gone. Raises TimeoutError naming those left."""
    links = {link_of(name) for name in names}
    until = time.monotonic() + within
    while left := processes(links):
        for pid in left:
            _kill(pid, links)
        if time.monotonic() > until:
            raise TimeoutError(f"processes {left} do not end")
        time.sleep(0.02)


def _kill(pid: int, links: Container[str]) -> None:
    """SIGKILL, unless the id belongs to another process by now."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            if _is_in(pid, links):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def delete(names: Iterable[str]) -> None:
    """Remove namespaces; those that do not exist are fine."""
    run(["ip", "-force", "-batch", "-"], text="".join(f"netns del {name}\n" for name in names if (FOLDER / name).exists()))


def existing(prefix: str) -> list[str]:
    """Names that begin with `prefix`."""
    return sorted(p.name for p in FOLDER.iterdir() if p.name.startswith(prefix)) if FOLDER.is_dir() else []
