"""A datapath without a kernel: maps in memory, flows as numbers, failures on demand."""

import os
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from l4lb_agent.model import mapspec
from l4lb_agent.model.address import Address
from l4lb_agent.model.capture.taken import Captured, Filter
from l4lb_agent.model.explain.moment import Moment, Route
from l4lb_agent.model.flows.record import FlowFilter, FlowRecord
from l4lb_agent.model.mapspec import MapType, Sizes
from l4lb_agent.model.observed import Answer, Counters, FlowCounts, InterfaceState, MapState
from l4lb_agent.model.reasons import Reason, Verdict
from l4lb_agent.model.tables import Elements, Step, Tables, Write


class FakeDatapath:
    """control.ports.Datapath. Attributes are what tests set and look at; `maps_in_kernel` may be handed to the next one, as pins are."""

    second_multiplier = 1 << 24

    def __init__(self, sizes: Sizes, maps_in_kernel: dict[str, Elements] | None = None) -> None:
        self.adopted = maps_in_kernel is not None
        self.maps_in_kernel: dict[str, Elements] = {} if maps_in_kernel is None else maps_in_kernel
        self.specs = {spec.name: spec for spec in mapspec.specs(sizes)}
        self.steps: list[Step] = []
        self.refuse_writes = 0  # this many writes fail with EIO
        self.accept_writes: int | None = None  # after so many more, every write fails
        self.refuse_attaches = 0
        self.live: dict[int, int] = {}  # flows by backend id
        self.closed: dict[int, int] = {}
        self.tracked: list[tuple[int, int, int]] = []  # live entries of flow_table: service id, slot, backend id
        self.sweeps = 0
        self.attached: dict[str, str] = {}
        self.attempts = 0
        self.present = {"eth0": 2}
        self.announced: list[tuple[Address, str]] = []
        self.cleared: list[tuple[str, int]] = []
        self.counter_reads = 0
        self.flow_chunks: list[list[FlowRecord]] = []  # that a list of flows finds, whatever is wanted but for backends and clients
        self.refuse_flows = False
        self.answer: Answer | None = None  # of the program, to any frame
        self.refuse_captures = False
        self.captures: dict[int, tuple[Filter, int, int, int]] = {}
        self.switched: list[Filter] = []
        self.recorder_until = 0
        self.arriving: list[Captured] = []
        self.budgets: dict[int, tuple[int, int]] = {}
        self.recorder_counts: dict[int, tuple[int, int]] = {}
        self._arrived = os.eventfd(0, os.EFD_NONBLOCK)

    def read_tables(self) -> Tables:
        """As the kernel holds them."""
        return Tables({name: dict(elements) for name, elements in self.maps_in_kernel.items()})

    def control_elements(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        """Those of one map."""
        return iter(list(self.maps_in_kernel.get(name, {}).items()))

    def execute(self, step: Step) -> None:
        """Checks sizes as the kernel does."""
        if isinstance(step, Write):
            if self.refuse_writes or self.accept_writes == 0:
                self.refuse_writes = max(0, self.refuse_writes - 1)
                raise OSError(5, f"write {step.map}: refused by the test")
            if self.accept_writes:
                self.accept_writes -= 1
            spec = self.specs[step.map]
            assert (len(step.key), len(step.value)) == (spec.key_size, spec.value_size), step
            assert spec.type is not MapType.ARRAY or int.from_bytes(step.key, "little") < spec.max_entries, step
            elements = self.maps_in_kernel.setdefault(step.map, {})
            elements[step.key] = step.value
            if not any(step.value):
                del elements[step.key]
        self.steps.append(step)

    def attach(self, interface: str, mode: str) -> InterfaceState:
        """Native unless generic is asked for."""
        self.attempts += 1
        if self.refuse_attaches:
            self.refuse_attaches -= 1
            raise OSError(16, f"interface {interface} already runs XDP program 7")
        if interface not in self.present:
            raise OSError(19, f"no interface {interface}")
        self.attached.setdefault(interface, "generic" if mode == "generic" else "native")
        return self.interface_state(interface)

    def interface_state(self, interface: str) -> InterfaceState:
        """Attached or not."""
        mode = self.attached.get(interface, "")
        ifindex = self.present.get(interface, 0)
        return InterfaceState(interface, ifindex, mode, "" if mode else "not attached", ifindex * 10, 7, "tag")

    def detach(self, interface: str) -> None:
        """No longer attached."""
        self.attached.pop(interface, None)

    def sweep(self, rings: Mapping[int, "array[int]"]) -> FlowCounts:
        """Counts what the test has put into `live`, `closed` and `tracked`."""
        self.sweeps += 1
        entries = {id_: self.live.get(id_, 0) + self.closed.get(id_, 0) for id_ in {*self.live, *self.closed}}
        live = Counter(self.live) + Counter(backend for _, _, backend in self.tracked)
        pinned = {
            service: frozenset(slot for of, slot, backend in self.tracked if of == service and ring[slot] != backend)
            for service, ring in rings.items()
        }
        count = sum(entries.values())
        return FlowCounts(live, Counter(entries) + live, count, 0, len(self.tracked), pinned, float(self.sweeps))

    def flows(self, wanted: FlowFilter) -> Iterator[list[FlowRecord]]:
        """Those in `flow_chunks`."""
        for chunk in self.flow_chunks:
            if self.refuse_flows:
                raise OSError(5, "refused by the test")
            taken = (one for one in chunk if wanted.backends is None or one.backend in wanted.backends)
            yield [one for one in taken if wanted.takes(one.client)]

    def moment(self) -> Moment:
        """Of the control maps; the others are empty, no route is known, and no time passes."""

        def lookup(name: str, key: bytes) -> bytes | None:
            spec = self.specs[name]
            if spec.type is MapType.ARRAY and int.from_bytes(key, "little") >= spec.max_entries:
                return None
            return self.maps_in_kernel.get(name, {}).get(key, bytes(spec.value_size) if spec.type is MapType.ARRAY else None)

        return Moment(lookup, 0, lambda _: Route("the test has none"))

    def ask(self, ifindex: int, frame: bytes) -> Answer:
        """Passed, as nothing is owned by empty maps; or what a test wants."""
        return self.answer or Answer(Verdict.PASS, frame, Reason.FOREIGN)

    def counters(self) -> Counters:
        """Nothing has ever passed."""
        self.counter_reads += 1
        return Counters({}, {}, {}, 0.0)

    def write_capture(self, slot: int, wanted: Filter, until: int, service: int, ifindex: int) -> None:
        """Remembered in `captures`."""
        if self.refuse_captures:
            raise OSError(5, "refused by the test")
        self.captures[slot] = (wanted, until, service, ifindex)

    def end_capture(self, slot: int) -> None:
        """No longer in `captures`."""
        self.captures.pop(slot, None)

    def switch_captures(self, running: Sequence[Filter], recorder_until: int = 0) -> None:
        """Remembered in `switched` and `recorder_until`."""
        if self.refuse_captures:
            raise OSError(5, "refused by the test")
        self.switched, self.recorder_until = list(running), recorder_until

    def captured_number(self) -> int:
        """Readable once the test has called `capture`."""
        return self._arrived

    def captured(self, most: int) -> Sequence[Captured]:
        """What the test has put into `arriving`."""
        now, self.arriving = self.arriving[:most], self.arriving[most:]
        if now and not self.arriving:
            os.eventfd_read(self._arrived)
        return now

    def hand_over(self, *packets: Captured) -> None:
        """As the kernel does."""
        self.arriving += packets
        os.eventfd_write(self._arrived, 1)

    def capture_budgets(self) -> Mapping[int, tuple[int, int]]:
        """What the test has set."""
        return self.budgets

    def recorder_budgets(self) -> Mapping[int, tuple[int, int]]:
        """What the test has set."""
        return self.recorder_counts

    def clear_backend_counters(self, backend_id: int) -> None:
        """Remembered in `cleared`."""
        self.cleared.append(("backend", backend_id))

    def clear_service_counters(self, service_id: int) -> None:
        """Remembered in `cleared`."""
        self.cleared.append(("service", service_id))

    def maps(self) -> Sequence[MapState]:
        """One byte each."""
        return [MapState(spec.name, number, spec.max_entries, 1) for number, spec in enumerate(self.specs.values(), 1)]

    def now(self) -> int:
        """The clock stands still."""
        return 1

    def announce(self, address: Address, interfaces: Sequence[str]) -> None:
        """Remembered in `announced`."""
        self.announced += [(address, interface) for interface in interfaces]

    def withdraw(self, address: Address, interfaces: Sequence[str]) -> None:
        """No longer in `announced`."""
        self.announced = [(a, i) for a, i in self.announced if a != address or i not in interfaces]

    def close(self) -> None:
        """Nothing to give back."""
