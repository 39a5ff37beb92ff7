"""What was asked for: the desired state, and the change that is one journal record. model/changes/decide.py makes changes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from l4lb_agent.model.access.lists import ListChange, Members, PrefixList
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.service import VirtualService

REMEMBER_SECONDS = 24 * 3600
REMEMBER_MOST = 100_000  # bounds memory to some 70 MB; the oldest go first
_GENERATION = 500


@dataclass(frozen=True)
class Remembered:
    """A request id with what it was answered. At most one of the resources is set; both are None for deletions."""

    request_id: str
    request_hash: str
    time: float  # Unix seconds
    revision: int
    service: VirtualService | None = None
    backend: Backend | None = None
    prefix_list: PrefixList | None = None


class Requests(Mapping[str, Remembered]):
    """By request id, oldest first. Never changes: one more makes another value, which shares all but the youngest generation, so that
    a day full of requests costs a change no more than an empty one."""

    def __init__(self, generations: tuple[dict[str, Remembered], ...] = ()) -> None:
        self._generations = generations

    @classmethod
    def of(cls, requests: Iterable[Remembered]) -> "Requests":
        """These, oldest first."""
        every = list(requests)
        starts = range(0, len(every), _GENERATION)
        return cls(tuple({request.request_id: request for request in every[start : start + _GENERATION]} for start in starts))

    def with_one_more(self, request: Remembered, now: float) -> "Requests":
        """These and `request`, without those that are too old or too many."""
        older = list(self._generations)
        youngest = older.pop() if older and len(older[-1]) < _GENERATION else {}
        while older and (len(older) >= REMEMBER_MOST // _GENERATION or _last(older[0]).time <= now - REMEMBER_SECONDS):
            del older[0]
        return Requests((*older, {**youngest, request.request_id: request}))

    def __getitem__(self, request_id: str) -> Remembered:
        for generation in reversed(self._generations):
            if request_id in generation:
                return generation[request_id]
        raise KeyError(request_id)

    def __iter__(self) -> Iterator[str]:
        return iter({request_id: None for generation in self._generations for request_id in generation})

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True)
class Change:
    """One journal record: resources as they are from `revision` on. Without resources the revision is that of the state it met."""

    revision: int
    time: float  # Unix seconds
    services: tuple[VirtualService, ...] = ()
    backends: tuple[Backend, ...] = ()
    deleted: tuple[str, ...] = ()  # resource names, backends before their service
    request: Remembered | None = None
    lists: tuple[ListChange, ...] = ()


@dataclass(frozen=True)
class Desired:
    """Everything asked for at one revision. Revisions are gapless: one more for each change of a resource."""

    revision: int = 0
    services: Mapping[str, VirtualService] = field(default_factory=dict)  # by name
    backends: Mapping[str, Backend] = field(default_factory=dict)  # by name
    remembered: Requests = field(default_factory=Requests)
    lists: Mapping[str, PrefixList] = field(default_factory=dict)  # by name
    members: Mapping[str, Members] = field(default_factory=dict)  # of those lists
    by_service: Mapping[str, Mapping[str, Backend]] = field(default_factory=dict, compare=False, repr=False)  # the backends again

    def __post_init__(self) -> None:
        if self.backends and not self.by_service:
            object.__setattr__(self, "by_service", _grouped(self.backends.values()))

    def apply(self, change: Change) -> "Desired":
        """The state after `change`: how decisions, replay and watchers all move on."""
        services, backends = dict(self.services), dict(self.backends)
        for name in change.deleted:
            (backends if "/backends/" in name else services).pop(name, None)
        lists, members = self._relisted(change)
        services.update((service.name, service) for service in change.services)
        backends.update((backend.name, backend) for backend in change.backends)
        return replace(
            self,
            revision=change.revision,
            services=services,
            backends=backends,
            lists=lists,
            members=members,
            by_service=self._regrouped(change),
            remembered=self.remembered.with_one_more(change.request, change.time) if change.request else self.remembered,
        )

    def backends_of(self, service: str) -> tuple[Backend, ...]:
        """Backends of the virtual service of that name."""
        return tuple(self.by_service.get(service, {}).values())

    def _relisted(self, change: Change) -> tuple[Mapping[str, PrefixList], Mapping[str, Members]]:
        """`lists` and `members` after `change`: the same ones when it touches none."""
        gone = {name for name in change.deleted if name in self.lists}
        if not gone and not change.lists:
            return self.lists, self.members
        lists = {name: one for name, one in self.lists.items() if name not in gone}
        members = {name: of for name, of in self.members.items() if name not in gone}
        for one in change.lists:
            name = one.list.name
            lists[name] = one.list
            members[name] = members.get(name, Members(one.list.number)).changed(one.added, one.removed)
        return lists, members

    def _regrouped(self, change: Change) -> Mapping[str, Mapping[str, Backend]]:
        """`by_service` after `change`: only the services it touches are copied."""
        groups = dict(self.by_service)
        for name in change.deleted:
            service = name.split("/backends/")[0]
            if service in groups:
                groups[service] = {other: backend for other, backend in groups[service].items() if other != name and service != name}
        for backend in change.backends:
            groups[backend.service] = {**groups.get(backend.service, {}), backend.name: backend}
        return {service: group for service, group in groups.items() if group}


def _grouped(backends: Iterable[Backend]) -> Mapping[str, Mapping[str, Backend]]:
    groups: dict[str, dict[str, Backend]] = {}
    for backend in backends:
        groups.setdefault(backend.service, {})[backend.name] = backend
    return groups


def _last(generation: dict[str, Remembered]) -> Remembered:
    return generation[next(reversed(generation))]
