"""Journal records: changes and snapshots as JSON objects, and back. The one place that knows their shape, with health/recorded.py."""

import base64
import zlib
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from l4lb_agent.model.access.limits import NewFlowLimit, Rate
from l4lb_agent.model.access.lists import ListChange, Members, PrefixList
from l4lb_agent.model.access.prefixes import parse
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import AdminState, Backend, DeadlineAction, Drain, DrainResult
from l4lb_agent.model.choice.affinity import Affinity
from l4lb_agent.model.config import Secrets
from l4lb_agent.model.desired import Change, Desired, Remembered, Requests
from l4lb_agent.model.health import recorded
from l4lb_agent.model.health.flaps import Flaps
from l4lb_agent.model.service import Hash, Mode, MssClamp, OnEmpty, OuterSource, Protocol, Tracking, VirtualService
from l4lb_agent.model.windows.kept import Kept

FORMAT: Final = 1

Record = dict[str, object]
Note = Kept | Flaps  # what is journaled without being asked for


class RecordError(ValueError):
    """A record that this agent cannot read: another format, or not one of ours."""


@dataclass(frozen=True)
class Replayed:
    """What the journal says: the state, the changes since the last snapshot, and the state before them."""

    secrets: Secrets
    base: Desired
    changes: tuple[Change, ...]
    kept: Mapping[str, Kept] = field(default_factory=dict)  # by service name; absent: as the backends asked for say
    flaps: Mapping[str, Flaps] = field(default_factory=dict)  # by backend name

    @property
    def desired(self) -> Desired:
        """The newest state."""
        state = self.base
        for change in self.changes:
            state = state.apply(change)
        return state


def snapshot(desired: Desired, secrets: Secrets, notes: Iterable[Note] = ()) -> Record:
    """Everything in one record."""
    return {
        "format": FORMAT,
        "kind": "snapshot",
        "revision": desired.revision,
        "secrets": {"slot": secrets.slot.hex(), "index": secrets.index.hex()},
        "services": [_service(service) for service in desired.services.values()],
        "backends": [_backend(backend) for backend in desired.backends.values()],
        "lists": [_list(ListChange(one, desired.members[name].ordered)) for name, one in desired.lists.items()],
        "requests": [_remembered(request) for request in desired.remembered.values()],
        "before": [_kept(one) for one in notes if isinstance(one, Kept)],
        "flaps": [recorded.flaps(one) for one in notes if isinstance(one, Flaps)],
    }


def note(one: Note, desired: Desired, time: float) -> Record:
    """A ring `before`, or the flapping of a backend, at a revision. It changes nothing: an agent that does not know of it reads an empty
    change."""
    kind, written = ("before", _kept(one)) if isinstance(one, Kept) else ("flaps", recorded.flaps(one))
    return {"format": FORMAT, "kind": kind, "revision": desired.revision, "time": time, kind: written}


def change(made: Change) -> Record:
    """One change. Raises nothing: every value is JSON."""
    record: Record = {"format": FORMAT, "kind": "change", "revision": made.revision, "time": made.time}
    if made.services:
        record["services"] = [_service(service) for service in made.services]
    if made.backends:
        record["backends"] = [_backend(backend) for backend in made.backends]
    if made.lists:
        record["lists"] = [_list(one) for one in made.lists]
    if made.deleted:
        record["deleted"] = list(made.deleted)
    if made.request:
        record["request"] = _remembered(made.request)
    return record


def replay(records: Iterable[Mapping[str, Any]]) -> Replayed | None:
    """The state that the records of a journal lead to, None for an empty journal. Raises RecordError for a record of another format,
    a first record that is no snapshot, or a gap in the revisions."""
    replayed: Replayed | None = None
    changes: list[Change] = []
    kept: dict[str, Kept] = {}
    flapping: dict[str, Flaps] = {}
    revision = 0
    for record in records:
        if record.get("format") != FORMAT:
            raise RecordError(f"journal record of format {record.get('format')!r}, this agent reads {FORMAT}")
        if record.get("kind") == "snapshot":
            replayed, changes, revision = _read_snapshot(record), [], int(record["revision"])
            kept, flapping = dict(replayed.kept), dict(replayed.flaps)
            continue
        read = _read_change(record)
        if replayed is None or read.revision not in (revision, revision + 1):
            raise RecordError(f"journal record of revision {read.revision} does not follow revision {revision}")
        revision = read.revision
        if "before" in record:
            one = _read_kept(record["before"])
            kept[one.service] = one
        elif "flaps" in record:
            flapped = recorded.read_flaps(record["flaps"])
            flapping[flapped.backend] = flapped
        else:
            changes.append(read)
    return replayed and _of_what_is_there(Replayed(replayed.secrets, replayed.base, tuple(changes), kept, flapping))


def _of_what_is_there(replayed: Replayed) -> Replayed:
    """Without what is told of services and backends that are gone, or were made anew under the same name."""
    desired = replayed.desired
    services, backends = desired.services, desired.backends
    kept = {name: one for name, one in replayed.kept.items() if name in services and services[name].created == one.created}
    flapping = {name: one for name, one in replayed.flaps.items() if one.holds and name in backends and one.of(backends[name])}
    return replace(replayed, kept=kept, flaps=flapping)


def _read_snapshot(record: Mapping[str, Any]) -> Replayed:
    services = [_read_service(item) for item in record["services"]]
    backends = [_read_backend(item) for item in record["backends"]]
    lists = [_read_list(item) for item in record.get("lists", ())]
    requests = [_read_remembered(item) for item in record["requests"]]
    secrets = Secrets(bytes.fromhex(record["secrets"]["slot"]), bytes.fromhex(record["secrets"]["index"]))
    desired = Desired(
        int(record["revision"]),
        {service.name: service for service in services},
        {backend.name: backend for backend in backends},
        Requests.of(requests),
        {one.list.name: one.list for one in lists},
        {one.list.name: Members(one.list.number, frozenset(one.added)) for one in lists},
    )
    kept = {one.service: one for one in map(_read_kept, record.get("before", ()))}
    return Replayed(secrets, desired, (), kept, {one.backend: one for one in map(recorded.read_flaps, record.get("flaps", ()))})


def _read_change(record: Mapping[str, Any]) -> Change:
    return Change(
        int(record["revision"]),
        float(record["time"]),
        tuple(_read_service(item) for item in record.get("services", ())),
        tuple(_read_backend(item) for item in record.get("backends", ())),
        tuple(record.get("deleted", ())),
        _read_remembered(record["request"]) if "request" in record else None,
        tuple(_read_list(item) for item in record.get("lists", ())),
    )


def _service(service: VirtualService) -> Record:
    return {
        "name": service.name,
        "vip": str(service.vip),
        "port": service.port,
        "protocol": service.protocol.name,
        "ring_size": service.ring_size,
        "idle_seconds": service.idle_seconds,
        "mode": service.mode.name,
        "tracking": service.tracking.name,
        "window_seconds": service.window_seconds,
        "down_grace_seconds": service.down_grace_seconds,
        "encap_port": service.encap_port,
        "outer_source": service.outer_source.name,
        "outer_checksum": service.outer_checksum,
        "hash": service.hash.name,
        "on_empty": service.on_empty.name,
        "mss_clamp": service.mss_clamp.name,
        "mss": service.mss,
        "new_flow_limit": asdict(service.new_flow_limit),
        "allow_list": service.allow_list,
        "deny_list": service.deny_list,
        "affinity": {"seconds": service.affinity.seconds, "prefix": service.affinity.prefix},
        "port_end": service.port_end,
        "health_check": recorded.check(service.health_check) if service.health_check else None,
        "annotations": dict(service.annotations),
        "revision": service.revision,
        "created": service.created,
        "updated": service.updated,
    }


def _read_service(item: Mapping[str, Any]) -> VirtualService:
    """Services of older journals lack fields that came later: those have their defaults."""
    enums = {"mode": Mode, "tracking": Tracking, "outer_source": OuterSource, "hash": Hash, "on_empty": OnEmpty, "mss_clamp": MssClamp}
    named: dict[str, object] = {field: kind[item[field]] for field, kind in enums.items() if field in item}
    if "affinity" in item:
        named["affinity"] = Affinity(**item["affinity"])
    if "new_flow_limit" in item:
        named["new_flow_limit"] = _read_limit(item["new_flow_limit"])
    if item.get("health_check"):
        named["health_check"] = recorded.read_check(item["health_check"])
    return VirtualService(**dict(item, **named, vip=Address.parse(item["vip"], "vip"), protocol=Protocol[item["protocol"]]))


def _read_limit(item: Mapping[str, Any]) -> NewFlowLimit:
    rates = {name: Rate(**item[name]) if item[name] else None for name in ("per_service", "per_source")}
    return NewFlowLimit(**dict(item, **rates))


def _list(change: ListChange) -> Record:
    return {"list": asdict(change.list), "added": list(map(str, change.added)), "removed": list(map(str, change.removed))}


def _read_list(item: Mapping[str, Any]) -> ListChange:
    added, removed = (tuple(parse(text, field) for text in item[field]) for field in ("added", "removed"))
    return ListChange(PrefixList(**item["list"]), added, removed)


def _backend(backend: Backend) -> Record:
    return {
        "name": backend.name,
        "address": str(backend.address),
        "port": backend.port,
        "weight": backend.weight,
        "admin": backend.admin.name,
        "drain": _drain(backend.drain) if backend.drain else None,
        "mtu": backend.mtu,
        "annotations": dict(backend.annotations),
        "revision": backend.revision,
        "created": backend.created,
        "updated": backend.updated,
    }


def _read_backend(item: Mapping[str, Any]) -> Backend:
    drain = _read_drain(item["drain"]) if item["drain"] else None
    return Backend(**dict(item, address=Address.parse(item["address"], "address"), admin=AdminState[item["admin"]], drain=drain))


def _drain(drain: Drain) -> Record:
    return {
        "started": drain.started,
        "deadline": drain.deadline,
        "action": drain.action.name,
        "boot_id": drain.boot_id,
        "initial_flows": drain.initial_flows,
        "ended": drain.ended,
        "result": drain.result.name if drain.result else None,
        "remaining_flows": drain.remaining_flows,
    }


def _read_drain(item: Mapping[str, Any]) -> Drain:
    result = DrainResult[item["result"]] if item["result"] else None
    return Drain(**dict(item, action=DeadlineAction[item["action"]], result=result))


def _remembered(request: Remembered) -> Record:
    return {
        "id": request.request_id,
        "hash": request.request_hash,
        "time": request.time,
        "revision": request.revision,
        "service": _service(request.service) if request.service else None,
        "backend": _backend(request.backend) if request.backend else None,
        "list": asdict(request.prefix_list) if request.prefix_list else None,
    }


def _read_remembered(item: Mapping[str, Any]) -> Remembered:
    return Remembered(
        item["id"],
        item["hash"],
        float(item["time"]),
        int(item["revision"]),
        _read_service(item["service"]) if item["service"] else None,
        _read_backend(item["backend"]) if item["backend"] else None,
        PrefixList(**item["list"]) if item.get("list") else None,
    )


def _kept(kept: Kept) -> Record:
    """Slots are 16-bit numbers, lowest byte first, as on every machine that the datapath runs on."""
    record: Record = {"service": kept.service, "created": kept.created}
    if kept.slots is not None:
        record["owners"] = list(kept.owners)
        record["slots"] = base64.b64encode(zlib.compress(kept.slots.tobytes())).decode()
    return record


def _read_kept(item: Mapping[str, Any]) -> Kept:
    if "slots" not in item:
        return Kept(item["service"], float(item["created"]))
    try:
        slots = array("H", zlib.decompress(base64.b64decode(item["slots"], validate=True)))
    except (ValueError, zlib.error) as error:
        raise RecordError(f"ring `before` of {item['service']} in the journal cannot be read: {error}") from error
    return Kept(item["service"], float(item["created"]), tuple(item["owners"]), slots)
