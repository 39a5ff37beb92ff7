"""Writes archives in the `newc` format of cpio, which the kernel unpacks as its first root (initramfs).

Format: Linux Documentation/driver-api/early-userspace/buffer-format.rst. Archives may follow one another in one file, later ones win.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO


class Archive:
    """One archive, written to an open file. Parents are made on the way; every file belongs to root."""

    def __init__(self, out: BinaryIO) -> None:
        """Appends to `out`."""
        self._out = out
        self._names: set[str] = set()

    def directory(self, name: str, mode: int = 0o755) -> None:
        """An empty directory; nothing when it is there already."""
        if name not in self._names and name:
            self._member(name, stat.S_IFDIR | mode)

    def file(self, name: str, data: bytes, mode: int = 0o644, modified: int = 0) -> None:
        """A regular file, last modified at that second: bytecode of Python is valid only for a source with the same time."""
        self._member(name, stat.S_IFREG | mode, data, modified=modified)

    def link(self, name: str, target: str) -> None:
        """A symbolic link."""
        self._member(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name: str, major: int, minor: int) -> None:
        """A character device."""
        self._member(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def copy(self, path: Path, name: str) -> None:
        """The file, link or directory `path` of this machine; other kinds are left out. Raises OSError."""
        info = os.lstat(path)
        if stat.S_ISLNK(info.st_mode):
            self.link(name, os.readlink(path))
        elif stat.S_ISDIR(info.st_mode):
            self.directory(name, stat.S_IMODE(info.st_mode))
        elif stat.S_ISREG(info.st_mode):
            self.file(name, path.read_bytes(), stat.S_IMODE(info.st_mode), int(info.st_mtime))

    def close(self) -> None:
        """Writes the end mark."""
        self._write("TRAILER!!!", 0, b"", (0, 0), 0)

    def _member(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0), modified: int = 0) -> None:
        if name in self._names:
            return
        self.directory(os.path.dirname(name))
        self._names.add(name)
        self._write(name, mode, data, device, modified)

    def _write(self, name: str, mode: int, data: bytes, device: tuple[int, int], modified: int) -> None:
        encoded = name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (len(self._names), mode, 0, 0, links, modified, len(data), 0, 0, *device, len(encoded), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        self._out.write(header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4))
