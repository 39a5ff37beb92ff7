"""Network, clock and journal without a kernel, a wall or a disk."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from l4lb_agent.model.address import Address
from l4lb_agent.model.doctor.facts import Facts, Scope
from l4lb_agent.model.health.check import HealthCheck, Target
from l4lb_agent.model.health.outcome import Outcome, Why
from l4lb_agent.model.health.passing import Place
from l4lb_agent.model.observed import NextHop
from l4lb_agent.model.ways.vlan import Vlan
from tests.fakes.values import address, hop

SOURCES = {4: address("10.0.0.250"), 6: address("2001:db8::250")}  # that the kernel would use


class FakeNetwork:
    """control.ports.Network: every address is on the link unless it is in `missing`."""

    def __init__(self) -> None:
        self.missing: set[Address] = set()
        self.moved: dict[Address, NextHop] = {}
        self.kept: set[Address] = set()
        self.local: frozenset[Address] = frozenset()
        self.vlans_here: frozenset[Vlan] = frozenset()
        self.routes = b"routes"
        self.forwards: dict[str, frozenset[int]] = {}  # by interface; others forward both families
        self.refuse = 0  # this many look-ups fail with ENOBUFS
        self.lookups = 0
        self._events: asyncio.Queue[str] = asyncio.Queue()

    async def next_hop(self, address: Address) -> NextHop | None:
        """A MAC made of the address's last byte."""
        self.lookups += 1
        if self.refuse:
            self.refuse -= 1
            raise OSError(105, "refused by the test")
        self.kept.add(address)
        return None if address in self.missing else self.moved.get(address) or hop(address.packed[15], SOURCES[address.family])

    async def vlans(self) -> frozenset[Vlan]:
        """`vlans_here`."""
        return self.vlans_here

    async def forget(self, address: Address) -> None:
        """No longer in `kept`."""
        self.kept.discard(address)

    async def local_addresses(self) -> frozenset[Address]:
        """`local`."""
        return self.local

    async def interfaces(self) -> dict[str, int]:
        """One."""
        return {"eth0": 2}

    async def routing(self) -> bytes:
        """`routes`."""
        return self.routes

    async def forwarding(self, interface: str) -> frozenset[int] | None:
        """As `forwards` says."""
        return self.forwards.get(interface, frozenset({4, 6}))

    async def changes(self) -> AsyncIterator[str]:
        """What happen() says."""
        yield "anything"
        while True:
            yield await self._events.get()

    def happen(self, kind: str) -> None:
        """Tells of a change."""
        self._events.put_nowait(kind)


class FakeExaminer:
    """control.ports.Examiner: sees `seen`, whatever it is asked to look at; `scopes` are those that it was asked for."""

    def __init__(self) -> None:
        self.seen = Facts()
        self.scopes: list[Scope] = []

    async def facts(self, scope: Scope) -> Facts:
        """`seen`."""
        self.scopes.append(scope)
        return self.seen


class FakeProber:
    """control.ports.Prober: every target is well unless `outcomes` has another one for its address. Probes wait while `hold` is clear."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.probed: list[tuple[HealthCheck, Target]] = []
        self.places: list[Place | None] = []  # where the datapath had the backends of probed VIPs, probe by probe
        self.hold = asyncio.Event()
        self.hold.set()

    async def probe(self, check: HealthCheck, target: Target, place: Callable[[], Place | None]) -> Outcome:
        """At once."""
        self.probed.append((check, target))
        self.places.append(place())
        await self.hold.wait()
        return self.outcomes.get(str(target.address), Outcome(Why.OK, 0.001))

    def fail(self, *addresses: str, why: Why = Why.REFUSED) -> None:
        """From now on these, and only these, fail."""
        self.outcomes = {address: Outcome(why, 0.001, "refused by the test") for address in addresses}

    def probes_of(self, address: str) -> int:
        """How often it was probed."""
        return sum(str(target.address) == address for _, target in self.probed)


class FakeClock:
    """control.ports.Clock: goes on by itself, and jumps when told to."""

    def __init__(self) -> None:
        self.wall = 1_000_000.0  # added to the monotonic clock
        self.ahead = 0.0

    def monotonic(self) -> float:
        """That of event loops, and what the test has added."""
        return time.monotonic() + self.ahead

    def time(self) -> float:
        """Unix seconds."""
        return self.monotonic() + self.wall

    def worked(self) -> float:
        """CPU seconds of the calling thread."""
        return time.thread_time()


class FakeAuditFile:
    """control.ports.AuditFile in memory. `appends` counts calls; `refuse` is raised when it is set."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.appends = 0
        self.refuse: OSError | None = None

    def append(self, lines: Sequence[bytes]) -> None:
        """All of them, or none."""
        if self.refuse:
            raise self.refuse
        self.appends += 1
        self.lines += lines

    def entries(self) -> list[dict[str, Any]]:
        """What the lines say."""
        return [json.loads(line) for line in self.lines]


class FakeJournal:
    """control.ports.JournalFile: records survive in `records` as JSON text."""

    def __init__(self, records: list[str] | None = None) -> None:
        self.records = records if records is not None else []
        self.appends = 0
        self.damage = ""
        self.refuse: OSError | None = None

    def load(self) -> list[dict[str, object]]:
        """Everything since the last snapshot."""
        return [json.loads(record) for record in self.records]

    def append(self, records: Sequence[dict[str, object]]) -> int:
        """All of them, or none."""
        if self.refuse:
            raise self.refuse
        self.appends += 1
        self.records += [json.dumps(record) for record in records]
        return sum(map(len, self.records[-len(records) :]))

    def snapshot(self, record: dict[str, object]) -> int:
        """Instead of everything before."""
        if self.refuse:
            raise self.refuse
        self.records[:] = [json.dumps(record)]
        return len(self.records[0])
