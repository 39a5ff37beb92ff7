"""Whether the host lets the configured interfaces forward: without that the kernel tells the datapath no way back to clients."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from l4lb_agent.control.ports import Network
from l4lb_agent.model.config import DatapathConfig
from l4lb_agent.model.doctor import ways

LOOK_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Forwarding:
    """Looks again and again, since no message tells of it; calls `changed` when something is missing that was not, or not any more."""

    def __init__(self, network: Network, interfaces: Sequence[str], config: DatapathConfig, changed: Callable[[], None]) -> None:
        self.missing: list[str] = []
        self._network, self._interfaces, self._changed = network, interfaces, changed
        self._families = [family for family in (4, 6) if config.snat_of(family)]

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            try:
                await self.look()
            except OSError as error:
                _log.warning("event=forwarding_lookup_failed error=%r", str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Looks once. Raises OSError."""
        missing = []
        for interface in self._interfaces:
            forwards = await self._network.forwarding(interface)
            if forwards is None:
                continue  # it is not there, which the monitor tells
            if words := ways.forwarding_missing(interface, forwards, self._families):
                missing.append(words)
        if missing != self.missing:
            self.missing = missing
            for reason in missing:
                _log.warning("event=degraded reason=%r", reason)
            self._changed()
