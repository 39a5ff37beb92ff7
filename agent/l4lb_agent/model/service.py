"""A virtual service: VIP + port + protocol, with its options."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from l4lb_agent.model.access.limits import UNLIMITED, NewFlowLimit
from l4lb_agent.model.address import Address
from l4lb_agent.model.choice.affinity import NO_AFFINITY, Affinity
from l4lb_agent.model.health.check import HealthCheck


class Protocol(enum.IntEnum):
    """IP protocol number."""

    TCP = 6
    UDP = 17


class Mode(enum.IntEnum):
    """How packets reach a backend and come back: enum mode of bpf/types.h."""

    NAT = 0
    KEEP = 1  # NAT that keeps the client's address
    DSR = 2
    IPIP = 3
    GUE = 4  # variant 0
    FOU = 5  # GUE variant 1

    @property
    def translates(self) -> bool:
        """Whether both directions pass the load balancer, and every flow has a record."""
        return self in (Mode.NAT, Mode.KEEP)

    @property
    def encapsulates(self) -> bool:
        """Whether packets get an outer header, which may be of another family than the VIP."""
        return self in (Mode.IPIP, Mode.GUE, Mode.FOU)


class Tracking(enum.IntEnum):
    """Which flows have an entry in the flow table; numbers as in the API."""

    NONE = 0  # of NAT services, whose flows have records
    CHANGES = 1
    ALL = 2


class OuterSource(enum.IntEnum):
    """Source of outer headers; numbers as in the API."""

    NONE = 0
    REAL = 1
    SPREAD = 2


class Hash(enum.IntEnum):
    """What of a packet picks its slot; numbers as in the API."""

    TUPLE = 1  # addresses, ports and protocol
    SOURCE = 2
    SOURCE_DESTINATION = 3


class OnEmpty(enum.IntEnum):
    """What becomes of a packet that no backend takes; numbers as in the API."""

    DROP = 1
    RESET = 2  # TCP: RST; UDP as UNREACHABLE
    UNREACHABLE = 3  # ICMP: port unreachable
    PROHIBITED = 4  # ICMP: administratively prohibited


class MssClamp(enum.IntEnum):
    """What the MSS options of SYNs are lowered to; numbers as in the API."""

    OFF = 1
    AUTO = 2  # what fits into the backend's MTU
    FIXED = 3


ANY_PORT = (0, 65535)  # `port` and `port_end`
DEFAULT_RING_SIZE = 16381
DEFAULT_ENCAP_PORT = 6080  # of GUE, by IANA
DEFAULT_DOWN_GRACE_SECONDS = 10
MAX_DOWN_GRACE_SECONDS = 3600
DEFAULT_IDLE_SECONDS = {Protocol.TCP: 900, Protocol.UDP: 120}
MAX_IDLE_SECONDS = 18 * 3600


@dataclass(frozen=True)
class VirtualService:
    """As asked for. `name` is `services/{service}`; times are Unix seconds; `revision` is the one that changed it last."""

    name: str
    vip: Address
    port: int
    protocol: Protocol
    ring_size: int = DEFAULT_RING_SIZE
    idle_seconds: int = 900
    mode: Mode = Mode.NAT
    tracking: Tracking = Tracking.NONE
    window_seconds: int = 900  # how long after a change a flow may be silent before its slot settles
    down_grace_seconds: int = DEFAULT_DOWN_GRACE_SECONDS
    encap_port: int = 0  # UDP destination of GUE
    outer_source: OuterSource = OuterSource.NONE
    outer_checksum: bool = False
    hash: Hash = Hash.TUPLE
    on_empty: OnEmpty = OnEmpty.DROP
    mss_clamp: MssClamp = MssClamp.OFF
    mss: int = 0  # of FIXED
    new_flow_limit: NewFlowLimit = UNLIMITED
    allow_list: str = ""  # name of the list of those who are let in; "" lets in all
    deny_list: str = ""  # name of the list of those who are not
    affinity: Affinity = NO_AFFINITY
    port_end: int = 0  # last port of a range that begins with `port`, 0 for a single port; every port is the range 0 to 65535
    health_check: HealthCheck | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    revision: int = 0
    created: float = 0.0
    updated: float = 0.0

    @property
    def etag(self) -> str:
        """Quoted version of this resource (RFC 9110 8.8.3); commands carry it back unchanged."""
        return f'"{self.revision}"'

    @property
    def has_window(self) -> bool:
        """Whether a change of its ring has a window: flows without an entry are told from new ones by their SYN."""
        return not self.mode.translates and self.protocol is Protocol.TCP

    @property
    def identity(self) -> tuple[Address, int, int, int]:
        """What the datapath finds it by: VIP, port, protocol, last port. Unique among services."""
        return (self.vip, self.port, int(self.protocol), self.port_end)

    @property
    def any_port(self) -> bool:
        """Whether it takes every port that no other service of its VIP and protocol takes."""
        return (self.port, self.port_end) == ANY_PORT

    @property
    def ports(self) -> str:
        """Its ports in words."""
        if self.any_port:
            return "every port"
        return f"ports {self.port} to {self.port_end}" if self.port_end else f"port {self.port}"

    @property
    def backend_port(self) -> int:
        """Port of a backend that names none; 0 where each packet keeps its own."""
        return 0 if self.port_end else self.port
