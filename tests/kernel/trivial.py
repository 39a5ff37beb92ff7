"""A program for tests of pins and links: it returns one verdict and is bound to the map `config`."""

import ctypes
import struct
from collections.abc import Mapping

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.generation import Generation
from l4lb_agent.model.health.layout import PROBES, Probe, ProbeKey

PASS, TX = 2, 3


class Trivial:
    """A generation.Program; `loads` counts how often it was really loaded."""

    shared = frozenset({"config"})

    def __init__(self, verdict: int = PASS) -> None:
        self.verdict, self.tag, self.loads = verdict, f"{verdict:016x}", 0

    def load(self, maps: Mapping[str, int]) -> Generation:
        """Load `r1 = config; r2 = tails; r0 = verdict; exit` with an empty prog_array."""
        self.loads += 1
        tails = Fd(syscall.map_create(3, 4, 4, 4, name="tails"))
        code = struct.pack("<BBhi", 0x18, 1 << 4 | 1, 0, maps["config"]) + bytes(8)
        code += struct.pack("<BBhi", 0x18, 1 << 4 | 2, 0, tails.fileno()) + bytes(8)
        code += struct.pack("<BBhi", 0xB7, 0, 0, self.verdict) + struct.pack("<BBhi", 0x95, 0, 0, 0)
        return Generation(self.tag, Fd(syscall.prog_load(code, "trivial")), tails)

    def load_with_steps(self, maps: Mapping[str, int], numbers: Mapping[str, int]) -> Generation:
        """It takes none that could be written down."""
        return self.load(maps)

    def load_probe(self, maps: Mapping[str, int]) -> tuple[Fd, Fd]:
        """A program that sends nothing on."""
        probes = Fd(syscall.map_create(1, ctypes.sizeof(ProbeKey), ctypes.sizeof(Probe), PROBES, 0, "probes"))
        return self.load_sweep(maps), probes

    def load_sweep(self, maps: Mapping[str, int]) -> Fd:
        """A program that sweeps nothing."""
        code = struct.pack("<BBhi", 0xB7, 0, 0, self.verdict) + struct.pack("<BBhi", 0x95, 0, 0, 0)
        return Fd(syscall.prog_load(code, "sweep"))
