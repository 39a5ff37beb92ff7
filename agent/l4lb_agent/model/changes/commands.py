"""Every change that can be asked for, as a value. model/desired.py decides on them; `field` names in errors are the API's."""

from collections.abc import Mapping
from dataclasses import dataclass

from l4lb_agent.model.access.limits import NewFlowLimit
from l4lb_agent.model.access.lists import PrefixList
from l4lb_agent.model.access.prefixes import Prefix
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import AdminState, Backend, DeadlineAction, DrainResult
from l4lb_agent.model.choice.affinity import Affinity
from l4lb_agent.model.health.check import HealthCheck
from l4lb_agent.model.service import Hash, Mode, MssClamp, OnEmpty, OuterSource, Protocol, Tracking, VirtualService


@dataclass(frozen=True)
class CreateService:
    """Create `service`; revision and times of the value are ignored."""

    service: VirtualService


@dataclass(frozen=True)
class UpdateService:
    """Set the fields that are not None; those fixed at creation are refused when they differ. With `create`, create that when it is
    missing."""

    name: str
    idle_seconds: int | None = None
    window_seconds: int | None = None
    down_grace_seconds: int | None = None
    on_empty: OnEmpty | None = None
    mss_clamp: MssClamp | None = None
    mss: int | None = None
    new_flow_limit: NewFlowLimit | None = None
    allow_list: str | None = None
    deny_list: str | None = None
    affinity: Affinity | None = None
    health_check: HealthCheck | None = None
    without_health_check: bool = False  # takes it away
    annotations: Mapping[str, str] | None = None
    etag: str = ""
    create: VirtualService | None = None
    vip: Address | None = None
    port: int | None = None
    port_end: int | None = None
    protocol: Protocol | None = None
    ring_size: int | None = None
    mode: Mode | None = None
    tracking: Tracking | None = None
    encap_port: int | None = None
    outer_source: OuterSource | None = None
    outer_checksum: bool | None = None
    hash: Hash | None = None


@dataclass(frozen=True)
class DeleteService:
    """Delete it; its backends too with `force`."""

    name: str
    etag: str = ""
    force: bool = False
    allow_missing: bool = False


@dataclass(frozen=True)
class AddBackend:
    """Add `backend`; port 0 takes the service's, or each packet's own when that has more than one. Revision and times of the value are
    ignored."""

    backend: Backend


@dataclass(frozen=True)
class UpdateBackend:
    """Set the fields that are not None. With `create`, add that when it is missing."""

    name: str
    address: Address | None = None
    port: int | None = None
    weight: int | None = None
    admin: AdminState | None = None
    mtu: int | None = None
    annotations: Mapping[str, str] | None = None
    etag: str = ""
    create: Backend | None = None


@dataclass(frozen=True)
class RemoveBackend:
    """Remove it; also when it has flows with `force`."""

    name: str
    etag: str = ""
    force: bool = False
    allow_missing: bool = False


@dataclass(frozen=True)
class DrainBackend:
    """Begin a drain. `timeout` is in seconds, None for no deadline."""

    name: str
    timeout: float | None = None
    action: DeadlineAction = DeadlineAction.KEEP
    etag: str = ""
    allow_empty: bool = False


@dataclass(frozen=True)
class UndrainBackend:
    """Back to ENABLED."""

    name: str
    etag: str = ""


@dataclass(frozen=True)
class EndDrain:
    """The agent's own: a running drain has ended."""

    name: str
    result: DrainResult
    remaining_flows: int


@dataclass(frozen=True)
class CreateList:
    """Create `list` with `prefixes`; number, count, revision and times of the value are ignored."""

    list: PrefixList
    prefixes: frozenset[Prefix] = frozenset()


@dataclass(frozen=True)
class UpdateList:
    """Set what is not None; then remove and add. With `create`, create that when it is missing."""

    name: str
    prefixes: frozenset[Prefix] | None = None
    add: frozenset[Prefix] = frozenset()
    remove: frozenset[Prefix] = frozenset()
    annotations: Mapping[str, str] | None = None
    etag: str = ""
    create: CreateList | None = None


@dataclass(frozen=True)
class DeleteList:
    """Delete it."""

    name: str
    etag: str = ""
    allow_missing: bool = False


Command = (
    CreateService | UpdateService | DeleteService | AddBackend | UpdateBackend | RemoveBackend | DrainBackend | UndrainBackend | EndDrain
    | CreateList | UpdateList | DeleteList
)  # fmt: skip


def places(command: Command) -> bool:
    """Whether `command` may give a backend an address for which no next hop is known yet."""
    added = isinstance(command, AddBackend)
    return added or (isinstance(command, UpdateBackend) and (command.address is not None or command.create is not None))
