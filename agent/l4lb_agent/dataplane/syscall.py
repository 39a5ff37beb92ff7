"""bpf(2) and membarrier(2) by ctypes: no libbpf, no bcc. Structures are those of linux/bpf.h, unions flattened.

Every function raises OSError with the kernel's errno and what was attempted. File descriptors are plain integers; whoever creates one
owns it and hands it to `fd.Fd`, which closes it. Calls release the GIL while they are in the kernel.
"""

import ctypes
import os
import platform
import struct
from typing import Any, Final

from l4lb_agent.dataplane.info import LinkInfo, MapInfo, ProgramInfo, Run

Buffer = bytes | bytearray | memoryview | ctypes.Array[Any] | ctypes.Structure

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_BPF: Final = {"x86_64": 321, "aarch64": 280}.get(platform.machine(), -1)
_MEMBARRIER: Final = {"x86_64": 324, "aarch64": 283}.get(platform.machine(), -1)
_MEMBARRIER_CMD_GLOBAL: Final = 1

MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, MAP_NEXT_KEY, PROG_LOAD, OBJ_PIN, OBJ_GET = range(8)
PROG_TEST_RUN: Final = 10
OBJ_INFO: Final = 15
MAP_LOOKUP_AND_DELETE: Final = 21
MAP_LOOKUP_BATCH: Final = 24
MAP_UPDATE_BATCH: Final = 26
LINK_CREATE: Final = 28
LINK_UPDATE: Final = 29
LINK_DETACH: Final = 34

ANY, NOEXIST, EXIST = 0, 1, 2  # flags of an update
PROG_TYPE_SCHED_CLS: Final = 3
PROG_TYPE_XDP: Final = 6
ATTACH_XDP: Final = 37
XDP_FLAGS_GENERIC: Final = 2
XDP_FLAGS_NATIVE: Final = 4
_F_REPLACE: Final = 4  # of LINK_UPDATE
_F_LIVE_FRAMES: Final = 2  # of PROG_TEST_RUN
_LOG_BYTES: Final = 4 << 20


class VerifierError(OSError):
    """The kernel refused a program; `log` is what its verifier said, its last lines are in the message."""

    def __init__(self, number: int, what: str, log: str) -> None:
        tail = " | ".join(log.strip().splitlines()[-6:])
        super().__init__(number, f"{what}: {os.strerror(number)}{': ' + tail if tail else ''}")
        self.log = log


def _call(number: int, what: str, *arguments: Any) -> int:
    result = int(_LIBC.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _bpf(command: int, attributes: bytearray, what: str) -> int:
    # Kernels accept a longer attribute block whose unknown tail is zero, and a shorter one as if it went on with zeros.
    block = (ctypes.c_char * len(attributes)).from_buffer(attributes)
    return _call(_BPF, what, ctypes.c_long(command), block, ctypes.c_uint(len(attributes)))


def address_of(buffer: Buffer) -> int:
    """Address of the buffer's first byte, without a copy. The caller keeps `buffer` alive and unresized over the call."""
    if isinstance(buffer, bytes):
        return ctypes.cast(ctypes.c_char_p(buffer), ctypes.c_void_p).value or 0
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("ascii", "replace")


def map_create(type: int, key_size: int, value_size: int, max_entries: int, flags: int = 0, name: str = "") -> int:
    """A new map's descriptor. The kernel keeps the first 15 bytes of `name`."""
    attributes = bytearray(struct.pack("=7I16s", type, key_size, value_size, max_entries, flags, 0, 0, name.encode()[:15]))
    return _bpf(MAP_CREATE, attributes, f"create map {name}")


def _element(command: int, fd: int, key: Buffer | None, value: Buffer | None, flags: int, what: str) -> None:
    addresses = [0 if b is None else address_of(b) for b in (key, value)]
    _bpf(command, bytearray(struct.pack("=IIQQQ", fd, 0, *addresses, flags)), what)


def map_lookup_into(fd: int, key: Buffer, value: bytearray | memoryview) -> bool:
    """Copy the element of `key` into `value` (for per-CPU maps all CPUs, 8-byte padded); False when there is none."""
    try:
        _element(MAP_LOOKUP, fd, key, value, 0, "map lookup")
    except FileNotFoundError:
        return False
    return True


def map_lookup(fd: int, key: Buffer, value_size: int) -> bytes | None:
    """The element of `key`, None when there is none."""
    value = bytearray(value_size)
    return bytes(value) if map_lookup_into(fd, key, value) else None


def map_update(fd: int, key: Buffer, value: Buffer, flags: int = ANY) -> None:
    """Set an element. Raises FileExistsError with NOEXIST, FileNotFoundError with EXIST, OSError E2BIG when the map is full."""
    _element(MAP_UPDATE, fd, key, value, flags, "map update")


def map_delete(fd: int, key: Buffer) -> bool:
    """Delete an element; False when there was none."""
    try:
        _element(MAP_DELETE, fd, key, None, 0, "map delete")
    except FileNotFoundError:
        return False
    return True


def map_take(fd: int, key: Buffer, value_size: int) -> bytes | None:
    """Look up and delete in one step (hash maps, Linux 5.14); None when there was none."""
    value = bytearray(value_size)
    try:
        _element(MAP_LOOKUP_AND_DELETE, fd, key, value, 0, "map lookup and delete")
    except FileNotFoundError:
        return None
    return bytes(value)


def map_next_key(fd: int, key: Buffer | None, key_size: int) -> bytes | None:
    """The key after `key` (the first for None); None at the end."""
    following = bytearray(key_size)
    try:
        _element(MAP_NEXT_KEY, fd, key, following, 0, "map next key")
    except FileNotFoundError:
        return None
    return bytes(following)


def map_lookup_batch(fd: int, state: bytearray, first: bool, keys: Buffer, values: Buffer, count: int) -> tuple[int, bool]:
    """Copy up to `count` elements; `state` (at least key_size, 8 bytes) is where to go on. Returns how many came and whether that
    was the end. Raises OSError ENOSPC when one hash bucket holds more than `count`."""
    where = address_of(state)
    attributes = bytearray(struct.pack("=QQQQIIQQ", 0 if first else where, where, address_of(keys), address_of(values), count, fd, 0, 0))
    end = False
    try:
        _bpf(MAP_LOOKUP_BATCH, attributes, "map batch lookup")
    except FileNotFoundError:
        end = True
    return struct.unpack_from("=I", attributes, 32)[0], end


def map_update_batch(fd: int, keys: Buffer, values: Buffer, count: int, flags: int = ANY) -> int:
    """Set `count` elements; returns how many were set."""
    attributes = bytearray(struct.pack("=QQQQIIQQ", 0, 0, address_of(keys), address_of(values), count, fd, flags, 0))
    _bpf(MAP_UPDATE_BATCH, attributes, f"map batch update of {count}")
    return int(struct.unpack_from("=I", attributes, 32)[0])


def _path(path: str | os.PathLike[str]) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(os.fsencode(path))


def obj_pin(fd: int, path: str | os.PathLike[str]) -> None:
    """Pin a map, program or link on bpffs; names there hold no '.' (EPERM)."""
    name = _path(path)
    _bpf(OBJ_PIN, bytearray(struct.pack("=QII", ctypes.addressof(name), fd, 0)), f"pin {path}")


def obj_get(path: str | os.PathLike[str]) -> int:
    """A descriptor of what is pinned at `path`; FileNotFoundError when nothing is."""
    name = _path(path)
    return _bpf(OBJ_GET, bytearray(struct.pack("=QII", ctypes.addressof(name), 0, 0)), f"open pin {path}")


def _load(instructions: Buffer, name: str, flags: int, type: int, level: int = 0, log: ctypes.Array[ctypes.c_char] | None = None) -> int:
    size = len(instructions) if not isinstance(instructions, ctypes.Structure) else ctypes.sizeof(instructions)
    terms = ctypes.create_string_buffer(b"GPL")
    where = (level, len(log), ctypes.addressof(log)) if log is not None else (0, 0, 0)
    attach = ATTACH_XDP if type == PROG_TYPE_XDP else 0
    block = struct.pack("=IIQQIIQ", type, size // 8, address_of(instructions), ctypes.addressof(terms), *where)
    block += struct.pack("=II16sII", 0, flags, name.encode()[:15], 0, attach)
    return _bpf(PROG_LOAD, bytearray(block), f"load program {name}")


def prog_load(instructions: Buffer, name: str, flags: int = 0, type: int = PROG_TYPE_XDP) -> int:
    """Load a program under the GPL; raises VerifierError with the verifier's log. Runs the verifier twice when it refuses."""
    try:
        return _load(instructions, name, flags, type)
    except OSError as refused:
        log = ctypes.create_string_buffer(_LOG_BYTES)
        try:
            return _load(instructions, name, flags, type, 1, log)
        except OSError:
            raise VerifierError(refused.errno or 0, f"load program {name}", _text(log.raw)) from None


def prog_load_with_statistics(instructions: Buffer, name: str) -> tuple[int, str]:
    """Load an XDP program; its descriptor and the verifier's own statistics (BPF_LOG_STATS): time, stack depth, processed instructions."""
    log = ctypes.create_string_buffer(_LOG_BYTES)
    return _load(instructions, name, 0, PROG_TYPE_XDP, 4, log), _text(log.raw)


def prog_test_run(fd: int, packet: Buffer, *, ifindex: int = 0, repeat: int = 1, live: bool = False, room: int = 16384) -> Run:
    """Run a program on `packet`; an XDP program as if received on `ifindex` (0: lo) of this network namespace. With `live` its verdict is
    carried out `repeat` times and there is no data; else `room` bytes are there for the packet after it."""
    size = len(packet) if not isinstance(packet, ctypes.Structure) else ctypes.sizeof(packet)
    context = bytearray(struct.pack("=6I", 0, size, 0, ifindex, 0, 0))
    out = bytearray(0 if live else room)
    where = address_of(context) if ifindex else 0  # without a context the kernel takes lo
    attributes = bytearray(struct.pack("=4I2Q2I", fd, 0, size, len(out), address_of(packet), address_of(out) if out else 0, repeat, 0))
    attributes += struct.pack("=2I2Q3I", len(context) if where else 0, 0, where, 0, _F_LIVE_FRAMES if live else 0, 0, 0)
    _bpf(PROG_TEST_RUN, attributes, f"test run of {size} bytes")
    retval, length, duration = (struct.unpack_from("=I", attributes, offset)[0] for offset in (4, 12, 36))
    return Run(retval, bytes(out[:length]), duration)


def link_create(program: int, ifindex: int, flags: int = 0) -> int:
    """Attach an XDP program to a device of this network namespace; EBUSY when there is another, EEXIST in the other mode."""
    attributes = bytearray(struct.pack("=IIII", program, ifindex, ATTACH_XDP, flags))
    return _bpf(LINK_CREATE, attributes, f"attach XDP to interface {ifindex}")


def link_update(link: int, program: int, expected: int | None = None) -> None:
    """Swap the link's program; with `expected` (a descriptor) only if that one is there (else EPERM). ENOLINK: the device is gone."""
    flags = _F_REPLACE if expected is not None else 0
    _bpf(LINK_UPDATE, bytearray(struct.pack("=IIII", link, program, flags, expected or 0)), "update XDP link")


def link_detach(link: int) -> None:
    """Take the program off its device at once, whoever else holds the link."""
    _bpf(LINK_DETACH, bytearray(struct.pack("=I", link)), "detach XDP link")


def _info(fd: int, size: int, what: str) -> bytes:
    info = bytearray(size)
    _bpf(OBJ_INFO, bytearray(struct.pack("=IIQ", fd, size, address_of(info))), f"info of {what} {fd}")
    return bytes(info)


def map_info(fd: int) -> MapInfo:
    """Type, sizes and name of a map."""
    raw = _info(fd, 40, "map")
    kind, identity, key_size, value_size, max_entries, flags = struct.unpack_from("=6I", raw)
    return MapInfo(kind, identity, key_size, value_size, max_entries, flags, _text(raw[24:40]))


def prog_info(fd: int) -> ProgramInfo:
    """Id, tag and name of a program."""
    raw = _info(fd, 80, "program")
    kind, identity = struct.unpack_from("=II", raw)
    return ProgramInfo(kind, identity, raw[8:16].hex(), _text(raw[64:80]))


def prog_is_compiled(fd: int) -> bool:
    """Whether a program was translated to machine code; False also for a caller without CAP_BPF."""
    return bool(struct.unpack_from("=I", _info(fd, 80, "program"), 16)[0])


def prog_map_ids(fd: int) -> frozenset[int]:
    """Ids of the maps that a program is bound to."""
    raw = bytearray(_info(fd, 80, "program"))
    count = struct.unpack_from("=I", raw, 52)[0]
    ids = bytearray(4 * count)
    info = bytearray(80)
    struct.pack_into("=IIQ", info, 48, 0, count, address_of(ids) if count else 0)
    _bpf(OBJ_INFO, bytearray(struct.pack("=IIQ", fd, 80, address_of(info))), f"maps of program {fd}")
    return frozenset(struct.unpack(f"={count}I", ids))


def link_info(fd: int) -> LinkInfo:
    """Id, program and device of a link."""
    raw = _info(fd, 32, "link")
    kind, identity, program, _, ifindex = struct.unpack_from("=5I", raw)
    return LinkInfo(kind, identity, program, ifindex)


def membarrier() -> None:
    """Return once every thread has passed a scheduling point (MEMBARRIER_CMD_GLOBAL: one RCU grace period, 6-16 ms)."""
    _call(_MEMBARRIER, "membarrier", ctypes.c_int(_MEMBARRIER_CMD_GLOBAL), ctypes.c_uint(0), ctypes.c_int(0))
