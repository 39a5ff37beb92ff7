"""The doors to the world that control needs: implemented by dataplane/ and system/, and by tests/fakes/."""

from array import array
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from l4lb_agent.model.address import Address
from l4lb_agent.model.capture.kept import KeptDump
from l4lb_agent.model.capture.taken import Captured, Filter
from l4lb_agent.model.doctor.facts import Facts, Scope
from l4lb_agent.model.explain.moment import Moment
from l4lb_agent.model.flows.record import FlowFilter, FlowRecord
from l4lb_agent.model.health.check import HealthCheck, Target
from l4lb_agent.model.health.outcome import Outcome
from l4lb_agent.model.health.passing import Place
from l4lb_agent.model.observed import Answer, Counters, FlowCounts, InterfaceState, MapState, NextHop
from l4lb_agent.model.tables import Step, Tables
from l4lb_agent.model.ways.vlan import Vlan


class Datapath(Protocol):
    """The kernel's maps and program. Every method may block for milliseconds and raises OSError when the kernel refuses."""

    adopted: bool  # True when the maps were pinned already
    second_multiplier: int  # of this kernel, for config: seconds = (jiffies64 * second_multiplier) >> 24

    def read_tables(self) -> Tables:
        """Every control map as the kernel holds it."""

    def control_elements(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of every element of one control map that is not all zero."""

    def execute(self, step: Step) -> None:
        """Do one step of a plan."""

    def attach(self, interface: str, mode: str) -> InterfaceState:
        """Attach to `interface` (mode auto, native or generic), or adopt the pinned link; puts its MAC
        into `interfaces` first. Raises dataplane errors with the cause."""

    def interface_state(self, interface: str) -> InterfaceState:
        """How it is now; never raises."""

    def detach(self, interface: str) -> None:
        """Remove the link and its pin."""

    def sweep(self, rings: Mapping[int, "array[int]"]) -> FlowCounts:
        """Count flows by backend, delete NAT's that expired 2 s ago or longer (forward first, reply last). `rings` are, by service id, the
        backends of the slots of `now` of which `pinned` is asked. Runs in a thread."""

    def flows(self, wanted: FlowFilter) -> Iterator[list[FlowRecord]]:
        """Flows that are not over, some at a time: each step reads the next ones. Steps run in threads, one after the other."""

    def moment(self) -> Moment:
        """The maps as they are from now on, read element by element when they are asked for."""

    def ask(self, ifindex: int, frame: bytes) -> Answer:
        """What the program does with a frame of 14 to 3520 bytes that the interface receives now; it leaves no trace. Takes a second or two
        the first time. Raises OSError also when it cannot be asked."""

    def counters(self) -> Counters:
        """Read every counter."""

    def write_capture(self, slot: int, wanted: Filter, until: int, service: int, ifindex: int) -> None:
        """Hand over the packets that `wanted` takes, until that second of `now`; with a number of service and interface, 0 = any."""

    def end_capture(self, slot: int) -> None:
        """Hand over none."""

    def switch_captures(self, running: Sequence[Filter], recorder_until: int = 0) -> None:
        """Look at packets for these captures at all, and for the recorder until that second of `now`."""

    def captured_number(self) -> int:
        """Descriptor that is readable while there are captured packets."""

    def captured(self, most: int) -> Sequence[Captured]:
        """Up to `most` captured packets; they are gone then."""

    def capture_budgets(self) -> Mapping[int, tuple[int, int]]:
        """By slot: packets beyond the rate, and packets for which there was no room, since the maps exist."""

    def recorder_budgets(self) -> Mapping[int, tuple[int, int]]:
        """The same of the recorder, by reason."""

    def clear_backend_counters(self, backend_id: int) -> None:
        """Zero the counters of an id that is about to be given to a new backend."""

    def clear_service_counters(self, service_id: int) -> None:
        """Zero the counters of an id that is about to be given to a new service."""

    def maps(self) -> Sequence[MapState]:
        """Every map with id and memory."""

    def now(self) -> int:
        """The datapath's clock in seconds (jiffies64 / HZ), as in the `seen` fields."""

    def announce(self, address: Address, interfaces: Sequence[str]) -> None:
        """Gratuitous ARP or unsolicited neighbour advertisement for `address` on `interfaces`; for IPv6 the interfaces also listen to
        its solicited-node group from now on. Needs no CAP_NET_RAW. Raises the first OSError after all interfaces were tried."""

    def withdraw(self, address: Address, interfaces: Sequence[str]) -> None:
        """No longer listen to the address's solicited-node group, unless another announced address needs it."""

    def close(self) -> None:
        """Give back descriptors and the lock; the datapath goes on forwarding."""


class Network(Protocol):
    """Routes, neighbours, links and addresses, over netlink."""

    async def next_hop(self, address: Address) -> NextHop | None:
        """Route and resolve; asks the kernel to keep the neighbour resolved. None while it is not."""

    async def forget(self, address: Address) -> None:
        """No longer keep the neighbour resolved."""

    async def local_addresses(self) -> frozenset[Address]:
        """Every address of this host."""

    async def interfaces(self) -> dict[str, int]:
        """Interface names and indices."""

    async def routing(self) -> bytes:
        """All that decides how replies leave, as canonical bytes: links (index, MAC, up), routes, MACs of the gateways of routes. Equal
        while nothing changed, also across restarts: its digest is the route generation."""

    async def vlans(self) -> frozenset[Vlan]:
        """The VLAN devices over which packets can be sent and received: on a device of this host, with two tags at most."""

    async def forwarding(self, interface: str) -> frozenset[int] | None:
        """Families, 4 and 6, that the host forwards from this interface; None when it is not there."""

    def changes(self) -> AsyncIterator[str]:
        """Yields "link", "neighbour", "route" or "address" whenever one changes; never ends. Yields "anything" once it listens, and when
        it may have missed something."""


class Clock(Protocol):
    """Time as a value that comes in."""

    def time(self) -> float:
        """Unix seconds."""

    def monotonic(self) -> float:
        """Seconds that never step."""

    def worked(self) -> float:
        """Seconds that a CPU has spent on the calling thread: what the others do at the time does not count."""


class JournalFile(Protocol):
    """Durable records. Blocking; called in a thread."""

    damage: str  # what load() had to keep aside, "" when all was well

    def load(self) -> list[dict[str, object]]:
        """Every whole record since the last snapshot, the snapshot first. A torn or corrupt tail is cut off and kept aside."""

    def append(self, records: Sequence[dict[str, object]]) -> int:
        """Write and fsync; how many bytes. Raises OSError and leaves no half record behind."""

    def snapshot(self, record: dict[str, object]) -> int:
        """Replace everything by one record of so many bytes, atomically."""


class AuditFile(Protocol):
    """Lines that are only ever added. Blocking; called in a thread, one call at a time."""

    def append(self, lines: Sequence[bytes]) -> None:
        """Write whole lines and wait for the disk; raises OSError."""


class DumpFolder(Protocol):
    """Where the recorder's files go. Blocking."""

    def write(self, why: str, when: float, data: bytes) -> str:
        """Write one whole file, of Unix time `when`, and delete those that are too many; its path. Raises OSError."""

    def kept(self) -> Sequence[KeptDump]:
        """Every file, the oldest first. Raises OSError."""

    def open(self, dump_id: str) -> BinaryIO:
        """The file of that id, to be closed by the caller; it can be read to its end although it is deleted meanwhile. Raises
        FileNotFoundError when there is none, and other OSErrors."""


class Examiner(Protocol):
    """What the doctor sees of the host and of the network around it."""

    async def facts(self, scope: Scope) -> Facts:
        """Look at everything in `scope` once; takes up to some seconds. What cannot be looked at is in Facts.unseen, never an error."""


class Prober(Protocol):
    """Looks whether servers are well, over the network."""

    async def probe(self, check: HealthCheck, target: Target, place: Callable[[], Place | None]) -> Outcome:
        """One probe, within `check.timeout_seconds` once it has begun; it waits while too many are under way. `place` says where the
        datapath has the backend by which a VIP is probed. Raises nothing but CancelledError, and leaves nothing open."""


@dataclass(frozen=True)
class Doors:
    """The world, as control needs it."""

    datapath: Datapath
    network: Network
    clock: Clock
    journal: JournalFile
    examiner: Examiner
    prober: Prober
