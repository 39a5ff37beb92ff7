"""Rings of all services, kept while nothing that they depend on changes."""

import functools
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from l4lb_agent.model import build, ring
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.ids import Ids, backend_keys
from l4lb_agent.model.ring import Ring

RingKey = tuple[str, int, tuple[tuple[str, int], ...]]  # service, size, identities with weights


@dataclass(frozen=True)
class Image:
    """A ring with the share of the slots that each identity has, and as a map element for the ids it was made with."""

    ring: Ring
    shares: Mapping[str, float]
    ids: tuple[int, ...] = ()
    numbers: "array[int]" = field(default_factory=lambda: array("H"))  # the backend of each slot by these ids
    element: bytes = b""


@dataclass(frozen=True)
class Images:
    """By service name; services without backends for new flows are absent."""

    by_service: Mapping[str, Image] = field(default_factory=dict)
    partial: frozenset[str] = frozenset()  # services of which some backend for new flows has no slots: excluded, or without id


def identity(backend: Backend) -> str:
    """What the ring hashes."""
    return _identity(backend.address, backend.port)


@functools.lru_cache(maxsize=65536)
def _identity(address: Address, port: int) -> str:
    return f"{address} {port}"


class Rings:
    """Remembers the rings of the last call, by everything that they depend on. `made` is called after each ring that is new: a large one
    takes a tenth of a second, and a pass may make one for every service."""

    def __init__(self, secret: bytes, made: Callable[[], None] = lambda: None) -> None:
        self._secret, self._made = secret, made
        self._kept: dict[RingKey, Image] = {}

    def images(self, desired: Desired, ids: Ids, excluded: frozenset[str]) -> Images:
        """The rings for `desired` without the backends whose names are `excluded`, or that have no id yet."""
        keys = backend_keys(desired)
        members: dict[str, dict[str, tuple[int, int]]] = {}
        partial = set()
        for service, backends in desired.by_service.items():
            for name, backend in backends.items():
                number = ids.backends.get(keys[name])
                if not backend.wants_new_flows:
                    continue
                if name in excluded or number is None:
                    partial.add(service)
                else:
                    members.setdefault(service, {})[identity(backend)] = (backend.weight, number)
        kept, made = {}, {}
        for name, of_service in members.items():
            size = desired.services[name].ring_size
            key = (name, size, tuple(sorted((one, weight) for one, (weight, _) in of_service.items())))
            kept[key] = made[name] = self._image(key, {one: number for one, (_, number) in of_service.items()})
        self._kept = kept
        return Images(made, frozenset(partial))

    def digest(self, slots: "array[int]", identities: Mapping[int, str]) -> str:
        """As that of a ring of these slots, given by datapath id; "" when nobody has any."""
        owners = tuple(sorted({identities[number] for number in set(slots) if number in identities}))
        places = {owner: place for place, owner in enumerate(owners)}
        by_id = {number: places.get(identities.get(number, ""), 0xFFFF) for number in set(slots)}
        return ring.digest(len(slots), owners, array("H", map(by_id.__getitem__, slots)), self._secret) if owners else ""

    def _image(self, key: RingKey, numbers: Mapping[str, int]) -> Image:
        image = self._kept.get(key)
        if image is None:
            image = _built(key, self._secret)
            self._made()
        ids = tuple(numbers[owner] for owner in image.ring.owners)
        if image.ids != ids:
            slots = image.ring.with_ids(numbers)
            image = Image(image.ring, image.shares, ids, slots, build.ring_element(slots.tobytes(), image.ring.size))
        return image


def _built(key: RingKey, secret: bytes) -> Image:
    _, size, weights = key
    made = ring.build(size, dict(weights), secret)
    counted = Counter(made.slots)
    return Image(made, {owner: counted[index] / size for index, owner in enumerate(made.owners)})
