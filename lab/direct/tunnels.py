"""Decapsulation by the backend's own kernel: the modules ipip, sit, ip6_tunnel, fou and fou6. The lines are those of docs/backends.md."""

import json
from typing import Final

from lab import netns
from lab.topology import Host

_IPV6: Final = "l4lb6"  # our device for what comes over IPv6; over IPv4 the modules' own devices take packets from everybody
_DEVICES: Final = ("tunl0", "sit0", _IPV6)


def supported(namespace: str, port: int) -> bool:
    """Whether this kernel has all of it; leaves nothing behind."""
    kinds = {"ipip": "local 192.0.2.1", "sit": "local 192.0.2.1", "ip6tnl": "mode any local 2001:db8::1"}
    try:
        for kind, options in kinds.items():
            netns.batch(namespace, [f"link add l4lbprobe type {kind} {options}", "link del l4lbprobe"])
        for family in ("-4", "-6"):
            for verb, rest in (("add", ["gue"]), ("del", [])):
                netns.run(["ip", family, "-n", namespace, "fou", verb, "port", str(port), *rest])
    except netns.CommandFailed:
        return False
    return True


class Tunnels:
    """What one backend has set up. It ends with the namespace."""

    def __init__(self, namespace: str, host: Host, port: int) -> None:
        """Take IPIP of all four pairs of families, and GUE of both variants at `port`. Raises CommandFailed."""
        self._namespace = namespace
        netns.batch(namespace, ["link set tunl0 up", "link set sit0 up"])
        for family in ("-4", "-6"):
            netns.run(["ip", family, "-n", namespace, "fou", "add", "port", str(port), "gue"])
        # What comes out arrives at another device than replies leave by.
        netns.set_sysctls(namespace, {f"ipv4/conf/{device}/rp_filter": "0" for device in ("all", "tunl0", "sit0")})
        self._add(host)

    def _add(self, host: Host) -> None:
        netns.batch(self._namespace, [f"link add {_IPV6} type ip6tnl mode any local {host.v6} remote ::", f"link set {_IPV6} up"])

    def move(self, host: Host) -> None:
        """The backend has other addresses from now on."""
        netns.batch(self._namespace, [f"link del {_IPV6}"])
        self._add(host)

    def taken(self) -> int:
        """Packets that came out of outer headers so far; those of a device end with `move`."""
        links = json.loads(netns.run(["ip", "-n", self._namespace, "-s", "-j", "link"]))
        return sum(link["stats64"]["rx"]["packets"] for link in links if link["ifname"] in _DEVICES)

    def close(self) -> None:
        """Nothing is held."""
