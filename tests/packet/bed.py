"""Maps and programs for one balancer after another: to load the programs takes a third of a second, to empty the maps a millisecond."""

import gc
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.generation import Generation
from l4lb_agent.dataplane.info import MapInfo
from l4lb_agent.dataplane.maps import cpus
from l4lb_agent.dataplane.program import Objects
from l4lb_agent.model import layout, mapspec
from l4lb_agent.model.mapspec import MapType
from l4lb_agent.model.tables import array_key

SIZES: Final = mapspec.Sizes(
    services=16, backends=64, addresses=32, port_ranges=4, flows=256, tracked_flows=256, rings_1021=6, rings_4093=4, rings_16381=4,
    rings_65537=4, affinities=128,
)  # fmt: skip
KEPT: Final = 3  # beds that wait for their next test: each has some 130 descriptors, and a process may have no more than 1024
_PROG_FD_BY_ID, _MAP_FD_BY_ID = 13, 14  # enum bpf_cmd in linux/bpf.h


def open_descriptors() -> int:
    """How many this process has, without those that wait for the garbage collector, which would close them in the middle of a test."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


class LeftOver(AssertionError):
    """Something of a test is in a bed that has been emptied."""


class _Array:
    """All elements of an array, of every CPU."""

    def __init__(self, fd: Fd, info: MapInfo) -> None:
        each = info.value_size if info.type == MapType.ARRAY else -(-info.value_size // 8) * 8 * cpus()
        self.fd, self._count = fd, info.max_entries
        self._keys = struct.pack(f"={info.max_entries}I", *range(info.max_entries))
        self._read = bytearray(len(self._keys))
        self._zeros = bytes(each * info.max_entries)
        self._values = bytearray(self._zeros)

    def empty(self) -> None:
        """Write zeros."""
        syscall.map_update_batch(self.fd.fileno(), self._keys, self._zeros, self._count)

    def used(self) -> bool:
        """Whether any byte is not zero."""
        taken, _ = syscall.map_lookup_batch(self.fd.fileno(), bytearray(8), True, self._read, self._values, self._count)
        return taken != self._count or self._values != self._zeros


class _Trie:
    """All prefixes of a trie."""

    def __init__(self, fd: Fd, info: MapInfo) -> None:
        self.fd, self._size = fd, info.key_size

    def empty(self) -> None:
        """Delete them."""
        while (key := syscall.map_next_key(self.fd.fileno(), None, self._size)) is not None:
            syscall.map_delete(self.fd.fileno(), key)

    def used(self) -> bool:
        """Whether there is one."""
        return syscall.map_next_key(self.fd.fileno(), None, self._size) is not None


class _Tails:
    """The programs in their slots, which stay what they are."""

    def __init__(self, fd: Fd, _info: MapInfo | None = None) -> None:
        self.fd = fd
        self._first = self.programs()

    def programs(self) -> list[int]:
        """Their ids."""
        found = (syscall.map_lookup(self.fd.fileno(), array_key(slot), 4) for slot in range(layout.TAILS))
        return [int.from_bytes(raw, "little") for raw in found if raw is not None]

    def empty(self) -> None:
        """Nothing is written to them."""

    def used(self) -> bool:
        """Whether one has changed."""
        return self.programs() != self._first


class _Ring:
    """A ring buffer, whose positions only grow: a used one cannot be made new."""

    def __init__(self, fd: Fd, _info: MapInfo) -> None:
        self.fd = fd
        self._writer = mmap.mmap(fd.fileno(), mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ, offset=mmap.PAGESIZE)

    def empty(self) -> None:
        """Impossible."""

    def used(self) -> bool:
        """Whether there was a record."""
        return bool(struct.unpack_from("=Q", self._writer)[0])


_CONTENTS: Final = {
    MapType.ARRAY: _Array, MapType.PERCPU_ARRAY: _Array, MapType.LPM_TRIE: _Trie, MapType.PROG_ARRAY: _Tails, MapType.RINGBUF: _Ring,
}  # fmt: skip


class Bed:
    """Maps of the smallest useful size and one generation of the program, all as new. `watched` are the contents of its maps by name and
    number, once it has been looked at."""

    def __init__(self, objects: Objects, sizes: mapspec.Sizes = SIZES, missing: frozenset[str] = frozenset()) -> None:
        self.sizes = sizes
        self.specs = {spec.name: spec for spec in mapspec.specs(sizes)}
        self.maps = {
            name: Fd(syscall.map_create(s.type, s.key_size, s.value_size, s.max_entries, s.flags, name)) for name, s in self.specs.items()
        }
        numbers = {name: fd.fileno() for name, fd in self.maps.items()}
        self.generation: Generation = objects.load(numbers, missing)
        self.sweep = objects.load_sweep(numbers)
        self.watched: dict[str, _Array | _Trie | _Tails | _Ring] = {}
        self._opened: list[Fd] = []

    def look(self) -> None:
        """Find every map that a program can write to, those of a generation too, while they are as new; before the first renew()."""
        programs = [self.generation.program, self.sweep]
        programs += [self._open(_PROG_FD_BY_ID, number) for number in _Tails(self.generation.tails).programs()]
        bound = {number for program in programs for number in syscall.prog_map_ids(program.fileno())}
        for number in sorted(bound | {syscall.map_info(fd.fileno()).id for fd in self.maps.values()}):
            fd = self._open(_MAP_FD_BY_ID, number)
            info = syscall.map_info(fd.fileno())
            self.watched[f"{info.name} {number}"] = _CONTENTS[MapType(info.type)](fd, info)
        if left := self.used():
            raise LeftOver(f"a new bed has contents in {left}")

    def _open(self, command: int, number: int) -> Fd:
        self._opened.append(Fd(syscall._bpf(command, bytearray(struct.pack("=3I", number, 0, 0)), f"open {number}")))
        return self._opened[-1]

    def used(self) -> list[str]:
        """Maps that are not as they were when the bed was new."""
        return [name for name, contents in self.watched.items() if contents.used()]

    def renew(self) -> bool:
        """Make it as new; whether that can be. Raises LeftOver when it did not help."""
        used = self.used()
        for name in used:
            self.watched[name].empty()
        left = [name for name in used if self.watched[name].used()]
        if any(not isinstance(self.watched[name], _Ring) for name in left):
            raise LeftOver(f"emptied and not empty: {left}")
        return not left

    def close(self) -> None:
        """Give everything back to the kernel."""
        self.generation.close()
        self.sweep.close()
        for fd in (*self.maps.values(), *self._opened):
            fd.close()


class Beds:
    """Those of a session; each is used by one test at a time."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._free: list[tuple[tuple[mapspec.Sizes, frozenset[str]], Bed]] = []  # that used last at the end

    def _taken(self, kind: tuple[mapspec.Sizes, frozenset[str]]) -> Bed | None:
        for place, (of, _) in enumerate(self._free):
            if of == kind:
                return self._free.pop(place)[1]
        return None

    @contextmanager
    def lent(self, sizes: mapspec.Sizes = SIZES, missing: frozenset[str] = frozenset()) -> Iterator[Bed]:
        """One that is as new."""
        bed = self._taken((sizes, missing))
        if bed is None:
            bed = Bed(self._objects, sizes, missing)
            bed.look()
        generation = bed.generation
        try:
            yield bed
        finally:
            if bed.generation is generation and bed.renew():
                self._free.append(((sizes, missing), bed))
            else:
                bed.close()
            if len(self._free) > KEPT:
                self._free.pop(0)[1].close()

    def close(self) -> None:
        """Give all of them back to the kernel."""
        for _, bed in self._free:
            bed.close()
