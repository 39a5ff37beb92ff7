"""One agent at a time over the fakes, with counters that a test sets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from l4lb_agent.control import start
from l4lb_agent.control.agent import Agent, Host
from l4lb_agent.control.monitor import Interface
from l4lb_agent.control.ports import Doors
from l4lb_agent.model.observed import Counters, TrafficCount
from tests.fakes.datapath import FakeDatapath
from tests.fakes.values import SECRETS, config
from tests.fakes.world import FakeClock, FakeExaminer, FakeJournal, FakeNetwork, FakeProber


class Counting(FakeDatapath):
    """With counters that the test sets; `unreadable` makes the kernel refuse them."""

    traffic: Counters = Counters({}, {}, {}, 0.0)
    unreadable = False

    def counters(self) -> Counters:
        """As set."""
        self.counter_reads += 1
        if self.unreadable:
            raise OSError(5, "refused by the test")
        return self.traffic


@dataclass
class Node:
    """One agent at a time over the same kernel and disk."""

    network: FakeNetwork = field(default_factory=FakeNetwork)
    prober: FakeProber = field(default_factory=FakeProber)
    journal: FakeJournal = field(default_factory=FakeJournal)
    datapath: Counting = field(default_factory=lambda: Counting(config().sizes))
    interfaces: tuple[Interface, ...] = (Interface("eth0"), Interface('odd"\\name'))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Agent]:
        """The agent once the kernel is as asked; killed at the end like a process is."""
        doors = Doors(self.datapath, self.network, FakeClock(), self.journal, FakeExaminer(), self.prober)
        host = Host("boot", "6.1.0", self.interfaces, config())
        agent = Agent(doors, host, start.begin(self.datapath, self.journal, SECRETS), lambda: None)
        task = asyncio.create_task(agent.run())
        try:
            await until(lambda: agent.agent().applied_revision or self.datapath.sweeps)
            yield agent
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def restarted(self) -> None:
        """The next agent finds the pins of the last one, with their counters."""
        before = self.datapath
        self.datapath = Counting(config().sizes, before.maps_in_kernel)
        self.datapath.traffic, self.datapath.live = before.traffic, before.live

    def count(self, packets: int) -> None:
        """So many packets for the first service and each of its two backends."""
        traffic = TrafficCount(packets, 100 * packets, 3, 300, 4, 5, 6, 7)
        reasons = {(11, 3): (packets, 100 * packets), (36, 1): (9, 900), (99, 6): (1, 60)}
        self.datapath.traffic = Counters({1: traffic}, {1: traffic, 2: traffic}, reasons, 1_000_000.0)


async def until(condition: Callable[[], object]) -> None:
    """Waits for something that happens by itself."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)
