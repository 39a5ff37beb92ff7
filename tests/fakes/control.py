"""A Control in memory: the semantics of control/facade.py without journal, kernel or time. tests/api runs the real API on it."""

import asyncio
import io
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

from l4lb_agent.api.convert.record import record
from l4lb_agent.control.captures import Batch, Names
from l4lb_agent.control.facade import (
    AgentView,
    BackendEvent,
    BackendView,
    Explained,
    FlowPage,
    FlowsWanted,
    ListView,
    Outcome,
    RingShare,
    RingView,
    ServiceView,
    Snapshot,
    StatsSample,
)
from l4lb_agent.control.recorder.dump import Dump
from l4lb_agent.control.seen.explainer import Explainer
from l4lb_agent.control.seen.looks import Looks
from l4lb_agent.model import errors
from l4lb_agent.model.access.lists import Members
from l4lb_agent.model.backend import AdminState, Backend, Drain
from l4lb_agent.model.capture.kept import KeptDump
from l4lb_agent.model.capture.taken import Filter
from l4lb_agent.model.changes import checks, commands, lists
from l4lb_agent.model.config import DatapathConfig
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.doctor.finding import Finding
from l4lb_agent.model.explain.synthesis import Wanted
from l4lb_agent.model.flows.record import FlowRecord
from l4lb_agent.model.flows.tally import Tally
from l4lb_agent.model.mapspec import Sizes
from l4lb_agent.model.observed import Answer, Counters, FlowCounts, InterfaceState, MapState, NextHop, TrafficCount
from tests.fakes.datapath import FakeDatapath

HISTORY = 100
NOW = 1_800_000_000.25
EMPTY_DUMP = record(Dump("failed", NOW, "1.2.3", [], []))


class FakeControl:
    """Set `fail` to an exception and the next call of any method raises it. `commands` are those that came; `live` holds flow counts."""

    def __init__(self) -> None:
        self.revision = 0
        self.explained: list[Wanted] = []
        self.program_answer: Answer | None = None  # to any frame that is explained; None: agrees
        self.services: dict[str, ServiceView] = {}
        self.backends: dict[str, BackendView] = {}
        self.lists: dict[str, ListView] = {}
        self.commands: list[commands.Command] = []
        self.requests: dict[str, tuple[str, Outcome]] = {}
        self.events: list[BackendEvent] = []
        self.live: dict[str, int] = {}
        self.samples = 0
        self.flow_records: list[FlowRecord] = []
        self.flows_wanted: list[FlowsWanted] = []  # what was asked for
        self.fail: Exception | None = None
        self.repeats = False  # whether answers say that they are those of an earlier request
        self.hold: asyncio.Event | None = None  # changes wait for it
        self.held = 0
        self.findings: list[Finding] = []
        self.captures: list[Filter] = []
        self.batches: list[Batch] = []
        self.remembered = Dump("asked", NOW, "1.2.3", [], [])
        self.kept: dict[str, bytes] = {f"20270115T080000.250Z-{cause}": EMPTY_DUMP for cause in ("failed", "stopped")}
        self._changed = asyncio.Condition()

    async def change(
        self, command: commands.Command, *, request_id: str = "", request_hash: str = "", validate_only: bool = False
    ) -> Outcome:
        """See facade.Control."""
        self._raise()
        if self.hold:
            self.held += 1
            await self.hold.wait()
        self.commands.append(command)
        if request_id in self.requests:
            known, outcome = self.requests[request_id]
            if known != request_hash:
                raise errors.InvalidArgument("request_id was used for another request", reason="REQUEST_ID_REUSED", field="request_id")
            return outcome
        before = (self.revision, dict(self.services), dict(self.backends), dict(self.lists), list(self.events))
        self.revision += 1
        try:
            outcome = self._decide(command)
        except errors.Refused:
            self.revision, self.services, self.backends, self.lists, self.events = before
            raise
        if validate_only:
            self.revision, self.services, self.backends, self.lists, self.events = before
            return outcome
        if request_id:
            self.requests[request_id] = (request_hash, outcome)
        async with self._changed:
            self._changed.notify_all()
        return replace(outcome, repeated=self.repeats)

    def _decide(self, command: commands.Command) -> Outcome:
        match command:
            case commands.CreateService(service):
                return self._create(service)
            case commands.UpdateService(name):
                return self._update_service(name, command)
            case commands.DeleteService(name):
                if name not in self.services and command.allow_missing:
                    return Outcome(self.revision)
                self._match(self._service(name).service, command.etag)
                del self.services[name]
                return Outcome(self.revision)
            case commands.AddBackend(backend):
                return self._add(backend)
            case commands.UpdateBackend(name):
                return self._update_backend(name, command)
            case commands.RemoveBackend(name):
                if name not in self.backends and command.allow_missing:
                    return Outcome(self.revision)
                self._match(self._backend(name).backend, command.etag)
                self._event("DELETED", self.backends.pop(name))
                return Outcome(self.revision)
            case commands.DrainBackend(name):
                deadline = None if command.timeout is None else NOW + command.timeout
                drain = Drain(NOW, deadline, command.action, "boot", self.live.get(name, 0))
                self._match(self._backend(name).backend, command.etag)
                return self._set(name, admin=AdminState.DRAINING, drain=drain)
            case commands.UndrainBackend(name):
                self._match(self._backend(name).backend, command.etag)
                return self._set(name, admin=AdminState.ENABLED, drain=None)
            case commands.CreateList() | commands.UpdateList() | commands.DeleteList():
                return self._decide_list(command)
            case commands.EndDrain(name, result, remaining):
                drained = replace(self._backend(name).backend.drain or Drain(0, None, command.result, ""), ended=NOW, result=result)  # type: ignore[arg-type]
                return self._set(name, admin=AdminState.DRAINED, drain=replace(drained, remaining_flows=remaining))

    def _decide_list(self, command: lists.Command) -> Outcome:
        made = lists.decide(self._asked(self.revision - 1), command, NOW, DatapathConfig())
        if made.change is None:
            return Outcome(self.revision, prefix_list=ListView(made.prefix_list) if made.prefix_list else None)
        after = self._asked(self.revision - 1).apply(made.change)
        self.lists = {name: ListView(one, after.members[name], lists.users(after, name)) for name, one in after.lists.items()}
        return Outcome(self.revision, prefix_list=replace(self.lists[made.prefix_list.name], members=None) if made.prefix_list else None)

    def _asked(self, revision: int) -> Desired:
        services = {name: view.service for name, view in self.services.items()}
        named = {name: view.list for name, view in self.lists.items()}
        members = {name: view.members or Members(0) for name, view in self.lists.items()}
        return Desired(revision, services, lists=named, members=members)

    def _create(self, service: Any) -> Outcome:
        checks.service(service)
        lists.named(self._asked(self.revision), service)
        if service.name in self.services:
            raise errors.AlreadyExists(f"{service.name} exists", reason="ALREADY_EXISTS", field="service_id")
        view = ServiceView(replace(service, revision=self.revision, created=NOW, updated=NOW), ring_digest="ab")
        self.services[service.name] = view
        return Outcome(self.revision, service=view)

    def _update_service(self, name: str, command: commands.UpdateService) -> Outcome:
        if name not in self.services and command.create is not None:
            return self._create(command.create)
        service = self._service(name).service
        self._match(service, command.etag)
        checks.unchanged(service, command)
        changeable = ("idle_seconds", "window_seconds", "down_grace_seconds", "on_empty", "mss_clamp", "mss", "new_flow_limit")
        changeable += ("allow_list", "deny_list", "affinity", "health_check", "annotations")
        changes = {f: getattr(command, f) for f in changeable if getattr(command, f) is not None}
        if command.without_health_check:
            changes["health_check"] = None
        view = ServiceView(replace(service, revision=self.revision, **changes))
        checks.service(view.service)
        lists.named(self._asked(self.revision), view.service)
        self.services[name] = view
        return Outcome(self.revision, service=view)

    def _add(self, backend: Backend) -> Outcome:
        service = self._service(backend.service).service
        if backend.name in self.backends:
            raise errors.AlreadyExists(f"{backend.name} exists", reason="ALREADY_EXISTS", field="backend_id")
        checks.writable_state(backend.admin)
        hop = NextHop("eth0", 2, bytes(6), bytes(range(6)))
        value = replace(backend, port=backend.port or service.backend_port, revision=self.revision, created=NOW, updated=NOW)
        checks.backend(value, service)
        self.backends[backend.name] = BackendView(value, datapath_id=len(self.backends) + 1, wanted_share=0.5, slot_share=0.5, next_hop=hop)
        return self._event("ADDED", self.backends[backend.name])

    def _update_backend(self, name: str, command: commands.UpdateBackend) -> Outcome:
        if name not in self.backends and command.create is not None:
            return self._add(command.create)
        self._match(self._backend(name).backend, command.etag)
        if command.admin is not None and command.admin is not self._backend(name).backend.admin:
            checks.writable_state(command.admin)
        wanted = ("address", "port", "weight", "admin", "mtu", "annotations")
        return self._set(name, **{f: getattr(command, f) for f in wanted if getattr(command, f) is not None})

    def _set(self, name: str, **changes: Any) -> Outcome:
        view = self._backend(name)
        value = replace(view.backend, revision=self.revision, **changes)
        self.backends[name] = replace(view, backend=value, live_flows=self.live.get(name, 0), counted=NOW)
        return self._event("MODIFIED", self.backends[name])

    def _event(self, kind: str, view: BackendView) -> Outcome:
        self.events.append(BackendEvent(kind, self.revision, view))
        return Outcome(self.revision, backend=view)

    def _service(self, name: str) -> ServiceView:
        if name not in self.services:
            raise errors.NotFound(f"{name} does not exist", reason="NOT_FOUND", metadata={"name": name})
        return self.services[name]

    def _backend(self, name: str) -> BackendView:
        if name not in self.backends:
            raise errors.NotFound(f"{name} does not exist", reason="NOT_FOUND", metadata={"name": name})
        return self.backends[name]

    def _match(self, resource: Any, etag: str) -> None:
        if etag and etag != resource.etag:
            raise errors.Aborted(f"{resource.name} was changed meanwhile", reason="ETAG_MISMATCH", field="etag")

    def _raise(self) -> None:
        if self.fail is not None:
            error, self.fail = self.fail, None
            raise error

    def service(self, name: str) -> ServiceView | None:
        """See facade.Control."""
        self._raise()
        return self.services.get(name)

    def backend(self, name: str) -> BackendView | None:
        """See facade.Control."""
        self._raise()
        return self.backends.get(name)

    def prefix_list(self, name: str) -> ListView | None:
        """See facade.Control."""
        self._raise()
        return self.lists.get(name)

    def listen(self, listener: Callable[[Outcome], None]) -> None:
        """See facade.Control; call `tell` to make it happen."""
        self.tell = listener

    def snapshot(self) -> Snapshot:
        """See facade.Control."""
        self._raise()
        every = (Looks(dict(of), dict(of).__getitem__) for of in (self.services, self.backends, self.lists))
        return Snapshot(self.revision, *every)  # type: ignore[arg-type]

    async def watch(self, service: str, resume_revision: int) -> AsyncGenerator[BackendEvent, None]:
        """See facade.Control."""
        self._raise()
        if resume_revision and resume_revision < self.revision - HISTORY or resume_revision > self.revision:
            raise errors.OutOfRange("that revision is no longer remembered", reason="REVISION_TOO_OLD", field="resume_revision")
        sent = resume_revision
        if not resume_revision:
            sent = self.revision
            for view in list(self.backends.values()):
                if not service or view.backend.service == service:
                    yield BackendEvent("ADDED", sent, view)
        yield BackendEvent("SYNCED", sent)
        while True:
            for event in [e for e in self.events if e.revision > sent]:
                sent = event.revision
                if event.view and (not service or event.view.backend.service == service):
                    yield event
            async with self._changed:
                if self.revision <= sent:
                    await self._changed.wait()
            if self.revision > sent and not any(e.revision > sent for e in self.events):
                sent = self.revision
                yield BackendEvent("BOOKMARK", sent)

    async def stats(self) -> StatsSample:
        """See facade.Control."""
        self._raise()
        self.samples += 1
        service_ids = {name: i for i, name in enumerate(sorted(self.services), 1)}
        backend_ids = {name: i for i, name in enumerate(sorted(self.backends), 1)}
        traffic = TrafficCount(self.samples, 100 * self.samples, 2, 200, 3)
        now = NOW + self.samples - 1  # a sample a second
        counters = Counters(
            dict.fromkeys(service_ids.values(), traffic), dict.fromkeys(backend_ids.values(), traffic), {(11, 3): (7, 700)}, now
        )
        live = {backend_ids[name]: count for name, count in self.live.items() if name in backend_ids}
        maps = [MapState("flows", 5, 1000, 64000), MapState("services", 6, 128, 8192)]
        return StatsSample(counters, FlowCounts(live, flows=sum(live.values()), at=NOW), service_ids, backend_ids, maps)

    async def capture(self, wanted: Filter) -> AsyncGenerator[Batch, None]:
        """See facade.Control: what the test has put into `batches`, then silence. `captures` are those that were asked for."""
        self._raise()
        self.captures.append(wanted)
        yield Batch((), 0, 0)
        for batch in self.batches:
            yield batch
        await asyncio.Event().wait()

    async def record(self) -> Dump:
        """See facade.Control: what the test has put into `remembered`."""
        self._raise()
        return self.remembered

    async def dumps(self) -> Sequence[KeptDump]:
        """See facade.Control: those in `kept`, all of one time."""
        self._raise()
        return [KeptDump(name, NOW, name.partition("-")[2], len(data)) for name, data in sorted(self.kept.items())]

    async def open_dump(self, dump_id: str) -> BinaryIO:
        """See facade.Control."""
        self._raise()
        if dump_id not in self.kept:
            raise errors.NotFound(f"dumps/{dump_id} does not exist", reason="NOT_FOUND", field="name")
        return io.BytesIO(self.kept[dump_id])

    async def ring(self, name: str, *, slots: bool = False) -> RingView | None:
        """See facade.Control: shares as if the backends had been added one after the other."""
        self._raise()
        if name not in self.services:
            return None
        views = [view for _, view in sorted(self.backends.items()) if view.backend.service == name]
        shares = [RingShare(view, 500, 400, 100, 0) for view in views]
        numbers = [view.datapath_id for view in views] or [0]
        return RingView(self.services[name], shares, 0 if views else 1021, numbers if slots else (), [*numbers[1:], 0] if slots else ())

    async def flows(self, wanted: FlowsWanted) -> AsyncGenerator[FlowPage, None]:
        """See facade.Control: those in `flow_records`, two a page."""
        self._raise()
        self.flows_wanted.append(wanted)
        names = {view.datapath_id: name for name, view in self.backends.items()}
        tally = Tally(wanted.top)
        tally.add(self.flow_records)
        told = self.flow_records if wanted.limit is None else self.flow_records[: wanted.limit]
        for start in range(0, len(told), 2):
            yield FlowPage(told[start : start + 2], names, dict.fromkeys(names, 6))
        yield FlowPage((), names, dict.fromkeys(names, 6), tally)

    async def explain(self, wanted: Wanted, interface: str) -> Explained:
        """See facade.Control: by an explainer of maps that are empty, so that every packet is somebody else's."""
        self._raise()
        self.explained.append(wanted)
        names, datapath = Names({}, {}, {"eth0": 2}), FakeDatapath(Sizes())
        datapath.answer = self.program_answer
        return await Explainer(datapath, lambda: names, self.backend).explain(wanted, interface)

    def agent(self) -> AgentView:
        """See facade.Control."""
        self._raise()
        interface = InterfaceState("eth0", 2, "native", "the driver has it", 7, 8, "00ff00ff00ff00ff")
        maps = [(MapState("flows", 5, 1000, 64000), 3), (MapState("services", 6, 128, 8192), 1)]
        return AgentView(
            True, "", self.revision, self.revision, [interface], maps, [("VIP_IS_LOCAL", "the VIP is this host's")], NOW, 12, 0,
            ["192.0.2.1"], ["NAT"], 1, "6.1.0",
        )  # fmt: skip

    async def diagnose(self) -> Sequence[Finding]:
        """See facade.Control."""
        self._raise()
        return self.findings
