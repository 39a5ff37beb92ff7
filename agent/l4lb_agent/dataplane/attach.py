"""Pinned bpf_links: one an interface, adopted by the next agent, recreated when its device was replaced.

A link lives while it is pinned or open: the agent keeps its own open, so that a pin removed under it costs nothing and is made again.
"""

import errno
import os
from pathlib import Path

from l4lb_agent.dataplane import device, pins, syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.generation import Generation
from l4lb_agent.dataplane.generations import Generations
from l4lb_agent.model.observed import InterfaceState

MODES = {"native": syscall.XDP_FLAGS_NATIVE, "generic": syscall.XDP_FLAGS_GENERIC}
_NOT_THE_MODE = (errno.EBUSY, errno.EEXIST, errno.ENODEV, errno.EPERM, errno.EACCES)  # the other mode would fail as well


class Links:
    """The folder PIN_DIR/links."""

    def __init__(self, pin_dir: Path, generations: Generations) -> None:
        self._folder = pin_dir / "links"
        self._folder.mkdir(mode=0o750, exist_ok=True)
        self._generations = generations
        self._reasons: dict[str, str] = {}
        self._held: dict[str, Fd] = {}

    def attach(self, interface: str, mode: str, generation: Generation) -> InterfaceState:
        """Make `generation` run on `interface` in `mode` (auto, native, generic) without a packet between two programs.

        Raises OSError: ENODEV without such an interface, EBUSY when a program of somebody else is there, EEXIST when ours runs in the
        other mode, what the driver said when it takes no XDP in this mode."""
        found = device.find(interface)
        self._folder.mkdir(mode=0o750, exist_ok=True)
        link = pins.open_pin(self._path(interface))
        if link is None and interface in self._held:
            link = Fd(os.dup(self._held[interface].fileno()))
        if link is None or not self._adopt(link, found, mode, generation):
            link, self._reasons[interface] = self._create(found, mode, generation.program)
            pins.publish(self._path(interface), link)
        elif not self._path(interface).exists():
            pins.publish(self._path(interface), link)
        self._hold(interface, link)
        return self.state(interface)

    def _hold(self, interface: str, link: Fd) -> None:
        before, self._held[interface] = self._held.get(interface), link
        if before is not None:
            before.close()

    def _adopt(self, link: Fd, found: device.Device, mode: str, generation: Generation) -> bool:
        info = syscall.link_info(link.fileno())
        if info.ifindex != found.ifindex or info.program_id != found.xdp_program:
            return False  # the device went away, or another one, of another namespace too, has its name now
        if mode in MODES and found.xdp_mode != mode:
            message = f"interface {found.name} runs in {found.xdp_mode} mode, {mode} is configured"
            raise OSError(errno.EEXIST, f"{message}: changing it interrupts traffic, run `l4lb-agent detach` first")
        if info.program_id != syscall.prog_info(generation.program.fileno()).id:
            before = self._generations.program(info.program_id)
            syscall.link_update(link.fileno(), generation.program.fileno(), before.fileno() if before else None)
        self._reasons.setdefault(found.name, "adopted as it was")
        return True

    def _create(self, found: device.Device, mode: str, program: Fd) -> tuple[Fd, str]:
        refused = ""
        for name in [mode] if mode in MODES else list(MODES):
            try:
                link = Fd(syscall.link_create(program.fileno(), found.ifindex, MODES[name]))
            except OSError as error:
                if error.errno in (errno.EBUSY, errno.EEXIST):
                    raise _occupied(found) from None
                if mode in MODES or name == "generic" or error.errno in _NOT_THE_MODE:
                    raise OSError(error.errno, f"interface {found.name}, XDP in {name} mode: {os.strerror(error.errno or 0)}") from None
                refused = f"native mode refused by the driver: {os.strerror(error.errno or 0)}"
                continue
            return link, refused or ("as configured" if mode in MODES else "native mode taken by the driver")
        raise AssertionError("unreachable: the last mode raises")

    def state(self, interface: str) -> InterfaceState:
        """How it is now; never raises."""
        try:
            found = device.find(interface)
        except OSError as error:
            return InterfaceState(interface, reason=error.strerror or str(error))
        try:
            link = pins.open_pin(self._path(interface))
            if link is None:
                ours = interface in self._held
                reason = "its pin was removed" if ours else str(_occupied(found).strerror) if found.xdp_mode else "not attached"
                return InterfaceState(interface, found.ifindex, reason=reason)
            with link:
                info = syscall.link_info(link.fileno())
            if info.ifindex != found.ifindex:
                return InterfaceState(interface, found.ifindex, reason="the device was replaced: its link has to be made again")
            reason, tag = self._reasons.get(interface, "adopted as it was"), self._tag(info.program_id)
            return InterfaceState(interface, found.ifindex, found.xdp_mode, reason, info.id, info.program_id, tag)
        except OSError as error:
            return InterfaceState(interface, found.ifindex, reason=str(error))

    def _tag(self, program_id: int) -> str:
        program = self._generations.program(program_id)
        return syscall.prog_info(program.fileno()).tag if program else ""

    def running(self) -> set[int]:
        """Ids of the programs that any pinned link runs."""
        return running(self._folder.parent)

    def detach(self, interface: str) -> None:
        """Take the program off and remove the pin; nothing happens without one."""
        link = pins.open_pin(self._path(interface))
        if link is not None:
            with link:
                if syscall.link_info(link.fileno()).ifindex:
                    syscall.link_detach(link.fileno())
        pins.remove(self._path(interface))
        self._reasons.pop(interface, None)
        held = self._held.pop(interface, None)
        if held is not None:
            held.close()

    def close(self) -> None:
        """Close what is held; the pins keep it attached."""
        for link in self._held.values():
            link.close()
        self._held.clear()

    def interfaces(self) -> list[str]:
        """Interfaces that have a pinned link."""
        return pins.names(self._folder)

    def _path(self, interface: str) -> Path:
        return self._folder / pins.escape(interface)


def running(pin_dir: Path) -> set[int]:
    """Ids of the programs that any link pinned below `pin_dir` runs; empty without such a folder. Raises PermissionError."""
    found = set()
    for interface in pins.names(pin_dir / "links"):
        link = pins.open_pin(pin_dir / "links" / pins.escape(interface))
        if link is not None:
            with link:
                found.add(syscall.link_info(link.fileno()).program_id)
    return found


def _occupied(found: device.Device) -> OSError:
    there = f"XDP program {found.xdp_program} ({found.xdp_mode})" if found.xdp_mode else "an XDP program"
    message = f"interface {found.name} already runs {there}, which this pin directory does not own"
    return OSError(errno.EBUSY, f"{message}: take it off with its owner (`bpftool prog show id {found.xdp_program}` names it)")
