"""Sweeping `affinity`: an entry that names a removed backend is set to zero, so that the id can be given to another.

The datapath writes entries without a lock, and this is no compare-and-swap either: a bucket is read again right before it is written, and
a client whose entry is written in between loses it, to be remembered again with its next new flow. Entries of other backends are left
alone; the datapath judges them.
"""

import ctypes
from collections import Counter
from collections.abc import Callable, Mapping

from l4lb_agent.dataplane import syscall
from l4lb_agent.model import layout
from l4lb_agent.model.choice import layout as choice_layout
from l4lb_agent.model.tables import array_key

_CHUNK = 4096  # buckets
_BUCKET = ctypes.sizeof(choice_layout.AffinityBucket)
_ENTRIES = _BUCKET // 8


def sweep(fd: int, backends: Callable[[int], layout.Backend]) -> Mapping[int, int]:
    """How many entries name each backend that keeps no flows; they are zero afterwards, and counted once more: a packet may be writing
    another right now. `backends` gives an id's element of the map of that name."""
    found: Counter[int] = Counter()
    keys, values, state = bytearray(4 * _CHUNK), bytearray(_BUCKET * _CHUNK), bytearray(8)
    zeros, first, end = bytes(_BUCKET * _CHUNK), True, False
    while not end:
        count, end = syscall.map_lookup_batch(fd, state, first, keys, values, _CHUNK)
        first = False
        if values.startswith(zeros[: _BUCKET * count]):
            continue
        words = memoryview(values).cast("Q")[: _ENTRIES * count].tolist()
        named = Counter(word & layout.SLOT_BACKEND for word in words if word)
        gone = {number for number in named if not backends(number).flags & layout.BACKEND_KEEP}
        for place in sorted({i // _ENTRIES for i, word in enumerate(words) if word and word & layout.SLOT_BACKEND in gone}) if gone else ():
            found += _clear(fd, int.from_bytes(keys[4 * place : 4 * place + 4], "little"), gone)
    return found


def _clear(fd: int, number: int, gone: set[int]) -> Counter[int]:
    """Without the entries of those backends; how many each had."""
    raw = syscall.map_lookup(fd, array_key(number), _BUCKET)
    bucket = choice_layout.AffinityBucket.from_buffer_copy(raw or bytes(_BUCKET))
    named = Counter(word & layout.SLOT_BACKEND for word in bucket.entry if word and word & layout.SLOT_BACKEND in gone)
    if named:
        bucket.entry[:] = [0 if word & layout.SLOT_BACKEND in gone else word for word in bucket.entry]
        syscall.map_update(fd, array_key(number), bytes(bucket))
    return named
