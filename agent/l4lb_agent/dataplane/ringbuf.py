"""Reads a BPF ring buffer (kernel's Documentation/bpf/ringbuf.rst) through the memory that it shares: no system call for a record."""

import mmap
import struct
from collections.abc import Iterator
from typing import Final

_PAGE: Final = mmap.PAGESIZE
_HEADER_BYTES: Final = 8
_BUSY, _DISCARDED = 1 << 31, 1 << 30


class RingBuffer:
    """The one reader of the ring buffer of descriptor `number`, which has room for `size` bytes (a power of two). Positions are single
    64-bit words, aligned, which CPUs read and write whole."""

    def __init__(self, number: int, size: int) -> None:
        """Raises OSError."""
        self._size = size
        self._mine = mmap.mmap(number, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
        try:
            self._theirs = mmap.mmap(number, _PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE)
        except OSError:
            self._mine.close()
            raise

    def records(self, most: int) -> Iterator[bytes]:
        """Up to `most` records; each leaves the buffer when the next one is asked for. It ends at one that is still being written."""
        position: int = struct.unpack_from("=Q", self._mine)[0]
        for _ in range(most):
            if position == struct.unpack_from("=Q", self._theirs)[0]:
                return
            place = _PAGE + position % self._size  # records that wrap go on: the kernel has mapped the data twice in a row
            length: int = struct.unpack_from("=I", self._theirs, place)[0]
            if length & _BUSY:
                return
            bytes_there = length & ~_DISCARDED
            if not length & _DISCARDED:
                yield self._theirs[place + _HEADER_BYTES : place + _HEADER_BYTES + bytes_there]
            position += (bytes_there + _HEADER_BYTES + 7) // 8 * 8
            struct.pack_into("=Q", self._mine, 0, position)

    def close(self) -> None:
        """Give the memory back."""
        self._theirs.close()
        self._mine.close()
