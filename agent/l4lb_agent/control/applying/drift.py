"""Drift: what somebody else has changed in the agent's maps, by bpftool for instance. Found by reading them again, and put right.

One map is read at a time, with pauses, so that all of them together take a small share of one core; whoever asks gets all at once.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from l4lb_agent.control.ports import Clock, Datapath
from l4lb_agent.model.tables import Elements, Write

SHORTEST = 1.0  # seconds between two maps
SHARE = 0.02  # of one core
BEAT_ELEMENTS = 1024  # some milliseconds
WAIT_SECONDS = 5.0  # for all maps, of who asks: the kernel may be refusing writes
TOLD_SECONDS = 3600.0  # that a drift is warned of after it was put right

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drifted:
    """The last drift of a map. `first` names one of its elements; `at` is Unix seconds."""

    map: str
    elements: int
    first: str
    at: float


class Drift:
    """Reads the control maps of `names` in turn. `wake` makes who calls `turn` call it soon; `beat` is called while a large map is read;
    `owners` are names of backends by id."""

    def __init__(
        self, datapath: Datapath, clock: Clock, names: Sequence[str], wake: Callable[[], None], beat: Callable[[], None],
        owners: Callable[[], Mapping[int, str]],
    ) -> None:  # fmt: skip
        self.found: dict[str, Drifted] = {}
        self.restored = dict.fromkeys(names, 0)  # elements that were put right, by map
        self._datapath, self._clock, self._names = datapath, clock, names
        self._wake, self._beat, self._owners = wake, beat, owners
        self._next, self._due = 0, 0.0
        self._asked: list[asyncio.Future[None]] = []

    async def audit(self) -> None:
        """Returns once every map was read again and put right, or after WAIT_SECONDS."""
        asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        self._wake()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asked, WAIT_SECONDS)

    async def turn(self, actual: Mapping[str, Elements], busy: Callable[[], bool]) -> None:
        """Reads all maps if somebody waits for it, else the next one if it is time to, and gives way as soon as `busy`. One call at a time,
        and never beside another writer. Raises OSError when the kernel refuses."""
        asked = list(self._asked)
        for name in self._names if asked else ():
            await self._look(name, actual, lambda: False)
        for one in asked:
            self._asked.remove(one)
            if not one.done():
                one.set_result(None)
        if self._clock.monotonic() < self._due or busy():
            return
        name, began = self._names[self._next % len(self._names)], time.monotonic()
        if await self._look(name, actual, busy):
            self._next += 1
        self._due = self._clock.monotonic() + max(SHORTEST, (time.monotonic() - began) / SHARE)

    def warnings(self) -> list[tuple[str, str]]:
        """What was found of late, as the agent warns of it."""
        now = self._clock.time()
        return [("MAP_DRIFTED", _words(one)) for one in self.found.values() if now - one.at < TOLD_SECONDS]

    async def _look(self, name: str, actual: Mapping[str, Elements], busy: Callable[[], bool]) -> bool:
        """Whether the map was read to its end; what is wrong in it was put right then."""
        wanted = actual.get(name, {})
        wrong = await asyncio.to_thread(self._compare, name, wanted, busy)
        if wrong is None:
            return False
        if wrong:
            writes = [Write(name, key, wanted.get(key, bytes(len(value))), "drift") for key, value in sorted(wrong.items())]
            await asyncio.to_thread(self._write, writes)
            first = self._describe(name, writes[0].key)
            self.restored[name] += len(writes)
            self.found[name] = Drifted(name, len(writes), first, self._clock.time())
            _log.warning("event=map_drifted map=%s elements=%d first=%r", name, len(writes), first)
        return True

    def _compare(self, name: str, wanted: Elements, busy: Callable[[], bool]) -> Elements | None:
        """In a thread: what is there instead of what is wanted; None when something else is to be done first."""
        there = self._read(name, busy)
        if there is None:
            return None
        return {key: there.get(key, wanted.get(key, b"")) for key in there.keys() | wanted.keys() if there.get(key) != wanted.get(key)}

    def _read(self, name: str, busy: Callable[[], bool]) -> Elements | None:
        found: Elements = {}
        for key, value in self._datapath.control_elements(name):
            found[key] = value
            if not len(found) % BEAT_ELEMENTS:
                self._beat()
            if busy():
                return None
        return found

    def _describe(self, name: str, key: bytes) -> str:
        """An element, for people."""
        if name == "lists":
            return f"lists[{key.hex()}]"
        number = int.from_bytes(key, "little")
        owner = self._owners().get(number) if name == "backends" else None
        return f"{name}[{number}]" + (f", {owner}" if owner else "")

    def _write(self, writes: Sequence[Write]) -> None:
        for write in writes:
            self._datapath.execute(write)


def _words(of: Drifted) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(of.at))
    what = f"{of.elements} element{'s' if of.elements > 1 else ''} of the map {of.map} (first: {of.first})"
    return (
        f"{what} had been changed by somebody else than the agent, who put it right at {when} UTC: until then packets followed what was "
        "there; find who writes to the agent's maps (bpftool, another agent on the same pin_dir)"
    )
