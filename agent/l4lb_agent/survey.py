"""Everything that the doctor looks at, from every door: the control.ports.Examiner of a real host."""

import asyncio
import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from l4lb_agent.api import certificates
from l4lb_agent.config import Config
from l4lb_agent.dataplane import attach, device, pins, probe, program
from l4lb_agent.model.address import Address
from l4lb_agent.model.doctor.facts import Certificate, Device, Facts, Kernel, Pins, Program, Scope, Way
from l4lb_agent.system import devices, identity, limits
from l4lb_agent.system.netlink import Netlink
from l4lb_agent.system.network import KernelNetwork
from l4lb_agent.system.ways import Ways

T = TypeVar("T")
MOST_ASKED = 256  # addresses of one kind: to ask thousands takes longer than callers wait


class Survey:
    """Looks once for each call. `taken` says how many bytes of kernel memory our maps have already."""

    def __init__(self, settings: Config, pin_dir: Path, bpf_dir: Path, network: KernelNetwork, taken: Callable[[], int]) -> None:
        self._settings, self._pin_dir, self._bpf_dir, self._network, self._taken = settings, pin_dir, bpf_dir, network, taken

    async def facts(self, scope: Scope) -> Facts:
        """See control.ports.Examiner. What cannot be looked at is in `unseen`; never raises OSError."""
        unseen: list[tuple[str, str]] = []

        def tried(what: str, look: Callable[[], T], otherwise: T) -> T:
            try:
                return look()
            except OSError as error:
                unseen.append((what, error.strerror or str(error)))
                return otherwise

        def machine() -> Facts:
            clock = limits.clock()
            if clock.synchronised is None:
                unseen.append(("whether the clock is synchronised", "adjtimex(2) is refused to this process"))
            return Facts(
                kernel=tried("kernel features", lambda: self._kernel, Kernel(identity.kernel_release(), cpus=limits.cpus())),
                pins=tried("pin directory", self._pins, Pins(str(self._pin_dir))),
                memory=replace(limits.memory(), taken=tried("memory of the maps", self._taken, 0)),
                clock=clock,
                certificates=self._certificates(),
            )

        facts = await asyncio.to_thread(machine)
        netlink = Netlink()
        try:
            facts = await self._neighbourhood(scope, facts, netlink)
        except OSError as error:
            unseen.append(("network", error.strerror or str(error)))
        finally:
            netlink.close()
        programs = await asyncio.to_thread(tried, "XDP programs of other owners", lambda: self._programs(facts.devices), facts.devices)
        return replace(facts, devices=programs, unseen=(*facts.unseen, *unseen))

    @functools.cached_property
    def _kernel(self) -> Kernel:
        """Stays what it is while this process runs. Raises PermissionError without the capabilities to try."""
        compiler = program.can_compile(self._bpf_dir, self._settings.cache_dir)
        return Kernel(identity.kernel_release(), probe.lacks(), probe.is_compiled(), compiler, limits.cpus())

    def _pins(self) -> Pins:
        missing, mount = pins.lacking(self._pin_dir)
        return Pins(str(self._pin_dir), missing, mount)

    def _certificates(self) -> tuple[Certificate, ...]:
        door = self._settings.doors.tls
        if door is None or not door.cert.is_absolute():  # credentials of the unit are there only while it runs
            return ()
        return tuple(Certificate(*told) for told in certificates.dates(door))

    def _programs(self, found: Mapping[str, Device]) -> dict[str, Device]:
        ours = attach.running(self._pin_dir)
        return {name: _with_program(one, ours) for name, one in found.items()}

    async def _neighbourhood(self, scope: Scope, facts: Facts, netlink: Netlink) -> Facts:
        asking = Ways(netlink, self._network)
        found, macs = await devices.devices(netlink, scope.interfaces)
        local = await self._network.local_addresses()
        hops = {address: hop for address, hop in scope.next_hops.items() if hop.interface}  # adopted ones have no name yet
        known: dict[Address, Way | None] = {
            address: Way(hop.interface, hop.gateway, hop.mtu, "reachable", True, hop.trouble, source=hop.source)
            for address, hop in hops.items()
        }
        indices = {one.name: one.ifindex for one in found.values() if one.up}
        unknown, owned = sorted(scope.backends - set(known)), sorted(scope.owned - local)
        ways, claims = await asyncio.gather(asking.ways(unknown[:MOST_ASKED]), asking.claims(owned[:MOST_ASKED], indices))
        left = [("neighbours of backends", len(unknown)), ("other owners of VIPs", len(owned))]
        unseen = [(what, f"{MOST_ASKED} of {number} are asked at a time") for what, number in left if number > MOST_ASKED]
        facts = replace(facts, unseen=(*facts.unseen, *unseen))
        ways |= known
        return replace(facts, devices=found, macs=macs, local=local, default_ways=await asking.default_ways(), ways=ways, claims=claims)


def _with_program(one: Device, ours: set[int]) -> Device:
    seen = device.find(one.name)
    running = Program(seen.xdp_program, seen.xdp_mode, seen.xdp_program in ours) if seen.xdp_mode else None
    return replace(one, native=device.takes_native(one.ifindex), program=running)
