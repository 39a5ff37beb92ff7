"""Whether there is room for one more: configured sizes against what was asked for. Element 0 of every array stays unused."""

from l4lb_agent.model import layout, port_ranges
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


def _check(setting: str, used: int, room: int, configured: int) -> None:
    if used >= room:
        raise ResourceExhausted(
            f"[sizes] {setting} = {configured} leaves room for {room}, all in use: raise it in agent.toml",
            reason="SIZE_REACHED",
            metadata={"setting": setting, "configured": str(configured), "room": str(room)},
        )
