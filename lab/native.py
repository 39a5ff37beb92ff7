"""Compiles the C programs of tests and laboratory that run beside the datapath, not in it."""

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from lab import install

_FLAGS: Final = ("-g", "-Wall", "-Wextra", "-Werror", "-std=gnu11")
_SECONDS: Final = 600  # a guard: the slowest takes ten, and a machine may be busy


class DoesNotCompile(RuntimeError):
    """With the compiler's words."""


@cache
def compiler() -> str:
    """The compiler's command, installed when it is missing. Raises CalledProcessError."""
    script = install.checkout() / "scripts/compiler"
    return subprocess.run([script], stdout=subprocess.PIPE, text=True, check=True, timeout=_SECONDS).stdout.strip()


def compile(sources: Sequence[Path], output: Path, *flags: str) -> Path:
    """Compile and link `sources` into the program `output`, and return it. Raises DoesNotCompile."""
    argv: list[str | Path] = [compiler(), *_FLAGS, *flags, "-o", output, *sources]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode != 0:
        raise DoesNotCompile(f"{' '.join(map(str, sources))}: {done.stderr.strip()}")
    return output
