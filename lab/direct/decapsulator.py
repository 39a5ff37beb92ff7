"""The laboratory's own decapsulator: an XDP program on a backend's interface, for kernels without tunnels. `decapsulator.c` is the program.

`python -m lab.direct.decapsulator OUTPUT` compiles it, always as a process of its own (see l4lb_agent/dataplane/compiler.py).
"""

import functools
import json
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from l4lb_agent.dataplane import compiler, program, syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.maps import cpus
from lab import netns
from lab.topology import Host

SOURCE: Final = Path(__file__).with_name("decapsulator.c")
PROGRAM: Final = "decapsulate"
# enum count of the program: the first four passed, the others were dropped.
COUNTS: Final = ("not_encapsulated", "ipip", "gue", "fou", "bad_header", "bad_length", "bad_checksum")
_ARRAY: Final = 2
_PERCPU_ARRAY: Final = 6


@functools.cache
def compiled() -> program.Code:
    """The program's bytecode; compiled once in this process's life. Raises CompileError."""
    with tempfile.TemporaryDirectory(prefix="l4lb-lab-") as folder:
        output = Path(folder, "out.json")
        command = [sys.executable, "-m", __name__, str(output)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise program.CompileError(f"{SOURCE} does not compile", done.stderr)
        return program.objects(json.loads(output.read_bytes())).programs[PROGRAM]


class Decapsulator:
    """One loaded program with its maps; `attach` puts it onto an interface. All of it ends with `close`, or with this process."""

    def __init__(self, host: Host, port: int) -> None:
        """For packets to the addresses of `host`, and for GUE to `port`. Raises CompileError, VerifierError or OSError."""
        self._port = port
        self._link: Fd | None = None
        self._own = Fd(syscall.map_create(_ARRAY, 4, 36, 1, 0, "own"))
        self._counts = Fd(syscall.map_create(_PERCPU_ARRAY, 4, 8, len(COUNTS), 0, "counts"))
        self._copy = Fd(syscall.map_create(_PERCPU_ARRAY, 4, 4096, 1, 0, "copy"))
        maps = {"own": self._own, "counts": self._counts, "copy": self._copy}
        bound = compiled().bound({name: fd.fileno() for name, fd in maps.items()})
        self.program = Fd(syscall.prog_load(bound, PROGRAM))
        self.move(host)

    def move(self, host: Host) -> None:
        """From now on for packets to the addresses of `host`."""
        v4 = bytes(10) + b"\xff\xff" + socket.inet_pton(socket.AF_INET, host.v4)
        v6 = socket.inet_pton(socket.AF_INET6, host.v6)
        syscall.map_update(self._own.fileno(), bytes(4), v4 + v6 + struct.pack("!Hxx", self._port))

    def attach(self, namespace: str, interface: str = "eth0") -> None:
        """Run it natively on an interface of a namespace. Raises OSError."""

        def create() -> Fd:
            return Fd(syscall.link_create(self.program.fileno(), socket.if_nametoindex(interface), syscall.XDP_FLAGS_NATIVE))

        self._link = netns.inside(namespace, create)

    def counts(self) -> dict[str, int]:
        """What became of the packets so far, by COUNTS."""
        raw = (syscall.map_lookup(self._counts.fileno(), struct.pack("=I", number), 8 * cpus()) for number in range(len(COUNTS)))
        return {name: sum(struct.unpack(f"={cpus()}Q", values or bytes(8 * cpus()))) for name, values in zip(COUNTS, raw)}

    def taken(self) -> int:
        """Packets that came out of outer headers so far."""
        counts = self.counts()
        return counts["ipip"] + counts["gue"] + counts["fou"]

    def close(self) -> None:
        """Take it off the interface and give everything back to the kernel."""
        for fd in (self._link, self.program, self._own, self._counts, self._copy):
            if fd:
                fd.close()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(compiler.compile_file(SOURCE, program.BPF_DIR.resolve(), [PROGRAM])))
