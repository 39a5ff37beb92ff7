"""The flow table of DSR and ENCAP: which backend a packet in an at-risk slot goes to (bpf/track.h, bpf/entry.h)."""

from dataclasses import dataclass
from typing import Final

from l4lb_agent.model import layout
from l4lb_agent.model.explain import choice, limits
from l4lb_agent.model.explain import packet as p
from l4lb_agent.model.explain.choice import Chosen
from l4lb_agent.model.explain.packet import Packet
from l4lb_agent.model.flows.segments import NEAR, NEAR_STEP, apart
from l4lb_agent.model.reasons import Reason

STATES: Final = ("NONE", "SYN", "LIVE", "FIN", "RST", "UDP", "PINNED", "LASTING")
MOST_WAYS: Final = 3
_FUTURE, _WORD, _WORTH_FREE = 65500, 0xFFFFFFFF, 1 << 30
_MIX: Final = 0x94D049BB133111EB
_OWN_UNCONFIRMED, _OWN_ENDED = 1 << 18, 1 << 19
_UNCONFIRMED = (layout.TRACKED_SYN, layout.TRACKED_PINNED)


@dataclass(frozen=True)
class Tracked:
    """Where the packet goes; `refused` says why it may not begin a flow, `ends` that its flow is to be reset, and has not been told yet."""

    backend: int
    refused: Reason | None = None
    ends: bool = False


@dataclass(frozen=True)
class _Way:
    entry: layout.FlowEntry
    distance: int

    @property
    def backend(self) -> int:
        return int(self.entry.word & 0xFFFF)


def backend(packet: Packet, chosen: Chosen) -> Tracked:
    """The backend of a packet whose slot is at risk, or whose service tracks all flows."""
    bucket = _bucket(packet, chosen)
    if bucket is None:
        return Tracked(chosen.backend)
    ways = _ways(packet, bucket, chosen)
    to, before = chosen.backend, choice.before(packet, chosen.pick, chosen.backend) if packet.tcp else chosen.backend
    same = [way for way in ways if _repeated(packet, way)]
    near = _nearest(ways)
    found = same[-1] if packet.syn and same else None if packet.syn else near
    by_client = packet.word & layout.SERVICE_AFFINITY and found is None
    begins = packet.syn or not packet.tcp
    if by_client:
        before = to = choice.affine(packet, to if begins else before)
    if packet.syn:
        went = _syn(packet, bucket, ways, found, before, to)
    else:
        went = _follow(packet, found) if found else _pin(packet, bucket, ways, before, to)
    if by_client and begins and not went.refused:
        choice.keep(packet, went.backend)
    return went


def quoted(packet: Packet, chosen: Chosen, acknowledged: int | None) -> int:
    """The backend that has sent what an ICMP error quotes; `acknowledged` is what that says of the client's sequence, if it reaches so far
    (bpf/direct_error.h)."""
    bucket = _bucket(packet, chosen)
    if bucket is None:
        return chosen.backend
    packet.sequence = acknowledged or 0
    ways = _ways(packet, bucket, chosen)
    likeliest = packet.tcp and acknowledged is None
    found = min(ways, key=lambda way: _worth(packet, way.entry), default=None) if likeliest else _nearest(ways)
    if found:
        packet.note("tracking", "along the entry that has lasted" if likeliest else "along the nearest entry", **_about(packet, found))
        return found.backend
    packet.note("tracking", "no entry: where flows without one go", entries=len(ways))
    return choice.before(packet, chosen.pick, chosen.backend) if packet.tcp else chosen.backend


def _bucket(packet: Packet, chosen: Chosen) -> layout.FlowBucket | None:
    number = chosen.hash * _MIX >> 32 & packet.now.config.flow_mask
    return packet.now.element("flow_table", number & 0xFFFFFFFF, layout.FlowBucket)


def _nearest(ways: list[_Way]) -> _Way | None:
    return min((way for way in ways if way.distance < NEAR), key=lambda way: way.distance, default=None)


def _worth(packet: Packet, entry: layout.FlowEntry) -> int:
    """Of giving it up (bpf/entry.h)."""
    brief = entry.state in (layout.TRACKED_LIVE, layout.TRACKED_FIN, layout.TRACKED_RST)
    return _age(packet, entry) + (1 << 20 if entry.state in _UNCONFIRMED else 1 << 18 if brief else 0)


def _ways(packet: Packet, bucket: layout.FlowBucket, chosen: Chosen) -> list[_Way]:
    """Live entries of the packet's tuple, in their order."""
    tag = packet.tag = chosen.pick << 16 | chosen.hash & 0xFFFF
    service = packet.now.service(packet.service)
    idle = service.idle_seconds if service else 0
    found = [e for e in bucket.entry if e.word >> 16 == tag and _own(packet, e) and _age(packet, e) <= _timeout(packet, e.state, idle)]
    return [_Way(e, apart(packet.sequence, e.sequence) if packet.tcp else 0) for e in found]


def _repeated(packet: Packet, way: _Way) -> bool:
    backend = packet.now.backend(way.backend)
    return way.entry.sequence == packet.sequence + 1 & _WORD and bool(backend and backend.flags & layout.BACKEND_ELIGIBLE)


def _syn(packet: Packet, bucket: layout.FlowBucket, ways: list[_Way], same: _Way | None, before: int, to: int) -> Tracked:
    if same:
        packet.note("tracking", "the SYN repeats one that has an entry: along that", **_about(packet, same))
        same.entry.stamp = packet.now.second
        return Tracked(same.backend)
    elsewhere = any(way.backend != to for way in ways)
    if not to or (before == to and not elsewhere and not packet.word & layout.SERVICE_TRACK_ALL):
        packet.note("tracking", "a SYN that needs no entry: by the ring", entries=len(ways))
        return Tracked(to)
    held = packet.now.backend(before)
    spare = bool(held and held.flags & layout.BACKEND_ELIGIBLE)
    room = _room(packet, bucket, must=not spare) if len(ways) < MOST_WAYS else _own_room(packet, ways)
    if room is None:
        text = "no room for an entry: where flows without one go" if spare else "no room for an entry: by the ring"
        packet.note("tracking", text, entries=len(ways))
        return Tracked(before if spare else to)
    packet.note("tracking", "a SYN goes by the ring, and gets an entry", entries=len(ways))
    second = any(way.entry.rank == 1 for way in ways)
    _write(packet, room, to, layout.TRACKED_SYN, layout.RANK_LAST if second else 1)
    return Tracked(to)


def _follow(packet: Packet, way: _Way) -> Tracked:
    backend = packet.now.backend(way.backend)
    keeps = bool(backend and backend.flags & layout.BACKEND_KEEP)
    packet.note("tracking", "along the nearest entry" if keeps else "its entry's backend resets its flows", **_about(packet, way))
    ends = not keeps and way.entry.state != layout.TRACKED_RST
    if keeps:
        _touch(packet, way.entry)
    else:
        way.entry.state = layout.TRACKED_RST
    return Tracked(way.backend, ends=ends)


def _pin(packet: Packet, bucket: layout.FlowBucket, ways: list[_Way], before: int, to: int) -> Tracked:
    every = packet.word & layout.SERVICE_TRACK_ALL
    if not before or (before == to and not every) or (packet.tcp and packet.flags & (p.RST | p.SYN)):
        packet.note("tracking", "no entry: where flows without one go", entries=len(ways))
        return Tracked(before)
    room = _room(packet, bucket, must=packet.tcp) if len(ways) < MOST_WAYS else _own_room(packet, ways)
    if room is None:
        packet.note("tracking", "no entry, and no room for one: where flows without one go", entries=len(ways))
        return Tracked(before)
    refused = limits.refused(packet) if packet.word & layout.SERVICE_LIMITED and not packet.tcp else None
    if not refused:
        packet.note("tracking", "no entry: where flows without one go, and it gets an entry there", entries=len(ways))
        _write(packet, room, before, layout.TRACKED_PINNED, 0)
    return Tracked(before, refused)


def _write(packet: Packet, entry: layout.FlowEntry, number: int, state: int, rank: int) -> None:
    """A new entry of the packet's tuple."""
    end = packet.sequence + (1 if state == layout.TRACKED_SYN else packet.segment)
    entry.sequence, entry.stamp, entry.state, entry.rank = end if packet.tcp else 0, packet.now.second, state, rank
    entry.word = packet.tag << 16 | number


def _touch(packet: Packet, entry: layout.FlowEntry) -> None:
    """What its entry expects, its stamp and its state follow a packet. A FIN or RST counts only where it is expected."""
    end, now = packet.sequence + packet.segment & _WORD, packet.now.second & 0xFFFF
    ahead = end - entry.sequence & _WORD
    lasts = entry.state == layout.TRACKED_LASTING or (entry.state == layout.TRACKED_LIVE and entry.stamp != now)
    state = layout.TRACKED_LASTING if lasts else layout.TRACKED_LIVE
    if not packet.tcp:
        state, ahead = layout.TRACKED_UDP if entry.stamp != now else entry.state, 0
    elif packet.flags & p.RST:
        if packet.sequence != entry.sequence:
            return
        state = layout.TRACKED_RST
    elif packet.flags & p.FIN:
        state = layout.TRACKED_FIN if packet.sequence == entry.sequence or not ahead else state
    elif entry.state == layout.TRACKED_FIN and not packet.segment and not ahead:
        state = layout.TRACKED_FIN
    if 0 < ahead < 1 << 31 and not packet.flags & p.RST:
        entry.sequence += min(ahead, NEAR_STEP)
    entry.state, entry.stamp = state, now


def _own_room(packet: Packet, ways: list[_Way]) -> layout.FlowEntry | None:
    """The entry that gives its place to another of its tuple."""
    entries = [way.entry for way in reversed(ways)]
    found = max(entries, key=lambda entry: _own_worth(packet, entry))
    worth = _own_worth(packet, found)
    firsts, pinned = [[entry for entry in entries if entry.rank == rank] for rank in (1, 0)]
    other = max(firsts or pinned, key=lambda entry: _age(packet, entry), default=None)
    if other and worth and sum(entry.rank == layout.RANK_LAST for entry in entries) == 1 and worth <= 1 + _age(packet, other):
        return other
    return found if worth else None


def _own_worth(packet: Packet, entry: layout.FlowEntry) -> int:
    """Of that, 0 when it must stay."""
    last, age = entry.rank == layout.RANK_LAST, _age(packet, entry)
    if entry.state in (layout.TRACKED_FIN, layout.TRACKED_RST):
        return _OWN_ENDED + age
    if entry.state in _UNCONFIRMED and (last or not packet.syn):
        return _OWN_UNCONFIRMED - age
    return 1 + age if last else 0


def _room(packet: Packet, bucket: layout.FlowBucket, *, must: bool) -> layout.FlowEntry | None:
    """The entry to write into: a free one, or that which is lost least when one has to go."""
    least, found = 0 if must else _WORTH_FREE - 1, None
    for entry in bucket.entry:
        worth = _WORTH_FREE if _free(packet, entry) else 1 + _worth(packet, entry)
        if worth > least:
            least, found = worth, entry
    return found


def _free(packet: Packet, entry: layout.FlowEntry) -> bool:
    if not _known(packet, entry):
        return True
    backend = packet.now.backend(entry.word & 0xFFFF)
    service = packet.now.service(backend.service) if backend else None
    return service is None or _age(packet, entry) > _timeout(packet, entry.state, service.idle_seconds)


def _known(packet: Packet, entry: layout.FlowEntry) -> bool:
    """Whether it is one of a backend that keeps its flows, or is to reset them."""
    number = entry.word & 0xFFFF
    backend = packet.now.backend(number) if number else None
    return bool(backend and backend.flags & (layout.BACKEND_KEEP | layout.BACKEND_RESET))


def _own(packet: Packet, entry: layout.FlowEntry) -> bool:
    """Whether it is one of the packet's service, too: a backend's id may have become another's. Of UDP nobody hears that it is reset."""
    backend = packet.now.backend(entry.word & 0xFFFF)
    heard = packet.tcp or bool(backend and backend.flags & layout.BACKEND_KEEP)
    return _known(packet, entry) and heard and bool(backend and backend.service == packet.service)


def _age(packet: Packet, entry: layout.FlowEntry) -> int:
    age = packet.now.second - entry.stamp & 0xFFFF
    return 0 if age > _FUTURE else age


def _timeout(packet: Packet, state: int, idle: int) -> int:
    config = packet.now.config
    if state == layout.TRACKED_SYN:
        return int(config.tracked_syn)
    if state in (layout.TRACKED_FIN, layout.TRACKED_RST):
        return min(int(config.tracked_fin if state == layout.TRACKED_FIN else config.tracked_rst), idle)
    return idle


def _about(packet: Packet, way: _Way) -> dict[str, object]:
    state = way.entry.state
    return {
        "backend_id": way.backend, "state": STATES[state] if state < len(STATES) else state, "silent_for": f"{_age(packet, way.entry)} s",
        "rank": way.entry.rank, "sequence_distance": way.distance if packet.tcp else "",
    }  # fmt: skip
