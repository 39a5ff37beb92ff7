"""A backend that answers clients directly: it has the VIP itself and tells nobody, and it opens what is encapsulated for it."""

import enum
from typing import Final

from lab import netns
from lab.direct import tunnels
from lab.direct.decapsulator import Decapsulator
from lab.topology import Host

PORT_GUE: Final = 6080


class Direct(enum.Enum):
    """How packets reach a backend that answers directly."""

    LINK = "on the same link"  # DSR
    TUNNEL = "inside an outer header"  # ENCAP


def take_vip(namespace: str, vip: Host) -> None:
    """Put the VIP on lo, without ever answering for it to neighbours. Raises CommandFailed."""
    netns.set_sysctls(namespace, {"ipv4/conf/all/arp_ignore": "1", "ipv4/conf/all/arp_announce": "2"})
    netns.batch(namespace, [f"addr add {vip.v4}/32 dev lo", f"addr add {vip.v6}/128 dev lo nodad"])


class DirectBackend:
    """What is done in one backend's namespace, after it has its addresses."""

    def __init__(self, namespace: str, vip: Host, host: Host, direct: Direct) -> None:
        """Raises CommandFailed, CompileError, VerifierError or OSError."""
        take_vip(namespace, vip)
        self._opener: tunnels.Tunnels | Decapsulator | None = None
        self.words = "the VIP is on its lo"
        if direct is Direct.TUNNEL:
            self._open(namespace, host)

    def _open(self, namespace: str, host: Host) -> None:
        if tunnels.supported(namespace, PORT_GUE):
            self._opener = tunnels.Tunnels(namespace, host, PORT_GUE)
            self.words += "; its kernel decapsulates (ipip, sit, ip6_tunnel, fou)"
        else:
            self._opener = Decapsulator(host, PORT_GUE)
            self._opener.attach(namespace)
            self.words += "; an XDP program decapsulates (this kernel has no tunnels)"

    def move(self, host: Host) -> None:
        """It has other addresses from now on."""
        if self._opener:
            self._opener.move(host)

    def taken(self) -> int:
        """Packets that came out of outer headers so far."""
        return self._opener.taken() if self._opener else 0

    def close(self) -> None:
        """Give back what does not end with the namespace."""
        if self._opener:
            self._opener.close()
