"""What api/ may ask of control: the one seam between gRPC and the agent."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from l4lb_agent.control.captures import Batch
from l4lb_agent.control.recorder.dump import Dump
from l4lb_agent.control.seen.looks import Looks
from l4lb_agent.model.access.lists import Members, PrefixList
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.capture.kept import KeptDump
from l4lb_agent.model.capture.taken import Filter
from l4lb_agent.model.changes import difference
from l4lb_agent.model.changes.commands import Command
from l4lb_agent.model.changes.difference import Differences
from l4lb_agent.model.doctor.finding import Finding
from l4lb_agent.model.explain.compare import Compared, Comparison
from l4lb_agent.model.explain.road import Explanation
from l4lb_agent.model.explain.synthesis import Wanted
from l4lb_agent.model.flows.record import FlowRecord
from l4lb_agent.model.flows.tally import Tally
from l4lb_agent.model.health.check import Target
from l4lb_agent.model.health.effective import EffectiveState
from l4lb_agent.model.health.state import Health
from l4lb_agent.model.observed import Counters, FlowCounts, InterfaceState, MapState, NextHop
from l4lb_agent.model.service import VirtualService


@dataclass(frozen=True)
class ServiceView:
    """A virtual service and what is seen of it."""

    service: VirtualService
    reconciling: str = ""  # why, "" when the kernel forwards as asked
    ring_digest: str = ""
    before_ring_digest: str = ""
    differing_slots: int = 0
    at_risk_slots: int = 0
    settle_time: float = 0.0  # Unix seconds, 0 when no slot differs


@dataclass(frozen=True)
class HealthView:
    """What probes say of a backend; times are Unix seconds, 0 for never."""

    health: Health
    next_probe: float = 0.0
    kept: bool = False  # takes new flows although it is DOWN, because no backend of the service is UP
    flapping_until: float = 0.0
    target: Target | None = None


@dataclass(frozen=True)
class BackendView:
    """A backend and what is seen of it."""

    backend: Backend
    reconciling: str = ""
    datapath_id: int = 0
    wanted_share: float = 0.0
    slot_share: float = 0.0
    next_hop: NextHop | None = None
    live_flows: int = 0
    counted: float = 0.0  # Unix seconds of live_flows
    health: HealthView | None = None  # None without a check
    effective: EffectiveState = EffectiveState.TAKES_NEW_FLOWS
    uncounted_until: float = 0.0  # Unix seconds: flows without an entry may go on until then; 0 when all are counted


@dataclass(frozen=True)
class RingShare:
    """What one backend has of a ring: slots for new flows and for flows without an entry, and of those the ones where the two differ."""

    view: BackendView
    slots: int = 0
    before_slots: int = 0
    arriving_slots: int = 0
    leaving_slots: int = 0


@dataclass(frozen=True)
class RingView:
    """The ring of a virtual service. `slots` and `before` hold datapath ids, 0 for nobody; they are empty unless asked for."""

    service: ServiceView
    shares: Sequence[RingShare] = ()  # by name
    empty_slots: int = 0
    slots: Sequence[int] = ()
    before: Sequence[int] = ()  # also empty while no slot differs


@dataclass(frozen=True)
class ListView:
    """A list of prefixes and what is seen of it."""

    list: PrefixList
    members: Members | None = None  # only where they are asked for
    services: Sequence[str] = ()  # names of those that use it
    reconciling: str = ""  # why, "" when the kernel does as asked


@dataclass(frozen=True)
class FlowsWanted:
    """Which flows are listed, and how many are told: `limit` of them (None: all), and `top` clients and silent ones in the end."""

    service: str = ""  # resource names, "" for all
    backend: str = ""
    client: int = 0  # model.flows.record.FlowFilter
    bits: int = 0
    limit: int | None = None
    top: int = 10


@dataclass(frozen=True)
class FlowPage:
    """Some flows with the resource names of the ids in them; the last page has what all of them are together."""

    records: Sequence[FlowRecord]
    names: Mapping[int, str]  # backend id -> resource name
    protocols: Mapping[int, int]  # backend id -> protocol
    tally: Tally | None = None


@dataclass(frozen=True)
class Explained:
    """The frame that was asked about, by which interface it comes, and what becomes of it, with names instead of ids."""

    frame: bytes
    interface: str
    explanation: Explanation
    service: str = ""
    backend: str = ""
    out: str = ""  # interface
    compared: Compared = Compared(Comparison.NOT_ASKED)
    program_out: str = ""  # interface by which the program sends it


@dataclass(frozen=True)
class Outcome:
    """The answer to a change. At most one of the views is set; both are None for deletions. With validate_only, as it would be."""

    revision: int
    service: ServiceView | None = None
    backend: BackendView | None = None
    prefix_list: ListView | None = None
    differences: Differences = difference.NONE  # what the change did
    repeated: bool = False  # whether it is the answer to an earlier request with the same id


@dataclass(frozen=True)
class Snapshot:
    """All desired state at one revision; how it is seen is looked at when a view is made."""

    revision: int
    services: Looks[ServiceView]
    backends: Looks[BackendView]
    lists: Looks[ListView]  # with their prefixes


@dataclass(frozen=True)
class BackendEvent:
    """kind is ADDED, MODIFIED, DELETED, SYNCED or BOOKMARK; `view` is None for the last two."""

    kind: str
    revision: int
    view: BackendView | None = None


@dataclass(frozen=True)
class StatsSample:
    """One sample with the names of the ids in it."""

    counters: Counters
    counts: FlowCounts
    service_ids: Mapping[str, int]  # resource name -> service id
    backend_ids: Mapping[str, int]  # resource name -> backend id
    maps: Sequence[MapState]


@dataclass(frozen=True)
class AgentView:
    """What GetAgent answers, but for the version."""

    ready: bool
    not_ready_reason: str
    revision: int
    applied_revision: int
    interfaces: Sequence[InterfaceState]
    maps: Sequence[tuple[MapState, int]]  # map, entries in use
    warnings: Sequence[tuple[str, str]]  # reason, message
    started: float
    map_writes: int
    reconcile_retries: int
    snat_addresses: Sequence[str]
    capabilities: Sequence[str] = field(default=())
    layout_version: int = 0
    kernel: str = ""
    explain_disagreements: int = 0  # of this process


class Control(Protocol):
    """The agent as the API sees it. Every method raises model.errors.Refused."""

    async def change(self, command: Command, *, request_id: str = "", request_hash: str = "", validate_only: bool = False) -> Outcome:
        """Decide, journal, apply. Once journaled the change goes on although the caller is cancelled. A request_id seen before with
        the same hash gives the first outcome again, with another hash InvalidArgument(field="request_id")."""

    def service(self, name: str) -> ServiceView | None:
        """The virtual service of that name."""

    def backend(self, name: str) -> BackendView | None:
        """The backend of that name."""

    async def ring(self, name: str, *, slots: bool = False) -> RingView | None:
        """The ring of the virtual service of that name, with every slot when `slots` are asked for."""

    async def explain(self, wanted: Wanted, interface: str) -> Explained:
        """What would become of a packet that the interface received now ("": by which it would come). Raises InvalidArgument for one that
        is none of the agent's, FailedPrecondition when there is none, Unavailable when the kernel does not give the maps."""

    def prefix_list(self, name: str) -> ListView | None:
        """The list of that name, with its prefixes."""

    def flows(self, wanted: FlowsWanted) -> AsyncGenerator[FlowPage, None]:
        """Flows, page by page. Raises ResourceExhausted when as many lists are made as may be, Unavailable when the kernel does not give
        them. Closed by the caller."""

    def listen(self, listener: Callable[[Outcome], None]) -> None:
        """Calls `listener` for each change that the agent makes by itself, the end of a drain, once it is journaled."""

    def snapshot(self) -> Snapshot:
        """All desired state."""

    def watch(self, service: str, resume_revision: int) -> AsyncGenerator[BackendEvent, None]:
        """Backends of `service` ("" for all). Raises OutOfRange when the revision is no longer remembered. Closed by the caller."""

    def capture(self, wanted: Filter) -> AsyncGenerator[Batch, None]:
        """Packets as they came and left: an empty batch when the capture runs, then one every few seconds. The caller closes it."""

    async def record(self) -> Dump:
        """What the recorder remembers. Raises FailedPrecondition when there is none."""

    async def dumps(self) -> Sequence[KeptDump]:
        """The files that the recorder wrote by itself, the oldest first. Raises FailedPrecondition when there is none, Unavailable when
        the disk does not give them."""

    async def open_dump(self, dump_id: str) -> BinaryIO:
        """One of them, to be closed by the caller. Raises NotFound when it is not there, and as dumps()."""

    async def stats(self) -> StatsSample:
        """The counters, read now or at most 50 ms ago. Raises Unavailable."""

    def agent(self) -> AgentView:
        """How the agent and its datapath are."""

    async def diagnose(self) -> Sequence[Finding]:
        """What the doctor finds, the worst first; takes up to some seconds."""
