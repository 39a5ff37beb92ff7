"""What the packet tests of kept client addresses share: the backends that `kept` names, and their frames."""

from scapy.layers.inet import TCP
from scapy.packet import Packet

from l4lb_agent.model import hashing, index, layout
from l4lb_agent.model.tables import array_key
from tests.packet.balancer import INDEX_SECRET, Balancer
from tests.packet.wire import CLIENT_PORT, NUMBER, PROTOCOLS, V4, V6, VIP_PORT, Family, from_backend, to_backend

SERVICE = {(4, 6): 1, (4, 17): 2, (6, 6): 3, (6, 17): 4}


def name(lb: Balancer, *numbers: int) -> None:
    """The backends of these numbers, and no others, answer to clients themselves."""
    mask = lb.specs["kept"].max_entries - 1
    addresses = {bytes(layout.Backend.from_buffer_copy(lb.read("backends", number)).address): number for number in numbers}
    entries = [index.entry(layout.INDEX_BACKEND, number, packed, 0, 0, INDEX_SECRET, mask) for packed, number in addresses.items()]
    placed = index.place({}, entries)
    for number in range(mask + 1):
        lb.write("kept", number, placed.get(array_key(number), bytes(64)))
    words = [0] * 8
    for packed in addresses:
        bit = hashing.owned_bit(packed)
        words[bit >> 5] |= 1 << (bit & 31)
    flags = lb.config.flags & ~layout.CONFIG_KEEP | (layout.CONFIG_KEEP if numbers else 0)
    lb.configure(kept_mask=mask, kept_filter=(layout.U32 * 8)(*words), flags=flags)


def keep(lb: Balancer, **options: int) -> None:
    """The services 1 to 4 keep the client's address, and backends 1 to 6 answer accordingly."""
    for family in (V4, V6):
        for kind in PROTOCOLS:
            number = SERVICE[family.version, NUMBER[kind]]
            ring = 1 if family is V4 else 2
            lb.service(number, family.vip, VIP_PORT, NUMBER[kind], now=ring, mode=layout.MODE_KEEP, **options)  # type: ignore[arg-type]
    name(lb, *range(1, 7))


def reached(family: Family, kind: type[Packet] = TCP, payload: bytes = b"", *, client: str = "", **fields: object) -> Packet:
    """A client's frame as it must reach the backend."""
    return to_backend(family, kind, payload, snat=client or family.client, **fields)  # type: ignore[arg-type]


def reply(
    family: Family, kind: type[Packet] = TCP, payload: bytes = b"", *, client: str = "", port: int = CLIENT_PORT, **fields: object
) -> Packet:
    """The backend's answer, which is for the client."""
    return from_backend(family, kind, payload, snat=client or family.client, port=port, **fields)  # type: ignore[arg-type]
