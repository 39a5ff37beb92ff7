"""The audit on disk: a file that only grows, STATE_DIR/audit.jsonl, one JSON object a line.

Lines are on the disk (fdatasync) when append() returns. The file may be renamed or removed at any time, as logrotate does without
copytruncate: the next lines go to a new one. `chattr +a` on it is respected: it is never cut or written but at its end.
"""

import errno
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

NAME = "audit.jsonl"
MOST_READ = 1 << 20
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # read: its last byte; a FIFO must not block


class AuditFile:
    """The control.ports.AuditFile of a real disk."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / NAME
        self._fd = -1

    def append(self, lines: Sequence[bytes]) -> None:
        """Writes whole lines, each with its newline, and waits for the disk. Raises OSError; then the file may end with a part of them,
        which the next append() ends with a newline."""
        try:
            if not self._is_ours():
                self._open()
            data = b"".join(lines)
            if os.write(self._fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fdatasync(self._fd)
        except OSError as error:
            self.close()
            raise OSError(error.errno, f"append to {self.path}: {error.strerror}") from error

    def _is_ours(self) -> bool:
        """Whether the open file still has the name."""
        if self._fd < 0:
            return False
        try:
            there, ours = os.lstat(self.path), os.fstat(self._fd)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _open(self) -> None:
        self.close()
        self._fd = os.open(self.path, _FLAGS, 0o600)
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if found.st_size and os.pread(self._fd, 1, found.st_size - 1) != b"\n":
            os.write(self._fd, b"\n")
        if not found.st_size:
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def told(self) -> set[int]:
        """Revisions whose changes the last lines tell of, MOST_READ bytes of them. Empty when there is no file, or it cannot be read."""
        try:
            with open(os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - MOST_READ))
                lines = file.read(MOST_READ).split(b"\n")
        except OSError:
            return set()
        return {revision for line in lines if (revision := _revision(line))}

    def close(self) -> None:
        """Gives the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _revision(line: bytes) -> int:
    """Of the change that the line tells of, 0 when it tells of none or is no whole line."""
    try:
        entry = json.loads(line)
        return int(entry["revision"]) if entry.get("diff") else 0
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0
