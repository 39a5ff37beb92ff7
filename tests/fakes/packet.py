"""What the datapath would do with the first packet of a flow, read from tables as bpf/ reads the maps."""

import bisect
from dataclasses import dataclass

from l4lb_agent.model import hashing, index, layout
from l4lb_agent.model.address import Address
from l4lb_agent.model.choice import layout as choice_layout
from l4lb_agent.model.ids import ServiceKey
from l4lb_agent.model.tables import Elements, Tables, array_key


@dataclass(frozen=True)
class Fate:
    """`what` is foreign, no_service, no_backend, unresolved, cut or forwarded; `backend` is its address and port."""

    what: str
    backend: tuple[Address, int] | None = None


class Dangling(AssertionError):
    """Something points to an element that nobody has written."""


@dataclass(frozen=True)
class Fates:
    """Of the three packets that a slot tells apart."""

    first: Fate  # a SYN
    without_entry: Fate  # of a flow that goes on and has no entry
    with_entry: bool  # whether one that has an entry follows it


def first_packet(tables: Tables, vip: Address, port: int, protocol: int, slot_hash: int) -> Fate:
    """The fate of the first packet of a flow whose slot hash is `slot_hash`. Raises Dangling."""
    return packets(tables, vip, port, protocol, slot_hash).first


def packets(tables: Tables, vip: Address, port: int, protocol: int, slot_hash: int) -> Fates:
    """The fates of packets whose slot hash is `slot_hash`. Raises Dangling."""
    service = _service(tables, vip, port, protocol)
    return Fates(service, service, False) if isinstance(service, Fate) else _fates(tables, service, slot_hash)


def taker(tables: Tables, vip: Address, port: int, protocol: int) -> ServiceKey | None:
    """The service that takes a packet for the port, None when none does."""
    service = _service(tables, vip, port, protocol)
    return None if isinstance(service, Fate) else _key(service)


def packets_of(tables: Tables, wanted: ServiceKey, slot_hash: int) -> Fates | None:
    """The fates of packets that a service takes, whichever they are; None when it is not there."""
    services = map(layout.Service.from_buffer_copy, tables.get("services").values())
    return next((_fates(tables, service, slot_hash) for service in services if _key(service) == wanted), None)


def _key(service: layout.Service) -> ServiceKey:
    return (Address(bytes(service.vip)), _host(service.port), service.protocol, service.port_end)


def _fates(tables: Tables, service: layout.Service, slot_hash: int) -> Fates:
    size = layout.RING_SIZES[service.word & layout.SERVICE_RING_CLASS]
    numbers = service.word >> 48, service.word >> 32 & 0xFFFF
    now, before = (_slot(tables, size, number, slot_hash * size >> 32) for number in numbers)
    translates = service.word & layout.SERVICE_MODE <= layout.MODE_KEEP << layout.SERVICE_MODE_SHIFT
    if translates and numbers[1]:
        raise Dangling("a NAT service has a ring `before`")
    if translates and numbers[0] and not now:
        raise Dangling("a slot without backend")
    first = _backend(tables, now)
    keeps = service.word & layout.SERVICE_MODE == layout.MODE_KEEP << layout.SERVICE_MODE_SHIFT
    if keeps and first.what == "forwarded" and first.backend and not answers(tables, first.backend[0]):
        raise Dangling(f"answers of {first.backend[0]} would pass untranslated")
    if translates or not now & layout.SLOT_AT_RISK:
        return Fates(first, first, bool(translates))
    kept = before and _backend(tables, before).what != "cut"
    return Fates(first, _backend(tables, before) if kept else first, True)


def answers(tables: Tables, backend: Address) -> bool:
    """Whether packets of that address are looked at as answers to clients."""
    config = layout.Config.from_buffer_copy(tables.get("config")[array_key(0)])
    secret, bit = (config.index_secret[0], config.index_secret[1]), hashing.owned_bit(backend.packed)
    if not config.flags & layout.CONFIG_KEEP or not config.kept_filter[bit >> 5] >> (bit & 31) & 1:
        return False
    wanted = index.entry(layout.INDEX_BACKEND, 0, backend.packed, 0, 0, secret, config.kept_mask)
    for number in (wanted.first, wanted.second):
        words = index.words(tables.get("kept").get(array_key(number), bytes(64)))
        for word in words:
            element = tables.get("backends").get(array_key(word & 0xFFFF), b"")
            if word >> 16 == wanted.word >> 16 and element[:16] == backend.packed:
                return True
        if 0 in words:
            return False
    return False


def _service(tables: Tables, vip: Address, port: int, protocol: int) -> layout.Service | Fate:
    config = tables.get("config").get(array_key(0))
    if config is None:
        return Fate("foreign")
    address_id = _find(tables, config, layout.INDEX_ADDRESS, vip, 0, 0)
    if address_id is None:
        return Fate("foreign")
    owned = layout.OwnedAddress.from_buffer_copy(tables.get("addresses")[array_key(address_id)])
    service_id = _find(tables, config, layout.INDEX_SERVICE, vip, port, protocol)
    if service_id is None:
        service_id = _ranged(tables, owned.ranges_tcp if protocol == 6 else owned.ranges_udp, port)
    element = tables.get("services").get(array_key(service_id), b"") if service_id else b""
    if not any(element):
        return Fate("no_service")
    service = layout.Service.from_buffer_copy(element)
    if service.port_end and not (_host(service.port) <= port <= service.port_end and bytes(service.vip) == vip.packed):
        return Fate("no_service")
    return service


def _ranged(tables: Tables, number: int, port: int) -> int:
    """The service of the last segment that begins at `port` or before; 0 for none."""
    if not number:
        return 0
    element = tables.get("port_ranges").get(array_key(number))
    if element is None:
        raise Dangling(f"port ranges {number} were never written")
    table = choice_layout.PortRanges.from_buffer_copy(element)
    return int(table.service[bisect.bisect_right(list(table.first), port) - 1])


def _host(network_order: int) -> int:
    return int.from_bytes(network_order.to_bytes(2, "little"), "big")


def _slot(tables: Tables, size: int, ring: int, slot: int) -> int:
    if not ring:
        return 0
    element = tables.get(f"rings_{size}").get(array_key(ring))
    if element is None or len(element) != 2 * layout.ring_slots(size):
        raise Dangling(f"ring {ring} of {size} slots was never written")
    return int.from_bytes(element[2 * slot : 2 * slot + 2], "little")


def _backend(tables: Tables, backend_id: int) -> Fate:
    backend_id &= layout.SLOT_BACKEND
    if not backend_id:
        return Fate("no_backend")
    element = tables.get("backends").get(array_key(backend_id), b"")
    if not any(element):
        raise Dangling(f"backend {backend_id} was never written")
    backend = layout.Backend.from_buffer_copy(element)
    place = (Address(bytes(backend.address)), _host(backend.port))
    if not backend.flags & layout.BACKEND_KEEP:
        return Fate("cut", place)
    return Fate("forwarded" if backend.ifindex else "unresolved", place)


def _find(tables: Tables, config: bytes, kind: int, address: Address, port: int, protocol: int) -> int | None:
    head = layout.Config.from_buffer_copy(config)
    secret = (head.index_secret[0], head.index_secret[1])
    wanted = index.entry(kind, 0, address.packed, port, protocol, secret, head.index_mask)
    for number in (wanted.first, wanted.second):
        bucket = tables.get("index").get(array_key(number))
        for word in index.words(bucket) if bucket else ():
            if word >> 16 == wanted.word >> 16 and _is(tables, kind, word & 0xFFFF, address, port, protocol):
                return word & 0xFFFF
        if bucket is None or 0 in index.words(bucket):
            return None  # the second bucket is used only when the first is full
    return None


def _is(tables: Tables, kind: int, id_: int, address: Address, port: int, protocol: int) -> bool:
    if kind == layout.INDEX_ADDRESS:
        owned: Elements = tables.get("addresses")
        return owned.get(array_key(id_), b"")[:16] == address.packed
    element = tables.get("services").get(array_key(id_), b"")
    if not any(element):
        return False
    service = layout.Service.from_buffer_copy(element)
    return (
        bytes(service.vip) == address.packed
        and service.port == int.from_bytes(port.to_bytes(2, "big"), "little")
        and (service.protocol == protocol)
    )
