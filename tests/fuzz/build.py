"""The native fuzzer: the datapath's own sources compiled for this machine, and the worlds that it starts from."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from l4lb_agent.dataplane import program
from l4lb_agent.dataplane.program import Objects
from lab import native
from tests.fuzz.world import WORLDS, furnish, written

HERE: Final = Path(__file__).parent
CORPUS: Final = HERE / "corpus"
MOST_CORPUS_BYTES: Final = 200_000
_SANITIZERS: Final = "address,undefined"
# Packets are read wherever their headers lie, as BPF may: alignment is no mistake.
_FLAGS: Final = (f"-I{HERE}", "-fno-sanitize-recover=all", f"-fsanitize={_SANITIZERS}", "-fno-sanitize=alignment")


def fuzzer(sources: Path, folder: Path) -> Path:
    """The program, of the datapath in the folder `sources`. Raises DoesNotCompile."""
    tails = "".join(f"X({name},{slot})" for name, slot in program.TAILS.items())
    # Optimised it would take minutes to compile
    datapath = native.compile(
        [HERE / "datapath.c"], folder / "datapath.o", "-c", "-O0", *_FLAGS, "-fsanitize=fuzzer-no-link", f"-I{sources}",
        "-fno-builtin-index", f"-DPROGRAMS={tails}",
    )  # fmt: skip
    kernel = native.compile([HERE / "native.c"], folder / "native.o", "-c", "-O1", *_FLAGS)
    return native.compile([datapath, kernel], folder / "native", f"-fsanitize=fuzzer,{_SANITIZERS}")


def worlds(objects: Objects, folder: Path) -> dict[str, str]:
    """Writes every world; returns the environment that the fuzzer needs."""
    for world in WORLDS:
        lb = furnish(objects, world)
        (folder / world.name).write_bytes(written(lb))
        lb.bed.close()
    return {"L4LB_FUZZ_WORLDS": ":".join(str(folder / world.name) for world in WORLDS)}


def run(fuzzer: Path, worlds: Mapping[str, str], *arguments: str | Path, within: float = 280) -> subprocess.CompletedProcess[str]:
    """Run it. What it says ends with the input's bytes, as hexadecimal digits and as base64, when it has found something."""
    argv = [fuzzer, "-max_len=16384", "-timeout=10", "-rss_limit_mb=1024", f"-artifact_prefix={fuzzer.parent}/", *arguments]
    return subprocess.run(argv, env=os.environ | worlds, capture_output=True, text=True, timeout=within, check=False)
