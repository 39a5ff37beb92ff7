"""What the doctor is to look at (Scope), and what there is to be seen (Facts). Nothing here judges."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from l4lb_agent.model.address import Address
from l4lb_agent.model.config import DatapathConfig
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.health.state import Health
from l4lb_agent.model.observed import Answers, NextHop
from l4lb_agent.model.reasons import Reason


@dataclass(frozen=True)
class Scope:
    """What was configured and asked for. `why` has the agent's own words about the attachment of each interface while it runs, which is
    what `running` says."""

    interfaces: Mapping[str, str]  # name -> mode: auto, native or generic
    config: DatapathConfig = field(default_factory=DatapathConfig)
    desired: Desired = field(default_factory=Desired)
    why: Mapping[str, str] = field(default_factory=dict)
    running: bool = False
    next_hops: Mapping[Address, NextHop] = field(default_factory=dict)  # that are in use already: nobody has to be asked for them

    @property
    def vips(self) -> frozenset[Address]:
        """Of every virtual service."""
        return frozenset(service.vip for service in self.desired.services.values())

    @property
    def owned(self) -> frozenset[Address]:
        """Addresses that nobody but the load balancer may answer for."""
        return self.vips | frozenset(self.config.snat)

    @property
    def backends(self) -> frozenset[Address]:
        """Addresses of every backend."""
        return frozenset(backend.address for backend in self.desired.backends.values())


@dataclass(frozen=True)
class Program:
    """An XDP program on an interface. `mode` is native, generic, offload or several."""

    id: int
    mode: str
    ours: bool  # run by a link that is pinned in the agent's pin directory


@dataclass(frozen=True)
class Peer:
    """The other end of a veth, whether it leaves checksums of what it sends unfinished, and the name of its network namespace, "" for the
    one that is looked at."""

    name: str
    unfinished: bool
    namespace: str = ""


@dataclass(frozen=True)
class Device:
    """An interface. Offloads are by the kernel's names, such as rx-lro; `fixed` are those that cannot be changed."""

    name: str
    ifindex: int
    kind: str = ""  # veth, vlan, bond ...; "" for a network card
    mtu: int = 1500
    up: bool = True  # administratively, and it has a carrier
    program: Program | None = None
    native: bool | None = None  # whether the driver says that it takes XDP; None: this kernel does not tell
    offloads: Mapping[str, bool] = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()
    queues: int = 0  # for receiving; 0: the driver does not tell
    queues_most: int = 0
    vlans: tuple[str, ...] = ()  # names of VLAN devices on top of it, and on those
    service_vlans: bool = False  # some of them are of 802.1ad
    peer: Peer | None = None
    forwards: frozenset[int] = frozenset({4, 6})  # families
    strict: bool = False  # rp_filter 1


@dataclass(frozen=True)
class Way:
    """The kernel's route to an address and the neighbour it leads to. `neighbour` is ip-neigh(8)'s word for its state, "none" without
    an entry; `usable` means that packets can be sent; `trouble` is why the datapath cannot use it all the same. `carrier` is the interface
    that carries the frames, where two tags leave no more than `mtu` of its own; "" where they do not. `source` is what the kernel would
    send from, None when that is of the link alone."""

    interface: str
    gateway: Address | None
    mtu: int
    neighbour: str
    usable: bool
    trouble: str = ""
    carrier: str = ""
    source: Address | None = None


@dataclass(frozen=True)
class Claim:
    """Somebody on the link of `interface` answers for `address`."""

    address: Address
    interface: str
    mac: bytes


@dataclass(frozen=True)
class Kernel:
    """`lacks` says of each feature that is missing what a probe of it met."""

    release: str = ""
    lacks: Mapping[str, str] = field(default_factory=dict)
    jit: bool | None = None
    compiler: bool = True  # BCC, or what it has compiled already
    cpus: int = 1


@dataclass(frozen=True)
class Pins:
    """The pin directory. `missing`: why it cannot be used, "" when it can; `mount`: the empty folder where a bpffs should be mounted, ""
    when mounting is not what helps."""

    folder: str = ""
    missing: str = ""
    mount: str = ""


@dataclass(frozen=True)
class Memory:
    """Bytes that maps may still take, and whose limit that is; None: not known."""

    free: int | None = None
    source: str = ""
    taken: int = 0  # by our maps already


@dataclass(frozen=True)
class Clock:
    """Unix seconds, and whether the kernel says that they are kept right; None: it may not be asked."""

    now: float = 0.0
    synchronised: bool | None = None


@dataclass(frozen=True)
class Certificate:
    """A certificate on disk. `problem`: why it cannot be used, "" when it can."""

    path: str
    begins: float = 0.0
    ends: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Down:
    """The health of a backend that is DOWN. `kept`: it takes new flows all the same. `flapping`: it is held DOWN since it changes too
    often."""

    health: Health
    kept: bool = False
    flapping: bool = False


@dataclass(frozen=True)
class Facts:
    """Everything that was seen. `unseen` are pairs of what could not be looked at, and why."""

    devices: Mapping[str, Device] = field(default_factory=dict)  # by name; absent when there is none
    macs: frozenset[bytes] = frozenset()  # of every interface of this host
    local: frozenset[Address] = frozenset()
    default_ways: frozenset[str] = frozenset()  # interfaces that a default route leaves by
    ways: Mapping[Address, Way | None] = field(default_factory=dict)  # to backends; None: there is no route
    claims: tuple[Claim, ...] = ()
    drops: Mapping[Reason, float] = field(default_factory=dict)  # packets a second
    answers: Mapping[str, Answers] = field(default_factory=dict)  # of backends that have flows, by name
    down: Mapping[str, Down] = field(default_factory=dict)  # by name of backends; none where no agent runs
    all_down: Mapping[str, int] = field(default_factory=dict)  # by name of services none of whose backends is UP: how many are kept
    kernel: Kernel = Kernel()
    pins: Pins = Pins()
    memory: Memory = Memory()
    clock: Clock = Clock()
    certificates: tuple[Certificate, ...] = ()
    unseen: tuple[tuple[str, str], ...] = ()
