"""What journal records hold of health, as JSON objects, and back (model/records.py has the rest)."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from l4lb_agent.model.health.check import HealthCheck, Kind, OnAllDown, ProbeTarget
from l4lb_agent.model.health.flaps import Flaps


def check(asked: HealthCheck) -> dict[str, object]:
    """A health check."""
    record = {**asdict(asked), "kind": asked.kind.name, "on_all_down": asked.on_all_down.name, "target": asked.target.name}
    return {field: value.hex() if isinstance(value, bytes) else value for field, value in record.items()}


def read_check(item: Mapping[str, Any]) -> HealthCheck:
    """Fields that came later have their defaults."""
    read = {field: bytes.fromhex(item[field]) for field in ("contains", "send", "expect") if field in item}
    statuses = tuple((first, last) for first, last in item["statuses"])
    named = {"on_all_down": OnAllDown[item["on_all_down"]], "target": ProbeTarget[item.get("target", "BACKEND")]}
    return HealthCheck(**dict(item, **read, **named, statuses=statuses, kind=Kind[item["kind"]]))


def flaps(known: Flaps) -> dict[str, object]:
    """That a backend changes too often."""
    return asdict(known)


def read_flaps(item: Mapping[str, Any]) -> Flaps:
    """From a journal, which has lists for tuples."""
    return Flaps(**dict(item, changes=tuple(item["changes"])))
