"""The tables that the benchmark's datapath works with, made by the agent's own decisions."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

from bench import traffic
from l4lb_agent.model import build, ids, ring
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.config import DatapathConfig, Secrets, Timeouts
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.mapspec import Sizes
from l4lb_agent.model.observed import NextHop
from l4lb_agent.model.plan import plan
from l4lb_agent.model.service import Protocol, VirtualService
from l4lb_agent.model.tables import Tables, Write

_LONG = 3600  # seconds: nothing may expire during a run
_SIZES = Sizes(services=64, backends=256, rings_1021=2, rings_4093=2, rings_16381=8, rings_65537=2)
_SECRETS = Secrets(slot=bytes(range(16)), index=bytes(range(16, 32)))


def config(flows: int) -> DatapathConfig:
    """As agent.toml would say it, with a table of `flows` entries."""
    snat = tuple(Address.parse(text, "snat") for family in (traffic.V4, traffic.V6) for text in family.snats)
    timeouts = Timeouts(_LONG, _LONG, _LONG, _LONG, _LONG, _LONG)
    return DatapathConfig(snat=snat, timeouts=timeouts, sizes=replace(_SIZES, flows=flows))


def desired() -> Desired:
    """A TCP service of each family and a UDP service, each with all backends."""
    services, backends = {}, {}
    for family, protocol in itertools.product((traffic.V4, traffic.V6), Protocol):
        name = f"services/v{family.number}-{protocol.name.lower()}"
        vip = Address.parse(family.vip, "vip")
        services[name] = VirtualService(name, vip, traffic.SERVICE_PORT, protocol, idle_seconds=_LONG)
        for number, text in enumerate(family.backends):
            backend = Backend(f"{name}/backends/b{number}", Address.parse(text, "address"), traffic.BACKEND_PORT)
            backends[backend.name] = backend
    return Desired(1, services, backends)


def rings(wanted: Desired, numbers: ids.Ids) -> Iterator[tuple[str, bytes]]:
    """Name and ring element of every service: equal shares."""
    keys = ids.backend_keys(wanted)
    for service in wanted.services.values():
        members = {backend.name: numbers.backends[keys[backend.name]] for backend in wanted.backends_of(service.name)}
        made = ring.build(service.ring_size, dict.fromkeys(members, 1), _SECRETS.slot)
        yield service.name, build.ring_element(made.with_ids(members).tobytes(), service.ring_size)


def writes(settings: DatapathConfig, hop: NextHop, second_multiplier: int) -> tuple[Write, ...]:
    """Every write that leads from empty maps to the benchmark's, with all backends behind one next hop."""
    wanted = desired()
    numbers = ids.assign(ids.Ids(), wanted, settings, Tables())
    hops = {backend.address: hop for backend in wanted.backends.values()}
    world = build.World(settings, _SECRETS, second_multiplier, 1, hops)
    built = build.build(wanted, numbers, dict(rings(wanted, numbers)), world, Tables())
    if built.deferred:
        raise ValueError(f"no room for {sorted(built.deferred)}")
    return tuple(step for step in plan(Tables(), built.tables) if isinstance(step, Write))
