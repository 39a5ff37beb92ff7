"""Findings about the ways packets take: forwarding, routes and neighbours of backends, room for outer headers, who else has a VIP."""

from collections.abc import Iterable, Iterator

from l4lb_agent.model.backend import AdminState, Backend
from l4lb_agent.model.doctor.facts import Device, Facts, Scope, Way
from l4lb_agent.model.doctor.finding import Finding, Id, Severity, short
from l4lb_agent.model.layout import TAG_BYTES
from l4lb_agent.model.service import Mode, MssClamp, OuterSource, Protocol, VirtualService
from l4lb_agent.model.ways.mtu import LEAST, effective, outer_bytes
from l4lb_agent.model.ways.way import add_vip, here_without_vip, is_here, outer_source, without_source

FORWARDING_COMMAND = "/usr/lib/l4lb/forwarding on"  # what sets it for every configured interface, lastingly
CLIENT_MTU = 1500  # what comes from beyond the links here is no larger


def findings(scope: Scope, facts: Facts) -> Iterator[Finding]:
    """Of interfaces, backends and VIPs."""
    families = [family for family in (4, 6) if scope.config.snat_of(family)]
    for name in scope.interfaces:
        device = facts.devices.get(name)
        if device is None:
            continue
        if missing := forwarding_missing(name, device.forwards, families):
            yield Finding(Id.FORWARDING_OFF, Severity.ERROR, name, missing, (FORWARDING_COMMAND,), safe=True)
        if device.strict and facts.default_ways - {name}:
            ways = ", ".join(sorted(facts.default_ways - {name}))
            evidence = (
                f"rp_filter of {name} is strict, and default routes leave by {ways}: the host drops what it is to receive from there itself"
            )
            cure = (f"sysctl -w net.ipv4.conf.{name.replace('.', '/')}.rp_filter=2",)
            yield Finding(Id.RP_FILTER_STRICT, Severity.WARNING, name, evidence, cure)
    for backend in scope.desired.backends.values():
        yield from _backend(scope, scope.desired.services[backend.service], backend, facts)
    yield from _room(scope, facts)
    yield from _vips(scope, facts)


def forwarding_missing(interface: str, forwards: Iterable[int], families: Iterable[int]) -> str:
    """What follows from an interface that does not forward families which it should, "" when it does."""
    off = [family for family in families if family not in forwards]
    if not off:
        return ""
    words = " and ".join(f"IPv{family}" for family in off)
    return f"{interface} does not forward {words}, so replies go only the way that requests came; run {FORWARDING_COMMAND}"


def _backend(scope: Scope, service: VirtualService, backend: Backend, facts: Facts) -> Iterator[Finding]:
    """Whether packets can be sent to it."""
    if is_here(backend, service, facts.local):
        return
    address = backend.address
    severity = Severity.ERROR if backend.admin is AdminState.ENABLED else Severity.WARNING
    if address in facts.local and service.mode is Mode.DSR:
        evidence = f"{here_without_vip(address, service.vip)}: the backend gets no slots"
        yield Finding(Id.BACKEND_WAY_UNUSABLE, severity, backend.name, evidence, (add_vip(service.vip),))
        return
    if address not in facts.ways:
        return
    way = facts.ways[address]
    if way is None:
        evidence = f"this host has no route to {address}, or is {address} itself: the backend gets no packets"
        yield Finding(Id.BACKEND_NO_ROUTE, severity, backend.name, evidence, (f"ip route get {address}",))
        return
    next_hop = way.gateway or address
    if way.gateway is not None and service.mode is Mode.DSR:
        evidence = f"{address} is behind the router {way.gateway}: DSR reaches backends on the same link only"
        yield Finding(Id.BACKEND_BEHIND_ROUTER, severity, backend.name, evidence, (f"ip route get {address}",))
    if way.trouble:
        evidence = f"{way.trouble} (way to {address}): the backend gets no slots"
        yield Finding(Id.BACKEND_WAY_UNUSABLE, severity, backend.name, evidence, (f"ip -d link show dev {way.interface}",))
    if service.mode.translates and way.interface not in _looked_at(scope, facts):
        evidence = (
            f"{address} is reached over {way.interface}, which is no [[interface]] of agent.toml, nor a VLAN device on one: no program "
            "translates answers that come in there, and connections hang"
        )
        yield Finding(Id.ANSWERS_UNSEEN, Severity.WARNING, backend.name, evidence, (f"ip route get {address}",))
    if service.outer_source is OuterSource.REAL and outer_source(backend, service, way.source, scope.config.outer_source) is None:
        evidence = f"{without_source(address)}: the backend gets no slots"
        yield Finding(Id.BACKEND_WAY_UNUSABLE, severity, backend.name, evidence, (f"ip route get {address}",))
    if not way.usable:
        evidence = f"the neighbour {next_hop} on {way.interface}, next hop of {address}, is {way.neighbour}: it does not answer"
        cure = (f"ip neigh show to {next_hop} dev {way.interface}", f"ping -c 1 -I {way.interface} {next_hop}")
        yield Finding(Id.BACKEND_UNRESOLVED, severity, backend.name, evidence, cure)


def _looked_at(scope: Scope, facts: Facts) -> set[str]:
    """The interfaces that the program runs on, and the VLAN devices on them."""
    devices = [facts.devices[name] for name in scope.interfaces if name in facts.devices]
    return set(scope.interfaces).union(*(device.vlans for device in devices))


def _room(scope: Scope, facts: Facts) -> Iterator[Finding]:
    """Whether the largest packet of a client fits its way out, with what is put before it; once for each service and way."""
    devices = [facts.devices[name] for name in scope.interfaces if name in facts.devices]
    if not devices:
        return
    largest = min(CLIENT_MTU, max(device.mtu for device in devices))
    places: dict[tuple[str, str, int, int], list[Backend]] = {}
    for backend in scope.desired.backends.values():
        way, service = facts.ways.get(backend.address), scope.desired.services[backend.service]
        outer = outer_bytes(service.mode, backend.address)
        mtu = effective(backend.mtu, way.mtu) if way is not None else 0
        if way is not None and mtu and mtu < largest + outer and not _clamped(service, mtu - outer):
            places.setdefault((service.name, way.interface, mtu, outer), []).append(backend)
    for (name, interface, mtu, outer), backends in places.items():
        service, others = scope.desired.services[name], len(backends) - 1
        to = f"{backends[0].name}{f' and {others} more' if others else ''}"
        way = facts.ways[backends[0].address]
        tagged = f", with two tags on {way.carrier}," if way is not None and way.carrier else ""
        added = f"{service.mode.name} puts {outer} bytes before a packet, and " if outer else ""
        evidence = (
            f"{added}{mtu} fit on the way over {interface}{tagged} to {to}: of a client's {largest} bytes only {mtu - outer} do, and "
            "senders are told so by packet too big, which not all of them hear"
        )
        severity = Severity.ERROR if mtu - outer < LEAST[service.vip.family] else Severity.WARNING
        cure = _wider(backends[0], way, facts.devices.get(interface), mtu, largest + outer)
        if service.protocol is Protocol.TCP:
            cure.append(f"l4lbctl service update {short(name)} --mss-clamp auto")
        yield Finding(Id.MTU_SHORT, severity, name, evidence, tuple(cure))


def _wider(backend: Backend, way: Way | None, device: Device | None, mtu: int, wanted: int) -> list[str]:
    """Commands that make room where it is short: at the backend's own MTU, at the route, at the interface, or at that under its VLANs."""
    if backend.mtu == mtu:
        return [f"l4lbctl backend set {short(backend.name)} --mtu {wanted}"]
    if way is None:
        return []
    if way.carrier:
        return [f"ip link set dev {way.carrier} mtu {wanted + TAG_BYTES}"]
    cure = [f"ip link set dev {way.interface} mtu {wanted}"] if device is None or device.mtu < wanted else []
    if device is not None and mtu < device.mtu:
        via = f"via {way.gateway} " if way.gateway else ""
        cure.append(f"ip route replace {backend.address} {via}dev {way.interface} mtu {wanted}")
    return cure


def _clamped(service: VirtualService, room: int) -> bool:
    """Whether both sides of a TCP connection are told to send no more than that."""
    if service.protocol is not Protocol.TCP or room < LEAST[service.vip.family]:
        return False
    fixed = service.mss_clamp is MssClamp.FIXED and service.mss <= room - (40 if service.vip.family == 4 else 60)
    return fixed or service.mss_clamp is MssClamp.AUTO


def _vips(scope: Scope, facts: Facts) -> Iterator[Finding]:
    for claim in facts.claims:
        if claim.mac not in facts.macs:
            who = f"{claim.mac.hex(':')} on the link of {claim.interface}"
            lost = "clients" if claim.address in scope.vips else "backends' replies"
            evidence = f"{who} answers for {claim.address} too: {lost} reach it and not the load balancer; the cure is for that host"
            cure = ("sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2",)  # docs/backends.md
            yield Finding(Id.VIP_DUPLICATE, Severity.ERROR, str(claim.address), evidence, cure)
    for service in scope.desired.services.values():
        if service.vip in facts.local:
            yield Finding(Id.VIP_IS_LOCAL, Severity.WARNING, service.name, vip_is_local(service))


def vip_is_local(service: VirtualService) -> str:
    """What follows from a VIP that is an address of this host."""
    return f"{service.vip} of {service.name} is also an address of this host: in any gap the host answers its packets"
