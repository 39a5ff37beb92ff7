"""What the network around the agent is like: next hops of backends, this host's addresses, the route generation."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

import tenacity

from l4lb_agent.control import retry
from l4lb_agent.control.pause import heard
from l4lb_agent.control.ports import Clock, Network
from l4lb_agent.model.address import Address
from l4lb_agent.model.observed import NextHop
from l4lb_agent.model.ways.vlan import Vlan

HOLD_SECONDS = 5.0  # a next hop that is lost is used on for so long: a neighbour that flickers must not move flows
POLL_FIRST, POLL_LONGEST = 0.02, 2.0  # seconds between look-ups of addresses that are not resolved
QUIET_SECONDS = 0.05  # changes of the network come in bursts; one look is enough for a burst
LOOKUPS = 16  # at a time

_log = logging.getLogger(__name__)


class Surroundings:
    """Looks when the network says that it has changed, and again and again for next hops that are missing. Calls `changed` when
    something is different from before."""

    def __init__(self, network: Network, clock: Clock, changed: Callable[[], None]) -> None:
        self.next_hops: dict[Address, NextHop] = {}
        self.local: frozenset[Address] = frozenset()
        self.vlans: frozenset[Vlan] = frozenset()
        self.route_generation = 0
        self.lookup_errors = 0
        self._network, self._clock, self._changed = network, clock, changed
        self._wanted: set[Address] = set()
        self._lost: dict[Address, float] = {}  # when a next hop in use was first not found, monotonic
        self._forget: set[Address] = set()
        self._wake = asyncio.Event()
        self._all = True  # everything is to be looked at
        self._changes: AsyncIterator[str] | None = None
        self._pause = POLL_FIRST

    def adopt(self, next_hops: Mapping[Address, NextHop]) -> None:
        """Takes over what adopted maps use already; it holds until a look-up says otherwise."""
        self.next_hops.update(next_hops)

    def want(self, addresses: Iterable[Address]) -> None:
        """Keeps exactly these resolved from now on."""
        wanted = set(addresses)
        if wanted == self._wanted:
            return
        new = wanted - self._wanted
        gone = (self._wanted | set(self.next_hops)) - wanted
        self._wanted = wanted
        for address in gone:
            self.next_hops.pop(address, None)
            self._lost.pop(address, None)
        if new:
            self._pause = POLL_FIRST
        self._forget = (self._forget | gone) - wanted
        self._wake.set()

    async def look(self, beat: Callable[[], None]) -> None:
        """Looks at everything once; `beat` is called after each next hop, of which there may be thousands. What changes meanwhile is seen
        by run(), which also looks when this look fails. Raises OSError."""
        changes = self._network.changes()
        await anext(changes)  # it listens
        self._changes = changes
        await self._look_around()
        await self._resolve(self._wanted, beat)
        self._all = False

    async def _look_around(self) -> None:
        self.local = await self._network.local_addresses()
        self.vlans = await self._network.vlans()
        self.route_generation = generation(await self._network.routing())

    async def run(self) -> None:
        """Follows the network until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._refresh())

    async def _follow(self) -> None:
        async for _ in self._changes or self._network.changes():
            self._all = True
            self._wake.set()

    async def _refresh(self) -> None:
        while True:
            missing = {address for address in self._wanted if address not in self.next_hops or address in self._lost}
            if not await heard(self._wake, self._pause if missing else None):
                self._pause = min(self._pause * 2, POLL_LONGEST)
            everything, self._all = self._all, False
            if everything:
                await asyncio.sleep(QUIET_SECONDS)
            await retry.until_done(retry.LOOKUP_PAUSE, asyncio.sleep, self._failed)(self._look_again, everything)

    def _failed(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.lookup_errors += 1
        _log.warning("event=network_lookup_failed attempt=%d error=%r", state.attempt_number, str(error))

    async def _look_again(self, everything: bool) -> None:
        before = (dict(self.next_hops), self.local, self.vlans, self.route_generation)
        try:
            while self._forget:
                await self._network.forget(self._forget.pop())
            if everything:
                await self._look_around()
            missing = {address for address in self._wanted if address not in self.next_hops or address in self._lost}
            await self._resolve(self._wanted if everything else missing)
        finally:  # a look that failed half way may have found something all the same
            if before != (self.next_hops, self.local, self.vlans, self.route_generation):
                self._changed()

    async def _resolve(self, addresses: Iterable[Address], beat: Callable[[], None] = lambda: None) -> None:
        left = iter(list(addresses))

        async def work() -> None:
            for address in left:
                self._found(address, await self._network.next_hop(address))
                beat()

        await asyncio.gather(*(work() for _ in range(LOOKUPS)))

    def _found(self, address: Address, hop: NextHop | None) -> None:
        if address not in self._wanted:
            return
        if hop is not None:
            self._lost.pop(address, None)
            if address not in self.next_hops:
                _log.info("event=next_hop_found address=%s interface=%s mac=%s", address, hop.interface, hop.destination_mac.hex(":"))
            self.next_hops[address] = hop
        elif address in self.next_hops:
            since = self._lost.setdefault(address, self._clock.monotonic())
            if self._clock.monotonic() - since >= HOLD_SECONDS:
                del self.next_hops[address], self._lost[address]
                _log.warning("event=next_hop_lost address=%s", address)


def generation(routing: bytes) -> int:
    """32-bit route generation, never 0: equal routing gives equal numbers, across restarts too, so an adoption writes nothing."""
    return int.from_bytes(hashlib.blake2b(routing, digest_size=4).digest(), "little") or 1
