"""What a client sees of changes: honest flows among forged packets, on the real program, led by the agent's own rings and windows.

Random changes (add, re-weight, drain, undrain, death, flap, removal, restart of the agent, several inside a window) and random packets.
Held at every step: no established flow that speaks often enough moves, unless its backend is gone; new flows obey the newest ring from
their first SYN; a draining backend gets no new flow. Held at the end: everything settles, and then no table is read.
"""

import random
from array import array
from dataclasses import dataclass, field

import hypothesis
import pytest
from hypothesis import strategies as st

from l4lb_agent.model import hashing, layout, ring
from l4lb_agent.model.windows import settle
from tests.packet import direct
from tests.packet.balancer import SLOT_SECRET, Balancer, address
from tests.packet.conftest import Make
from tests.packet.wire import V4, VIP_PORT, quick_ipv4

pytestmark = pytest.mark.timeout(600)  # in an emulated machine

STEPS, EXAMPLES = 250, 8
WINDOW, IDLE, GRACE = 60, 40, 10
SIZE = 1021
ENDS = (address(V4.client)[12:], address(V4.vip)[12:])
SECRET = bytes(range(16))
OFFERED = {"A": 1, "B": 2, "C": 3, "D": 4, "E": 5}


@dataclass
class Server:
    """A backend as asked for."""

    weight: int = 0
    draining: bool = False
    alive: bool = True
    known: bool = False

    @property
    def eligible(self) -> bool:
        """Whether new flows may come."""
        return self.known and self.alive and not self.draining and self.weight > 0


@dataclass
class Client:
    """An honest flow."""

    port: int
    sequence: int
    backend: int
    spoke: float
    opened: float = 0.0


@dataclass
class World:
    """Agent, program and clients on one clock."""

    lb: Balancer
    chance: random.Random
    time: float = 1000.0
    servers: dict[int, Server] = field(default_factory=lambda: {number: Server() for number in OFFERED.values()})
    down: dict[int, float] = field(default_factory=dict)
    clients: dict[int, Client] = field(default_factory=dict)
    moved: int = 0
    broken: int = 0
    elements: int = 2  # the ring map's elements in use: this one and the one before it

    def __post_init__(self) -> None:
        self.lb.configure(second_multiplier=0)
        for number in (1, 2, 3):
            self.servers[number] = Server(weight=1, known=True)
        self.pair = settle.first(self.wanted())
        self.write_servers()
        self.publish()

    # --- the agent

    def wanted(self) -> "array[int]":
        """The ring that the servers ask for."""
        weights = {name: self.servers[number].weight for name, number in OFFERED.items() if self.servers[number].eligible}
        made = ring.build(SIZE, weights, SECRET)
        return made.with_ids(OFFERED) if made.owners else settle.nobody(SIZE)

    def rules(self) -> settle.Rules:
        """What the rings' owners are."""
        keeps = {number for number, server in self.servers.items() if server.known}
        draining = frozenset(number for number, server in self.servers.items() if server.draining)
        return settle.Rules(WINDOW, keeps, draining, dict(self.down))

    def reconcile(self) -> None:
        """One pass of the agent."""
        self.down = {number: end for number, end in self.down.items() if not self.servers[number].alive}
        pair = settle.advance(self.pair, self.wanted(), self.time, self.rules())
        self.write_servers()
        if pair is not self.pair:
            self.pair = pair
            self.publish()

    def publish(self) -> None:
        """Rings, then the one word."""
        self.elements = 6 - self.elements
        now, before = self.elements - 1, self.elements
        self.lb.write("rings_1021", now, self.pair.now_element or bytes(2 * layout.ring_slots(SIZE)))
        self.lb.write("rings_1021", before, self.pair.before_element or bytes(2 * layout.ring_slots(SIZE)))
        self.lb.service(1, V4.vip, VIP_PORT, 6, now=now, before=before, mode=layout.MODE_DSR, idle=IDLE)
        self.pair = settle.published(self.pair, self.time)

    def write_servers(self) -> None:
        """Elements of backends; one that is down is not KEPT once its grace is over."""
        for number, server in self.servers.items():
            keeps = server.known and self.down.get(number, self.time + 1) > self.time
            flags = layout.BACKEND_KEEP * keeps | layout.BACKEND_ELIGIBLE * server.eligible
            mac = bytes([2, 0, 0, 0, 1, number])
            self.lb.backend(number, f"203.0.113.{number}", VIP_PORT, destination=mac, service=1, flags=flags)

    def sweep(self) -> None:
        """As the agent's sweeper sees the table."""
        pinned = set()
        for bucket in self.lb.buckets().values():
            for entry in bucket.entry:
                slot = (entry.word >> 32) * SIZE >> 32
                dead = not entry.word or (-entry.stamp) % 65536 > self.life(entry.state)
                keeps = self.lb.read("backends", entry.word & 0xFFFF)[18] & layout.BACKEND_KEEP
                if not dead and keeps and entry.word & 0xFFFF != self.pair.now[slot]:
                    pinned.add(slot)
        pair = settle.swept(self.pair, self.time, pinned, 0.05)
        if pair is not self.pair:
            self.pair = pair
            self.publish()

    @staticmethod
    def life(state: int) -> int:
        """Seconds that an entry lives."""
        return {layout.TRACKED_SYN: 10, layout.TRACKED_FIN: min(60, IDLE), layout.TRACKED_RST: 5}.get(state, IDLE)

    def wait(self) -> None:
        """Time passes; clients that could be silent for too long speak."""
        seconds = self.chance.choice([1, 2, 5, 9, 17])
        self.time += seconds
        self.lb.age_tracked(seconds)
        for client in list(self.clients.values()):
            if self.time - client.spoke > IDLE - 20:
                self.speak(client)
        self.reconcile()
        self.sweep()

    def change(self) -> None:
        """The operator, or fate."""
        number = self.chance.choice(list(self.servers))
        server = self.servers[number]
        what = self.chance.choice(["add", "weight", "drain", "undrain", "die", "revive", "remove", "flap", "restart"])
        if what == "add" and not server.known:
            self.servers[number] = Server(weight=self.chance.choice([1, 3]), known=True)
        elif what == "weight":
            server.weight = self.chance.choice([0, 1, 2, 10])
        elif what in ("drain", "undrain"):
            server.draining = what == "drain" and server.known
        elif what == "die" and server.alive:
            self.die(number)
        elif what == "revive":
            server.alive = True
        elif what == "remove" and server.known:
            self.servers[number] = Server()
            self.cut(number)
        elif what == "flap" and server.alive:
            self.die(number)
            self.reconcile()
            server.alive = True
        elif what == "restart":
            self.restart()
        self.reconcile()

    def die(self, number: int) -> None:
        """A backend is unreachable; its flows may live if it comes back in time."""
        self.servers[number].alive = False
        self.down[number] = self.time + GRACE

    def restart(self) -> None:
        """The agent reads the rings from their maps."""
        self.pair = settle.adopted(self.pair.now_element, self.pair.before_element, SIZE, self.time)

    # --- clients

    def packet(self, port: int, flags: str, sequence: int, payload: bytes = b"") -> int:
        """The backend that a packet goes to, 0 for none."""
        verdict, data = self.lb.run(quick_ipv4(6, *ENDS, (port, VIP_PORT), payload, flags=flags, seq=sequence))
        return data[5] if verdict == 3 and data[4] == 1 else 0

    def open(self) -> None:
        """A new flow, sometimes of a tuple that was used before; SYN and ACK."""
        port = self.chance.randrange(2000, 2400)
        old = self.clients.pop(port, None)
        sequence = self.chance.getrandbits(32) if old is None else (old.sequence + (64 << 20)) % (1 << 32)
        wanted = self.pair.now[self.slot(port)]
        backend = self.packet(port, "S", sequence)
        assert backend == wanted, "a new flow obeys the newest ring"
        if not backend:
            return
        assert not self.servers[backend].draining
        if self.chance.random() < 0.2:
            assert self.packet(port, "S", sequence) == backend, "a retransmission follows"
        assert self.packet(port, "A", (sequence + 1) % (1 << 32)) == backend
        self.clients[port] = Client(port, (sequence + 1) % (1 << 32), backend, self.time, self.time)

    def speak(self, client: Client) -> None:
        """A packet of a flow that is there; whoever lost his backend gives up."""
        payload = bytes(self.chance.choice([0, 1, 1400]))
        backend = self.packet(client.port, "A", client.sequence, payload)
        if client.backend in self.gone():
            del self.clients[client.port]
            self.broken += 1
            return
        assert backend == client.backend, f"{client} moved to {backend} at {self.time}"
        client.sequence = (client.sequence + len(payload)) % (1 << 32)
        client.spoke = self.time

    def gone(self) -> set[int]:
        """Backends whose flows nobody promises to keep: removed, or down when their grace had ended."""
        return {number for number, server in self.servers.items() if not server.known or self.down.get(number, self.time + 1) <= self.time}

    def cut(self, number: int) -> None:
        """Flows of a removed backend are over, whatever takes its number later."""
        self.clients = {port: client for port, client in self.clients.items() if client.backend != number}

    def talk(self) -> None:
        """Somebody says something."""
        if self.clients:
            self.speak(self.chance.choice(list(self.clients.values())))

    def close(self) -> None:
        """A flow ends, from here."""
        if self.clients:
            client = self.clients.pop(self.chance.choice(list(self.clients)))
            self.packet(client.port, self.chance.choice(["FA", "RA"]), client.sequence)

    def forge(self) -> None:
        """One forged packet, or two, of some flow's tuple, with numbers that nobody knows."""
        port = self.chance.choice(list(self.clients) or [2000])
        client = self.clients.get(port)
        sequence = ((client.sequence if client else 0) + self.chance.randrange(8 << 20, (1 << 32) - (8 << 20))) % (1 << 32)
        kind = self.chance.choice(["S", "A", "SA", "R", "F", "pair"])
        for flags in ["S", "A"] if kind == "pair" else [kind]:
            self.packet(port, flags, (sequence + (flags == "A")) % (1 << 32))

    @staticmethod
    def slot(port: int) -> int:
        """The slot of a client's port."""
        return hashing.slot_hash(address(V4.client), address(V4.vip), port, VIP_PORT, 6, SLOT_SECRET) * SIZE >> 32


def test_nobody_is_moved_whom_the_rules_keep_and_everything_settles(make: Make) -> None:
    broken, spoken = [], []

    @hypothesis.settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[hypothesis.Phase.generate])
    @hypothesis.given(st.randoms(use_true_random=False, note_method_calls=False))
    def life(chance: random.Random) -> None:
        world = World(direct.furnish(make, layout.MODE_DSR), random.Random(chance.getrandbits(64)))
        steps = (world.open, world.talk, world.close, world.forge, world.wait, world.change)
        for _ in range(STEPS):
            world.chance.choices(steps, (30, 60, 8, 4, 6, 5))[0]()
        spoken.append(len(world.clients))
        finish(world)
        broken.append(world.broken)

    life()
    assert len(spoken) == EXAMPLES
    assert sum(spoken) > 10 * EXAMPLES


def finish(world: World) -> None:
    """All drains end, all clients leave, time passes: nothing differs, nothing is at risk, no table is read."""
    for server in world.servers.values():
        server.draining, server.alive = False, True
    world.servers[1] = Server(weight=1, known=True)
    world.reconcile()
    world.clients.clear()
    for _ in range(2 * WINDOW // 5 + 6):
        world.time += 10
        world.lb.age_tracked(10)
        world.reconcile()
        world.sweep()
    assert (world.pair.differing, world.pair.at_risk) == (0, 0)
    reads = world.lb.tracking(1)[0]
    for port in range(2000, 2400):
        for flags in ("S", "A", "FA"):
            assert world.packet(port, flags, 77) == world.pair.now[world.slot(port)]
    assert world.lb.tracking(1)[0] == reads
