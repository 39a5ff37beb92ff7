"""Places for rings: each size has one array, and services take and give back its elements.

A service holds one element when it is settled (both halves of its word name it), two in a window, and four for an instant: a new pair is
written beside the one in use, and the word exchanges both. What is given back is written anew only after a grace period (plan.py).
"""

from array import array

from l4lb_agent.model import layout
from l4lb_agent.model.config import DatapathConfig
from l4lb_agent.model.tables import Elements, Tables, array_key

RingElements = tuple[bytes, bytes]  # `now` and `before`; b"" for none
Numbers = tuple[int, int]  # their indices, 0 for none
NO_RINGS: RingElements = (b"", b"")


def rings_of(element: bytes) -> tuple[int, Numbers]:
    """Ring size and indices that a service element points to."""
    word = layout.Service.from_buffer_copy(element).word
    return layout.RING_SIZES[word & layout.SERVICE_RING_CLASS], (word >> 48, word >> 32 & 0xFFFF)


class Pool:
    """Gives each ring a place in the pool of its size: one that the service has when its content is right, else a free one."""

    def __init__(self, config: DatapathConfig, actual: Tables) -> None:
        self.maps: dict[str, Elements] = {f"rings_{size}": {} for size in layout.RING_SIZES}
        self.held: set[int] = set()  # backend ids in rings that stay in use although they are not what is wanted
        self._config, self._actual = config, actual
        self._in_use = {(size, number) for size, pair in map(rings_of, actual.get("services").values()) for number in pair}

    def take(self, size: int, service_key: bytes, wanted: RingElements) -> Numbers | None:
        """The indices for the rings `wanted`, None when there is not enough room. Equal ones share a place."""
        name, mine = f"rings_{size}", self._current(size, service_key)
        there, taken = self._actual.get(name), self.maps[name]
        places: dict[bytes, int] = {b"": 0}
        for element in wanted:
            if element in places:
                continue
            number = next((n for n in mine if n and there.get(array_key(n)) == element), 0) or self._free(size, places)
            if not number:
                return None
            places[element] = number
        taken.update((array_key(number), element) for element, number in places.items() if number)
        return places[wanted[0]], places[wanted[1]]

    def _free(self, size: int, places: dict[bytes, int]) -> int:
        """A place that nobody has, 0 when there is none. One that was never written is best: it needs no grace period."""
        name = f"rings_{size}"
        there, taken, own = self._actual.get(name), self.maps[name], places.values()
        pool = range(1, getattr(self._config.sizes, name))
        free = [n for n in pool if (size, n) not in self._in_use and array_key(n) not in taken and n not in own]
        return next((n for n in free if array_key(n) not in there), free[0] if free else 0)

    def hold(self, size: int, service_key: bytes) -> bytes | None:
        """The service's element as it is, with its rings; None for one that is not in the maps yet."""
        for number in filter(None, self._current(size, service_key)):
            element = self._actual.get(f"rings_{size}")[array_key(number)]
            self.maps[f"rings_{size}"][array_key(number)] = element
            self.held.update(slot & layout.SLOT_BACKEND for slot in array("H", element))
        return self._actual.get("services").get(service_key)

    def _current(self, size: int, service_key: bytes) -> Numbers:
        element = self._actual.get("services").get(service_key)
        there, numbers = rings_of(element) if element else (size, (0, 0))
        return numbers if there == size else (0, 0)
