"""Ring `before` as the journal keeps it: by what backends are, not by their datapath ids, which a reboot forgets."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass

from l4lb_agent.model.windows.settle import NOBODY

NONE = 0


@dataclass(frozen=True)
class Kept:
    """Of one virtual service. `slots` is None when it is the ring of all backends that are to receive new flows, reachable or not."""

    service: str
    created: float  # when the service was: another one may have its name
    owners: tuple[str, ...] = ()  # identities, sorted
    slots: "array[int] | None" = None  # of type H: 1 + index in `owners`, NONE for nobody


def of(service: str, created: float, before: "array[int] | None", identities: Mapping[int, str]) -> Kept:
    """`before` by datapath ids; those without identity are nobody's."""
    if before is None:
        return Kept(service, created)
    there = {id_: identities[id_] for id_ in set(before) if id_ in identities}
    owners = tuple(sorted(set(there.values())))
    places = {identity: 1 + index for index, identity in enumerate(owners)}
    return Kept(service, created, owners, _translated(before, {id_: places[identity] for id_, identity in there.items()}, NONE))


def numbers(kept: Kept, ids: Mapping[str, int]) -> "array[int] | None":
    """The slots as datapath ids; NOBODY where a backend is no more."""
    if kept.slots is None:
        return None
    return _translated(kept.slots, {1 + index: ids[owner] for index, owner in enumerate(kept.owners) if owner in ids}, NOBODY)


def _translated(slots: "array[int]", table: Mapping[int, int], otherwise: int) -> "array[int]":
    every = {number: table.get(number, otherwise) for number in set(slots)}
    return array("H", map(every.__getitem__, slots))
