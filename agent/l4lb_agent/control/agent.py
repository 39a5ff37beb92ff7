"""The agent: every part of control put together, as the API sees it (facade.Control)."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

from l4lb_agent.control import facade, views
from l4lb_agent.control.applying.reconciler import Reconciler
from l4lb_agent.control.captures import Batch, Captures, Names
from l4lb_agent.control.changer import Changer
from l4lb_agent.control.doctor import Doctor
from l4lb_agent.control.drainer import Drainer
from l4lb_agent.control.forwarding import Forwarding
from l4lb_agent.control.health.checker import Checker
from l4lb_agent.control.host import Host
from l4lb_agent.control.measure import Measure, Measured
from l4lb_agent.control.monitor import Monitor
from l4lb_agent.control.ports import Doors
from l4lb_agent.control.recorder.recorder import Recorder
from l4lb_agent.control.recorder.recording import Recording
from l4lb_agent.control.sampler import Sampler, Sweep
from l4lb_agent.control.seen import about
from l4lb_agent.control.seen.explainer import Explainer
from l4lb_agent.control.seen.flow_lister import FlowLister
from l4lb_agent.control.start import Started
from l4lb_agent.control.store import Store
from l4lb_agent.control.surroundings import Surroundings
from l4lb_agent.control.views import Views
from l4lb_agent.control.watch import Watchers
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import AdminState, Drain
from l4lb_agent.model.capture.taken import Filter
from l4lb_agent.model.changes import commands
from l4lb_agent.model.config import DatapathConfig
from l4lb_agent.model.desired import Change, Desired
from l4lb_agent.model.doctor.finding import Finding
from l4lb_agent.model.errors import Unavailable

STOP_SECONDS = 2.0  # for a disk that is slow when the agent stops
REPORT_SECONDS = 0.05  # several things that happen at once are told once
PIECE = 100  # backends that are looked at in one go: some milliseconds

_log = logging.getLogger(__name__)


class Agent:
    """Everything but gRPC. `ready_changed` is called whenever `ready` may be another."""

    def __init__(
        self, doors: Doors, host: Host, started: Started, ready_changed: Callable[[], None], recorder: Recorder | None = None
    ) -> None:  # fmt: skip
        self._doors, self._host, self._ready_changed = doors, host, ready_changed
        self._started = doors.clock.time()
        self._news = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._want_soon = False
        replayed = started.replayed
        self._surroundings = Surroundings(doors.network, doors.clock, self._network_changed)
        self._surroundings.adopt(started.next_hops)
        self._store = Store(doors.journal, replayed, lambda asked: self._changer.facts(asked))
        self._reconciler = Reconciler(
            doors, self._surroundings, host.config, started, lambda: self._store.desired, self._store.keep, lambda: self._checker.verdict
        )
        self._checker = Checker(
            doors.prober, doors.clock, lambda: self._store.desired, self._reconciler.takes_new_flows,
            lambda name: self._reconciler.ids.place(self._store.desired, name), self._health_changed, self._store.keep,
        )  # fmt: skip
        self._checker.begin(replayed.flaps if doors.datapath.adopted else {})
        self._sampler = Sampler(doors.datapath, doors.clock, lambda: any(self._drainer.draining()), self._reconciler.windows.asked)
        self._views = Views(host.config, self._reconciler, self._surroundings, self._sampler, self._checker, doors.clock)
        self._drainer = Drainer(self._store, self._reconciler, self._sampler, doors.clock, self._flows_lost)
        self._flows = FlowLister(doors.datapath)
        self._explainer = Explainer(doors.datapath, self._names, self.backend)
        self.explain = self._explainer.explain
        self._measure = Measure(self._sampler, self._reconciler, self._checker, doors.clock)
        parts = self._store, self._reconciler, self._sampler, self._drainer, self._surroundings, self._views, self._measure
        self._changer = Changer(*parts, doors.clock, lambda: self._host)
        self._watchers = Watchers(lambda: self._store.desired, lambda backend: self._views.backend(self._store.desired, backend))
        self._watchers.replay(replayed.base, replayed.changes)
        self._monitor = Monitor(doors.datapath, host.interfaces, self._owned, lambda: self._surroundings.vlans, self._news.set)
        self.forwarding = Forwarding(doors.network, [one.name for one in host.interfaces], host.config, ready_changed)
        self._doctor = Doctor(
            doors,
            lambda: self._host,
            self._monitor,
            self._surroundings,
            lambda: self._store.desired,
            self._views.answers,
            self._checker.looked,
        )
        self._captures = Captures(doors.datapath, doors.clock, self._names)
        self.recording = Recording(recorder, self._captures, self._sampler, doors.datapath, doors.clock, self.agent)
        self.record, self.dumps, self.open_dump = self.recording.dump, self.recording.kept, self.recording.open
        self._store.listen(self._published)
        self._sampler.listeners.append(self._swept)
        self._reconciler.listeners += [self._news.set, self._measure.passed]
        self._want()

    @property
    def ready(self) -> bool:
        """Whether every interface is attached and the kernel forwards as asked."""
        return not self.not_ready_reason

    @property
    def not_ready_reason(self) -> str:
        """What is missing, in words."""
        if self._reconciler.error:
            return f"the kernel refused a write: {self._reconciler.error}"
        if not self._reconciler.applied_revision and not self._reconciler.in_step:
            return "the maps have not been compared with what was asked yet"
        return "; ".join(self._monitor.missing)

    @property
    def turns(self) -> int:
        """Grows, at least each second, as long as the loop gets on that keeps the kernel as asked."""
        return self._reconciler.turns

    def configure(self, new: DatapathConfig) -> None:
        """Takes over what may change while it runs."""
        config = self._host.config.reloaded(new)
        self._host = replace(self._host, config=config)
        self._reconciler.configure(config)

    async def run(self) -> None:
        """Reconciles once, then attaches and follows the world until cancelled. What the journal holds already is then complete."""
        async with asyncio.TaskGroup() as group:
            self._writer = group.create_task(self._store.run())
            try:
                await self._surroundings.look(self._reconciler.beat)
            except OSError as error:
                _log.warning("event=network_lookup_failed error=%r", str(error))
            self._reconciler.wake()
            for work in (self._reconciler.run(), self._surroundings.run(), self.recording.run(), self._checker.run()):
                group.create_task(work)
            await self._reconciler.until(lambda: self._reconciler.in_step, None)
            _log.info("event=reconciled revision=%d map_writes=%d", self._reconciler.applied_revision, self._reconciler.map_writes)
            for work in (self._monitor.run(), self.forwarding.run(), self._sampler.run(), self._drainer.run(), self._report()):
                group.create_task(work)

    async def stop(self) -> None:
        """Lets changes that are being journaled finish; then run() may be cancelled."""
        self._store.stop()
        if self._writer:
            await asyncio.wait({self._writer}, timeout=STOP_SECONDS)

    async def change(
        self, command: commands.Command, *, request_id: str = "", request_hash: str = "", validate_only: bool = False
    ) -> facade.Outcome:
        """See facade.Control."""
        return self._views.outcome(await self._changer.change(command, request_id, request_hash, validate_only=validate_only))

    def listen(self, listener: Callable[[facade.Outcome], None]) -> None:
        """See facade.Control."""
        self._drainer.listeners.append(lambda decision: listener(self._views.outcome(decision)))

    def service(self, name: str) -> facade.ServiceView | None:
        """See facade.Control."""
        return self._views.service_named(self._store.desired, name)

    def backend(self, name: str) -> facade.BackendView | None:
        """See facade.Control."""
        return self._views.backend_named(self._store.desired, name)

    def prefix_list(self, name: str) -> facade.ListView | None:
        """See facade.Control."""
        return self._views.list_named(self._store.desired, name)

    async def ring(self, name: str, *, slots: bool = False) -> facade.RingView | None:
        """See facade.Control."""
        return await self._views.ring(self._store.desired, name, slots=slots)

    def flows(self, wanted: facade.FlowsWanted) -> AsyncGenerator[facade.FlowPage, None]:
        """See facade.Control."""
        return self._flows.pages(self._store.desired, self._reconciler.ids, wanted)

    def snapshot(self) -> facade.Snapshot:
        """See facade.Control."""
        return self._views.snapshot(self._store.desired)

    def watch(self, service: str, resume_revision: int) -> AsyncGenerator[facade.BackendEvent, None]:
        """See facade.Control."""
        return self._watchers.watch(service, resume_revision)

    def capture(self, wanted: Filter) -> AsyncGenerator[Batch, None]:
        """See facade.Control."""
        return self._captures.capture(wanted)

    async def stats(self) -> facade.StatsSample:
        """See facade.Control."""
        try:
            counters, maps = await self._sampler.counted(), self._doors.datapath.maps()
            return await asyncio.to_thread(self._views.sample, self._store.desired, counters, maps)
        except OSError as error:
            raise Unavailable(f"the counters cannot be read: {error}", reason="COUNTERS_UNREADABLE") from error

    async def measured(self) -> Measured:
        """Everything that is measured. Raises Unavailable when the kernel does not give the counters, or OSError."""
        return await self._measure.take(self._store.desired, self.agent())

    def agent(self) -> facade.AgentView:
        """See facade.Control."""
        try:
            maps = self._views.maps(tuple(self._doors.datapath.maps()))
        except OSError as error:
            raise Unavailable(f"the maps cannot be read: {error}", reason="MAPS_UNREADABLE") from error
        desired, parts = self._store.desired, (self._reconciler, self._monitor, self._surroundings)
        view = about.view(desired, *parts, self._host, maps, self.not_ready_reason, self._started)
        warnings = self._views.warnings(desired, view)
        warnings += [("FORWARDING_OFF", reason) for reason in self.forwarding.missing]
        warnings += [*self._store.warnings(), *self._reconciler.drift.warnings()]
        return replace(view, warnings=warnings, explain_disagreements=self._explainer.disagreements)

    async def diagnose(self) -> Sequence[Finding]:
        """See facade.Control."""
        await self._reconciler.drift.audit()
        return await self._doctor.diagnose()

    def _published(self, before: Desired, change: Change) -> None:
        if not self._want_soon:
            self._want_soon = True
            asyncio.get_running_loop().call_soon(self._want)
        self._watchers.published(before, change)
        self._checker.published(before, change)
        self._reconciler.wake()
        self._drainer.wake()
        if any(backend.admin is AdminState.DRAINING for backend in change.backends):
            self._sampler.hurry()

    def _want(self) -> None:
        self._want_soon = False
        self._surroundings.want(backend.address for backend in self._store.desired.backends.values())

    def _health_changed(self) -> None:
        self._reconciler.wake()
        self._news.set()

    def _network_changed(self) -> None:
        self._reconciler.wake()
        self._monitor.wake()

    def _swept(self, sweep: Sweep) -> None:
        self._news.set()
        self._reconciler.swept(sweep.counts, sweep.began)
        self._drainer.wake()

    def _names(self) -> Names:
        return self._views.names(self._store.desired, self._monitor.states.values())

    def _owned(self) -> frozenset[Address]:
        return frozenset(self._reconciler.ids.addresses)

    def _flows_lost(self, drain: Drain) -> bool:
        """Whether the flow table of a drain is gone: another boot, or maps that this process had to make."""
        made_anew = not self._doors.datapath.adopted and drain.started < self._started
        return made_anew or drain.boot_id != self._host.boot_id

    async def _seen(self, desired: Desired) -> dict[str, tuple[object, ...]]:
        """How every backend is seen, looked at in pieces: thousands take a while, and other things go on between two."""
        found: dict[str, tuple[object, ...]] = {}
        for name, backend in desired.backends.items():
            found[name] = views.seen(self._views.backend(desired, backend))
            if not len(found) % PIECE:
                await asyncio.sleep(0)
        return found

    async def _report(self) -> None:
        """Tells watchers, the monitor and __main__ what has changed without anybody asking for it."""
        owned = self._owned()
        while True:
            began = self._doors.clock.monotonic()
            if self._watchers:
                self._watchers.looked(await self._seen(self._store.desired))
            took = self._doors.clock.monotonic() - began
            if owned != self._owned():
                owned = self._owned()
                self._monitor.wake()
            self._ready_changed()
            await self._news.wait()
            self._news.clear()
            await asyncio.sleep(max(REPORT_SECONDS, 10 * took))
