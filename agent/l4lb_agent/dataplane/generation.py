"""One version of the datapath's program: the hot program and the prog_array of its tails, pinned together and never changed in place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from l4lb_agent.dataplane.fd import Fd


@dataclass(frozen=True)
class Generation:
    """A loaded version. `tails` is filled before anything is attached: the kernel empties a prog_array when its last descriptor or pin
    goes, so it is pinned beside the program."""

    tag: str
    program: Fd
    tails: Fd

    def close(self) -> None:
        """Close both; what is pinned or attached stays."""
        self.program.close()
        self.tails.close()


class Program(Protocol):
    """What program.py compiles."""

    @property
    def tag(self) -> str:
        """Hexadecimal name of the bytecode of all its programs: equal tags need no reload."""

    @property
    def shared(self) -> frozenset[str]:
        """Names of the maps that the hot program uses, without those that each generation has of its own."""

    def load(self, maps: Mapping[str, int]) -> Generation:
        """Create and fill a prog_array and load everything, bound to the maps' descriptors by name. Raises OSError, VerifierError."""

    def load_with_steps(self, maps: Mapping[str, int], numbers: Mapping[str, int]) -> Generation:
        """The same; the programs also write down their lookups in the maps of `numbers`, see steps.py. Raises ValueError as well."""

    def load_probe(self, maps: Mapping[str, int]) -> tuple[Fd, Fd]:
        """Load the program that probes.py attaches, bound in the same way, and its map of probes. Raises OSError, VerifierError."""

    def load_sweep(self, maps: Mapping[str, int]) -> Fd:
        """Load the program that sweeper.py runs, bound in the same way. Raises OSError, VerifierError."""
