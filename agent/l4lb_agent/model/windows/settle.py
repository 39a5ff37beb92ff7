"""Which slots of a service's ring a change has put at risk, and until when.

New flows go to ring `now`, flows without an entry to ring `before`: every live flow without an entry sits at before[slot]. Each slot has a
window of its own. It opens when now[slot] first differs from before[slot]; once they have differed without a break for the window, whatever
values now[slot] took, before[slot] becomes now[slot]. By then every flow that still speaks has an entry. Each exception keeps some flow
alive, or gives up one that nobody can keep:

- now[slot] returns to before[slot]: settled at once
- the owner at `before` is draining: not before its drain ends, so that idle flows live to its deadline
- it is down: not before its grace ends, but then at once: flows that it still has survive a flap
- it is removed, or its flows are cut: at once, in the same write
- now[slot] is nobody: never, since a flow could go nowhere else
- before[slot] is nobody: at once, since nothing was there to be at risk

A slot that differs is marked at risk in `now`: only there does the datapath read `before` and its table of entries. The mark lingers when
the slot has settled, because of entries that name another backend. It goes when a sweep that began more than a grace period after the
settled rings were published has found none of them.

Times are seconds on a clock that never steps; a window begins once its rings are published. Slots hold datapath ids of backends. Values
never change: a step makes another one, which shares what stays. For a settled service a step compares two references.
"""

import math
from array import array
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress
from operator import ne

from l4lb_agent.model import layout

NOBODY = 0
BATCH_SECONDS = 1.0  # windows that open within so long of each other end together, with the last of them
_UNPUBLISHED = math.inf


@dataclass(frozen=True)
class Group:
    """Slots of one fate. `at` is when the rings were published in which they first differed, or in which they differ no more."""

    at: float
    slots: "array[int]"  # of type I, ascending
    owners: frozenset[int] = frozenset()  # at `before`, of those that differ


@dataclass(frozen=True, eq=False)
class Pair:
    """The two rings of a service: arrays of type H, which nobody changes. While all slots are settled they are one object."""

    now: "array[int]"
    before: "array[int]"
    open: tuple[Group, ...] = ()  # differ; oldest first
    lingering: tuple[Group, ...] = ()  # differ no more, and may still have entries

    @property
    def differing(self) -> int:
        """How many slots differ."""
        return sum(len(group.slots) for group in self.open)

    @property
    def at_risk(self) -> int:
        """How many slots are marked."""
        return self.differing + sum(len(group.slots) for group in self.lingering)

    @cached_property
    def empty(self) -> bool:
        """Whether new flows have nowhere to go."""
        return not any(self.now)

    @cached_property
    def now_element(self) -> bytes:
        """Ring `now` as its map holds it, with the marks; b"" when no slot has a backend or a mark."""
        marked = self.now
        if self.open or self.lingering:
            marked = self.now[:]
            for group in (*self.open, *self.lingering):
                for slot in group.slots:
                    marked[slot] |= layout.SLOT_AT_RISK
        return _element(marked) if any(marked) else b""

    @cached_property
    def before_element(self) -> bytes:
        """Ring `before` as its map holds it; the same object as that of `now` while nothing differs."""
        return _element(self.before) if self.open else self.now_element


@dataclass(frozen=True)
class Rules:
    """What a step must know of the service and of its backends, by datapath id."""

    window: float
    keeps: Container[int]  # whose flows stay: neither removed nor cut
    draining: Container[int] = frozenset()
    down: Mapping[int, float] = field(default_factory=dict)  # when the grace of each ends

    def lost(self, owner: int, time: float) -> bool:
        """Whether no flow can stay with this owner at `before`."""
        return owner == NOBODY or owner not in self.keeps or self.down.get(owner, math.inf) <= time

    def held(self, owner: int) -> bool:
        """Whether flows may stay with this owner for longer than the window."""
        return owner in self.draining or owner in self.down


def nobody(size: int) -> "array[int]":
    """A ring without backends."""
    return array("H", bytes(2 * size))


def first(now: "array[int]") -> Pair:
    """A service's first ring: nothing was there to be at risk."""
    return Pair(now, now)


def adopted(now: bytes, before: bytes, size: int, time: float) -> Pair:
    """What two elements of ring maps say, b"" for none. Windows begin anew: the maps do not say how much of them has passed."""
    marked, slots, there = _slots(now, size), _slots(now, size, layout.SLOT_BACKEND), _slots(before, size, layout.SLOT_BACKEND)
    differing = _differing(slots, there)
    lingering = set(compress(range(size), (slot & layout.SLOT_AT_RISK for slot in marked))).difference(differing)
    return Pair(slots, there if differing else slots, _opened(_whole(time), differing, there), _group(time, lingering))


def advance(pair: Pair, now: "array[int]", time: float, rules: Rules) -> Pair:
    """The pair with `now` as the ring for new flows, at `time`; the same value when that changes nothing."""
    if now is pair.now or now == pair.now:
        now = pair.now
        if not _moves(pair, time, rules):
            return pair
    before, left = pair.before[:], set(_differing(now, pair.before))
    opened: list[Group] = []
    for group in pair.open:
        mine = [slot for slot in group.slots if slot in left]
        left.difference_update(mine)
        opened += _opened(group.at, _unsettled(mine, now, before, rules, time, ripe=group.at + rules.window <= time), before)
    fresh = _unsettled(sorted(left), now, before, rules, time, ripe=rules.window <= 0)
    opened += _opened(_UNPUBLISHED, fresh, before)
    return Pair(now, before if opened else now, _joined(opened, before), _lingering(pair, now, opened))


def published(pair: Pair, time: float) -> Pair:
    """The pair once the maps hold it; the last write was before `time`."""
    opened = [replace(group, at=_whole(time)) if group.at == _UNPUBLISHED else group for group in pair.open]
    lingering = tuple(replace(group, at=time) if group.at == _UNPUBLISHED else group for group in pair.lingering)
    if opened == list(pair.open) and lingering == pair.lingering:
        return pair
    after = replace(pair, open=_joined(opened, pair.before), lingering=lingering)
    after.__dict__.update({name: value for name, value in pair.__dict__.items() if name.endswith("_element")})
    return after


def watched(pair: Pair) -> bool:
    """Whether a sweep that begins now may find that marks can go."""
    return any(group.at != _UNPUBLISHED for group in pair.lingering)


def swept(pair: Pair, began: float, pinned: Container[int], grace: float) -> Pair:
    """The pair after a sweep that began then and found live entries of other backends than now[slot] in the slots `pinned` only."""
    seen = [group for group in pair.lingering if group.at + grace < began]
    slots = [slot for group in seen for slot in group.slots]
    stay = [slot for slot in slots if slot in pinned]
    if len(stay) == len(slots):
        return pair
    rest = tuple(group for group in pair.lingering if group not in seen)
    return replace(pair, lingering=(*_group(max(group.at for group in seen), stay), *rest))


def due(pair: Pair, rules: Rules) -> float | None:
    """When the next slots settle by themselves, None when none do."""
    return min((time for time, by_itself in _times(pair, rules) if by_itself), default=None)


def ends(pair: Pair, rules: Rules) -> float | None:
    """The earliest time at which the last differing slot can be settled, None when none differs."""
    return max((time for time, _ in _times(pair, rules)), default=None)


def _times(pair: Pair, rules: Rules) -> Iterator[tuple[float, bool]]:
    """When the slots of each group and owner can settle, and whether they do so by themselves."""
    for group in pair.open:
        for owner in group.owners:
            if owner in rules.down:
                yield rules.down[owner], True
            elif group.at != _UNPUBLISHED:
                yield group.at + rules.window, not pair.empty and owner not in rules.draining


def _moves(pair: Pair, time: float, rules: Rules) -> bool:
    """Whether some slot settles at `time` although the ring is the same."""
    return any(
        rules.lost(owner, time) or (group.at + rules.window <= time and not pair.empty and not rules.held(owner))
        for group in pair.open
        for owner in group.owners
    )


def _unsettled(slots: Iterable[int], now: "array[int]", before: "array[int]", rules: Rules, time: float, *, ripe: bool) -> list[int]:
    """Those of differing `slots` that go on differing; the others are settled in `before`."""
    stay: list[int] = []
    lost: dict[int, bool] = {}
    for slot in slots:
        owner = before[slot]
        if owner not in lost:
            lost[owner] = rules.lost(owner, time)
        if lost[owner] or (ripe and now[slot] != NOBODY and not rules.held(owner)):
            before[slot] = now[slot]
        else:
            stay.append(slot)
    return stay


def _lingering(pair: Pair, now: "array[int]", opened: Iterable[Group]) -> tuple[Group, ...]:
    """Marked slots that do not differ. One that has another backend now begins to linger anew: what sweeps saw of it is void."""
    differ = {slot for group in opened for slot in group.slots}
    fresh = {slot for group in pair.open for slot in group.slots}
    kept: list[Group] = []
    for group in pair.lingering:
        if group.at == _UNPUBLISHED:
            fresh.update(group.slots)
        elif now is pair.now:
            kept.append(group)
        else:
            same = {slot for slot in group.slots if now[slot] == pair.now[slot]}
            fresh.update(same.symmetric_difference(group.slots))
            kept += _group(group.at, same - differ)
    return (*kept, *_group(_UNPUBLISHED, fresh - differ))


def _joined(groups: Iterable[Group], before: "array[int]") -> tuple[Group, ...]:
    """Neighbours of one time as one group."""
    joined: list[Group] = []
    for group in groups:
        if joined and joined[-1].at == group.at:
            group = _opened(group.at, sorted([*joined.pop().slots, *group.slots]), before)[0]
        joined.append(group)
    return tuple(joined)


def _opened(at: float, slots: Collection[int], before: "array[int]") -> tuple[Group, ...]:
    return (Group(at, array("I", slots), frozenset(map(before.__getitem__, slots))),) if slots else ()


def _group(at: float, slots: Collection[int]) -> tuple[Group, ...]:
    return (Group(at, array("I", sorted(slots))),) if slots else ()


def _differing(one: "array[int]", other: "array[int]") -> list[int]:
    return [] if one == other else list(compress(range(len(one)), map(ne, one, other)))


def _element(slots: "array[int]") -> bytes:
    return slots.tobytes() + bytes(2 * (layout.ring_slots(len(slots)) - len(slots)))


def _slots(element: bytes, size: int, mask: int = 0xFFFF) -> "array[int]":
    return array("H", (slot & mask for slot in array("H", element[: 2 * size] or bytes(2 * size))))


def _whole(time: float) -> float:
    return math.ceil(time / BATCH_SECONDS) * BATCH_SECONDS
