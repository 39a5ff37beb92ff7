"""The datapath as the rest of the agent sees it: pinned maps, one program generation, pinned links, sweeps, counters, announcements."""

import ctypes
import logging
import os
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from l4lb_agent.dataplane import announce, device, pins, syscall
from l4lb_agent.dataplane.attach import Links
from l4lb_agent.dataplane.fib import Routes
from l4lb_agent.dataplane.flows import affinities
from l4lb_agent.dataplane.flows.reader import FlowReader
from l4lb_agent.dataplane.flows.sweeper import Sweeper
from l4lb_agent.dataplane.flows.tracked import TrackedSweeper, together
from l4lb_agent.dataplane.generation import Program
from l4lb_agent.dataplane.generations import Generations
from l4lb_agent.dataplane.maps import Maps
from l4lb_agent.dataplane.probes import Probes
from l4lb_agent.dataplane.ringbuf import RingBuffer
from l4lb_agent.dataplane.ticks import Ticks
from l4lb_agent.dataplane.twin import Twin
from l4lb_agent.model import layout
from l4lb_agent.model.access import policy
from l4lb_agent.model.address import Address
from l4lb_agent.model.capture import layout as capture_layout
from l4lb_agent.model.capture import taken
from l4lb_agent.model.capture.taken import Captured, Filter
from l4lb_agent.model.explain.moment import Moment
from l4lb_agent.model.flows.record import FlowFilter, FlowRecord
from l4lb_agent.model.mapspec import CAPTURED_BYTES, Sizes
from l4lb_agent.model.observed import Answer, Counters, FlowCounts, InterfaceState, MapState, TrafficCount
from l4lb_agent.model.reasons import VERDICTS
from l4lb_agent.model.tables import Grace, Step, Tables, array_key

_log = logging.getLogger(__name__)


class KernelDatapath:
    """The control.ports.Datapath of a real kernel. Methods block for milliseconds, `sweep` for longer; each may run in any thread."""

    def __init__(self, pin_dir: Path, sizes: Sizes, program: Program) -> None:
        """Own `pin_dir`, adopt or create the maps, load and pin `program`; nothing that is attached changes.

        Raises BlockingIOError when another agent owns the directory, maps.ShapeError when it holds maps of another shape,
        VerifierError when the kernel refuses the program."""
        with ExitStack() as undo:
            self._lock = pins.Lock(pins.folder(pin_dir))
            undo.callback(self._lock.close)
            self._maps = Maps(pin_dir, sizes)
            undo.callback(self._maps.close)
            self.adopted = self._maps.adopted
            self._ring = RingBuffer(self._maps.number("captured"), CAPTURED_BYTES)
            undo.callback(self._ring.close)
            self._ticks, self._routes = Ticks(), Routes()
            undo.callback(self._routes.close)
            self._generations = Generations(pin_dir)
            numbers = {name: fd.fileno() for name, fd in self._maps.fds.items()}
            self._generation = self._generations.ensure(program, numbers, adopt=self.adopted)
            undo.callback(self._generation.close)
            self._sweep = program.load_sweep(numbers)
            self._twin = Twin(program, self._maps.specs, numbers)
            self.probes = Probes(program, numbers, self._maps.lookup)
            undo.pop_all()
        self._links = Links(pin_dir, self._generations)
        self._groups = announce.Groups()
        self.second_multiplier = self._ticks.multiplier

    def read_tables(self) -> Tables:
        """Every control map as the kernel holds it."""
        return self._maps.control_tables()

    def control_elements(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of every element of one control map that is not all zero."""
        return self._maps.control_elements(name)

    def execute(self, step: Step) -> None:
        """Do one step of a plan; a service whose limit becomes another one begins with a full bucket. Raises OSError naming the map."""
        if isinstance(step, Grace):
            syscall.membarrier()
            return
        before = self._maps.lookup(step.map, step.key) if step.map == "policies" else None
        try:
            self._maps.write(step.map, step.key, step.value)
            if before is not None and policy.other_bucket(before, step.value):
                self._maps.zero("service_limits", int.from_bytes(step.key, "little"))
        except OSError as error:
            raise OSError(error.errno, f"write {step.map}[{step.key.hex()}] ({step.why}): {os.strerror(error.errno or 0)}") from error

    def attach(self, interface: str, mode: str) -> InterfaceState:
        """See Links.attach; then generations that nothing runs any more are removed, and maps of other versions once none of them runs."""
        found = device.find(interface)
        mac = layout.Interface(ifindex=found.ifindex, mac=(ctypes.c_uint8 * 6)(*found.mac[:6]))
        key, value = array_key(found.ifindex % layout.INTERFACE_PLACES), bytes(mac)
        if self._maps.lookup("interfaces", key) != value:
            self._maps.write("interfaces", key, value)
        state = self._links.attach(interface, mode, self._generation)
        own, running = syscall.prog_info(self._generation.program.fileno()).id, self._links.running()
        self._generations.retire(running | {own})
        if running == {own} and (retired := self._maps.retire()):
            _log.info("event=maps_retired maps=%s why='no program of this version knows them'", ",".join(retired))
        return state

    def interface_state(self, interface: str) -> InterfaceState:
        """How it is now; never raises."""
        return self._links.state(interface)

    def detach(self, interface: str) -> None:
        """Remove the link and its pin."""
        self._links.detach(interface)

    def sweep(self, rings: Mapping[int, "array[int]"]) -> FlowCounts:
        """See control.ports.Datapath. Pins of maps and of the program that somebody removed are made again."""
        self._maps.repin()
        self._generations.repin(self._generation)
        raw = self._maps.lookup("config", array_key(0))
        config = layout.Config.from_buffer_copy(raw or bytes(ctypes.sizeof(layout.Config)))
        idle = {index: layout.Service.from_buffer_copy(element).idle_seconds for index, element in self._maps.elements("services")}
        known: dict[int, layout.Backend] = {}

        def backend(identity: int) -> layout.Backend:
            if identity not in known:
                element = self._maps.lookup("backends", array_key(identity))
                known[identity] = layout.Backend.from_buffer_copy(element) if element else layout.Backend()
            return known[identity]

        sweeper = Sweeper(self._sweep.fileno(), self._maps.number, self._ticks.second)
        tracked = TrackedSweeper(self._maps.number("flow_table"), self._ticks.second, config, idle)
        counts = together(sweeper.sweep(), tracked.sweep(backend, rings))
        remembered = affinities.sweep(self._maps.number("affinity"), backend)
        return replace(counts, entries_by_backend=Counter(counts.entries_by_backend) + Counter(remembered))

    def flows(self, wanted: FlowFilter) -> Iterator[list[FlowRecord]]:
        """See control.ports.Datapath."""
        return FlowReader(self._maps, self._ticks.second).read(wanted)

    def moment(self) -> Moment:
        """The maps as they are from now on."""
        return Moment(self._maps.lookup, self._ticks.fine(), self._routes.ask)

    def ask(self, ifindex: int, frame: bytes) -> Answer:
        """See Twin.ask."""
        return self._twin.ask(ifindex, frame)

    def counters(self) -> Counters:
        """Read every counter; elements that are zero are left out."""
        services = {i: TrafficCount(*words) for i, words in self._maps.sums("service_counters", layout.Traffic)}
        arrived, left = dict(self._maps.sums("backend_in", layout.BackendIn)), dict(self._maps.sums("backend_out", layout.Count))
        backends = {i: _of_backend(arrived.get(i, (0, 0, 0)), left.get(i, (0, 0))) for i in sorted(arrived.keys() | left.keys())}
        reasons = {divmod(i, VERDICTS): (words[0], words[1]) for i, words in self._maps.sums("reason_counters", layout.Count)}
        return Counters(services, backends, reasons, time.time())

    def write_capture(self, slot: int, wanted: Filter, until: int, service: int, ifindex: int) -> None:
        """Take these packets until that second of `now`."""
        self._maps.write("captures", array_key(slot), taken.element(wanted, until, service, ifindex))

    def end_capture(self, slot: int) -> None:
        """Take none."""
        self._maps.zero("captures", slot)

    def switch_captures(self, running: Sequence[Filter], recorder_until: int = 0) -> None:
        """Which packets the datapath looks at for captures and, until that second of `now`, for the recorder at all."""
        self._maps.write("capture_switch", array_key(0), taken.switch(running, recorder_until))

    def captured_number(self) -> int:
        """Descriptor that is readable while there are captured packets."""
        return self._maps.number("captured")

    def captured(self, most: int) -> list[Captured]:
        """Up to `most` captured packets; they are gone then."""
        return [taken.read(record) for record in self._ring.records(most)]

    def capture_budgets(self) -> Mapping[int, tuple[int, int]]:
        """By slot: packets beyond the rate, and packets for which there was no room, since the maps exist."""
        return taken.budgets((i, tuple(words)) for i, words in self._maps.sums("capture_budgets", capture_layout.CaptureBudget))

    def recorder_budgets(self) -> Mapping[int, tuple[int, int]]:
        """The same of the recorder, by reason."""
        return {i: (words[2], words[3]) for i, words in self._maps.sums("recorder_budgets", capture_layout.CaptureBudget)}

    def clear_backend_counters(self, backend_id: int) -> None:
        """Zero the counters of an id that is about to be given to a new backend."""
        self._maps.zero("backend_in", backend_id)
        self._maps.zero("backend_out", backend_id)

    def clear_service_counters(self, service_id: int) -> None:
        """Zero the counters of an id that is about to be given to a new service, and fill its bucket of new flows."""
        self._maps.zero("service_counters", service_id)
        self._maps.zero("service_limits", service_id)

    def maps(self) -> Sequence[MapState]:
        """Every map with id and memory."""
        return self._maps.states()

    def now(self) -> int:
        """The datapath's clock in seconds."""
        return self._ticks.second()

    def announce(self, address: Address, interfaces: Sequence[str]) -> None:
        """Gratuitous ARP or unsolicited neighbour advertisement on each interface; IPv6 also joins the solicited-node group. Raises the
        first OSError after all were tried."""
        errors = []
        for interface in interfaces:
            try:
                found = device.find(interface)
                if announce.has_mac(found):
                    self._groups.join(address, found)
                    announce.announce(address, found)
            except OSError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def withdraw(self, address: Address, interfaces: Sequence[str]) -> None:
        """No longer listen to the address's solicited-node group, unless another announced address needs it."""
        for interface in interfaces:
            self._groups.leave(address, interface)

    def close(self) -> None:
        """Give back descriptors and the lock; the datapath goes on forwarding."""
        self._groups.close()
        self._ring.close()
        self._ticks.close()
        self._routes.close()
        self._links.close()
        self._twin.close()
        self.probes.close()
        self._sweep.close()
        self._generation.close()
        self._maps.close()
        self._lock.close()


def detach_all(pin_dir: Path) -> list[str]:
    """Take everything in `pin_dir` off: links, then generations and maps with all flows. Returns the interfaces that were attached.
    Raises BlockingIOError while an agent owns the directory."""
    lock = pins.Lock(pins.folder(pin_dir))
    try:
        links = Links(pin_dir, Generations(pin_dir))
        interfaces = links.interfaces()
        for interface in interfaces:
            links.detach(interface)
        for child in list(pin_dir.iterdir()):
            pins.remove(child)
        return interfaces
    finally:
        lock.close()


def _of_backend(arrived: Sequence[int], left: Sequence[int]) -> TrafficCount:
    """Packets, bytes and flows in; packets and bytes out."""
    return TrafficCount(arrived[0], arrived[1], left[0], left[1], arrived[2])
