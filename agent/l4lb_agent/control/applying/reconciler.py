"""Makes the kernel's maps what the desired state and the network ask for: build, plan, write, until nothing differs.

`actual` is read from the kernel once, at start, and follows every write from then on: the agent is the maps' only writer. Between passes
drift.py looks whether that is true.
"""

import asyncio
import contextlib
import functools
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import tenacity

from l4lb_agent.control import retry
from l4lb_agent.control.applying.drift import Drift
from l4lb_agent.control.applying.keeper import Keeper
from l4lb_agent.control.applying.rings import Images, Rings, identity
from l4lb_agent.control.applying.waiters import Waiters
from l4lb_agent.control.applying.windows import Held, Look, Windows
from l4lb_agent.control.pause import heard
from l4lb_agent.control.ports import Doors
from l4lb_agent.control.start import Started
from l4lb_agent.control.surroundings import Surroundings
from l4lb_agent.model import build, ids, layout, mapspec
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.build import World
from l4lb_agent.model.config import DatapathConfig
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.health.standing import Verdict
from l4lb_agent.model.ids import backend_keys
from l4lb_agent.model.observed import FlowCounts
from l4lb_agent.model.plan import plan
from l4lb_agent.model.service import Tracking, VirtualService
from l4lb_agent.model.tables import Elements, Step, Tables, Write, array_key
from l4lb_agent.model.windows.kept import Kept

BEAT_SECONDS = 1.0  # the loop turns at least so often, also when nothing happens
GRACE_SECONDS = 0.05  # longer than any packet needs: what was published so long ago has no reader of the state before it
REST_SECONDS = 6.0  # that the id of a removed backend rests: longer than the datapath remembers where a first fragment went

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Worked:
    """What came of a pass."""

    images: Images
    deferred: frozenset[str]
    wrote: bool
    kept: list[Kept]
    with_way: frozenset[str]
    without_slots: dict[int, float]
    served: set[int]


class Reconciler:
    """One loop; everything else only wakes it."""

    def __init__(
        self,
        doors: Doors,
        surroundings: Surroundings,
        config: DatapathConfig,
        started: Started,
        desired: Callable[[], Desired],
        keep: Callable[[Iterable[Kept]], None],
        verdict: Callable[[], Verdict],
    ) -> None:
        """`keep` has the journal take rings `before`; `verdict` is what health says now."""
        actual, clock, secrets, journaled = started.actual, doors.clock, started.replayed.secrets, started.replayed.kept
        self.ids = ids.restore(actual, desired())
        self.windows = Windows(GRACE_SECONDS, journaled)
        self.windows.adopt(Look(desired(), self.ids, clock.monotonic()), actual)
        self.images = Images()
        self.deferred: frozenset[str] = frozenset()
        self.with_way: frozenset[str] = frozenset()  # names of backends that packets can be sent to, as far as both say: they and the maps
        self.applied_revision = 0
        self.in_step = False  # the maps are as asked
        self.error = ""  # why not, when the kernel refused
        self.map_writes = 0
        self.retries = 0
        self.turns = 0  # grows as long as the loop, or the thread that it has work in, gets on
        self.without_slots: dict[int, float] = {}  # ids of backends that no ring has for new flows: since when, monotonic
        self.listeners: list[Callable[[], None]] = []  # called after every pass
        self._datapath, self._surroundings, self._clock, self._config, self._secrets = doors.datapath, surroundings, clock, config, secrets
        self._desired, self._keep, self._keeper = desired, keep, Keeper(journaled)
        self._actual: dict[str, Elements] = {name: dict(elements) for name, elements in actual.maps.items()}
        self._rings, self.verdict = Rings(secrets.slot, self.beat), verdict
        self._digests: dict[str, tuple[object, str]] = {}  # of rings `before` by service name, with the ring
        self._uncleared: set[tuple[str, int]] = set()  # ("service" or "backend", id): new, still with somebody else's counters
        self._retired: dict[int, float] = dict.fromkeys(self.ids.retired, clock.monotonic())  # since when their flows are cut
        self._free: frozenset[int] = frozenset()
        self._served = set(self.ids.backends.values())  # ids of backends that may have had flows
        names = [spec.name for spec in mapspec.specs(config.sizes) if spec.control]
        self.drift = Drift(self._datapath, self._clock, names, self.wake, self.beat, lambda: self.backend_names(self._desired()))
        self._due: float | None = None  # when a pass has something to do although nothing has changed, monotonic
        self._wake = asyncio.Event()
        self._waiters = Waiters()
        self._progress = asyncio.Event()

    @property
    def actual(self) -> Mapping[str, Elements]:
        """Elements that are not zero, by map."""
        return self._actual

    def beat(self) -> None:
        """Something that takes long gets on."""
        self.turns += 1

    def wake(self) -> None:
        """Something has changed."""
        self._wake.set()

    def configure(self, config: DatapathConfig) -> None:
        """Works with `config` from the next pass on."""
        self._config = config
        self.wake()

    async def run(self) -> None:
        """Reconciles whenever woken, and what is due with each beat, so that slots settle together; until cancelled.
        Whoever waits for a revision then is told that it is pending."""
        try:
            while True:
                self.turns += 1
                due = self._due is not None and self._due <= self._clock.monotonic()
                if await heard(self._wake, 0 if due else BEAT_SECONDS) or due:
                    await retry.until_done(retry.KERNEL_PAUSE, asyncio.sleep, self._refused)(self.reconcile)
                await retry.until_done(retry.KERNEL_PAUSE, asyncio.sleep, self._refused)(self._audit)
        finally:
            self._waiters.end()

    async def reconcile(self) -> None:
        """Writes until the maps are as asked. Raises OSError when the kernel refuses a write; what was written before it stands."""
        while True:
            self._wake.clear()
            wrote = await self._pass()
            self._progressed()
            if not self.deferred or not wrote:
                return

    async def applied(self, revision: int) -> None:
        """Returns once the maps are as `revision` asks. Raises Unavailable (APPLY_PENDING) when the kernel refuses a write."""
        if self.in_step and self.applied_revision >= revision:
            return
        await self._waiters.wait(revision)

    async def until(self, condition: Callable[[], bool], seconds: float | None) -> bool:
        """Waits until `condition` holds after some pass, at most so long; whether it does."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._progress.wait()
        return condition()

    def swept(self, counts: FlowCounts, began: float) -> None:
        """Frees the ids of removed backends of which a sweep that began at `began` (monotonic) found no entry; marks may go."""
        free = {
            id_
            for id_, since in self._retired.items()
            if began > since + REST_SECONDS and not counts.entries_by_backend.get(id_) and id_ in self.ids.retired
        }
        if free:
            self._free = frozenset(free)
        if self.windows.swept(began, counts.pinned) or free:
            self.wake()

    def counted_from(self, service: VirtualService, number: int) -> float | None:
        """When every flow of a backend that has not ended has an entry, monotonic: those without one have been silent for the idle timeout
        then. None for backends whose flows always have one; infinity while it has slots."""
        if service.tracking is not Tracking.CHANGES or not service.has_window or number not in self._served:
            return None
        return self.without_slots.get(number, math.inf) + service.idle_seconds

    def takes_new_flows(self, backend: Backend) -> bool:
        """Whether the kernel sends new flows there now, as far as its element says."""
        number = self.ids.number(self._desired(), backend)
        element = self._actual.get("backends", {}).get(array_key(number)) if number else None
        return element is not None and bool(layout.Backend.from_buffer_copy(element).flags & layout.BACKEND_ELIGIBLE)

    def backend_names(self, desired: Desired) -> dict[int, str]:
        """Names of backends by id."""
        return {number: name for name, key in backend_keys(desired).items() if (number := self.ids.backends.get(key))}

    def before_digest(self, desired: Desired, held: Held) -> str:
        """Digest of ring `before` of a service."""
        before, name = held.pair.before, held.service.name
        known = self._digests.get(name)
        if known is None or known[0] is not before:
            names = {number: identity(backend) for number, backend in Look(desired, self.ids, 0.0).backends(held.service)}
            known = self._digests[name] = (before, self._rings.digest(before, names))
        return known[1]

    async def _pass(self) -> bool:
        """One plan; whether it had writes."""
        verdict = self.verdict()
        look, world = Look(self._desired(), self.ids, self._clock.monotonic(), verdict=verdict), self._world(verdict)
        worked = await asyncio.to_thread(self._work, look, world)
        self._done(look.desired, worked)
        self._keep(worked.kept)
        return worked.wrote

    def _work(self, look: Look, world: World) -> _Worked:
        """Everything that takes time, in a thread: the event loop does nothing that grows with the number of backends."""
        actual, desired = Tables(self._actual), look.desired
        without_way = build.without_way(desired, world.next_hops, world.local, world.config.outer_source)
        self.with_way -= without_way  # before the kernel has it: who sees the new maps must not be told that all is as asked
        self._assign(desired, actual)
        look = replace(look, ids=self.ids, without_way=without_way)
        images = self._rings.images(desired, self.ids, look.without_way | look.verdict.out)
        elements = self.windows.rings(look, images, functools.cache(lambda: self._rings.images(desired, self.ids, frozenset())))
        built = build.build(desired, self.ids, elements, replace(world, given_up=self.windows.given_up), actual)
        steps = plan(actual, built.tables)
        self.windows.committed(built.deferred)
        slots = _slots(images)  # from the first write on some may be used
        self.without_slots = {id_: since for id_, since in self.without_slots.items() if id_ not in slots}
        if steps or self._uncleared:
            self.in_step = False
            self._execute(steps)
        return _Worked(
            images, built.deferred, bool(steps), self._keeper.news(look, self.windows.held.values()),
            frozenset(desired.backends) - without_way, *self._see_slots(desired, built.deferred, slots),
        )  # fmt: skip

    async def _audit(self) -> None:
        """Looks for drift. After a write that was refused the maps may be another pass away from what was asked."""
        await self.drift.turn(self._actual, self._wake.is_set)
        if not self.in_step:
            self.wake()

    def _world(self, verdict: Verdict) -> World:
        near = self._surroundings
        return World(
            self._config, self._secrets, self._datapath.second_multiplier, near.route_generation, dict(near.next_hops), near.local,
            near.vlans, held_out=verdict.out,
        )  # fmt: skip

    def _assign(self, desired: Desired, actual: Tables) -> None:
        before, self.ids = self.ids, ids.assign(self.ids, desired, self._config, actual, free=self._free)
        self._free = frozenset()
        self._uncleared |= {("service", id_) for id_ in set(self.ids.services.values()) - set(before.services.values())}
        self._uncleared |= {("backend", id_) for id_ in set(self.ids.backends.values()) - set(before.backends.values())}
        self._retired = {id_: since for id_, since in self._retired.items() if id_ in self.ids.retired}

    def _execute(self, steps: tuple[Step, ...]) -> None:
        for kind, id_ in sorted(self._uncleared):
            (self._datapath.clear_service_counters if kind == "service" else self._datapath.clear_backend_counters)(id_)
            self._uncleared.discard((kind, id_))
        for step in steps:
            self._datapath.execute(step)
            self.turns += 1
            if isinstance(step, Write):
                self.map_writes += 1
                elements = self._actual.setdefault(step.map, {})
                elements[step.key] = step.value
                if not any(step.value):
                    del elements[step.key]

    def _done(self, desired: Desired, worked: _Worked) -> None:
        now = self._clock.monotonic()
        self.images, self.deferred, self.with_way = worked.images, worked.deferred, worked.with_way
        self.without_slots, self._served = worked.without_slots, worked.served
        self.error, self.in_step = "", True
        self.applied_revision = desired.revision
        for id_ in self.ids.retired:
            self._retired.setdefault(id_, now)
        self.windows.published(now)
        self._due = min((time for time in (self.windows.due(), self._keeper.due) if time is not None), default=None)
        self._waiters.reached(desired.revision)

    def _see_slots(self, desired: Desired, deferred: frozenset[str], slots: set[int]) -> tuple[dict[int, float], set[int]]:
        """`without_slots` and `_served` now that the kernel has these `slots`."""
        now, keys = self._clock.monotonic(), backend_keys(desired)
        known = (self.ids.backends.get(keys[name]) for name, b in desired.backends.items() if b.service not in deferred)
        without = {id_: self.without_slots.get(id_, now) for id_ in known if id_ is not None and id_ not in slots}
        return without, (self._served | slots).intersection(self.ids.backends.values())

    def _refused(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.retries += 1
        self.turns += 1
        self.in_step, self.error = False, str(error)
        _log.warning("event=apply_failed attempt=%d error=%r", state.attempt_number, str(error))
        self._waiters.put_off(self.error)
        self._progressed()

    def _progressed(self) -> None:
        self._progress.set()
        self._progress = asyncio.Event()
        for listener in self.listeners:
            listener()


def _slots(images: Images) -> set[int]:
    """Ids of backends that some ring has."""
    return {id_ for image in images.by_service.values() for id_ in image.ids}
