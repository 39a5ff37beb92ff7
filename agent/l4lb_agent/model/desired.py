"""What was asked for: the desired state, and the change that is one journal record. model/decide.py makes changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

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
            services=MappingProxyType(services),
            backends=MappingProxyType(backends),
            remembered=self._remember(change.request, change.time) if change.request else self.remembered,
        )

    def backends_of(self, service: str) -> tuple[Backend, ...]:
        """Backends of the virtual service of that name."""
        return tuple(backend for backend in self.backends.values() if backend.service == service)

    def _remember(self, request: Remembered, now: float) -> Mapping[str, Remembered]:
        kept = dict(self.remembered)
        for request_id in list(kept):
            if len(kept) < REMEMBER_MOST and kept[request_id].time > now - REMEMBER_SECONDS:
                break
            del kept[request_id]
        kept[request.request_id] = request
        return MappingProxyType(kept)
