"""The tables that the benchmark's datapath works with, made by the agent's own decisions."""

import itertools
from array import array
from collections.abc import Iterator
from dataclasses import replace

from bench import direct, traffic
from l4lb_agent.model import build, ids, ring
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.config import DatapathConfig, Secrets, Timeouts
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.mapspec import Sizes
from l4lb_agent.model.observed import NextHop
from l4lb_agent.model.plan import plan
from l4lb_agent.model.pool import RingElements
from l4lb_agent.model.service import Mode, OuterSource, Protocol, Tracking, VirtualService
from l4lb_agent.model.tables import Tables, Write

_LONG = 3600  # seconds: nothing may expire during a run
_TRACKED_SYN_SECONDS = 2  # of entries that only a SYN has touched: new flows are to find room
SYN_SECONDS = 600  # of NAT's flows that have no answer
_SIZES = Sizes(
    services=1100, backends=20_000, addresses=1200, tracked_flows=1 << 22, rings_1021=2, rings_4093=2, rings_16381=64, rings_65537=2
)  # fmt: skip
_SECRETS = Secrets(slot=bytes(range(16)), index=bytes(range(16, 32)))


def config(flows: int, crowd: int = 0) -> DatapathConfig:
    """As agent.toml would say it, with a table of `flows` entries, and room for the crowd's rings of that size."""
    snat = tuple(Address.parse(text, "snat") for family in (traffic.V4, traffic.V6) for text in family.snats)
    timeouts = replace(Timeouts(SYN_SECONDS, _LONG, _LONG, _LONG, _LONG, _LONG), tracked_syn=_TRACKED_SYN_SECONDS)
    sizes = replace(_SIZES, flows=flows)
    if crowd:
        sizes = replace(sizes, **{f"rings_{crowd}": direct.CROWD + 2})
    return DatapathConfig(snat=snat, timeouts=timeouts, sizes=sizes)


def _nat() -> Iterator[tuple[VirtualService, traffic.Family]]:
    for family, protocol in itertools.product((traffic.V4, traffic.V6), Protocol):
        name = f"services/v{family.number}-{protocol.name.lower()}"
        vip = Address.parse(family.vip, "vip")
        yield VirtualService(name, vip, traffic.SERVICE_PORT, protocol, idle_seconds=_LONG), family


def _direct() -> Iterator[tuple[VirtualService, traffic.Family]]:
    for one in direct.SERVICES:
        service = VirtualService(
            f"services/{one.name.replace('/', '-')}", Address.parse(one.vip, "vip"), traffic.SERVICE_PORT, Protocol.TCP,
            idle_seconds=_LONG, mode=one.mode, tracking=one.tracking, outer_source=one.outer_source,
            encap_port=6080 if one.mode is Mode.GUE else 0,
        )  # fmt: skip
        yield service, one.family


def _crowd(size: int) -> Iterator[tuple[VirtualService, traffic.Family]]:
    for number in range(direct.CROWD if size else 0):
        vip = Address.parse(direct.crowd_vip(number), "vip")
        service = VirtualService(
            f"services/crowd-{number}", vip, traffic.SERVICE_PORT, Protocol.TCP, ring_size=size, idle_seconds=_LONG, mode=Mode.IPIP,
            tracking=Tracking.CHANGES, outer_source=OuterSource.REAL,
        )  # fmt: skip
        yield service, traffic.V4


def desired(crowd: int = 0) -> Desired:
    """Every service with all backends of its family: of NAT for each family and protocol, of DSR and ENCAP, and the crowd."""
    services, backends = {}, {}
    for service, family in (*_nat(), *_direct(), *_crowd(crowd)):
        services[service.name] = service
        port = traffic.BACKEND_PORT if service.mode.translates else service.port
        for number, text in enumerate(family.backends):
            backend = Backend(f"{service.name}/backends/b{number}", Address.parse(text, "address"), port)
            backends[backend.name] = backend
    return Desired(1, services, backends)


def rings(wanted: Desired, numbers: ids.Ids) -> Iterator[tuple[str, RingElements]]:
    """Name and ring elements of every service: equal shares, settled. Services of as many backends share a ring, each with its own ids."""
    keys = ids.backend_keys(wanted)
    made: dict[tuple[int, int], ring.Ring] = {}
    for service in wanted.services.values():
        members = [numbers.backends[keys[backend.name]] for backend in wanted.backends_of(service.name)]
        kind = (service.ring_size, len(members))
        if kind not in made:
            made[kind] = ring.build(service.ring_size, {f"b{number:02}": 1 for number in range(len(members))}, _SECRETS.slot)
        slots = array("H", map(members.__getitem__, made[kind].slots))
        element = build.ring_element(slots.tobytes(), service.ring_size)
        yield service.name, (element, b"" if service.mode.translates else element)


def writes(settings: DatapathConfig, hop: NextHop, second_multiplier: int, crowd: int = 0) -> tuple[Write, ...]:
    """Every write that leads from empty maps to the benchmark's, with all backends behind one next hop."""
    wanted = desired(crowd)
    numbers = ids.assign(ids.Ids(), wanted, settings, Tables())
    hops = {
        backend.address: replace(hop, source=Address.parse(_own(backend.address).own, "source")) for backend in wanted.backends.values()
    }
    world = build.World(settings, _SECRETS, second_multiplier, 1, hops)
    built = build.build(wanted, numbers, dict(rings(wanted, numbers)), world, Tables())
    if built.deferred:
        raise ValueError(f"no room for {sorted(built.deferred)}")
    return tuple(step for step in plan(Tables(), built.tables) if isinstance(step, Write))


def _own(address: Address) -> traffic.Family:
    return traffic.V4 if address.family == 4 else traffic.V6
