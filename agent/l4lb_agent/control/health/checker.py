"""Probes backends when their turn comes, and says which of them take no new flows because of it.

Backends of several services that are probed alike at one address share their probes. A check that begins for a backend which takes new
flows at that moment begins as UP: neither the first check of a service nor another start of the agent takes anybody out before probes have
failed.
"""

import asyncio
import heapq
import itertools
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from l4lb_agent.control.facade import HealthView
from l4lb_agent.control.health.tally import Tallies, Tally
from l4lb_agent.control.pause import heard
from l4lb_agent.control.ports import Clock, Prober
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.desired import Change, Desired
from l4lb_agent.model.health import check, flaps, standing, state
from l4lb_agent.model.health.check import By, HealthCheck, Target
from l4lb_agent.model.health.flaps import Flaps
from l4lb_agent.model.health.outcome import Outcome
from l4lb_agent.model.health.passing import Place
from l4lb_agent.model.health.standing import NOBODY, Standing, Verdict
from l4lb_agent.model.health.state import Health, Probed, State

_log = logging.getLogger(__name__)
_Key = tuple[HealthCheck, Target]


@dataclass(eq=False)
class _Probing:
    """One series of probes, for all backends that share it. `due` is when the next begins, monotonic, and `due_time` the same in Unix
    seconds."""

    key: _Key
    due: float
    due_time: float = 0.0
    names: set[str] = field(default_factory=set)
    task: "asyncio.Task[None] | None" = None


@dataclass(frozen=True)
class Watched:
    """A backend with a check, and its health."""

    identity: object
    check: HealthCheck
    probing: _Probing
    health: Health
    held_time: float = 0.0  # Unix seconds of health.held_until


@dataclass(frozen=True)
class Looked:
    """Values that never change; `time` is monotonic. By name of backends and services that have a check."""

    watched: Mapping[str, Watched] = field(default_factory=dict)
    standings: Mapping[str, Standing] = field(default_factory=dict)
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    time: float = 0.0


class Checker:
    """`takes` says whether a backend takes new flows in the kernel now, and `place` where that one has the backend of a name; `changed` is
    called when the state of one changes, `keep` with what the next process has to know."""

    def __init__(
        self,
        prober: Prober,
        clock: Clock,
        desired: Callable[[], Desired],
        takes: Callable[[Backend], bool],
        place: Callable[[str], Place | None],
        changed: Callable[[], None],
        keep: Callable[[Iterable[Flaps]], None],
    ) -> None:
        self._prober, self._clock, self._desired, self._takes, self._changed, self._keep = prober, clock, desired, takes, changed, keep
        self._place = place
        self._watched: dict[str, Watched] = {}  # by backend name
        self._series: dict[_Key, _Probing] = {}
        self._queue: list[tuple[float, int, _Probing]] = []  # a heap; entries that are not their series' `due` any more are void
        self._numbers = itertools.count()
        self._standings: dict[str, Standing] = {}  # by name of services with a check
        self._stale: set[str] = set()  # of them those that have to be looked at again
        self._verdict = Verdict()
        self._wake = asyncio.Event()
        self._tallies = Tallies()

    def begin(self, kept: Mapping[str, Flaps]) -> None:
        """Looks at everything that was asked for before: once, before new flows are decided on. `kept` is what the last process left, by
        backend name."""
        for name in self._desired().backends:
            self._look(name, kept.get(name))

    def published(self, before: Desired, change: Change) -> None:
        """Follows a change of what is asked for."""
        names = {backend.name for backend in change.backends}
        names.update(name for name in change.deleted if name in self._watched)
        self._stale.update(name for name in change.deleted if name in self._standings)
        for service in change.services:
            known = before.services.get(service.name)
            if known is None or known.health_check != service.health_check:
                names.update(backend.name for backend in self._desired().backends_of(service.name))
                self._stale.add(service.name)
        for name in names:
            self._look(name)

    async def run(self) -> None:
        """Probes until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                pause = self._start_due(group)
                await heard(self._wake, pause)

    @property
    def verdict(self) -> Verdict:
        """Which backends take no new flows now because of their health."""
        self._see()
        return self._verdict

    def standing(self, service: str) -> Standing | None:
        """How a service stood when somebody last asked for the verdict, None without a check. Any thread may ask."""
        return self._standings.get(service)

    def looked(self) -> Looked:
        """Everything at one time: references, and counts that are copied."""
        self._see()
        return Looked(dict(self._watched), dict(self._standings), self._tallies.taken(), self._clock.monotonic())

    def view(self, name: str) -> HealthView | None:
        """The health of a backend, None without a check. Any thread may ask."""
        watched = self._watched.get(name)
        if watched is None:
            return None
        flapping = watched.health.flapping(self._clock.monotonic())
        stands = self.standing(name.split("/backends/")[0]) or NOBODY
        held = watched.held_time if flapping else 0.0
        return HealthView(watched.health, watched.probing.due_time, name in stands.kept, held, watched.probing.key[1])

    def _see(self) -> None:
        """Brings standings and verdict up to date."""
        if not self._stale:
            return
        desired = self._desired()
        for name in self._stale:
            service, before = desired.services.get(name), self._standings.get(name, NOBODY)
            if service is None or service.health_check is None:
                self._standings.pop(name, None)
                self._tallies.forget(name)
                continue
            backends = desired.backends_of(name)
            healths = {one.name: self._watched[one.name].health for one in backends if one.name in self._watched}
            after = self._standings[name] = standing.stand(service.health_check, backends, healths, before)
            if after.all_down and before.up:
                _log.warning("event=all_backends_down service=%s kept=%d", name, len(after.kept))
            elif after.up and before.all_down:
                _log.info("event=some_backend_up service=%s up=%d kept=%d", name, len(after.up), len(after.kept))
            elif after.kept and not before.kept:
                _log.warning("event=too_few_backends_up service=%s up=%d kept=%d", name, len(after.up), len(after.kept))
            elif before.kept and not after.kept:
                _log.info("event=enough_backends_up service=%s up=%d", name, len(after.up))
        self._stale.clear()
        stands = self._standings.values()
        self._verdict = Verdict(frozenset[str]().union(*(one.out for one in stands)), frozenset[str]().union(*(one.down for one in stands)))

    def _look(self, name: str, kept: Flaps | None = None) -> None:
        """Begins, changes or ends the check of one backend."""
        desired, watched = self._desired(), self._watched.get(name)
        backend = desired.backends.get(name)
        asked = desired.services[backend.service].health_check if backend else None
        self._stale.add(name.split("/backends/")[0])
        if backend is None or asked is None:
            if watched is not None:
                self._leave(name, watched.probing)
                del self._watched[name]
                if backend is not None and watched.health.holds:
                    self._keep([flaps.of(backend, Health(State.UNKNOWN, 0.0), 0.0)])
            return
        identity = (backend.identity, backend.created)
        if watched is None or watched.identity != identity:
            health = Health(State.UP if self._takes(backend) else State.UNKNOWN, self._clock.time())
            if kept is not None:
                health = kept.begun(health, self._clock.monotonic(), self._unix(0.0))
                self._tell_hold(name, health)
        else:
            health = watched.health if watched.check == asked else state.other_check(watched.health)
        service = desired.services[backend.service]
        by = By(backend.name, backend.address, service.mode.name)
        to = check.target(asked, service.vip, backend.address, backend.port, by)
        probing = self._join(name, (asked.parameters, to), watched.probing if watched else None, health)
        held = watched.held_time if watched else self._unix(health.held_until)
        self._watched[name] = Watched(identity, asked, probing, health, held)

    def _join(self, name: str, key: _Key, before: _Probing | None, health: Health) -> _Probing:
        """The series of this key, with the backend in it. What nobody knows is probed at once, the others spread over an interval."""
        if before is not None and before.key != key:
            self._leave(name, before)
        now = self._clock.monotonic()
        due = now if health.state is State.UNKNOWN else now + key[0].interval_seconds * random.random()
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Probing(key, due)
            self._enqueue(series)
        elif due < series.due and series.task is None and name not in series.names:
            series.due = due
            self._enqueue(series)
        series.names.add(name)
        return series

    def _leave(self, name: str, series: _Probing) -> None:
        series.names.discard(name)
        if not series.names and self._series.get(series.key) is series:
            del self._series[series.key]
            if series.task is not None:
                series.task.cancel()

    def _enqueue(self, series: _Probing) -> None:
        series.due_time = self._unix(series.due)
        heapq.heappush(self._queue, (series.due, next(self._numbers), series))
        self._wake.set()

    def _unix(self, monotonic: float) -> float:
        """Unix seconds. Taken once for each time that is shown, which must not flicker."""
        return monotonic - self._clock.monotonic() + self._clock.time()

    def _start_due(self, group: asyncio.TaskGroup) -> float | None:
        """Begins the probes whose time has come; seconds until the next one's, None without any."""
        now = self._clock.monotonic()
        while self._queue:
            due, _, series = self._queue[0]
            valid = series.due == due and series.task is None and self._series.get(series.key) is series
            if valid and due > now:
                return due - now
            heapq.heappop(self._queue)
            if valid:
                series.task = group.create_task(self._probe(series))
        return None

    async def _probe(self, series: _Probing) -> None:
        began = self._clock.monotonic()
        by = series.key[1].by
        outcome = await self._prober.probe(*series.key, lambda: self._place(by.backend) if by else None)
        series.task = None
        now = self._clock.monotonic()
        pauses = [self._learn(name, outcome, now) for name in sorted(series.names)]
        if self._series.get(series.key) is series:
            series.due = max(now, began + min(pauses))
            self._enqueue(series)

    def _learn(self, name: str, outcome: Outcome, now: float) -> float:
        """Takes in what came of a probe; seconds until the next should begin."""
        watched = self._watched[name]
        before = watched.health
        after = state.learned(before, Probed(outcome, self._clock.time()), now, watched.check)
        held = watched.held_time if after.held_until == before.held_until else self._unix(after.held_until)
        self._watched[name] = replace(watched, health=after, held_time=held)
        self._tallies.count(name.split("/backends/")[0], outcome.why, after.transitions - before.transitions)
        if after.state is not before.state:
            _log.warning(
                "event=health_changed backend=%s before=%s state=%s why=%s detail=%r",
                name, before.state.name, after.state.name, outcome.why.name, outcome.detail,
            )  # fmt: skip
            self._tell_hold(name, after)
            if before.holds or after.holds:
                self._keep([flaps.of(self._desired().backends[name], after, self._unix(0.0))])
            self._stale.add(name.split("/backends/")[0])
            self._changed()
        return state.pause(after, watched.check, random.uniform(-1.0, 1.0))

    def _tell_hold(self, name: str, health: Health) -> None:
        now = self._clock.monotonic()
        if health.flapping(now):
            _log.warning("event=health_flapping backend=%s held_seconds=%d", name, health.held_until - now)
