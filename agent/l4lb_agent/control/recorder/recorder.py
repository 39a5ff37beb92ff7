"""Remembers the last drops of each reason and what happened, and writes a file by itself when a guard trips.

That file is written by a thread of its own: it must come about also when the loop that does the agent's work is what stands still.
"""

import logging
import queue
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final

from l4lb_agent.control.captures import CapturedPacket
from l4lb_agent.control.ports import Clock, DumpFolder
from l4lb_agent.control.recorder.dump import Dump, Look
from l4lb_agent.control.recorder.guards import Pace
from l4lb_agent.control.recorder.timeline import Event, Timeline
from l4lb_agent.model.capture.layout import RECORDER_BYTES

PACKETS: Final = 16  # of each reason
SETTLE_SECONDS: Final = 1.0  # after a guard has tripped: what follows at once belongs to it
LOOK_SECONDS: Final = 0.5  # between looks at whether the loop gets on
CLOSE_SECONDS: Final = 3.0  # for the last file
STALLED, STOPPED, CRASHED = "stalled", "stopped", "crashed"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecorderConfig:
    """[recorder] of agent.toml. `dumps` is how many files that were written by guards are kept."""

    enabled: bool = True
    dumps: int = 8


class Recorder:
    """Entered, it writes files into `folder` as `encode` makes them; left, one more. `stall_seconds` without alive() are a stall."""

    def __init__(self, clock: Clock, folder: DumpFolder, encode: Callable[[Dump], bytes], version: str, stall_seconds: float) -> None:
        self.look: Look | None = None
        self.folder = folder
        self._clock, self._encode, self._version = clock, encode, version
        self._stall_seconds = stall_seconds
        self._timeline, self._pace = Timeline(), Pace()
        self._packets: dict[int, deque[CapturedPacket]] = {}
        self._alive: float | None = None  # when the loop got on, monotonic; None before it has begun, and while it stalls
        self._due: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def heard(self, event: Event) -> None:
        """Something happened. From any thread, one at a time."""
        self._timeline.add(event)
        if self._pace.due(event.name, self._clock.monotonic()):
            self._due.put(event.name)

    def dropped(self, one: CapturedPacket) -> None:
        """A packet was dropped, and the datapath handed it over."""
        if len(one.packet.came) > RECORDER_BYTES:  # a capture that took it too wanted more
            one = replace(one, packet=replace(one.packet, came=one.packet.came[:RECORDER_BYTES]))
        self._packets.setdefault(one.packet.reason, deque(maxlen=PACKETS)).append(one)

    def alive(self) -> None:
        """The loop that keeps the kernel as asked got on."""
        self._alive = self._clock.monotonic()

    def dump(self, why: str, stacks: tuple[str, ...] = ()) -> Dump:
        """Everything that is remembered. From any thread."""
        packets = [one for kept in list(self._packets.values()) for one in list(kept)]
        return Dump(
            why, self._clock.time(), self._version, sorted(packets, key=lambda one: one.time), self._timeline.events(),
            self._timeline.forgotten, self.look, stacks,
        )  # fmt: skip

    def __enter__(self) -> "Recorder":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Writes what guards are still waiting for, else one because the agent stops."""
        if error is not None:
            why = "".join(traceback.format_exception(error))
            self.heard(Event(self._clock.time(), "error", "agent", CRASHED, {"error": repr(error), "traceback": why}))
        self._due.put(None)
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        """Writes until it is told to end."""
        while True:
            why = self._next(LOOK_SECONDS)
            if why == "":
                self._see_stall()
                continue
            stacks = _stacks() if why == STALLED else ()
            ends = why is None or self._ended_within(SETTLE_SECONDS)
            self._write(why or STOPPED, stacks)
            if ends:
                return

    def _next(self, seconds: float) -> str | None:
        """The next event that a file is due for; "" when there is none, None at the end."""
        try:
            return self._due.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return ""

    def _ended_within(self, seconds: float) -> bool:
        """Whether the end came; what else trips meanwhile is in the same file."""
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0:
            if self._next(left) is None:
                return True
        return False

    def _see_stall(self) -> None:
        silent = self._clock.monotonic() - self._alive if self._alive is not None else 0.0
        if silent > self._stall_seconds:
            self._alive = None  # told once
            _log.error("event=stalled seconds=%s", round(silent, 1))

    def _write(self, why: str, stacks: tuple[str, ...]) -> None:
        try:
            data = self._encode(self.dump(why, stacks))
            path = self.folder.write(why, self._clock.time(), data)
        except Exception as error:  # neither a full disk nor a mistake of ours in here may cost more than the file
            _log.warning("event=record_failed why=%s error=%r", why, str(error))
            return
        _log.info("event=record_written why=%s path=%s bytes=%d", why, path, len(data))


def _stacks() -> tuple[str, ...]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return tuple(f"{names.get(number, '?')}\n{''.join(traceback.format_stack(frame))}" for number, frame in sys._current_frames().items())
