"""A health check, as asked for with a virtual service, and what one probe of it is sent to."""

import enum
from dataclasses import dataclass, replace

from l4lb_agent.model.address import Address

SHORTEST_INTERVAL, LONGEST_INTERVAL = 0.1, 3600.0  # seconds
SHORTEST_TIMEOUT = 0.01
MOST_IN_A_ROW = 100  # of rise and fall
MOST_BYTES = 1024  # of what is sent, expected or looked for
MOST_STATUSES = 16  # ranges of them
LONGEST_NAME, LONGEST_PATH = 253, 1024  # characters


class Kind(enum.IntEnum):
    """What a probe does."""

    TCP = 1
    HTTP = 2
    GRPC = 3
    UDP = 4


class ProbeTarget(enum.IntEnum):
    """What probes are sent to; numbers as in the API."""

    BACKEND = 1  # the backend's own address
    VIP = 2  # the VIP, by the service's forwarding mode, to exactly this backend


class OnAllDown(enum.IntEnum):
    """What becomes of a service of which no backend is UP; numbers as in the API."""

    KEEP_LAST = 1  # those that were UP last go on taking new flows
    REJECT = 2  # none takes any: on_empty says what becomes of packets


@dataclass(frozen=True)
class HealthCheck:
    """As asked for; times are seconds. The fields after `min_up_percent`, but for `target`, are those of some kinds only."""

    kind: Kind
    interval_seconds: float = 5.0  # from the start of a probe to that of the next
    timeout_seconds: float = 2.0  # shorter than the interval
    rise: int = 2  # successes in a row that make UP
    fall: int = 3  # failures in a row that make DOWN
    port: int = 0  # 0: the backend's own
    on_all_down: OnAllDown = OnAllDown.KEEP_LAST
    min_up_percent: int = 0  # of the weight: when fewer are UP, those that go DOWN go on as if none were
    path: str = "/"  # HTTP
    host: str = ""  # HTTP: "" for the VIP
    method: str = "GET"  # HTTP: or HEAD
    statuses: tuple[tuple[int, int], ...] = ((200, 399),)  # HTTP: first and last of each range
    contains: bytes = b""  # HTTP: somewhere in the body
    tls: bool = False  # HTTP, gRPC
    server_name: str = ""  # TLS: "" for the host
    verify: bool = False  # TLS: by the certificates that this host trusts
    service: str = ""  # gRPC: "" for the server as a whole
    send: bytes = b""  # TCP, UDP
    expect: bytes = b""  # TCP, UDP: how the answer begins
    target: ProbeTarget = ProbeTarget.BACKEND  # VIP: of DSR and ENCAP only

    @property
    def parameters(self) -> "HealthCheck":
        """The check without what does not change its probes: two with equal ones may share them."""
        return replace(self, rise=0, fall=0, port=0, on_all_down=OnAllDown.KEEP_LAST, min_up_percent=0, host="")


@dataclass(frozen=True)
class By:
    """The backend that answers a probe of its VIP, and how packets are sent there."""

    backend: str  # name
    address: Address
    mode: str  # "DSR", "IPIP", "GUE", "FOU"


@dataclass(frozen=True)
class Target:
    """Where probes go. Probes of equal targets and parameters are the same."""

    address: Address
    port: int
    host: str = ""  # for the Host header and the name in TLS; "" where the kind has none
    by: By | None = None  # of a VIP

    @property
    def words(self) -> str:
        """The same for people."""
        where = f"{self.address} port {self.port}"
        return f"the VIP {where}, by {self.by.mode} to {self.by.address}" if self.by else where


def target(check: HealthCheck, vip: Address, address: Address, port: int, by: By | None = None) -> Target:
    """What `check` probes of a backend at `address` and `port` that serves `vip`, `by` it where the check says so."""
    host = ""
    if check.kind in (Kind.HTTP, Kind.GRPC):
        host = check.host or (str(vip) if vip.family == 4 else f"[{vip}]")
    if check.target is ProbeTarget.VIP:
        return Target(vip, check.port or port, host, by)
    return Target(address, check.port or port, host)
