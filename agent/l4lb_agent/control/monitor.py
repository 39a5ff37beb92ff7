"""Keeps the program on every configured interface, and the VIPs announced there, and in the VLANs that it carries."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import tenacity

from l4lb_agent.control import retry
from l4lb_agent.control.pause import heard
from l4lb_agent.control.ports import Datapath
from l4lb_agent.model.address import Address
from l4lb_agent.model.observed import InterfaceState
from l4lb_agent.model.ways.vlan import Vlan, on

MOST_IN_VLANS = 4096  # announcements for an interface, of each address in each VLAN, at a millisecond each; beyond, none are made there
LOOK_SECONDS = 5.0  # between looks at an interface of which nothing was heard

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Interface:
    """One [[interface]] of agent.toml. `mode` is auto, native or generic."""

    name: str
    mode: str = "auto"


class Monitor:
    """One loop for each interface. `owned` gives the addresses to announce, `vlans` the VLAN devices; `changed` is called when an
    interface's state changes."""

    def __init__(
        self,
        datapath: Datapath,
        interfaces: tuple[Interface, ...],
        owned: Callable[[], frozenset[Address]],
        vlans: Callable[[], frozenset[Vlan]],
        changed: Callable[[], None],
    ) -> None:
        self.states = {one.name: InterfaceState(one.name, reason=f"interface {one.name}: not attached yet") for one in interfaces}
        self.retries = 0
        self._datapath, self._interfaces, self._owned, self._vlans, self._changed = datapath, interfaces, owned, vlans, changed
        self._wakes = {one.name: asyncio.Event() for one in interfaces}
        self._announced: dict[str, dict[tuple[str, int], frozenset[Address]]] = {}  # by interface, and name and number of the device

    @property
    def missing(self) -> list[str]:
        """Why each interface without the program has none, in words."""
        return [state.reason for state in self.states.values() if not state.mode]

    def wake(self) -> None:
        """Something may have changed: links, or the addresses to announce."""
        for event in self._wakes.values():
            event.set()

    async def run(self) -> None:
        """Keeps everything attached until cancelled."""
        async with asyncio.TaskGroup() as group:
            for interface in self._interfaces:
                group.create_task(self._keep(interface))

    async def _keep(self, interface: Interface) -> None:
        wake = self._wakes[interface.name]

        async def nap(seconds: float) -> None:
            await heard(wake, seconds)
            await asyncio.sleep(min(seconds, retry.ATTACH_PAUSE[0]))

        def failed(state: tenacity.RetryCallState) -> None:
            self._failed(interface, state)

        while True:
            await retry.until_done(retry.ATTACH_PAUSE, nap, failed)(self._attach, interface)
            await heard(wake, LOOK_SECONDS)

    async def _attach(self, interface: Interface) -> None:
        """Attaches, or finds that nothing has changed. Raises OSError."""
        before = self.states[interface.name]
        state = await asyncio.to_thread(self._datapath.attach, interface.name, interface.mode)
        if (state.link_id, state.ifindex) != (before.link_id, before.ifindex):
            self._announced.pop(interface.name, None)
            _log.info("event=attached interface=%s mode=%s program_id=%d reason=%r", state.name, state.mode, state.program_id, state.reason)
        if before.mode and state.mode != before.mode:
            _log.warning("event=mode_changed interface=%s before=%s mode=%s reason=%r", state.name, before.mode, state.mode, state.reason)
        await self._announce(interface.name, state.ifindex)
        self._set(state)

    async def _announce(self, interface: str, ifindex: int) -> None:
        owned, announced = self._owned(), self._announced.setdefault(interface, {})
        carried = [one for one in on(ifindex, self._vlans()) if one.up]
        if len(carried) * len(owned) > MOST_IN_VLANS:
            carried = []
        devices = [(interface, ifindex), *((one.name, one.device) for one in carried)]
        for gone in announced.keys() - set(devices):
            del announced[gone]
        for device in devices:
            announced[device] = await self._tell(device[0], owned, announced.get(device, frozenset()))

    async def _tell(self, device: str, owned: frozenset[Address], announced: frozenset[Address]) -> frozenset[Address]:
        """What is announced on a device now."""
        for address in sorted(owned - announced):
            try:
                await asyncio.to_thread(self._datapath.announce, address, [device])
            except OSError as error:
                _log.warning("event=announce_failed address=%s interface=%s error=%r", address, device, str(error))
                owned -= {address}
        for address in sorted(announced - owned):
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._datapath.withdraw, address, [device])
        return owned

    def _failed(self, interface: Interface, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.retries += 1
        reason = str(getattr(error, "strerror", None) or error)
        before = self.states[interface.name]
        if before.mode or before.reason != reason:
            _log.warning("event=attach_failed interface=%s error=%r", interface.name, reason)
        now = self._datapath.interface_state(interface.name)
        self._set(replace(now, mode="", reason=reason))

    def _set(self, state: InterfaceState) -> None:
        if self.states[state.name] != state:
            self.states[state.name] = state
            self._changed()
