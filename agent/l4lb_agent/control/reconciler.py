"""Makes the kernel's maps what the desired state and the network ask for: build, plan, write, until nothing differs.

`actual` is read from the kernel once, at start, and follows every write from then on: the agent is the maps' only writer.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

import tenacity

from l4lb_agent.control import retry
from l4lb_agent.control.pause import heard
from l4lb_agent.control.ports import Clock, Datapath
from l4lb_agent.control.rings import Images, Rings
from l4lb_agent.control.surroundings import Surroundings
from l4lb_agent.model import build, ids
from l4lb_agent.model.backend import AdminState
from l4lb_agent.model.build import World
from l4lb_agent.model.config import DatapathConfig, Secrets
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.errors import Unavailable
from l4lb_agent.model.observed import FlowCounts
from l4lb_agent.model.plan import plan
from l4lb_agent.model.tables import Elements, Step, Tables, Write

BEAT_SECONDS = 1.0  # the loop turns at least so often, also when nothing happens
GRACE_SECONDS = 0.05  # longer than any packet needs: what was published so long ago has no reader of the state before it

_log = logging.getLogger(__name__)


class Reconciler:
    """One loop; everything else only wakes it."""

    def __init__(
        self,
        datapath: Datapath,
        surroundings: Surroundings,
        clock: Clock,
        config: DatapathConfig,
        secrets: Secrets,
        desired: Callable[[], Desired],
        actual: Tables,
    ) -> None:
        self.ids = ids.restore(actual, desired())
        self.images = Images()
        self.deferred: frozenset[str] = frozenset()
        self.with_way: frozenset[str] = frozenset()  # names of backends that packets can be sent to, as written
        self.applied_revision = 0
        self.in_step = False  # the maps are as asked
        self.error = ""  # why not, when the kernel refused
        self.map_writes = 0
        self.retries = 0
        self.turns = 0  # grows as long as the loop, or the thread that it has work in, gets on
        self.without_slots: dict[str, float] = {}  # draining backends: since when no ring has them, monotonic
        self.listeners: list[Callable[[], None]] = []  # called after every pass
        self._datapath, self._surroundings, self._clock, self._config, self._secrets = datapath, surroundings, clock, config, secrets
        self._desired = desired
        self._actual: dict[str, Elements] = {name: dict(elements) for name, elements in actual.maps.items()}
        self._rings = Rings(secrets.slot)
        self._uncleared: set[tuple[str, int]] = set()  # ("service" or "backend", id): new, still with somebody else's counters
        self._retired: dict[int, float] = dict.fromkeys(self.ids.retired, clock.monotonic())  # since when their flows are cut
        self._free: frozenset[int] = frozenset()
        self._wake = asyncio.Event()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._progress = asyncio.Event()

    @property
    def actual(self) -> Mapping[str, Elements]:
        """Elements that are not zero, by map."""
        return self._actual

    def wake(self) -> None:
        """Something has changed."""
        self._wake.set()

    def configure(self, config: DatapathConfig) -> None:
        """Works with `config` from the next pass on."""
        self._config = config
        self.wake()

    async def run(self) -> None:
        """Reconciles whenever woken, until cancelled."""
        while True:
            self.turns += 1
            if not await heard(self._wake, BEAT_SECONDS):
                continue
            await retry.until_done(retry.KERNEL_PAUSE, asyncio.sleep, self._refused)(self.reconcile)

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
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((revision, waiter))
        await waiter

    async def until(self, condition: Callable[[], bool], seconds: float | None) -> bool:
        """Waits until `condition` holds after some pass, at most so long; whether it does."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._progress.wait()
        return condition()

    def swept(self, counts: FlowCounts, began: float) -> None:
        """Frees the ids of removed backends of which a sweep that began at `began` (monotonic) found no entry."""
        free = {
            id_
            for id_, since in self._retired.items()
            if began > since + GRACE_SECONDS and not counts.entries_by_backend.get(id_) and id_ in self.ids.retired
        }
        if free:
            self._free = frozenset(free)
            self.wake()

    async def _pass(self) -> bool:
        """One plan; whether it had writes."""
        desired, world = self._desired(), self._world()
        without_way = build.without_way(desired, world.next_hops, world.local)
        images, deferred, wrote = await asyncio.to_thread(self._work, desired, world, without_way)
        self.images, self.deferred, self.with_way = images, deferred, frozenset(desired.backends) - without_way
        self._done(desired)
        return wrote

    def _work(self, desired: Desired, world: World, without_way: frozenset[str]) -> tuple[Images, frozenset[str], bool]:
        """Everything that takes time, in a thread."""
        actual = Tables(self._actual)
        self._assign(desired, actual)
        images = self._rings.images(desired, self.ids, without_way)
        built = build.build(desired, self.ids, images.elements, world, actual)
        steps = plan(actual, built.tables)
        if steps or self._uncleared:
            self.in_step = False
            self._execute(steps)
        return images, built.deferred, bool(steps)

    def _world(self) -> World:
        near = self._surroundings
        return World(self._config, self._secrets, self._datapath.second_multiplier, near.route_generation, dict(near.next_hops), near.local)

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

    def _done(self, desired: Desired) -> None:
        now = self._clock.monotonic()
        self.error, self.in_step = "", True
        self.applied_revision = desired.revision
        for id_ in self.ids.retired:
            self._retired.setdefault(id_, now)
        draining = {b.name for b in desired.backends.values() if b.admin is AdminState.DRAINING and b.service not in self.deferred}
        self.without_slots = {name: self.without_slots.get(name, now) for name in draining}
        for revision, waiter in self._waiters:
            if revision <= desired.revision and not waiter.done():
                waiter.set_result(None)
        self._waiters = [(revision, waiter) for revision, waiter in self._waiters if not waiter.done()]

    def _refused(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.retries += 1
        self.turns += 1
        self.in_step, self.error = False, str(error)
        _log.warning("event=apply_failed attempt=%d error=%r", state.attempt_number, str(error))
        for _, waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(pending(self.error))
        self._waiters.clear()
        self._progressed()

    def _progressed(self) -> None:
        self._progress.set()
        self._progress = asyncio.Event()
        for listener in self.listeners:
            listener()


def pending(error: str) -> Unavailable:
    """The answer to a change that is promised and not yet in the kernel."""
    return Unavailable(
        f"the change is in the journal and not yet in the kernel ({error}): the agent goes on applying it",
        reason="APPLY_PENDING",
        metadata={"error": error},
    )
