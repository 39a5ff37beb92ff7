"""A backend: one server address that receives flows of one virtual service, and its drain."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from l4lb_agent.model.address import Address


class AdminState(enum.IntEnum):
    """What the operator asked; numbers as in the API."""

    ENABLED = 1
    DRAINING = 2
    DRAINED = 3
    DISABLED = 4


class DeadlineAction(enum.IntEnum):
    """What happens to the flows that are left at a drain's deadline; numbers as in the API."""

    KEEP = 1
    CUT = 2
    RESET = 3


class DrainResult(enum.IntEnum):
    """How a drain ended; numbers as in the API."""

    EMPTY = 1
    DEADLINE_KEPT = 2
    DEADLINE_CUT = 3
    LOST_STATE = 4


@dataclass(frozen=True)
class Drain:
    """The journaled part of a drain; times are Unix seconds. How many flows are left is observed, not journaled, until it ends."""

    started: float
    deadline: float | None
    action: DeadlineAction
    boot_id: str  # of the kernel that holds the flows: another one at restart means LOST_STATE
    initial_flows: int = 0
    ended: float | None = None
    result: DrainResult | None = None
    remaining_flows: int = 0  # when it ended


@dataclass(frozen=True)
class Backend:
    """As asked for. `name` is `services/{service}/backends/{backend}`; times are Unix seconds."""

    name: str
    address: Address
    port: int
    weight: int = 1
    admin: AdminState = AdminState.ENABLED
    drain: Drain | None = None
    mtu: int = 0  # 0: that of the way out
    annotations: Mapping[str, str] = field(default_factory=dict)
    revision: int = 0
    created: float = 0.0
    updated: float = 0.0

    @property
    def service(self) -> str:
        """Resource name of its virtual service."""
        return self.name.split("/backends/")[0]

    @property
    def etag(self) -> str:
        """Quoted version of this resource (RFC 9110 8.8.3); commands carry it back unchanged."""
        return f'"{self.revision}"'

    @property
    def identity(self) -> tuple[str, Address, int]:
        """What its datapath id and its place in the ring depend on: service, address, port. Unique among backends."""
        return (self.service, self.address, self.port)

    @property
    def wants_new_flows(self) -> bool:
        """Whether the operator wants new flows here; the next hop decides too."""
        return self.admin is AdminState.ENABLED and self.weight > 0

    @property
    def keeps_flows(self) -> bool:
        """Whether flows that have an entry stay here."""
        cut = self.drain is not None and self.drain.result is DrainResult.DEADLINE_CUT
        return not (self.admin is AdminState.DRAINED and cut)

    @property
    def resets_flows(self) -> bool:
        """Whether flows that have an entry are answered by RST."""
        return not self.keeps_flows and self.drain is not None and self.drain.action is DeadlineAction.RESET
