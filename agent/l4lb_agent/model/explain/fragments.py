"""The table of datagrams whose first fragment was forwarded: bpf/fragment.h."""

from typing import Final

from l4lb_agent.model import hashing, layout
from l4lb_agent.model.explain.moment import WORD, port
from l4lb_agent.model.explain.packet import Packet, Part, Tuple
from l4lb_agent.model.reasons import Reason

LIVES_TICKS: Final = 80
REPEAT_TICKS: Final = 16
_TAG_SHIFT = 16
_FORWARDED = (Reason.FLOW_CREATED, Reason.TO_BACKEND, Reason.TO_CLIENT)


def first(packet: Packet) -> Reason | None:
    """A first fragment: the identification that NAT gives its datagram, or why it is refused."""
    number, tag = _name(packet)
    bucket = packet.now.element("fragments", number, layout.FragmentBucket)
    if bucket is None:
        return Reason.FRAGMENT
    place = _find(packet, bucket, tag)
    packet.piece.tag = tag
    if place is not None:
        entry = packet.piece.entry = bucket.entry[place]
        packet.piece.renamed = entry.identification
        if _repeats(packet, entry):
            packet.note("fragment", "a first fragment that has come before: along that one", **_about(packet, entry))
            return None
        if not _older(packet, entry, REPEAT_TICKS):
            packet.note("fragment", "another first fragment of this datagram, with other ports, has just come", **_about(packet, entry))
            return Reason.FRAGMENT_OVERLAP
    else:
        place = max(range(len(bucket.entry)), key=lambda i: (_staleness(packet, bucket.entry[i]), -i))
        if _staleness(packet, bucket.entry[place]) <= 0:
            place = 0
    packet.piece.entry = bucket.entry[place]
    packet.piece.renamed = (bucket.entry[place].identification + 0x4000 & 0xC000) | number << 2 | place
    packet.note("fragment", "a first fragment: ports are in it, and later ones will follow it for five seconds", **_about(packet, None))
    return None


def remember(packet: Packet, reason: Reason) -> None:
    """Keeps what those that follow a first fragment need, when it was forwarded."""
    entry, t, piece = packet.piece.entry, packet.tuple, packet.piece
    if packet.part is not Part.FIRST or entry is None or reason not in _FORWARDED:
        return
    first = piece.size
    if entry.word >> _TAG_SHIFT == piece.tag and _repeats(packet, entry):
        first = max(first, entry.first)
    entry.stamp, entry.identification, entry.first, entry.protocol = packet.now.tick, piece.renamed, first, t.protocol
    entry.source_port, entry.destination_port = port(t.source_port), port(t.destination_port)
    entry.word = piece.tag << _TAG_SHIFT | packet.backend


def later(packet: Packet) -> Reason | None:
    """A later fragment: completes its tuple by the first one's ports, or says why it cannot."""
    number, tag = _name(packet)
    bucket = packet.now.element("fragments", number, layout.FragmentBucket)
    place = _find(packet, bucket, tag) if bucket else None
    if bucket is None or place is None:
        packet.note("fragment", "a later fragment, and no first one was forwarded in the last five seconds", **_about(packet, None))
        return Reason.FRAGMENT
    entry, t = bucket.entry[place], packet.tuple
    packet.tuple = Tuple(t.source, t.destination, port(entry.source_port), port(entry.destination_port), entry.protocol)
    packet.piece.renamed, packet.piece.backend = entry.identification, entry.word & 0xFFFF
    if packet.piece.offset < entry.first:
        packet.note("fragment", "a later fragment of what the first one has brought already", **_about(packet, entry))
        return Reason.FRAGMENT_OVERLAP
    packet.note("fragment", "a later fragment: it goes where the first one went", **_about(packet, entry))
    return None


def _name(packet: Packet) -> tuple[int, int]:
    """Bucket and tag of the packet's datagram."""
    t, secret = packet.tuple, packet.now.slot_secret
    which = 1 << 63 | packet.piece.identification << 8 | (t.protocol if packet.family == 4 else 0)
    hashed = hashing.mix(hashing.addresses_hash(t.source, t.destination, secret), which, secret)
    return hashed & (layout.FRAGMENT_BUCKETS - 1), hashed >> _TAG_SHIFT


def _find(packet: Packet, bucket: layout.FragmentBucket, tag: int) -> int | None:
    places = [i for i, e in enumerate(bucket.entry) if e.word and e.word >> _TAG_SHIFT == tag and not _older(packet, e, LIVES_TICKS)]
    return places[-1] if places else None


def _age(packet: Packet, entry: layout.FragmentEntry) -> int:
    """Ticks since the first fragment, signed."""
    age: int = packet.now.tick - entry.stamp & WORD
    return age - (1 << 32) if age >> 31 else age


def _older(packet: Packet, entry: layout.FragmentEntry, ticks: int) -> bool:
    return _age(packet, entry) > ticks


def _staleness(packet: Packet, entry: layout.FragmentEntry) -> int:
    return _age(packet, entry) if entry.word else 0x7FFFFFFF


def _repeats(packet: Packet, entry: layout.FragmentEntry) -> bool:
    t = packet.tuple
    return (port(entry.source_port), port(entry.destination_port), entry.protocol) == (t.source_port, t.destination_port, t.protocol)


def _about(packet: Packet, entry: layout.FragmentEntry | None) -> dict[str, object]:
    piece = packet.piece
    about: dict[str, object] = {"offset": piece.offset, "bytes": piece.size, "more": "yes" if piece.more else "no"}
    if entry is not None:
        ago = f"{_age(packet, entry) / 16:.1f} s"
        about |= {"first_brought_bytes": entry.first, "first_came_ago": ago, "backend_id": entry.word & 0xFFFF}
    if packet.part is Part.FIRST and packet.family == 4 and piece.renamed:
        about["nat_identification"] = f"{piece.renamed:#06x}"
    return about
