"""What the datapath would do with the first packet of a flow, read from tables as bpf/ reads the maps."""

from dataclasses import dataclass

from l4lb_agent.model import index, layout
from l4lb_agent.model.address import Address
from l4lb_agent.model.tables import Elements, Tables, array_key


@dataclass(frozen=True)
class Fate:
    """`what` is foreign, no_service, no_backend, unresolved, cut or forwarded; `backend` is its address and port."""

    what: str
    backend: tuple[Address, int] | None = None


class Dangling(AssertionError):
    """Something points to an element that nobody has written."""


def first_packet(tables: Tables, vip: Address, port: int, protocol: int, slot_hash: int) -> Fate:
    """The fate of the first packet of a flow whose slot hash is `slot_hash`. Raises Dangling."""
    config = tables.get("config").get(array_key(0))
    if config is None:
        return Fate("foreign")
    if _find(tables, config, layout.INDEX_ADDRESS, vip, 0, 0) is None:
        return Fate("foreign")
    service_id = _find(tables, config, layout.INDEX_SERVICE, vip, port, protocol)
    if service_id is None:
        return Fate("no_service")
    service = layout.Service.from_buffer_copy(tables.get("services")[array_key(service_id)])
    size = layout.RING_SIZES[service.word & layout.SERVICE_RING_CLASS]
    ring = service.word >> 48
    if not ring:
        return Fate("no_backend")
    element = tables.get(f"rings_{size}").get(array_key(ring))
    if element is None or len(element) != 2 * layout.ring_slots(size):
        raise Dangling(f"ring {ring} of {size} slots was never written")
    slot = slot_hash * size >> 32
    return _backend(tables, int.from_bytes(element[2 * slot : 2 * slot + 2], "little"))


def _backend(tables: Tables, backend_id: int) -> Fate:
    if not backend_id & layout.SLOT_BACKEND:
        raise Dangling("a slot without backend")
    element = tables.get("backends").get(array_key(backend_id), b"")
    if not any(element):
        raise Dangling(f"backend {backend_id} was never written")
    backend = layout.Backend.from_buffer_copy(element)
    place = (Address(bytes(backend.address)), int.from_bytes(backend.port.to_bytes(2, "little"), "big"))
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
