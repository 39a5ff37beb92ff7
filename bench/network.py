"""Two network namespaces of the benchmark's own, joined by one veth: `lb`, where the programs run, and `far`, where everybody else is."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench import traffic
from l4lb_agent.dataplane import device
from l4lb_agent.model.observed import NextHop
from lab import netns

PREFIX: Final = "l4lb-bench-"
_MTU: Final = 1500


def _remove_leftovers() -> None:
    """Namespaces of runs that were killed."""
    for name in netns.existing(PREFIX):
        owner = name.removeprefix(PREFIX).split("-")[0]
        if not Path("/proc", owner).exists():
            netns.delete([name])


@contextlib.contextmanager
def network() -> Iterator[tuple[str, str]]:
    """Names of `lb` and `far`, each with eth0; removed at the end. Raises netns.CommandFailed."""
    _remove_leftovers()
    lb, far = (f"{PREFIX}{os.getpid()}-{role}" for role in ("lb", "far"))
    try:
        netns.create((lb, far))
        macs = [mac.hex(":") for mac in (traffic.OWN_MAC, traffic.GATEWAY_MAC)]
        netns.batch(lb, [f"link add eth0 address {macs[0]} type veth peer name eth0 address {macs[1]} netns {far}"])
        settings = {"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv6/conf/default/accept_dad": "0"}
        netns.set_sysctls(lb, settings)
        netns.batch(far, ["link set eth0 up"])
        netns.batch(lb, _lines(macs[1]))
        yield lb, far
    finally:
        netns.delete((lb, far))


def _lines(gateway_mac: str) -> list[str]:
    lines = ["link set eth0 up"]
    for family, bits in ((traffic.V4, 24), (traffic.V6, 64)):
        lines += [f"addr add {family.own}/{bits} dev eth0" + (" nodad" if family is traffic.V6 else "")]
        lines += [f"neigh add {family.gateway} lladdr {gateway_mac} dev eth0 nud permanent"]
        lines += [f"route add default via {family.gateway} dev eth0"]
    # A balancer that leaves a packet as it came must not look as if it had worked.
    return [*lines, f"route add blackhole {traffic.V4.vip}/32"]


def next_hop() -> NextHop:
    """Towards every backend, from inside `lb`."""
    found = device.find("eth0")
    return NextHop("eth0", found.ifindex, traffic.OWN_MAC, traffic.GATEWAY_MAC, mtu=_MTU)
