"""Virtual services with more than one port: which of them takes a port of a VIP, as a table that the datapath searches.

Of two ranges of one VIP and protocol one lies inside the other, or they are disjoint (changes/places.py refuses others); a port belongs to
the narrowest range that holds it. Flattened, that is a list of ports with the service from each on. A table is never changed while packets
may be reading it: another one is written beside it, and the VIP's element names that one instead.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from l4lb_agent.model import layout
from l4lb_agent.model.address import Address
from l4lb_agent.model.choice.layout import PORT_RANGES, PortRanges
from l4lb_agent.model.config import DatapathConfig
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.ids import Ids
from l4lb_agent.model.service import Protocol, VirtualService
from l4lb_agent.model.tables import Elements, Tables, array_key

NOBODY = 0
ALL_PORTS = 65536
MAP = "port_ranges"
Range = tuple[int, int, int]  # first port, last port, service id
Scope = tuple[Address, Protocol]


@dataclass(frozen=True)
class Placed:
    """`elements` in use, and which of them each VIP and protocol has; services in `deferred` must wait for another step."""

    elements: Elements = field(default_factory=dict)
    numbers: Mapping[Scope, int] = field(default_factory=dict)
    deferred: frozenset[str] = frozenset()


def segments(ranges: Iterable[Range]) -> list[tuple[int, int]]:
    """(first port, service) in ascending order from port 0 on; each holds up to the next one."""
    narrowest_first = sorted(ranges, key=lambda one: one[1] - one[0])
    ports = {0, *(first for first, _, _ in narrowest_first), *(last + 1 for _, last, _ in narrowest_first)} - {ALL_PORTS}
    found: list[tuple[int, int]] = []
    for port in sorted(ports):
        owner = next((service for first, last, service in narrowest_first if first <= port <= last), NOBODY)
        if not found or found[-1][1] != owner:
            found.append((port, owner))
    return found


def fits(services: Iterable[VirtualService]) -> bool:
    """Whether these services of one VIP and protocol fit into one table."""
    return len(segments((service.port, service.port_end, id_) for id_, service in enumerate(services, 1))) <= PORT_RANGES


@functools.lru_cache(maxsize=1024)
def element(ranges: frozenset[Range]) -> bytes:
    """A table of ranges that fit; places left over repeat the last segment."""
    found = segments(ranges)
    padded = found + [found[-1]] * (PORT_RANGES - len(found))
    table = PortRanges()
    table.first[:] = [first for first, _ in padded]
    table.service[:] = [service for _, service in padded]
    return bytes(table)


def of_scopes(services: Iterable[VirtualService]) -> dict[Scope, list[VirtualService]]:
    """Services with more than one port, by VIP and protocol."""
    scopes: dict[Scope, list[VirtualService]] = {}
    for service in services:
        if service.port_end:
            scopes.setdefault((service.vip, service.protocol), []).append(service)
    return scopes


def place(desired: Desired, ids: Ids, config: DatapathConfig, actual: Tables) -> Placed:
    """A place for the table of each VIP and protocol: the one it has when its content is right, else one that nobody has."""
    there, current = actual.get(MAP), _current(actual)
    used, elements, numbers, deferred = set(current.values()), Elements(), dict[Scope, int](), set[str]()
    for scope, services in of_scopes(desired.services.values()).items():
        known = [service for service in services if service.identity in ids.services]
        if not known:
            continue
        wanted = element(frozenset((service.port, service.port_end, ids.services[service.identity]) for service in known))
        number = current.get(scope, 0)
        if there.get(array_key(number)) != wanted or not number:
            free = [n for n in range(1, config.sizes.port_ranges) if n not in used]
            unwritten = (n for n in free if array_key(n) not in there)  # best: it needs no grace period
            new = next(unwritten, free[0] if free else 0)
            if not new:
                deferred.update(service.name for service in known)
                wanted = there.get(array_key(number), b"")
            number = new or number
        if number:
            used.add(number)
            elements[array_key(number)], numbers[scope] = wanted, number
    return Placed(elements, numbers, frozenset(deferred))


def _current(actual: Tables) -> dict[Scope, int]:
    """Which table each VIP and protocol has now."""
    found: dict[Scope, int] = {}
    for raw in actual.get("addresses").values():
        owned = layout.OwnedAddress.from_buffer_copy(raw)
        vip = Address(bytes(owned.address))
        found |= {(vip, protocol): n for protocol, n in ((Protocol.TCP, owned.ranges_tcp), (Protocol.UDP, owned.ranges_udp)) if n}
    return found
