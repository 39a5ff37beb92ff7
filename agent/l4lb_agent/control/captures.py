"""Captures: who asked for which packets, and what the datapath hands over for each; and the drops that the recorder keeps all the time.

The datapath forgets a capture whose asker does not renew it, so that an agent that is killed leaves nothing running.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field

from l4lb_agent.control.pause import heard
from l4lb_agent.control.ports import Clock, Datapath
from l4lb_agent.model.capture import layout as capture_layout
from l4lb_agent.model.capture.taken import Captured, Filter
from l4lb_agent.model.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable

LEASE_SECONDS = 10  # after the last renewal a capture ends in the datapath
RENEW_SECONDS = 3.0
RECORD_SECONDS = 0.5  # between looks for recorded drops: nobody waits for them
REFUSED_SECONDS = 10.0  # between tries when the kernel refuses
WAITING = 4096  # packets of one capture that its reader has not taken yet
AT_ONCE = 512  # records read in one turn of the loop: other work comes in between

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Names:
    """What the numbers in captured packets and in the datapath's maps are called."""

    services: Mapping[str, int] = field(default_factory=dict)
    backends: Mapping[str, int] = field(default_factory=dict)
    interfaces: Mapping[str, int] = field(default_factory=dict)
    lists: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Called:
    """Names by number, turned round once for many packets."""

    services: Mapping[int, str]
    backends: Mapping[int, str]
    interfaces: Mapping[int, str]
    lists: Mapping[int, str]

    @classmethod
    def of(cls, names: Names) -> "Called":
        """The names that `names` gives."""
        kinds = names.services, names.backends, names.interfaces, names.lists
        return cls(*({number: name for name, number in one.items()} for one in kinds))


@dataclass(frozen=True)
class CapturedPacket:
    """A packet with names instead of numbers; "" for what it does not have."""

    packet: Captured
    time: float  # Unix seconds
    interface: str
    service: str
    backend: str


@dataclass(frozen=True)
class Batch:
    """What a capture has had since the last one. `limited` and `lost` are totals: packets beyond the rate, and packets without room."""

    packets: tuple[CapturedPacket, ...]
    limited: int
    lost: int


@dataclass(eq=False)
class _Capture:
    wanted: Filter
    service: int
    ifindex: int
    waiting: deque[CapturedPacket] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    overrun: int = 0
    before: tuple[int, int] = (0, 0)  # limited and lost when it began


class Captures:
    """At most as many at once as the datapath has slots. `names` tells what the numbers of now are called."""

    def __init__(self, datapath: Datapath, clock: Clock, names: Callable[[], Names]) -> None:
        self._datapath, self._clock, self._names = datapath, clock, names
        self._running: dict[int, _Capture] = {}
        self._reading = False
        self._recorder: Callable[[CapturedPacket], None] | None = None

    async def capture(self, wanted: Filter) -> AsyncGenerator[Batch, None]:
        """An empty batch when it runs, then a batch at least every few seconds, until closed. Raises NotFound for a service and
        InvalidArgument for an interface that is not there, ResourceExhausted when all slots are taken, Unavailable when the kernel
        refuses."""
        one = self._asked(wanted)
        slot = next((n for n in range(capture_layout.CAPTURES) if n not in self._running), None)
        if slot is None:
            raise ResourceExhausted(
                f"{capture_layout.CAPTURES} captures are running, as many as the datapath has room for: end one",
                reason="TOO_MANY_CAPTURES", metadata={"maximum": str(capture_layout.CAPTURES)},
            )  # fmt: skip
        self._running[slot] = one
        try:
            self._begin(slot, one)
            yield Batch((), 0, 0)
            while True:
                await heard(one.wake, RENEW_SECONDS)
                self._write(slot, one)
                yield self._batch(slot, one)
        except OSError as error:
            raise Unavailable(f"the kernel refused the capture: {error}", reason="CAPTURE_REFUSED") from error
        finally:
            self._end(slot)

    async def record(self, take: Callable[[CapturedPacket], None]) -> None:
        """Gives `take` the drops that the datapath's recorder takes, until cancelled. It waits for a kernel that refuses."""
        self._recorder = take
        renewed = -RENEW_SECONDS
        try:
            while True:
                try:
                    if self._datapath.now() - renewed >= RENEW_SECONDS:
                        self._switch()
                        renewed = self._datapath.now()
                    while self.look() == AT_ONCE:
                        await asyncio.sleep(0)
                except OSError as error:
                    _log.warning("event=recorder_refused error=%r", str(error))
                    await asyncio.sleep(REFUSED_SECONDS)
                await asyncio.sleep(RECORD_SECONDS)
        finally:
            with contextlib.suppress(OSError):  # it expires by itself
                self.look()
                self._recorder = None
                self._switch()

    def _asked(self, wanted: Filter) -> _Capture:
        names = self._names()
        if wanted.service and wanted.service not in names.services:
            raise NotFound(f"{wanted.service} is not in the datapath", reason="NOT_FOUND", field="filter.service")
        if wanted.interface and wanted.interface not in names.interfaces:
            known = ", ".join(sorted(names.interfaces)) or "none"
            raise InvalidArgument(
                f"filter.interface: the datapath is not on {wanted.interface!r}; it is on {known}",
                reason="UNKNOWN_INTERFACE", field="filter.interface",
            )  # fmt: skip
        return _Capture(wanted, names.services.get(wanted.service, 0), names.interfaces.get(wanted.interface, 0))

    def _begin(self, slot: int, one: _Capture) -> None:
        if not self._reading:
            self.look()  # what an earlier agent's captures left
            asyncio.get_running_loop().add_reader(self._datapath.captured_number(), self.look)
            self._reading = True
        one.before = self._datapath.capture_budgets().get(slot, (0, 0))
        self._write(slot, one)
        _log.info("event=capture_begun slot=%d", slot)

    def _write(self, slot: int, one: _Capture) -> None:
        until = self._datapath.now() + LEASE_SECONDS
        self._datapath.write_capture(slot, one.wanted, until, one.service, one.ifindex)
        self._switch()

    def _switch(self) -> None:
        until = self._datapath.now() + LEASE_SECONDS if self._recorder else 0
        self._datapath.switch_captures([one.wanted for one in self._running.values()], until)

    def _end(self, slot: int) -> None:
        del self._running[slot]
        try:
            self._switch()
            self._datapath.end_capture(slot)
        except OSError as error:  # it expires by itself
            _log.warning("event=capture_not_ended slot=%d error=%r", slot, str(error))
        if not self._running and self._reading:
            asyncio.get_running_loop().remove_reader(self._datapath.captured_number())
            self._reading = False

    def _batch(self, slot: int, one: _Capture) -> Batch:
        packets = tuple(one.waiting)
        one.waiting.clear()
        one.wake.clear()
        limited, lost = self._datapath.capture_budgets().get(slot, (0, 0))
        return Batch(packets, limited - one.before[0], lost - one.before[1] + one.overrun)

    def look(self) -> int:
        """Gives what is in the ring buffer to those who want it, and says how much that was; the rest waits for the next turn of the
        loop."""
        names: Called | None = None
        packets = self._datapath.captured(AT_ONCE)
        for packet in packets:
            names = names or Called.of(self._names())
            named = self._named(packet, names)
            if self._recorder and capture_layout.RECORDER in packet.captures:
                self._recorder(named)
            for slot in packet.captures & self._running.keys():
                one = self._running[slot]
                if len(one.waiting) >= WAITING:
                    one.overrun += 1
                else:
                    one.waiting.append(named)
                one.wake.set()
        return len(packets)

    def _named(self, packet: Captured, names: Called) -> CapturedPacket:
        past = self._clock.monotonic() - packet.nanoseconds / 1e9
        return CapturedPacket(
            packet, self._clock.time() - past, names.interfaces.get(packet.ifindex, ""), names.services.get(packet.service, ""),
            names.backends.get(packet.backend, ""),
        )  # fmt: skip
