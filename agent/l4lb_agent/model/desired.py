"""What was asked for: the desired state, and the change that is one journal record. model/decide.py makes changes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from l4lb_agent.model.backend import Backend
from l4lb_agent.model.service import VirtualService

REMEMBER_SECONDS = 24 * 3600
REMEMBER_MOST = 100_000  # bounds memory; the oldest goes first


@dataclass(frozen=True)
class Remembered:
    """A request id with what it was answered. At most one of the resources is set; both are None for deletions."""

    request_id: str
    request_hash: str
    time: float  # Unix seconds
    revision: int
    service: VirtualService | None = None
    backend: Backend | None = None


@dataclass(frozen=True)
class Change:
    """One journal record: resources as they are from `revision` on. Without resources the revision is that of the state it met."""

    revision: int
    time: float  # Unix seconds
    services: tuple[VirtualService, ...] = ()
    backends: tuple[Backend, ...] = ()
    deleted: tuple[str, ...] = ()  # resource names, backends before their service
    request: Remembered | None = None


@dataclass(frozen=True)
class Desired:
    """Everything asked for at one revision. Revisions are gapless: one more for each change of a resource."""

    revision: int = 0
    services: Mapping[str, VirtualService] = field(default_factory=dict)  # by name
    backends: Mapping[str, Backend] = field(default_factory=dict)  # by name
    remembered: Mapping[str, Remembered] = field(default_factory=dict)  # by request id, oldest first
    by_service: Mapping[str, Mapping[str, Backend]] = field(default_factory=dict, compare=False, repr=False)  # the backends again

    def __post_init__(self) -> None:
        if self.backends and not self.by_service:
            object.__setattr__(self, "by_service", _grouped(self.backends.values()))

    def apply(self, change: Change) -> "Desired":
        """The state after `change`: how decisions, replay and watchers all move on."""
        services, backends = dict(self.services), dict(self.backends)
        for name in change.deleted:
            (backends if "/backends/" in name else services).pop(name, None)
        services.update((service.name, service) for service in change.services)
        backends.update((backend.name, backend) for backend in change.backends)
        return replace(
            self,
            revision=change.revision,
            services=services,
            backends=backends,
            by_service=self._regrouped(change),
            remembered=self._remember(change.request, change.time) if change.request else self.remembered,
        )

    def backends_of(self, service: str) -> tuple[Backend, ...]:
        """Backends of the virtual service of that name."""
        return tuple(self.by_service.get(service, {}).values())

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

    def _remember(self, request: Remembered, now: float) -> Mapping[str, Remembered]:
        kept = dict(self.remembered)
        for request_id in list(kept):
            if len(kept) < REMEMBER_MOST and kept[request_id].time > now - REMEMBER_SECONDS:
                break
            del kept[request_id]
        kept[request.request_id] = request
        return kept


def _grouped(backends: Iterable[Backend]) -> Mapping[str, Mapping[str, Backend]]:
    groups: dict[str, dict[str, Backend]] = {}
    for backend in backends:
        groups.setdefault(backend.service, {})[backend.name] = backend
    return groups
