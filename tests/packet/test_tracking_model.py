"""The loaded program and the plain-Python reference agree on random packets in random states of a few crowded buckets."""

import random
import zlib

import hypothesis
import pytest
from hypothesis import strategies as st

from l4lb_agent.model import hashing, layout
from l4lb_agent.model.reasons import Reason
from tests.packet import direct
from tests.packet.balancer import SLOT_SECRET, Balancer, address
from tests.packet.conftest import Make
from tests.packet.reference import Segment, Server, Table
from tests.packet.wire import V4, VIP_PORT, quick_ipv4

pytestmark = pytest.mark.timeout(600)  # in an emulated machine

STEPS = 600
PORTS = range(5000, 5024)
BACKENDS = range(1, 7)
UDP_TOO = 6  # number of a backend's twin in the UDP service
CLIENT = V4.client
ENDS = (address(CLIENT)[12:], address(V4.vip)[12:])
FLAGS = ("S", "S", "A", "A", "PA", "FA", "R", "RA", "SA", "FAU")


def mac(number: int) -> bytes:
    """The MAC of a backend, which tells where a packet went."""
    return bytes([2, 0, 0, 0, 1, number])


def hash_of(port: int, protocol: int = 6) -> int:
    """The 64-bit hash of a client's port."""
    return hashing.tuple_hash(address(CLIENT), address(V4.vip), port, VIP_PORT, protocol, SLOT_SECRET)


def slot_of(port: int, protocol: int = 6) -> int:
    """The slot of a client's port."""
    return (hash_of(port, protocol) >> 32) * 1021 >> 32


def of_service(backend: int, base: int) -> int:
    """The same backend of the service whose backends begin after `base`."""
    return backend and base + backend


class Duel:
    """Program and reference, led through the same events."""

    def __init__(self, lb: Balancer, track_all: bool, buckets: int) -> None:
        self.ports = PORTS if buckets == 2 else PORTS[:12]
        self.lb, self.flags = lb, layout.SERVICE_TRACK_ALL if track_all else 0
        self.table = Table(buckets=buckets, idle=300, track_all=track_all)
        self.now = [random.choice(BACKENDS) for _ in range(1021)]
        self.before = list(self.now)
        lb.configure(flow_mask=buckets - 1, second_multiplier=0)  # time stands still but for `wait`
        for service, base in ((1, 0), (2, UDP_TOO)):
            for number in (base + each for each in BACKENDS):
                lb.backend(number, f"203.0.113.{number}", VIP_PORT, destination=mac(number), service=service)
                self.table.servers[number] = Server()
        self.publish()

    def publish(self) -> None:
        """Write both rings; every slot is at risk."""
        for service, protocol, base in ((1, 6, 0), (2, 17, UDP_TOO)):
            now, before = 2 * service - 1, 2 * service
            self.lb.ring(now, [of_service(backend, base) | layout.SLOT_AT_RISK for backend in self.now])
            self.lb.ring(before, [of_service(backend, base) for backend in self.before])
            self.lb.service(
                service, V4.vip, VIP_PORT, protocol, now=now, before=before, mode=layout.MODE_DSR, flags=self.flags, idle=self.table.idle
            )  # fmt: skip

    def change(self) -> None:
        """Some slots of the ports change, some settle."""
        for port in self.ports:
            slot = slot_of(port)
            if random.random() < 0.4:
                self.now[slot] = random.choice([*BACKENDS, 0])
            if random.random() < 0.3:
                self.before[slot] = self.now[slot]
        self.publish()

    def server(self) -> None:
        """A backend becomes another."""
        number = random.choice(BACKENDS) + random.choice([0, 0, UDP_TOO])
        server = self.table.servers[number] = Server(*random.choice([(True, True), (True, True), (True, False), (False, False)]))
        server.resets = not server.keeps and random.random() < 0.5
        flags = layout.BACKEND_KEEP * server.keeps | layout.BACKEND_ELIGIBLE * server.eligible | layout.BACKEND_RESET * server.resets
        self.lb.set_backend(number, flags=flags)

    def wait(self) -> None:
        """Time passes."""
        seconds = random.choice([1, 3, 6, 11, 59, 61, 299, 301])
        self.table.time += seconds
        self.lb.age_tracked(seconds)

    def packet(self) -> None:
        """One packet, here and there."""
        port, tcp = random.choice(self.ports), random.random() < 0.9
        flags, payload = random.choice(FLAGS), random.choice([b"", b"", b"data", bytes(1000)])
        sequence = random.choice([self._near(port), self._near(port), random.getrandbits(32)])
        length = len(payload) + ("S" in flags) + ("F" in flags)
        protocol = 6 if tcp else 17
        slot, base = slot_of(port, protocol), 0 if tcp else UDP_TOO
        now, before = of_service(self.now[slot], base), of_service(self.before[slot], base)
        segment = Segment(hash_of(port, protocol), flags, sequence, length, tcp)
        expected = self.table.backend(segment, now, before) if tcp or self.table.track_all else now
        result = self.lb.send(quick_ipv4(protocol, *ENDS, (port, VIP_PORT), payload, flags=flags, seq=sequence))
        assert self._went(result.reason, result.data) == self._meant(expected, segment), segment
        assert self.lb.tracking(1 if tcp else 2)[2] <= self.table.evicted

    def _near(self, port: int) -> int:
        """A sequence number near one that some way of the port expects, or at it."""
        ways = [e.sequence for e in self.table.entries.values() if e.tag == Segment(hash_of(port)).hash_tag]
        offset = random.choice([0, 0, 0, -1, 1, -1000, 1000, 3 << 20, 5 << 20, -(3 << 20), -(5 << 20)])
        return (random.choice(ways or [0]) + offset) % (1 << 32)

    def _meant(self, backend: int, segment: Segment) -> int | str:
        server = self.table.servers.get(backend)
        if server is None or not server.known or (not server.keeps and segment.opens) or (not server.keeps and not segment.tcp):
            return "nowhere"
        if server.keeps:
            return backend
        return "nowhere" if "R" in segment.flags else "reset"

    @staticmethod
    def _went(reason: Reason, data: bytes) -> int | str:
        if reason in (Reason.DRAIN_RESET, Reason.RST_LIMITED):
            return "reset"
        return data[5] if reason in (Reason.TO_BACKEND, Reason.FLOW_CREATED) else "nowhere"

    def same_table(self) -> None:
        """Every entry is the same, but for the ages of those that are over."""
        there = {}
        for bucket, content in self.lb.buckets().items():
            for place, entry in enumerate(content.entry):
                if entry.word:
                    there[bucket, place] = (entry.word >> 16, entry.word & 0xFFFF, entry.sequence, entry.state, entry.rank)
        meant = {key: (e.tag, e.backend, e.sequence, e.state, e.rank) for key, e in self.table.entries.items()}
        assert there == meant
        traffic = [self.lb.tracking(service) for service in (1, 2)]
        assert tuple(map(sum, zip(*traffic))) == (self.table.reads, self.table.made, self.table.evicted)


@pytest.mark.parametrize("track_all", [False, True], ids=["CHANGES", "ALL"])
def test_program_and_reference_agree(make: Make, track_all: bool) -> None:
    seen: list[int] = []

    @hypothesis.settings(max_examples=6, deadline=None, derandomize=True, database=None, phases=[hypothesis.Phase.generate])
    @hypothesis.given(st.integers(0, 1 << 32))
    def duel(seed: int) -> None:
        random.seed(zlib.crc32(seed.to_bytes(8, "little")))
        one = Duel(direct.furnish(make, layout.MODE_DSR), track_all, buckets=(2, 8)[len(seen) % 2])
        for step in range(STEPS):
            random.choices((one.packet, one.change, one.server, one.wait), (40, 1, 1, 1))[0]()
            if step % 25 == 0:
                one.same_table()
        seen.append(one.table.evicted)

    duel()
    assert len(seen) == 6
    assert sum(seen) > 5, "there was pressure"
