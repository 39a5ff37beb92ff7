"""The programs under test, as the agent compiles and caches them, and those that drive them."""

import re
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.figures import ProgramFigures
from l4lb_agent.dataplane import compiler, program, syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.generation import Generation
from l4lb_agent.model import layout, mapspec
from l4lb_agent.model.mapspec import NO_PREALLOC, MapType

_SOURCE: Final = Path(__file__).resolve().parent / "wrapper.c"
_NAMES: Final = ("wrapper", "empty_wrapper", "nothing", "line_wrapper", "line", "generator", "sink", "yardstick", "gather")
_LOADS: Final = 5  # the quickest counts


class Programs:
    """Bytecode of both. `cache` is where the agent's compiler keeps the datapath's."""

    def __init__(self, cache: Path) -> None:
        """Compile. Raises program.CompileError, or Exception as BCC does."""
        self._datapath = program.compile_or_cached(program.BPF_DIR, cache)
        self._driving = program.objects(compiler.compile_file(_SOURCE, program.BPF_DIR, _NAMES))

    def load_datapath(self, maps: Mapping[str, int]) -> Generation:
        """The datapath bound to `maps`. Raises OSError, VerifierError."""
        return self._datapath.load(maps)

    def load_sweep(self, maps: Mapping[str, int]) -> Fd:
        """The program that frees NAT's records. Raises OSError, VerifierError."""
        return self._datapath.load_sweep(maps)

    def scratch(self) -> Fd:
        """A scratch of its own for what looks into the datapath's maps. Raises OSError."""
        type_, key_bytes, value_bytes = self._datapath.maps["scratch"]
        return Fd(syscall.map_create(type_, key_bytes, value_bytes, 1, 0, "scratch"))

    def load_driving(self, maps: Mapping[str, int]) -> dict[str, Fd]:
        """Everything in wrapper.c bound to `maps`. Raises OSError, VerifierError."""
        return {name: Fd(syscall.prog_load(code.bound(maps), name)) for name, code in self._driving.programs.items()}

    def statistics(self) -> tuple[ProgramFigures, ...]:
        """What the verifier says of each program of the datapath."""
        with ExitStack() as maps:
            numbers = {}
            for name, (type_, key_bytes, value_bytes) in self._datapath.maps.items():
                if type_ == MapType.RINGBUF:
                    key_bytes = value_bytes = 0
                entries = {MapType.PROG_ARRAY: layout.TAILS, MapType.RINGBUF: mapspec.CAPTURED_BYTES}.get(MapType(type_), 1)
                flags = NO_PREALLOC if type_ == MapType.LPM_TRIE else 0
                numbers[name] = maps.enter_context(Fd(syscall.map_create(type_, key_bytes, value_bytes, entries, flags, name))).fileno()
            return tuple(_figures(name, code.bound(numbers)) for name, code in self._datapath.programs.items())


def _figures(name: str, code: bytes) -> ProgramFigures:
    number, said = syscall.prog_load_with_statistics(code, name)
    Fd(number).close()
    processed, stack = re.search(r"processed (\d+) insns", said), re.search(r"stack depth (\d+)", said)
    if not processed or not stack:
        raise ValueError(f"the verifier's statistics are not understood: {said!r}")
    return ProgramFigures(name, len(code) // 8, int(processed[1]), int(stack[1]), min(_load_ms(name, code) for _ in range(_LOADS)))


def _load_ms(name: str, code: bytes) -> float:
    start = time.perf_counter()
    with Fd(syscall.prog_load(code, name)):
        return (time.perf_counter() - start) * 1000
