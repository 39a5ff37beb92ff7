"""The pinned maps: created or adopted, read, written, measured."""

import ctypes
import errno
import functools
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from l4lb_agent.dataplane import pins, syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.model import layout, mapspec
from l4lb_agent.model.observed import MapState
from l4lb_agent.model.tables import Tables, array_key

_CHUNK_BYTES = 1 << 20
_BATCH = 4096  # elements of a trie


class ShapeError(OSError):
    """A pinned map is not as this version wants it; nothing was written."""


@functools.cache
def cpus() -> int:
    """CPUs that the kernel may ever bring up: per-CPU maps hold a value for each."""
    text = Path("/sys/devices/system/cpu/possible").read_text()
    return 1 + max(int(part.rsplit("-", 1)[-1]) for part in text.strip().split(","))


def _describe(type_: int, key_size: int, value_size: int, max_entries: int, flags: int) -> str:
    try:
        name = mapspec.MapType(type_).name
    except ValueError:
        name = f"type {type_}"
    return f"{name} with {max_entries} elements of {key_size}+{value_size} bytes, flags {flags:#x}"


def check_shape(spec: mapspec.MapSpec, fd: Fd, path: Path) -> None:
    """Raises ShapeError unless the map is exactly as `spec` says."""
    info = syscall.map_info(fd.fileno())
    there = (info.type, info.key_size, info.value_size, info.max_entries, info.flags)
    wanted = (int(spec.type), spec.key_size, spec.value_size, spec.max_entries, spec.flags)
    if there != wanted or info.name != spec.name[:15]:
        message = f"map {spec.name} pinned at {path} is {info.name!r}: {_describe(*there)}; wanted: {_describe(*wanted)}"
        raise ShapeError(errno.EINVAL, f"{message}. Restore the sizes in the configuration, or run `l4lb-agent detach` (traffic stops)")


class Maps:
    """Descriptors of every map by name. `adopted` is True when all of them were pinned already."""

    def __init__(self, pin_dir: Path, sizes: mapspec.Sizes) -> None:
        """Adopt what is pinned after checking it, create what is missing. Raises ShapeError before anything is written."""
        self.specs = {spec.name: spec for spec in mapspec.specs(sizes)}
        self.fds: dict[str, Fd] = {}
        self._cpus = cpus()
        self._folder = where = pin_dir / "maps"
        try:
            self._adopt(where)
            self.adopted = len(self.fds) == len(self.specs)
            self._create(where)
        except BaseException:
            self.close()
            raise

    def _adopt(self, where: Path) -> None:
        for name, spec in self.specs.items():
            fd = pins.open_pin(where / name)
            if fd is not None:
                self.fds[name] = fd
                check_shape(spec, fd, where / name)
        if "config" in self.fds:
            version = layout.Config.from_buffer_copy(self.lookup("config", array_key(0)) or bytes(ctypes.sizeof(layout.Config))).layout
            if version not in (0, layout.LAYOUT_VERSION):
                message = f"the maps in {where} have layout {version}, this agent writes layout {layout.LAYOUT_VERSION}"
                raise ShapeError(errno.EINVAL, f"{message}: run the agent they belong to, or `l4lb-agent detach` (traffic stops)")

    def _create(self, where: Path) -> None:
        missing = [spec for spec in self.specs.values() if spec.name not in self.fds]
        for spec in missing:
            number = syscall.map_create(spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags, spec.name)
            self.fds[spec.name] = Fd(number)
        if len(missing) == len(self.specs):
            pins.publish_folder(where, self.fds)
            pins.remove(pins.aside(where))  # nothing of ours was in it
            return
        for spec in missing:
            pins.publish(where / spec.name, self.fds[spec.name])

    def repin(self) -> None:
        """Pin again what is pinned no more; the maps themselves live while they are open or in use."""
        self._folder.mkdir(mode=0o750, exist_ok=True)
        for name, fd in self.fds.items():
            if not (self._folder / name).exists():
                pins.publish(self._folder / name, fd)

    def retire(self) -> list[str]:
        """Remove the pins of maps that this version does not know, another one's; their names. They live while a program uses them."""
        unknown = [name for name in pins.names(self._folder) if name not in self.specs]
        for name in unknown:
            pins.remove(self._folder / pins.escape(name))
        return unknown

    def number(self, name: str) -> int:
        """Descriptor of a map."""
        return self.fds[name].fileno()

    def value_bytes(self, name: str) -> int:
        """Bytes of one element as the kernel copies it."""
        spec = self.specs[name]
        return (spec.value_size + 7) // 8 * 8 * self._cpus if spec.type is mapspec.MapType.PERCPU_ARRAY else spec.value_size

    def lookup(self, name: str, key: bytes) -> bytes | None:
        """One element; None when there is none."""
        return syscall.map_lookup(self.number(name), key, self.value_bytes(name))

    def write(self, name: str, key: bytes, value: bytes) -> None:
        """Set one element; zeros take it out of a trie. Raises ValueError when sizes do not fit: the kernel would read past buffers."""
        spec = self.specs[name]
        if len(key) != spec.key_size or len(value) != self.value_bytes(name):
            raise ValueError(f"{name}: {len(key)}+{len(value)} bytes, the map holds {spec.key_size}+{self.value_bytes(name)}")
        if spec.type is mapspec.MapType.LPM_TRIE and not any(value):
            syscall.map_delete(self.number(name), key)
        else:
            syscall.map_update(self.number(name), key, value)

    def zero(self, name: str, index: int) -> None:
        """Zero one array element, on all CPUs."""
        self.write(name, array_key(index), bytes(self.value_bytes(name)))

    def elements(self, name: str) -> Iterator[tuple[int, memoryview]]:
        """Index and bytes of every array element that is not all zero. A view is valid until the next step."""
        size, entries = self.value_bytes(name), self.specs[name].max_entries
        count = max(1, min(entries, _CHUNK_BYTES // size))
        keys, values, state = bytearray(4 * count), bytearray(size * count), bytearray(8)
        zeros, first, end = bytes(size), True, False
        while not end:
            found, end = syscall.map_lookup_batch(self.number(name), state, first, keys, values, count)
            first = False
            view = memoryview(values)
            for i, index in enumerate(struct.unpack_from(f"={found}I", keys)):
                element = view[i * size : (i + 1) * size]
                if element != zeros:
                    yield index, element

    def entries(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of every element of a trie."""
        spec = self.specs[name]
        keys, values = bytearray(spec.key_size * _BATCH), bytearray(spec.value_size * _BATCH)
        state, first, end = bytearray(spec.key_size), True, False
        while not end:
            found, end = syscall.map_lookup_batch(self.number(name), state, first, keys, values, _BATCH)
            first = False
            for i in range(found):
                yield (
                    bytes(keys[i * spec.key_size : (i + 1) * spec.key_size]),
                    bytes(values[i * spec.value_size : (i + 1) * spec.value_size]),
                )

    def control_tables(self) -> Tables:
        """Every control map's elements that are not all zero."""
        return Tables({spec.name: dict(self.control_elements(spec.name)) for spec in self.specs.values() if spec.control})

    def control_elements(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of every element of a control map that is not all zero."""
        if self.specs[name].type is mapspec.MapType.LPM_TRIE:
            yield from self.entries(name)
        else:
            yield from ((array_key(index), bytes(element)) for index, element in self.elements(name))

    def sums(self, name: str, value: type[ctypes.Structure]) -> Iterator[tuple[int, Sequence[int]]]:
        """Index and summed 64-bit words of every per-CPU array element that is not all zero."""
        words = ctypes.sizeof(value) // 8
        for index, element in self.elements(name):
            numbers = element.cast("Q")
            yield index, [sum(numbers[word::words]) for word in range(words)]

    def states(self) -> list[MapState]:
        """Id and locked memory of every map, as the kernel accounts it."""
        found = []
        for name, spec in self.specs.items():
            number = self.number(name)
            found.append(MapState(name, syscall.map_info(number).id, spec.max_entries, _locked(number)))
        return found

    def close(self) -> None:
        """Close the descriptors; what is pinned stays."""
        for fd in self.fds.values():
            fd.close()


def _locked(number: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{number}").read_text().splitlines():
        if line.startswith("memlock:"):
            return int(line.split()[1])
    return 0
