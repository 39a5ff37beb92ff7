"""Whose a packet is: owned addresses, services by their port and by ranges, lists (bpf/index.h, bpf/lists.h, bpf/source.h)."""

from collections.abc import Iterator
from typing import Final

from l4lb_agent.model import hashing, layout
from l4lb_agent.model.address import Address
from l4lb_agent.model.choice import layout as choice_layout
from l4lb_agent.model.explain.moment import Moment, port
from l4lb_agent.model.explain.packet import Packet
from l4lb_agent.model.reasons import Reason

_FLAGS: Final = {
    layout.ADDRESS_VIP: "VIP", layout.ADDRESS_SNAT: "SNAT address", layout.ADDRESS_LOCAL: "this host's own, too",
    layout.ADDRESS_ECHO: "answers echo requests",
}  # fmt: skip
MODES: Final = ("NAT", "KEEP", "DSR", "ENCAP over IPIP", "ENCAP over GUE", "ENCAP over GUE variant 1")


def owned(now: Moment, address: bytes) -> layout.OwnedAddress | None:
    """The element of an address that the datapath owns."""
    hashed = hashing.address_hash(address, now.index_secret)
    for number in _candidates(now, hashed, layout.INDEX_ADDRESS, "index", now.config.index_mask):
        element = now.element("addresses", number, layout.OwnedAddress)
        if element and element.flags and bytes(element.address) == address:
            return element
    return None


def from_kept(now: Moment, source: bytes) -> bool:
    """Whether it is the address of a backend of a service that keeps clients' addresses."""
    bit = hashing.owned_bit(source)
    if not now.config.kept_filter[bit >> 5] >> (bit & 31) & 1:
        return False
    hashed = hashing.address_hash(source, now.index_secret)
    found = (now.backend(number) for number in _candidates(now, hashed, layout.INDEX_BACKEND, "kept", now.config.kept_mask))
    return any(backend is not None and bytes(backend.address) == source for backend in found)


def find(packet: Packet, address: layout.OwnedAddress) -> bool:
    """Finds the service of the packet's destination, which `address` is. Sets packet.service and packet.word."""
    number, how = _find(packet, address)
    if not number:
        t = packet.tuple
        packet.note("service", f"no service of {Address(t.destination)} takes this port", port=t.destination_port, protocol=t.protocol)
        return False
    service = packet.now.service(number)
    assert service is not None
    packet.service, packet.word = number, service.word
    first, last = port(service.port), service.port_end
    packet.note(
        "service", f"found by {how}", service_id=number, ports=f"{first}-{last}" if last else first, mode=MODES[packet.mode],
        ring_slots=layout.RING_SIZES[packet.word & layout.SERVICE_RING_CLASS], idle_seconds=service.idle_seconds,
    )  # fmt: skip
    return True


def describe(address: layout.OwnedAddress) -> str:
    """What the flags of an owned address say."""
    return ", ".join(text for flag, text in _FLAGS.items() if address.flags & flag)


def barred(packet: Packet, service: int, client: bytes) -> Reason | None:
    """Why the service has nothing to do with this client. Allow list without it, or no longer prefix in it than in the deny list."""
    policy = packet.now.element("policies", service, layout.Policy)
    if policy is None:
        return None
    denied = packet.now.listed(policy.deny_list, packet.family, client)
    allowed = packet.now.listed(policy.allow_list, packet.family, client)
    skipped = 97 if packet.family == 4 else 1  # of the number: what maps IPv4, and one more
    facts = {
        "client": Address(client),
        "allow_list_id": policy.allow_list or "",
        "allow_list_match": _match(policy.allow_list, allowed, skipped),
        "deny_list_id": policy.deny_list or "",
        "deny_list_match": _match(policy.deny_list, denied, skipped),
    }
    why = None
    if policy.allow_list and not allowed:
        why, text = Reason.NOT_ALLOWED, "the allow list does not have the client"
    elif denied and (not policy.allow_list or denied >= allowed):
        why, text = Reason.DENIED, "the deny list has the client"
    else:
        text = "the lists let the client in"
    packet.note("lists", text, **facts)
    return why


def source_fault(packet: Packet, *, link_local: bool) -> Reason | None:
    """Why nothing may be sent to or for where the packet claims to come from; `link_local` says that such a source is one, too."""
    source = packet.tuple.source
    why = None
    if (link_local and _link_local(packet)) or _martian(packet):
        why, text = Reason.SOURCE_MARTIAN, "a source that no host on a network has"
    elif _owned_source(packet.now, source):
        why, text = Reason.SOURCE_OWNED, "the source is an owned address"
    if why:
        packet.note("source", text, source=Address(source))
    return why


def _match(number: int, bits: int, skipped: int) -> str:
    if not number:
        return ""
    return f"a prefix of {bits - skipped} bits has it" if bits else "does not have it"


def _martian(packet: Packet) -> bool:
    source = packet.tuple.source
    if packet.family == 6:
        return not any(source[:4]) or source[0] == 0xFF
    return source[12] in (0, 127) or source[12] >= 224


def _link_local(packet: Packet) -> bool:
    source = packet.tuple.source
    if packet.family == 6:
        return source[0] == 0xFE and source[1] & 0xC0 == 0x80
    return source[12:14] == b"\xa9\xfe"


def _owned_source(now: Moment, source: bytes) -> bool:
    bit = hashing.owned_bit(source)
    return bool(now.config.owned_filter[bit >> 5] >> (bit & 31) & 1) and owned(now, source) is not None


def _candidates(now: Moment, hashed: int, kind: int, table: str, mask: int) -> Iterator[int]:
    """Ids of the entries of that hash; the second bucket is looked into only while the first is full."""
    first, second = hashed & mask, hashed >> 16 & mask
    wanted = hashed >> 32 << 16 | kind
    for number in (first, second ^ 1 if second == first else second):
        bucket = now.element(table, number, layout.Bucket)
        if bucket is None:
            return
        yield from (entry & 0xFFFF for entry in bucket.entry if entry >> 16 == wanted)
        if not all(bucket.entry):
            return


def _find(packet: Packet, address: layout.OwnedAddress) -> tuple[int, str]:
    """Id and how it was found; 0 when no service takes the packet."""
    now, t = packet.now, packet.tuple
    if _alone(packet, address.service):
        return address.service, "the VIP's element, which names it"
    hashed = hashing.index_hash(t.destination, t.destination_port, t.protocol, now.index_secret)
    for number in _candidates(now, hashed, layout.INDEX_SERVICE, "index", now.config.index_mask):
        if _alone(packet, number):
            return number, "its port, in the index"
    element = address.ranges_tcp if packet.tcp else address.ranges_udp
    ranges = now.element("port_ranges", element, choice_layout.PortRanges) if element else None
    if ranges is None:
        return 0, ""
    place = 0
    step = choice_layout.PORT_RANGES // 2
    while step:
        if ranges.first[place + step & (choice_layout.PORT_RANGES - 1)] <= t.destination_port:
            place += step
        step //= 2
    number = ranges.service[place & (choice_layout.PORT_RANGES - 1)]
    service = now.service(number)
    if service is None or not port(service.port) <= t.destination_port <= service.port_end:
        return 0, ""
    return (number, "the narrowest port range that holds it") if _present(packet, service) else (0, "")


def _alone(packet: Packet, number: int) -> bool:
    service = packet.now.service(number)
    return service is not None and port(service.port) == packet.tuple.destination_port and _present(packet, service)


def _present(packet: Packet, service: layout.Service) -> bool:
    t = packet.tuple
    return service.protocol == t.protocol and bytes(service.vip) == t.destination and bool(service.word & layout.SERVICE_PRESENT)
