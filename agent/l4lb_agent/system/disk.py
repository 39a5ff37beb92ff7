"""The journal on disk: one file of lines that only grows, and is replaced whole by a snapshot.

STATE_DIR/journal            the lines (see frames.py)
STATE_DIR/journal.previous   the journal before the last snapshot: what is left when the first line of `journal` is damaged
STATE_DIR/journal.corrupt-N  what was cut off, or was no file at all
STATE_DIR/journal.lock       flock(2) of the agent that writes, with its pid
"""

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from l4lb_agent.system import frames
from l4lb_agent.system.frames import Record

_log = logging.getLogger(__name__)
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not block


class JournalFile:
    """The control.ports.JournalFile of a real disk. `damage` says what `load` had to keep aside, "" when all was well."""

    def __init__(self, state_dir: Path) -> None:
        """Lock the directory. Raises BlockingIOError when another process has it, OSError when it cannot be used."""
        self._folder, self._path = state_dir, state_dir / "journal"
        self.damage = ""
        self._fd, self._end = -1, 0
        self._lock = _lock(state_dir / "journal.lock")

    def load(self) -> list[Record]:
        """Every whole record since the last snapshot, the snapshot first. A torn or corrupt tail is cut off and kept aside; when nothing
        is left the journal before the last snapshot is taken up again."""
        self._close()
        (self._folder / "journal.new").unlink(missing_ok=True)
        records: Sequence[Record] = []
        fd = self._open(self._path)
        if fd >= 0:
            records, end = _read(fd)
            if end < os.fstat(fd).st_size:
                self._cut(fd, end, len(records))
            os.fchmod(fd, 0o600)
            self._fd, self._end = fd, end
        if not records:
            records = self._previous()
        return list(records)

    def append(self, records: Sequence[Record]) -> int:
        """Write and fsync; how many bytes. Raises OSError and leaves no half record behind."""
        data = b"".join(frames.encode(record) for record in records)
        if self._fd < 0:
            self._fd, self._end = os.open(self._path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600), 0
            _sync_folder(self._folder)
        self._check_file()
        try:
            _write(self._fd, data, self._end)
            os.fdatasync(self._fd)
        except OSError as error:
            try:
                os.ftruncate(self._fd, self._end)
                os.fdatasync(self._fd)
            except OSError as again:
                _log.warning("event=journal_half_record_stays error=%r", str(again))
            raise OSError(error.errno, f"append to {self._path}: {os.strerror(error.errno or 0)}") from error
        self._end += len(data)
        return len(data)

    def _check_file(self) -> None:
        there = os.fstat(self._fd)
        if there.st_nlink == 0 or there.st_size < self._end:
            raise OSError(errno.EIO, f"{self._path} was removed or cut by somebody else; a snapshot repairs it")
        if there.st_size > self._end:
            os.ftruncate(self._fd, self._end)  # what a failed append could not take back

    def snapshot(self, record: Record) -> int:
        """Replace everything by one record of so many bytes, atomically: after a crash there is the old journal or the new one."""
        self._replace([record])
        return self._end

    def close(self) -> None:
        """Close the file and give the directory back."""
        self._close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._end = -1, 0

    def _replace(self, records: Sequence[Record]) -> None:
        data = b"".join(frames.encode(record) for record in records)
        temporary, previous = self._folder / "journal.new", self._folder / "journal.previous"
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _write(fd, data, 0)
            os.fsync(fd)
            if self._fd >= 0 and self._end:
                self._keep_previous(previous)
            os.rename(temporary, self._path)
        except OSError as error:
            os.close(fd)
            temporary.unlink(missing_ok=True)
            raise OSError(error.errno, f"snapshot to {self._path}: {os.strerror(error.errno or 0)}") from error
        self._close()
        self._fd, self._end = fd, len(data)
        _sync_folder(self._folder)

    def _keep_previous(self, previous: Path) -> None:
        link = previous.with_name("journal.link")
        link.unlink(missing_ok=True)
        try:
            os.link(self._path, link)
            os.rename(link, previous)
        except OSError as error:
            _log.warning("event=journal_copy_failed error=%r", str(error))

    def _open(self, path: Path) -> int:
        """A descriptor of a regular file, -1 when there is none; anything else that has the name is moved aside."""
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                self._note(f"{path} is no regular file: moved to {self._aside(path)}")
                return -1
            return os.open(path, _FLAGS)
        except FileNotFoundError:
            return -1

    def _aside(self, path: Path) -> Path:
        target = self._free_name()
        os.rename(path, target)
        _sync_folder(self._folder)
        return target

    def _free_name(self) -> Path:
        number = 1
        while os.path.lexists(self._folder / f"journal.corrupt-{number}"):
            number += 1
        return self._folder / f"journal.corrupt-{number}"

    def _cut(self, fd: int, end: int, good: int) -> None:
        """Keep what follows `end` aside and cut it off. When there is no room to keep it, it is cut all the same: the agent must start."""
        target, size = self._free_name(), os.fstat(fd).st_size
        self._note(f"{self._path}: {size - end} bytes after {good} whole records were damaged: moved to {target}")
        try:
            with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                with open(os.dup(fd), "rb") as source:
                    source.seek(end)
                    shutil.copyfileobj(source, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            target.unlink(missing_ok=True)
            self._note(f"could not be kept: {error}")
        os.ftruncate(fd, end)
        os.fsync(fd)
        _sync_folder(self._folder)

    def _previous(self) -> Sequence[Record]:
        fd = self._open(self._folder / "journal.previous")
        if fd < 0:
            return []
        try:
            records, _ = _read(fd)
        finally:
            os.close(fd)
        if records:
            self._note(f"{self._path} has no whole record: the journal before its last snapshot was taken up again")
            self._replace(records)
        return records

    def _note(self, text: str) -> None:
        _log.error("event=journal_damaged what=%r", text)
        self.damage = f"{self.damage}; {text}" if self.damage else text


def peek(state_dir: Path) -> list[Record]:
    """The whole records of a journal that may be somebody else's; changes nothing. Empty without one. Raises OSError."""
    try:
        fd = os.open(state_dir / "journal", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return []
    try:
        return list(_read(fd)[0])
    finally:
        os.close(fd)


def _lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(fd, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise BlockingIOError(errno.EWOULDBLOCK, f"{path.parent} is written by another l4lb-agent, pid {pid}") from None
    with contextlib.suppress(OSError):  # a full disk
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    return fd


def _read(fd: int) -> tuple[Sequence[Record], int]:
    with open(os.dup(fd), "rb") as file:
        file.seek(0)
        return frames.decode(file, os.fstat(fd).st_size)


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
