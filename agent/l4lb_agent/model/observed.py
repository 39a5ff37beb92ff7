"""What is seen of the world, as values: next hops, interfaces, flow counts, counters."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from l4lb_agent.model.address import Address
from l4lb_agent.model.reasons import Reason, Verdict


@dataclass(frozen=True)
class NextHop:
    """How packets leave towards one address, by the kernel's routes and neighbours. MACs are 6 bytes."""

    interface: str
    ifindex: int
    source_mac: bytes
    destination_mac: bytes
    gateway: Address | None = None  # None: the address itself is on the link
    mtu: int = 0
    source: Address | None = None  # that the kernel would use: the outer source of ENCAP
    vlan: int = 0  # the tag of frames that leave so, the inner one of two; `ifindex` is then the lower device, `interface` the VLAN's
    outer_vlan: int = 0  # the outer tag of two
    by_device: bool = False  # `ifindex` is the VLAN device itself: the datapath looks up its tags, two or one of 802.1ad
    trouble: str = ""  # why packets cannot be sent so, "" when they can


@dataclass(frozen=True)
class InterfaceState:
    """One configured interface. `mode` is native, generic or "" (not attached); `reason` says why."""

    name: str
    ifindex: int = 0
    mode: str = ""
    reason: str = ""
    link_id: int = 0
    program_id: int = 0
    program_tag: str = ""


@dataclass(frozen=True)
class Answers:
    """What a sweep saw of a backend's flows: of NAT, each of whose records has a source port towards the backend, or of DSR and ENCAP,
    whose answers do not come by here: of flows that are tracked, then, and without records."""

    records: int = 0
    live: int = 0
    unanswered: int = 0  # of the live ones: more than a second old, and no word from the backend, 65535 at most; without records: for two
    # seconds no client's ACK after its SYN
    refused: int = 0  # closed ones that the backend answered by RST, for the seconds that they keep their port; 65535 at most


@dataclass(frozen=True)
class FlowCounts:
    """One sweep of all that holds flows: live ones (not FLOW_CLOSED, not expired) by backend id; closed ones are in quarantine."""

    live: Mapping[int, int] = field(default_factory=dict)
    entries_by_backend: Mapping[int, int] = field(default_factory=dict)  # records of flows, live or not, and of flow_table: no such id is
    # given anew
    flows: int = 0  # records of flows
    deleted: int = 0  # records of flows
    tracked: int = 0  # entries of flow_table that are not over
    pinned: Mapping[int, frozenset[int]] = field(default_factory=dict)  # by service id: slots in which a live entry of flow_table names
    # another backend than the ring that the sweep was given
    at: float = 0.0  # Unix seconds
    answers: Mapping[int, Answers] = field(default_factory=dict)  # by backend id


@dataclass(frozen=True)
class TrafficCount:
    """Summed over CPUs; bytes are whole frames."""

    packets_in: int = 0
    bytes_in: int = 0
    packets_out: int = 0
    bytes_out: int = 0
    flows: int = 0
    table_reads: int = 0
    pinned: int = 0
    evicted: int = 0


@dataclass(frozen=True)
class Counters:
    """All counters of the datapath at one time, summed over CPUs."""

    services: Mapping[int, TrafficCount]  # by service id
    backends: Mapping[int, TrafficCount]  # by backend id
    reasons: Mapping[tuple[int, int], tuple[int, int]]  # (reason, verdict) -> (packets, bytes); only those not zero
    at: float


@dataclass(frozen=True)
class MapState:
    """One map as the kernel knows it."""

    name: str
    map_id: int
    max_entries: int
    bytes: int


@dataclass(frozen=True)
class Answer:
    """What the datapath's own program does with one frame."""

    verdict: Verdict
    frame: bytes  # as it leaves or passes; as far as it got when it is dropped
    reason: Reason
    ifindex: int | None = None  # of a redirect
    drawn: bool = False  # the second had a say in SNAT address or port: an instant later they may be others
    steady: bool = True  # nothing that this depends on has changed while it was asked
