"""Which features of the kernel the datapath needs and does not have, by trying each: release numbers lie where vendors backport.

Programs are loaded and thrown away, maps are created and closed; nothing is attached or pinned. Needs CAP_BPF, CAP_NET_ADMIN and
CAP_PERFMON.
"""

import errno
import functools
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from l4lb_agent.dataplane import announce, syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.ticks import Ticks
from l4lb_agent.model.mapspec import NO_PREALLOC, MapType

# Those that bpf/ calls, by their numbers in linux/bpf.h.
HELPERS: Final[Mapping[str, int]] = {
    "bpf_tail_call": 12, "bpf_redirect": 23, "bpf_csum_diff": 28, "bpf_xdp_adjust_head": 44, "bpf_xdp_adjust_tail": 65,
    "bpf_fib_lookup": 69, "bpf_jiffies64": 118, "bpf_ktime_get_ns": 5, "bpf_ringbuf_output": 130, "bpf_check_mtu": 163,
    "bpf_xdp_load_bytes": 189,
}  # fmt: skip
_UNKNOWN: Final = ("unknown func", "invalid func", "program of this type cannot use helper")


def _instruction(code: int, destination: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("<BBhi", code, source << 4 | destination, offset, immediate)


_PASS: Final = _instruction(0xB7, immediate=2) + _instruction(0x95)  # r0 = XDP_PASS; exit
_COMPARE_AND_EXCHANGE: Final = (
    _instruction(0x7A, 10, offset=-8)  # *(u64 *)(r10 - 8) = 0
    + _instruction(0xB7, 0)  # r0 = 0
    + _instruction(0xB7, 2)  # r2 = 0
    + _instruction(0xDB, 10, 2, -8, 0xF1)  # lock cmpxchg *(u64 *)(r10 - 8), r0, r2
    + _PASS
)


def lacks(helpers: Mapping[str, int] = HELPERS) -> dict[str, str]:
    """What each feature that is missing was met with, by its name. Raises PermissionError when this process may not try."""
    missing = {}
    for name, attempt in _attempts(helpers):
        try:
            attempt()
        except PermissionError:
            raise
        except OSError as error:
            missing[name] = error.strerror or str(error)
    return missing


def _attempts(helpers: Mapping[str, int]) -> Iterator[tuple[str, Callable[[], None]]]:
    yield "XDP programs", lambda: _load(_PASS)
    for kind in MapType:
        yield f"maps of type {kind.name}", functools.partial(_map, kind)
    for name, number in helpers.items():
        yield f"helper {name} for XDP", functools.partial(_helper, name, number)
    yield "64-bit compare and exchange in BPF", lambda: _load(_COMPARE_AND_EXCHANGE)
    yield "test runs of BPF programs", lambda: Ticks().close()
    yield "traffic-control programs that clone packets", lambda: _load(announce.transmitter(1), syscall.PROG_TYPE_SCHED_CLS)
    yield "membarrier(2) with MEMBARRIER_CMD_GLOBAL", syscall.membarrier


def _load(instructions: bytes, type: int = syscall.PROG_TYPE_XDP) -> None:
    with Fd(syscall.prog_load(instructions, "l4lb_probe", type=type)):
        pass


def _map(kind: MapType) -> None:
    shape = {MapType.RINGBUF: (0, 0, 4096, 0), MapType.LPM_TRIE: (8, 4, 1, NO_PREALLOC)}.get(kind, (4, 4, 1, 0))
    with Fd(syscall.map_create(kind, *shape, "l4lb_probe")):
        pass


def _helper(name: str, number: int) -> None:
    """Calls it without arguments: a kernel that has it complains of those, if of anything."""
    try:
        _load(_instruction(0x85, immediate=number) + _PASS)
    except syscall.VerifierError as error:
        if error.errno == errno.EPERM:
            raise
        refused = [line for line in error.log.splitlines() if any(words in line for words in _UNKNOWN)]
        if refused:
            raise OSError(error.errno, f"{name}: {refused[0]}") from None


def is_compiled() -> bool:
    """Whether the kernel compiles programs to machine code."""
    with Fd(syscall.prog_load(_PASS, "l4lb_probe")) as program:
        return syscall.prog_is_compiled(program.fileno())
