"""The flow table once more, in plain Python: what a packet in an at-risk slot does, told as rules and not as a program.

A tuple has up to three ways. A packet that is no SYN belongs to the way whose sequence is nearest, and within 4 MiB. Without one it goes to
`before`, and is pinned there when `now` differs. A SYN goes to `now` by a way of its own. All numbers are the model's, none is read from
the program under test.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

MIB = 1 << 20
WRAP = 1 << 32
MIX = 0x94D049BB133111EB
SYN, LIVE, FIN, RST, UDP, PINNED, LASTING = 1, 2, 3, 4, 5, 6, 7
UNCONFIRMED = (SYN, PINNED)


@dataclass
class Server:
    """A backend as the flow table needs to know it."""

    keeps: bool = True
    eligible: bool = True
    resets: bool = False

    @property
    def known(self) -> bool:
        """Whether its entries still mean something."""
        return self.keeps or self.resets


@dataclass
class Entry:
    """One way."""

    tag: int
    backend: int
    sequence: int
    seen: int
    state: int
    rank: int


@dataclass(frozen=True)
class Segment:
    """A packet of the flow with this 64-bit hash; `length` counts payload, SYN and FIN."""

    hash: int
    flags: str = "A"
    sequence: int = 0
    length: int = 0
    tcp: bool = True

    @property
    def hash_tag(self) -> int:
        """What an entry knows its tuple by: the half that picks the slot, and 16 bits more."""
        return self.hash >> 32 << 16 | self.hash & 0xFFFF

    @property
    def opens(self) -> bool:
        """A SYN without ACK."""
        return self.tcp and "S" in self.flags and "A" not in self.flags


@dataclass
class Table:
    """`lives` are seconds by state, `idle` those of a flow."""

    buckets: int
    idle: int = 900
    lives: dict[int, int] = field(default_factory=lambda: {SYN: 10, FIN: 60, RST: 5})
    servers: dict[int, Server] = field(default_factory=dict)
    track_all: bool = False
    time: int = 0
    entries: dict[tuple[int, int], Entry] = field(default_factory=dict)  # by bucket and place
    reads: int = 0
    made: int = 0
    evicted: int = 0

    def backend(self, packet: Segment, now: int, before: int) -> int:
        """Where the packet goes, 0 for nowhere; `now` and `before` are the slot's."""
        self.reads += 1
        if not packet.tcp or before not in self.servers or not self.servers[before].keeps:
            before = now
        if packet.opens:
            return self._syn(packet, now, before)
        near = self._nearest(packet)
        if near is None:
            return self._pin(packet, now, before)
        if self.servers[near.backend].keeps:
            self._touch(near, packet)
        else:
            near.state = RST
        return near.backend

    def _ways(self, packet: Segment) -> list[tuple[int, Entry]]:
        """Live entries of the packet's tuple with their places."""
        there = [(place, e) for place, e in self._bucket(packet) if e and e.tag == packet.hash_tag and not self._over(e)]
        return [(place, e) for place, e in there if packet.tcp or self.servers[e.backend].keeps]

    def _bucket(self, packet: Segment) -> Iterator[tuple[int, Entry | None]]:
        bucket = self._bucket_of(packet)
        return ((place, self.entries.get((bucket, place))) for place in range(4))

    def _bucket_of(self, packet: Segment) -> int:
        return ((packet.hash * MIX % (1 << 64)) >> 32) % self.buckets

    def _over(self, entry: Entry) -> bool:
        server = self.servers.get(entry.backend)
        life = self.lives.get(entry.state, self.idle)
        if entry.state in (FIN, RST):
            life = min(life, self.idle)
        return server is None or not server.known or self.time - entry.seen > life

    def _nearest(self, packet: Segment) -> Entry | None:
        ways = [(distance(packet.sequence, e.sequence) if packet.tcp else 0, place) for place, e in self._ways(packet)]
        near = min(ways, default=(4 * MIB, 0))
        return self.entries[self._bucket_of(packet), near[1]] if near[0] < 4 * MIB else None

    def _touch(self, way: Entry, packet: Segment) -> None:
        way_end, expected = (packet.sequence + packet.length) % WRAP, packet.sequence == way.sequence
        ahead = signed(way_end - way.sequence)
        if not packet.tcp:
            way.state, way.seen = UDP if way.seen != self.time else way.state, self.time
            return
        if "R" in packet.flags:
            if expected:
                way.state, way.seen = RST, self.time
            return
        closing = "F" in packet.flags and (expected or not ahead)
        lingering = "F" not in packet.flags and way.state == FIN and not packet.length and not ahead
        lasting = way.state == LASTING or (way.state == LIVE and way.seen != self.time)
        way.state = FIN if closing or lingering else LASTING if lasting else LIVE
        way.sequence = (way.sequence + max(0, min(ahead, MIB))) % WRAP
        way.seen = self.time

    def _syn(self, packet: Segment, now: int, before: int) -> int:
        ways = self._ways(packet)
        repeated = [e for _, e in ways if e.sequence == (packet.sequence + 1) % WRAP and self.servers[e.backend].eligible]
        if repeated:
            repeated[-1].seen = self.time
            return repeated[-1].backend
        if not now or (before == now and not self.track_all and all(e.backend == now for _, e in ways)):
            return now
        spare = before in self.servers and self.servers[before].eligible
        place = self._own(packet, ways) if len(ways) >= 3 else self._place(packet, must=not spare)
        if place is None:
            return before if spare else now
        rank = 2 if any(e.rank == 1 for _, e in ways) else 1
        self._write(packet, place, Entry(packet.hash_tag, now, (packet.sequence + 1) % WRAP, self.time, SYN, rank))
        return now

    def _pin(self, packet: Segment, now: int, before: int) -> int:
        if not before or (before == now and not self.track_all) or (packet.tcp and set(packet.flags) & {"R", "S"}):
            return before
        ways = self._ways(packet)
        place = self._own(packet, ways) if len(ways) >= 3 else self._place(packet, must=packet.tcp)
        if place is not None:
            end = (packet.sequence + packet.length) % WRAP if packet.tcp else 0
            made = Entry(packet.hash_tag, before, end, self.time, PINNED, 0)
            self._write(packet, place, made)
        return before

    def _own(self, packet: Segment, ways: list[tuple[int, Entry]]) -> int | None:
        """A way of the tuple that gives its place to another: one that has ended, else an unconfirmed one (for a SYN only a last one that a
        SYN has made), else the stalest of the last ones. A single last one stays when the first that a SYN has made is as stale or, without
        such a one, a pin is."""
        ways = ways[::-1]
        last = [(place, e) for place, e in ways if e.rank == 2]
        ended = [(place, e) for place, e in ways if e.state in (FIN, RST)]
        opened = [(place, e) for place, e in (last if packet.opens else ways) if e.state in UNCONFIRMED]
        others = [way for way in ways if way[1].rank == 1] or [way for way in ways if way[1].rank == 0]
        if ended:
            place, found = min(ended, key=lambda way: way[1].seen)
        elif opened:
            place, found = max(opened, key=lambda way: way[1].seen)
        elif last:
            place, found = min(last, key=lambda way: way[1].seen)
            other = min(others, key=lambda way: way[1].seen, default=None)
            if len(last) == 1 and other and other[1].seen <= found.seen:
                place, found = other
        else:
            return None
        self.evicted += found.state in (LIVE, LASTING)
        return place

    def _place(self, packet: Segment, must: bool) -> int | None:
        """A free place; else, if it must be, that of the stalest entry that is unconfirmed, else brief, else of any."""
        bucket = list(self._bucket(packet))
        free = [place for place, e in bucket if e is None or self._over(e)]
        if free:
            return free[0]
        if not must:
            return None
        stale = [(e.state in UNCONFIRMED, e.state in (LIVE, FIN, RST), self.time - e.seen, -place) for place, e in bucket if e]
        unconfirmed, _, _, place = max(stale)
        self.evicted += not unconfirmed
        return -place

    def _write(self, packet: Segment, place: int, entry: Entry) -> None:
        self.made += 1
        self.entries[self._bucket_of(packet), place] = entry


def signed(difference: int) -> int:
    """A difference of sequence numbers (RFC 9293 3.4)."""
    return (difference + (WRAP >> 1)) % WRAP - (WRAP >> 1)


def distance(one: int, other: int) -> int:
    """How far two sequence numbers are apart."""
    return abs(signed(one - other))
