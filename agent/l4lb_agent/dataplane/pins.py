"""Names and atomic publication in the pin directory, a folder of a bpffs.

    PIN_DIR/maps/NAME                          every map of model/mapspec.py
    PIN_DIR/generations/TAG/{program,tails}    program versions; more than one only while links are being moved
    PIN_DIR/links/INTERFACE                    one bpf_link an interface
    PIN_DIR/holder                             symbolic link to the pid of the agent that owns the directory

bpffs refuses '.' in names, so '.' and '%' are written as %2e and %25; names that begin with "%new-" or "%old-" are unfinished or unused.
"""

import ctypes
import errno
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd

_BPFFS_MAGIC = 0xCAFE4A11
_NEW, _OLD = "%new-", "%old-"


def escape(name: str) -> str:
    """The name as bpffs takes it."""
    return name.replace("%", "%25").replace(".", "%2e")


def unescape(name: str) -> str:
    """What `escape` was given."""
    return name.replace("%2e", ".").replace("%25", "%")


def is_temporary(name: str) -> bool:
    """True for what an interrupted publication left behind."""
    return name.startswith((_NEW, _OLD))


def folder(path: Path) -> Path:
    """Make `path` with its missing parents and return it. Raises OSError EINVAL when it is not on a bpffs."""
    path.mkdir(mode=0o750, parents=True, exist_ok=True)
    if not _on_bpffs(path):
        raise OSError(errno.EINVAL, not_on_bpffs(path))
    return path


def _on_bpffs(path: Path) -> bool:
    raw = ctypes.create_string_buffer(256)
    return ctypes.CDLL(None).statfs(os.fsencode(path), raw) == 0 and int.from_bytes(raw.raw[:4], "little") == _BPFFS_MAGIC


def not_on_bpffs(path: Path) -> str:
    """What to tell of such a pin directory."""
    return f"{path} is not on a bpffs: mount one there (mount -t bpf bpf DIR) or configure another pin_dir"


def lacking(path: Path) -> tuple[str, str]:
    """Why `folder(path)` would fail, "" when it would not, and the empty folder that a bpffs may be mounted on, "" when there is none.
    Changes nothing."""
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    if not _on_bpffs(there):
        empty = there != Path("/") and there.is_dir() and os.access(there, os.R_OK) and not any(there.iterdir())
        return not_on_bpffs(path), str(there) if empty else ""
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} may not be written by this user (uid {os.geteuid()}), who is to keep pins in {path}", ""
    return "", ""


def names(path: Path) -> list[str]:
    """What is published in a folder, unescaped; empty when the folder is missing."""
    try:
        return sorted(unescape(name) for name in os.listdir(path) if not is_temporary(name))
    except FileNotFoundError:
        return []


def open_pin(path: Path) -> Fd | None:
    """The object pinned at `path`, None when there is none."""
    try:
        return Fd(syscall.obj_get(path))
    except FileNotFoundError:
        return None


def publish(path: Path, fd: Fd) -> None:
    """Pin one object at `path`, atomically in the place of what is there."""
    temporary = path.parent / (_NEW + path.name)
    temporary.unlink(missing_ok=True)
    syscall.obj_pin(fd.fileno(), temporary)
    temporary.rename(path)


def publish_folder(path: Path, objects: Mapping[str, Fd]) -> None:
    """Pin several objects as the folder `path`: all of them appear at once. A folder that is there is moved aside: `aside(path)`."""
    temporary = path.parent / (_NEW + path.name)
    remove(temporary)
    temporary.mkdir(mode=0o750)
    for name, fd in objects.items():
        syscall.obj_pin(fd.fileno(), temporary / escape(name))
    if path.exists():
        remove(aside(path))
        path.rename(aside(path))
    temporary.rename(path)


def aside(path: Path) -> Path:
    """Where `publish_folder` leaves what was at `path` before."""
    return path.parent / (_OLD + path.name)


def remove(path: Path) -> None:
    """Remove a pin or a folder of pins, or nothing. Objects live on while somebody holds them."""
    try:
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        for child in list(path.iterdir()):
            remove(child)
        path.rmdir()
    except FileNotFoundError:
        return


class Lock:
    """Ownership of a pin directory by one process: flock(2), which dies with its holder, and the holder's pid for others to read."""

    def __init__(self, pin_dir: Path) -> None:
        """Raises BlockingIOError naming the holder."""
        self._fd = Fd(os.open(pin_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        holder = pin_dir / "holder"
        try:
            fcntl.flock(self._fd.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._fd.close()
            pid = os.readlink(holder) if holder.is_symlink() else "unknown"
            message = f"{pin_dir} belongs to another l4lb-agent, pid {pid}: stop that one first, or configure another pin_dir"
            raise BlockingIOError(errno.EWOULDBLOCK, message) from None
        temporary = pin_dir / (_NEW + "holder")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(str(os.getpid()))
        temporary.rename(holder)

    def close(self) -> None:
        """Let another process have it."""
        self._fd.close()
