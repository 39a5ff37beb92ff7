"""The program for probes of VIPs, attached to the agent's own veth pair: nothing of it is pinned, and it goes with this process."""

import ctypes
import errno
import socket
from collections.abc import Callable, Mapping

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.generation import Program
from l4lb_agent.model import layout
from l4lb_agent.model.health.layout import Probe, ProbeKey
from l4lb_agent.model.health.passing import Fate, Place
from l4lb_agent.model.tables import array_key


class Probes:
    """The program is loaded with the first attach(), which takes some tens of milliseconds; all else takes microseconds. `lookup` reads an
    element of a live map."""

    def __init__(self, program: Program, maps: Mapping[str, int], lookup: Callable[[str, bytes], bytes | None]) -> None:
        self._source, self._maps, self._lookup = program, maps, lookup
        self._loaded: tuple[Fd, Fd] | None = None
        self._link: Fd | None = None

    def attach(self, ifindex: int) -> None:
        """Takes what comes by an interface from now on, and nothing of another one any more. In generic mode, in which the kernel sends on
        by every device, whatever its driver can do. Raises OSError, VerifierError."""
        self.detach()
        if self._loaded is None:
            self._loaded = self._source.load_probe(self._maps)
        self._link = Fd(syscall.link_create(self._loaded[0].fileno(), ifindex, syscall.XDP_FLAGS_GENERIC))

    def detach(self) -> None:
        """Take the program off."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def reaches(self, backend: int) -> bool:
        """Whether the datapath knows a way to the backend of this id."""
        element = self._lookup("backends", array_key(backend))
        return bool(element and layout.Backend.from_buffer_copy(element).ifindex)

    def begin(self, family: int, protocol: int, port: int, place: Place) -> bool:
        """What a socket sends from `port` goes to this backend from now on; False when another probe has such a port. Raises OSError."""
        key, value = bytes(_key(family, protocol, port)), bytes(Probe(place.service, place.backend))
        try:
            syscall.map_update(self._probes(), key, value, syscall.NOEXIST)
        except FileExistsError:
            return False
        return True

    def end(self, family: int, protocol: int, port: int) -> Fate:
        """What became of it; nothing is sent on any more."""
        key = bytes(_key(family, protocol, port))
        raw = syscall.map_lookup(self._probes(), key, ctypes.sizeof(Probe))
        syscall.map_delete(self._probes(), key)
        said = Probe.from_buffer_copy(raw or bytes(ctypes.sizeof(Probe)))
        return Fate(said.packets, said.outcome)

    def close(self) -> None:
        """Unload."""
        self.detach()
        for fd in self._loaded or ():
            fd.close()
        self._loaded = None

    def _probes(self) -> int:
        if self._loaded is None:
            raise OSError(errno.ENXIO, "the program for probes of VIPs is not loaded")
        return self._loaded[1].fileno()


def _key(family: int, protocol: int, port: int) -> ProbeKey:
    return ProbeKey(socket.htons(port), protocol, family)
