"""The journal's lines: `LENGTH CRC32 REVISION JSON`, each with a newline. Length, checksum (over revision and JSON) and revision are
hexadecimal of fixed width, so that a torn, shifted or flipped line is seen before anything in it is believed."""

import json
import re
import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO

_HEADER = re.compile(rb"([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{16} )\Z")
_HEADER_BYTES = 35
_PIECE = 100

Record = dict[str, object]


def encode(record: Record) -> bytes:
    """One line. The revision is the record's, 0 without one. Raises TypeError or ValueError for what is not JSON."""
    body = b"{%s}" % b",".join(b"%s:%s" % (_json(name), _value(value)) for name, value in record.items())
    revision = record.get("revision", 0)
    if not isinstance(revision, int) or not 0 <= revision < 1 << 64:
        raise ValueError(f"revision {revision!r} is not a number of 64 bits")
    checked = b"%016x " % revision + body
    return b"%08x %08x " % (len(body), zlib.crc32(checked)) + checked + b"\n"


def _value(value: object) -> bytes:
    """JSON of a value. A long list is encoded a piece at a time: within one piece no other thread of the process gets on, and a snapshot
    holds thousands of resources."""
    if not isinstance(value, list) or len(value) <= _PIECE:
        return _json(value)
    return b"[%s]" % b",".join(_json(value[start : start + _PIECE])[1:-1] for start in range(0, len(value), _PIECE))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def decode(file: BinaryIO, size: int) -> tuple[Sequence[Record], int]:
    """Every whole record of a file of `size` bytes, and the offset at which they end. What follows is torn or damaged: the first line
    that is not whole ends it, and so does a revision lower than the one before."""
    records: list[Record] = []
    end = last = 0
    while end < size:
        found = _HEADER.match(file.read(_HEADER_BYTES))
        if not found:
            break
        length = int(found[1], 16)
        if end + _HEADER_BYTES + length + 1 > size:
            break
        body, newline = file.read(length), file.read(1)
        revision = int(found[3], 16)
        if newline != b"\n" or zlib.crc32(found[3] + body) != int(found[2], 16) or revision < last:
            break
        try:
            record: Any = json.loads(body)
        except (ValueError, RecursionError):
            break
        if not isinstance(record, dict):
            break
        records.append(record)
        last = revision
        end += _HEADER_BYTES + length + 1
    return records, end
