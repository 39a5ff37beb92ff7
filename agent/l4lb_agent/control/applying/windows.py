"""The windows of all services that have them: which rings they are to have at a time, and what of that is in the kernel.

A pass of the reconciler asks for the rings to be written (`rings`), says which services have to wait (`committed`), and when the kernel had
all of it (`published`). What is committed counts before it is written: when the kernel refuses half of a plan packets may have seen it.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from l4lb_agent.control.applying.rings import Image, Images, identity
from l4lb_agent.model.backend import AdminState, Backend
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.health.standing import Verdict
from l4lb_agent.model.ids import Ids
from l4lb_agent.model.pool import RingElements, rings_of
from l4lb_agent.model.service import VirtualService
from l4lb_agent.model.tables import Tables, array_key
from l4lb_agent.model.windows import kept, settle
from l4lb_agent.model.windows.kept import Kept
from l4lb_agent.model.windows.settle import Pair, Rules

Asked = Mapping[int, "array[int]"]


@dataclass(frozen=True)
class Look:
    """What a pass looks at."""

    desired: Desired
    ids: Ids
    time: float
    without_way: frozenset[str] = frozenset()  # names of backends
    verdict: Verdict = Verdict()

    def backends(self, service: VirtualService) -> Iterator[tuple[int, Backend]]:
        """Those of a service that have an id."""
        for backend in self.desired.backends_of(service.name):
            number = self.ids.number(self.desired, backend)
            if number:
                yield number, backend


@dataclass(frozen=True)
class Held:
    """A service with its rings, and the ring for new flows that they were made for."""

    service: VirtualService
    pair: Pair
    image: Image | None = None
    rules: Rules | None = None
    partial: bool = False  # some backend for new flows has no slots, or all of it waits

    @property
    def before(self) -> "array[int] | None":
        """What the journal is to have: None while it is the ring of all backends for new flows."""
        return self.pair.before if self.pair.open or self.partial else None


@dataclass(frozen=True)
class _Sweep:
    began: float
    pinned: Mapping[int, frozenset[int]]


class Windows:
    """`grace`: seconds after which no packet reads any more what was published before."""

    def __init__(self, grace: float, journaled: Mapping[str, Kept]) -> None:
        self.held: dict[int, Held] = {}  # by service id
        self.given_up: frozenset[int] = frozenset()  # ids of backends that have been down for longer than their grace
        self._grace, self._journaled = grace, journaled
        self._next: dict[int, Held] = {}
        self._down: dict[int, tuple[float, float]] = {}  # by backend id: since when, and when its grace ends
        self._begin: dict[str, array[int]] | None = None  # by service name: `before` where the kernel has no ring yet
        self._sweeps: list[_Sweep] = []
        self._nobody: dict[int, array[int]] = {}

    def adopt(self, look: Look, actual: Tables) -> None:
        """Takes over the rings that the kernel has: they win over the journal's."""
        for service in (one for one in look.desired.services.values() if one.has_window):
            number = look.ids.services.get(service.identity, 0)
            element = actual.get("services").get(array_key(number))
            if element is None:
                continue
            size, numbers = rings_of(element)
            now, before = (actual.get(f"rings_{size}").get(array_key(index), b"") if index else b"" for index in numbers)
            if size == service.ring_size:
                self.held[number] = Held(service, settle.adopted(now, before, size, look.time))

    def rings(self, look: Look, images: Images, whole: Callable[[], Images]) -> dict[str, RingElements]:
        """The elements of every service's rings. `whole` makes the rings of all backends for new flows, reachable or not."""
        self._see_down(look)
        if self._begin is None:
            self._begin = self._beginnings(look, images, whole)
        self._clear_marks()
        self._next = {}
        elements: dict[str, RingElements] = {}
        for service in look.desired.services.values():
            number, image = look.ids.services.get(service.identity), images.by_service.get(service.name)
            if service.has_window and number is not None:
                held = self._next[number] = self._advanced(look, number, service, image, service.name in images.partial)
                elements[service.name] = (held.pair.now_element, held.pair.before_element)
            elif image is not None:
                elements[service.name] = (image.element, b"" if service.mode.translates else image.element)
        return elements

    def committed(self, deferred: Iterable[str]) -> None:
        """These rings are being written, but for those of services that have to wait."""
        waits = set(deferred)
        for number, held in list(self._next.items()):
            if held.service.name not in waits:
                (self._begin or {}).pop(held.service.name, None)
            elif number in self.held:
                self._next[number] = replace(self.held[number], partial=True)
            else:
                del self._next[number]
        self.held = self._next

    def published(self, time: float) -> None:
        """The kernel has what was committed."""
        for number, held in self.held.items():
            pair = settle.published(held.pair, time)
            if pair is not held.pair:
                self.held[number] = replace(held, pair=pair)

    def due(self) -> float | None:
        """When there is something to settle or to give up, None when only a change can make it so."""
        times = [settle.due(held.pair, held.rules) for held in self.held.values() if held.pair.open and held.rules]
        times += [until for number, (_, until) in self._down.items() if number not in self.given_up]
        return min((time for time in times if time is not None), default=None)

    def asked(self) -> Asked:
        """The rings of which a sweep is to say in which slots entries are left."""
        return {number: held.pair.now for number, held in self.held.items() if settle.watched(held.pair)}

    def swept(self, began: float, pinned: Mapping[int, frozenset[int]]) -> bool:
        """Whether what a sweep has seen may change marks in the next pass."""
        watched = any(settle.watched(held.pair) for held in self.held.values())
        if watched:
            self._sweeps.append(_Sweep(began, pinned))
        return watched

    def _clear_marks(self) -> None:
        sweeps, self._sweeps = self._sweeps, []
        for sweep in sweeps:
            for number, held in self.held.items():
                pair = settle.swept(held.pair, sweep.began, sweep.pinned.get(number, frozenset()), self._grace)
                if pair is not held.pair:
                    self.held[number] = replace(held, pair=pair)

    def _advanced(self, look: Look, number: int, service: VirtualService, image: Image | None, partial: bool) -> Held:
        held = self.held.get(number)
        now = image.numbers if image else self._nobodys(service.ring_size)
        if held is None or held.service.created != service.created:  # deleted and made again between two passes: another ring, maybe size
            before = (self._begin or {}).get(service.name)
            held = Held(service, settle.first(now if before is None else before))
        elif held.image is image and held.service is service and held.partial is partial and not held.pair.open:
            return held
        rules = self._rules(look, service)
        return Held(service, settle.advance(held.pair, now, look.time, rules), image, rules, partial)

    def _rules(self, look: Look, service: VirtualService) -> Rules:
        backends = list(look.backends(service))
        return Rules(
            service.window_seconds,
            keeps=frozenset(number for number, backend in backends if backend.keeps_flows),
            draining=frozenset(number for number, backend in backends if backend.admin is AdminState.DRAINING),
            down={number: self._down[number][1] for number, _ in backends if number in self._down},
        )

    def _see_down(self, look: Look) -> None:
        down: dict[int, tuple[float, float]] = {}
        for name in look.without_way | look.verdict.down:
            backend = look.desired.backends[name]
            service = look.desired.services[backend.service]
            number = look.ids.number(look.desired, backend)
            if number and (name in look.verdict.down or not service.mode.translates):
                since, _ = self._down.get(number, (look.time, 0.0))
                down[number] = (since, since + service.down_grace_seconds)
        self._down = down
        self.given_up = frozenset(number for number, (_, until) in down.items() if until <= look.time)

    def _beginnings(self, look: Look, images: Images, whole: Callable[[], Images]) -> dict[str, "array[int]"]:
        """After a reboot flows that go on sit where the journal says, and else where the whole ring says: not all next hops are known yet,
        and what the ring of those that are has for the others' slots is nobody's place."""
        found: dict[str, array[int]] = {}
        for service in (one for one in look.desired.services.values() if one.has_window):
            if look.ids.services.get(service.identity) in self.held:
                continue
            journaled = self._journaled.get(service.name)
            ids = {identity(backend): number for number, backend in look.backends(service)}
            before = kept.numbers(journaled, ids) if journaled else None
            if before is None and service.name in images.partial and (image := whole().by_service.get(service.name)):
                before = image.numbers
            if before is not None and len(before) == service.ring_size:
                found[service.name] = before
        return found

    def _nobodys(self, size: int) -> "array[int]":
        return self._nobody.setdefault(size, settle.nobody(size))
