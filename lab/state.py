"""Run directories: /run/l4lb-lab/ID holds all that one laboratory needs and all that is needed to remove it.

The owner holds a lock on ID/owner; the kernel drops it when the owner dies, so a free lock is a dead run, however it ended and whoever has
its process id now. Every laboratory that starts removes the leftovers of dead runs. All of it under a lock on the base directory.
"""

import contextlib
import ctypes
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lab import netns

BASE: Final = Path("/run/l4lb-lab")
_NETNS_MADE: Final = BASE / "netns-folder-is-ours"
_MNT_DETACH: Final = 2
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


@dataclass
class RunDirectory:
    """The directory of one run; whoever has the object owns the run."""

    id: str
    owner: int = field(repr=False)  # file descriptor that holds the lock

    @property
    def path(self) -> Path:
        """The directory."""
        return BASE / self.id

    @property
    def prefix(self) -> str:
        """What names of this run's namespaces begin with."""
        return f"l4lb-{self.id}-"

    @property
    def bpffs(self) -> Path:
        """Mount point of the run's own bpffs."""
        return self.path / "bpf"

    def mount_bpffs(self) -> None:
        """Mount it, in the mount namespace of the caller."""
        self.bpffs.mkdir(mode=0o755)
        netns.run(["mount", "-t", "bpf", "-o", "mode=0755", f"l4lb-{self.id}", str(self.bpffs)])

    def remove(self) -> None:
        """End the run's processes, remove its namespaces, mount and directory. Raises TimeoutError or CommandFailed; may be repeated."""
        with _base():
            _remove(self.id)
            os.close(self.owner)


def claim() -> RunDirectory:
    """Make a run directory with a new id, after removing what dead runs left. Raises PermissionError without root."""
    with _base():
        for leftover in _dead():
            _remove(leftover)
        if not netns.FOLDER.is_dir() or not os.path.ismount(netns.FOLDER):
            _NETNS_MADE.touch()  # `ip netns add` is about to make it and mount it on itself
        run_id = secrets.token_hex(3)
        path = BASE / run_id
        path.mkdir()
        path.chmod(0o755)
        owner = os.open(path / "owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(owner, f"{os.getpid()}\n".encode())
        return RunDirectory(run_id, owner)


def runs() -> dict[str, bool]:
    """Ids of all run directories, and whether their owner lives."""
    return {} if not BASE.is_dir() else {p.name: _alive(p) for p in sorted(BASE.iterdir()) if p.is_dir()}


@contextlib.contextmanager
def _base() -> Iterator[None]:
    """Hold the lock of the base directory, which exists meanwhile and is removed afterwards when nothing is in it."""
    while True:
        # Another run may remove it at any time until it is locked: a lock on a directory without a name is none.
        with contextlib.suppress(FileNotFoundError):
            BASE.mkdir(mode=0o755, exist_ok=True)
            BASE.chmod(0o755)
            handle = os.open(BASE, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if BASE.exists() and os.fstat(handle).st_ino == BASE.stat().st_ino:
                break
            os.close(handle)
    try:
        yield
    finally:
        _remove_netns_folder()
        with contextlib.suppress(OSError):
            BASE.rmdir()
        os.close(handle)


def _remove_netns_folder() -> None:
    """When the last run has gone: unmount and remove /run/netns if a run has made it. Busy when others have namespaces there."""
    if not _NETNS_MADE.exists() or any(p.is_dir() for p in BASE.iterdir()):
        return
    _NETNS_MADE.unlink()
    if netns.FOLDER.is_dir() and not any(netns.FOLDER.iterdir()) and _LIBC.umount2(os.fsencode(netns.FOLDER), 0) == 0:
        with contextlib.suppress(OSError):
            netns.FOLDER.rmdir()


def _alive(path: Path) -> bool:
    try:
        handle = os.open(path / "owner", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _dead() -> list[str]:
    return [run_id for run_id, alive in runs().items() if not alive]


def _remove(run_id: str) -> None:
    names = netns.existing(f"l4lb-{run_id}-")
    netns.end_processes(names)
    path = BASE / run_id
    if os.path.ismount(path / "bpf"):
        _LIBC.umount2(os.fsencode(path / "bpf"), _MNT_DETACH)  # pins, and with them links and maps, end with the mount
    netns.delete(names)
    shutil.rmtree(path, ignore_errors=True)
