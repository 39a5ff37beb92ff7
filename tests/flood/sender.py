"""Starts the sender inside a namespace, and ends it."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab import native, netns

SOURCE: Final = Path(__file__).with_name("flood.c")


class FloodFailed(RuntimeError):
    """The sender ended by itself, with what it said."""


@dataclass(frozen=True)
class Field:
    """Bytes of a frame that are random: `bytes` from `offset` on, the frame's random ones from `start` on."""

    offset: int
    bytes: int
    start: int


@dataclass(frozen=True)
class Frame:
    """What is sent again and again, each time with other bytes in its fields; with `follows` those of the frame before."""

    raw: bytes
    fields: tuple[Field, ...] = ()
    follows: bool = False

    def line(self) -> str:
        """As the sender reads it."""
        return " ".join(("+" * self.follows + self.raw.hex(), *(f"{field.offset}:{field.bytes}:{field.start}" for field in self.fields)))


class Flood:
    """Under way from its making to stop()."""

    def __init__(self, program: Path, namespace: str, frames: Sequence[Frame], question: bytes = b"") -> None:
        """Sends `frames` in turn out of eth0, as fast as it goes. With a `question`, an ARP request, no faster than its answers come: it is
        sent after every few frames. Raises FloodFailed."""
        argv = netns.entering(namespace, [str(program), "eth0", "1"])
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = f"?{question.hex()}\n" if question else ""
        self._process.stdin.write(asked + "".join(f"{frame.line()}\n" for frame in frames) + "\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "ready\n":
            raise FloodFailed(self._process.communicate()[1])

    def stop(self) -> tuple[int, float, int]:
        """End it; returns how many frames it has sent, in how many seconds, and how many questions had no answer. Raises FloodFailed."""
        output, errors = self._process.communicate(timeout=10)
        if self._process.returncode != 0:
            raise FloodFailed(errors)
        frames, milliseconds, unanswered = output.split()
        return int(frames), int(milliseconds) / 1000, int(unanswered)

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        self._process.kill()
        self._process.communicate()


def compile(folder: Path) -> Path:
    """The sender's program. Raises DoesNotCompile."""
    return native.compile([SOURCE], folder / "flood", "-O2")
