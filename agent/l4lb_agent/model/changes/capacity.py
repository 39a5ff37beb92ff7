"""Whether there is room for one more: configured sizes against what was asked for. Element 0 of every array stays unused."""

from l4lb_agent.model import layout
from l4lb_agent.model.access.lists import MAX_PREFIXES
from l4lb_agent.model.choice import port_ranges
from l4lb_agent.model.config import DatapathConfig
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.errors import ResourceExhausted
from l4lb_agent.model.mapspec import Sizes
from l4lb_agent.model.service import VirtualService

SPARE_RANGES = 1  # written beside the one in use, and exchanged
SPARE_RINGS = 2  # both rings of one service are written beside those in use, and exchanged at once


def service(desired: Desired, asked: VirtualService, config: DatapathConfig) -> None:
    """Raises ResourceExhausted, naming the setting, when one more service does not fit."""
    sizes = config.sizes
    _check("services", len(desired.services), sizes.services - 1, sizes.services)
    vips = {other.vip for other in desired.services.values()}
    if asked.vip not in vips:
        _check("addresses", len(vips) + len(config.snat), sizes.addresses - 1, sizes.addresses)
    _port_ranges(desired, asked, sizes)
    setting = f"rings_{asked.ring_size}"
    held = sum(rings(other) for other in desired.services.values() if other.ring_size == asked.ring_size)
    pool: int = getattr(sizes, setting)
    _check(setting, held + rings(asked) - 1, pool - 1 - SPARE_RINGS, pool)


def _port_ranges(desired: Desired, asked: VirtualService, sizes: Sizes) -> None:
    if not asked.port_end:
        return
    scopes = port_ranges.of_scopes(desired.services.values())
    mine = scopes.get((asked.vip, asked.protocol), [])
    if not mine:
        _check("port_ranges", len(scopes), sizes.port_ranges - 1 - SPARE_RANGES, sizes.port_ranges)
    if not port_ranges.fits([*mine, asked]):
        raise ResourceExhausted(
            f"service.port_end: the {len(mine)} services with several ports that {asked.vip} has over {asked.protocol.name} leave no room "
            f"for another such: take another VIP, or adjacent ranges",
            reason="PORT_RANGES_REACHED",
            field="service.port_end",
            metadata={"vip": str(asked.vip), "services": str(len(mine))},
        )


def rings(service: VirtualService) -> int:
    """Rings that a service holds at most while nothing is being written: two in a window."""
    return 2 if service.has_window else 1


def backend(desired: Desired, config: DatapathConfig) -> None:
    """Raises ResourceExhausted, naming the setting, when one more backend does not fit."""
    size = config.sizes.backends
    _check("backends", len(desired.backends), min(size - 1, layout.BACKEND_ID_MAX), size)


def prefixes(desired: Desired, name: str, count: int, config: DatapathConfig) -> None:
    """Raises ResourceExhausted, naming the setting, when the list `name` cannot have so many."""
    if count > MAX_PREFIXES:
        raise ResourceExhausted(
            f"{name} would have {count} prefixes, and a list has at most {MAX_PREFIXES}: make several, or shorter prefixes",
            reason="LIST_TOO_LONG",
            metadata={"list": name, "prefixes": str(count), "maximum": str(MAX_PREFIXES)},
        )
    others = sum(other.count for other in desired.lists.values() if other.name != name)
    _check("prefixes", others + count - 1, config.sizes.prefixes, config.sizes.prefixes)


def _check(setting: str, used: int, room: int, configured: int) -> None:
    if used >= room:
        raise ResourceExhausted(
            f"[sizes] {setting} = {configured} leaves room for {room}, all in use: raise it in agent.toml",
            reason="SIZE_REACHED",
            metadata={"setting": setting, "configured": str(configured), "room": str(room)},
        )
