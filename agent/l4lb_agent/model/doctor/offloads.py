"""Findings about what a network card does to packets before and after the program, and how it spreads them over CPUs."""

from collections.abc import Iterator

from l4lb_agent.model.doctor.attachment import runs_generic
from l4lb_agent.model.doctor.facts import Device, Facts, Scope
from l4lb_agent.model.doctor.finding import Finding, Id, Severity

LRO, GRO_HW, GRO, VLAN_PARSE, VLAN_INSERT = "rx-lro", "rx-gro-hw", "rx-gro", "rx-vlan-hw-parse", "tx-vlan-hw-insert"
SERVICE_PARSE, SERVICE_INSERT = "rx-vlan-stag-hw-parse", "tx-vlan-stag-hw-insert"  # of 802.1ad


def findings(scope: Scope, facts: Facts) -> Iterator[Finding]:
    """Of every configured interface that there is."""
    used = {way.interface for way in facts.ways.values() if way is not None}
    for name in scope.interfaces:
        device = facts.devices.get(name)
        if device is not None:
            yield from _merged(scope, device)
            yield from _checksums(device)
            yield from _vlan(device, used)
            yield from _queues(device, facts.kernel.cpus)


def _merged(scope: Scope, device: Device) -> Iterator[Finding]:
    """Several packets made one, which is then larger than any MTU and is lost when it is sent on."""
    name = device.name
    if device.offloads.get(LRO):
        evidence = f"large receive offload of {name} is on: drivers refuse native XDP with it, and what it merges cannot be sent on"
        yield Finding(Id.LRO_ON, Severity.ERROR, name, evidence, (f"ethtool -K {name} lro off",), LRO not in device.fixed)
    if device.offloads.get(GRO_HW):
        evidence = (
            f"{name} merges TCP segments in hardware ({GRO_HW}): drivers refuse native XDP with it, and what it merges cannot be sent on"
        )
        yield Finding(Id.GRO_HW_ON, Severity.WARNING, name, evidence, (f"ethtool -K {name} {GRO_HW} off",), GRO_HW not in device.fixed)
    if device.offloads.get(GRO) and runs_generic(scope, device):
        evidence = f"generic receive offload of {name} is on and the program runs in generic mode, after it: merged packets are lost"
        yield Finding(Id.GRO_ON, Severity.ERROR, name, evidence, (f"ethtool -K {name} gro off",), GRO not in device.fixed)


def _checksums(device: Device) -> Iterator[Finding]:
    if device.kind != "veth":
        return
    broken = "packets of local programs reach the load balancer with unfinished checksums, and what NAT makes of them is thrown away"
    if device.peer is None:
        evidence = f"{device.name} is a veth whose other end cannot be seen from here: if transmit checksum offload is on there, {broken}"
        yield Finding(Id.CHECKSUM_UNSEEN, Severity.INFO, device.name, evidence, ("ethtool -K OTHER_END tx off",))
    elif device.peer.unfinished:
        other, place = device.peer.name, device.peer.namespace
        where = f" in the network namespace {place}" if place else ""
        evidence = f"transmit checksum offload of {other}{where}, the other end of {device.name}, is on: {broken}"
        cure = f"{f'ip netns exec {place} ' if place else ''}ethtool -K {other} tx off"
        yield Finding(Id.CHECKSUM_UNFINISHED, Severity.ERROR, device.name, evidence, (cure,))


def _vlan(device: Device, used: set[str]) -> Iterator[Finding]:
    """A tag that the card takes off is not there for the program, and one that it is to put in is never put in."""
    looked_at = (VLAN_PARSE, VLAN_INSERT, *((SERVICE_PARSE, SERVICE_INSERT) if device.service_vlans else ()))
    offloads = [name for name in looked_at if device.offloads.get(name)]
    if not device.vlans or not offloads:
        return
    ways = sorted(used & set(device.vlans))
    evidence = f"{', '.join(offloads)} of {device.name} on, with {', '.join(device.vlans)} on top: the program does not see the tags"
    if ways:
        evidence += f"; backends are reached over {', '.join(ways)}"
    severity = Severity.ERROR if ways else Severity.WARNING
    service = "".join(f" {name} off" for name in looked_at[2:])
    cure = (f"ethtool -K {device.name} rxvlan off txvlan off{service}",)
    yield Finding(Id.VLAN_OFFLOAD_ON, severity, device.name, evidence, cure, not device.fixed.intersection(offloads))


def _queues(device: Device, cpus: int) -> Iterator[Finding]:
    if not 0 < device.queues < cpus:
        return
    more = min(device.queues_most, cpus)
    queues = f"{device.queues} queue{'s' if device.queues > 1 else ''}"
    evidence = f"{device.name} receives on {queues}, this host has {cpus} CPUs: the others forward nothing"
    if more > device.queues:
        change = f"rx {more} tx {more}" if device.kind == "veth" else f"combined {more}"
        yield Finding(Id.QUEUES_FEW, Severity.WARNING, device.name, evidence, (f"ethtool -L {device.name} {change}",))
    else:
        yield Finding(Id.QUEUES_FEW, Severity.INFO, device.name, f"{evidence}; it has no more queues")
