"""Which element of which array stands for what: given out, kept for as long as the thing exists, restored from the maps at start.

An id is never given to something new in the same step in which it was given up, so an element always goes through "nobody's" first.
A backend's id also waits until a sweep has found none of its flow entries: an entry must never come alive under another backend.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from l4lb_agent.model import layout
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.config import DatapathConfig
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.health.passing import Place
from l4lb_agent.model.mapspec import Sizes
from l4lb_agent.model.tables import Tables

ServiceKey = tuple[Address, int, int, int]  # VIP, port, protocol, last port of a range
BackendKey = tuple[ServiceKey, Address, int]  # service, address, port
Key = TypeVar("Key")


@dataclass(frozen=True)
class Ids:
    """Ids by what they stand for. Something wanted may have none yet: there was no free one, a later step gives it."""

    services: Mapping[ServiceKey, int] = field(default_factory=dict)
    addresses: Mapping[Address, int] = field(default_factory=dict)
    backends: Mapping[BackendKey, int] = field(default_factory=dict)
    retired: frozenset[int] = frozenset()  # backend ids that stand for nothing and may still have flow entries

    def number(self, desired: Desired, backend: Backend) -> int:
        """A backend's id, 0 while it has none."""
        service = desired.services.get(backend.service)
        return self.backends.get((service.identity, backend.address, backend.port), 0) if service else 0

    def place(self, desired: Desired, name: str) -> Place | None:
        """Ids of a backend and of its service; None while one of them has none."""
        backend = desired.backends.get(name)
        service = self.services.get(desired.services[backend.service].identity, 0) if backend else 0
        number = self.number(desired, backend) if backend else 0
        return Place(service, number) if service and number else None


def backend_keys(desired: Desired) -> dict[str, BackendKey]:
    """Backend names with what their ids depend on."""
    services = {name: service.identity for name, service in desired.services.items()}
    return {
        name: (services[service], backend.address, backend.port)
        for service, backends in desired.by_service.items()
        for name, backend in backends.items()
    }


def owned_addresses(desired: Desired, config: DatapathConfig) -> tuple[Address, ...]:
    """VIPs and SNAT addresses, each once, in a fixed order."""
    return tuple(sorted({service.vip for service in desired.services.values()} | set(config.snat)))


def assign(before: Ids, desired: Desired, config: DatapathConfig, actual: Tables, *, free: frozenset[int] = frozenset()) -> Ids:
    """The ids for `desired`. `free` are retired backend ids of which a sweep has found no entry; an id whose element in `actual` is not
    zero goes to nobody new."""
    sizes, keys = config.sizes, backend_keys(desired)
    backends = _assign(before.backends, keys.values(), _backend_limit(sizes), actual.get("backends"), before.retired)
    gone = {id_ for key, id_ in before.backends.items() if key not in backends}
    services = (service.identity for service in desired.services.values())
    return Ids(
        services=_assign(before.services, services, sizes.services, actual.get("services")),
        addresses=_assign(before.addresses, owned_addresses(desired, config), sizes.addresses, actual.get("addresses")),
        backends=backends,
        retired=before.retired - free | gone,
    )


def restore(tables: Tables, desired: Desired) -> Ids:
    """The ids that adopted maps give to `desired`; elements of nobody become retired."""
    services = _restored(tables.get("services"), _service_key)
    addresses = _restored(tables.get("addresses"), _owned_address)
    names = {id_: key for key, id_ in services.items()}
    wanted = {key: desired.backends[name].keeps_flows for name, key in backend_keys(desired).items()}
    backends: dict[BackendKey, int] = {}
    for id_, element in _elements(tables.get("backends")):
        backend = layout.Backend.from_buffer_copy(element)
        service = names.get(backend.service)
        if service is None:
            continue
        key = (service, Address(bytes(backend.address)), _port(backend.port))
        keeps = bool(backend.flags & layout.BACKEND_KEEP)
        # Cut elements are left over from a removed backend, unless the backend itself is cut: its entries must not come alive again.
        if key in wanted and (keeps or not wanted[key]) and (key not in backends or keeps is wanted[key]):
            backends[key] = id_
    used = set(backends.values())
    retired = frozenset(id_ for id_, _ in _elements(tables.get("backends")) if id_ not in used)
    return Ids(services, addresses, backends, retired)


def _assign(
    before: Mapping[Key, int], wanted: Iterable[Key], size: int, elements: Mapping[bytes, bytes], taken: frozenset[int] = frozenset()
) -> dict[Key, int]:
    """Keeps the ids of what is still wanted; what is new gets the lowest id that nobody had."""
    kept: dict[Key, int] = {}
    new: list[Key] = []
    for key in wanted:
        if key in before:
            kept[key] = before[key]
        else:
            new.append(key)
    if new:
        used = taken.union(before.values(), (id_ for id_, _ in _elements(elements)))
        free = (id_ for id_ in range(1, size) if id_ not in used)
        kept.update(zip(new, free))
    return kept


def _backend_limit(sizes: Sizes) -> int:
    return min(sizes.backends, layout.BACKEND_ID_MAX + 1)


def _elements(elements: Mapping[bytes, bytes]) -> list[tuple[int, bytes]]:
    """Elements that are not all zero, by index."""
    return sorted((int.from_bytes(key, "little"), value) for key, value in elements.items() if any(value))


def _restored(elements: Mapping[bytes, bytes], key_of: Callable[[bytes], Key | None]) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for id_, element in _elements(elements):
        key = key_of(element)
        if key is not None:
            found.setdefault(key, id_)
    return found


def _service_key(element: bytes) -> ServiceKey | None:
    service = layout.Service.from_buffer_copy(element)
    if not service.word & layout.SERVICE_PRESENT:
        return None
    return (Address(bytes(service.vip)), _port(service.port), service.protocol, service.port_end)


def _owned_address(element: bytes) -> Address:
    return Address(bytes(layout.OwnedAddress.from_buffer_copy(element).address))


def _port(network_order: int) -> int:
    return int.from_bytes(network_order.to_bytes(2, "little"), "big")
