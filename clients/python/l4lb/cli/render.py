"""Messages as tables, JSON (the protobuf mapping, one object a line for streams) and YAML."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from l4lb import names
from l4lb.cli.base import Session
from l4lb.streams import Event
from l4lb.v1 import agent_pb2, backend_pb2, health_pb2, prefix_list_pb2, virtual_service_pb2

Column = tuple[str, Callable[[Any], str]]
PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6"}


def endpoint(address: str, port: int) -> str:
    """Both, as people write them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def vlans(of: Any) -> str:
    """The VLANs of a way or of a frame: `100.7` of two tags, "" without one."""
    return ".".join(str(vlan) for vlan in (of.outer_vlan, of.vlan) if vlan)


def word(kind: Any, number: int) -> str:
    """Name of an enum value without its prefix."""
    name: str = kind.Name(number)
    prefix = "".join(f"_{c}" if c.isupper() else c.upper() for c in kind.DESCRIPTOR.name).lstrip("_")
    return name.removeprefix(f"{prefix}_")


def _state(backend: Any) -> str:
    state = word(backend_pb2.AdminState, backend.admin_state)
    return f"{state}, reconciling" if backend.reconciling else state


_SERVICE: Sequence[Column] = (
    ("NAME", lambda s: names.short(s.name)),
    ("VIP", lambda s: s.vip),
    ("PORT", lambda s: _ports(s)),
    ("PROTOCOL", lambda s: word(virtual_service_pb2.Protocol, s.protocol)),
    ("MODE", lambda s: word(virtual_service_pb2.ForwardingMode, s.forwarding_mode)),
    ("STATE", lambda s: "reconciling" if s.reconciling else "ok"),
)
_SERVICE_WIDE: Sequence[Column] = (
    ("RING", lambda s: str(s.ring_size)),
    ("IDLE", lambda s: f"{s.idle_timeout.seconds}s"),
    ("AFFINITY", lambda s: f"{s.affinity.timeout.seconds}s by /{s.affinity.prefix_length}" if s.HasField("affinity") else ""),
    ("HEALTH CHECK", lambda s: _check(s.health_check) if s.HasField("health_check") else ""),
    ("DIGEST", lambda s: s.ring_digest[:12]),
    ("BEFORE", lambda s: s.before_ring_digest[:12] if s.differing_slots else ""),
    ("DIFFERING", lambda s: f"{s.differing_slots} slots" if s.differing_slots else ""),
    ("AT RISK", lambda s: f"{s.at_risk_slots} slots" if s.at_risk_slots else ""),
    ("SETTLES", lambda s: s.settle_time.ToJsonString() if s.HasField("settle_time") else ""),
    ("ETAG", lambda s: s.etag),
    ("WHY", lambda s: s.reconciling_reason),
)
_BACKEND: Sequence[Column] = (
    ("NAME", lambda b: names.short(b.name)),
    ("ADDRESS", lambda b: b.address),
    ("PORT", lambda b: str(b.port or "as asked")),
    ("WEIGHT", lambda b: str(b.weight)),
    ("SHARE", lambda b: f"{b.slot_share:.1%}"),
    ("STATE", _state),
    ("HEALTH", lambda b: health(b)),
    ("DRAIN", lambda b: _drain(b)),
)
_BACKEND_WIDE: Sequence[Column] = (
    ("WANTED", lambda b: f"{b.wanted_share:.1%}"),
    ("INTERFACE", lambda b: b.next_hop.interface),
    ("NEXT HOP", lambda b: b.next_hop.gateway or (b.address if b.next_hop.interface else "")),
    ("MAC", lambda b: b.next_hop.mac),
    ("VLAN", lambda b: vlans(b.next_hop)),
    ("MTU", lambda b: str(b.mtu or b.next_hop.mtu or "")),
    ("ID", lambda b: str(b.datapath_id)),
    ("EFFECTIVE", lambda b: word(health_pb2.EffectiveState, b.effective_state)),
    ("LAST PROBE", lambda b: probe(b.health.last_probe) if b.health.HasField("last_probe") else ""),
    ("ETAG", lambda b: b.etag),
    ("WHY", lambda b: b.reconciling_reason),
)


def health(backend: Any) -> str:
    """What probes say, "" without a check."""
    if not backend.HasField("health"):
        return ""
    state = word(health_pb2.HealthState, backend.health.state)
    if backend.health.HasField("flapping_until"):
        return f"{state}, flapping until {backend.health.flapping_until.ToJsonString()}"
    return f"{state}, kept" if backend.health.kept_by_on_all_down else state


def probe(of: Any) -> str:
    """One probe in a few words."""
    outcome = word(health_pb2.ProbeOutcome, of.outcome)
    said = f"{outcome} ({of.detail})" if of.detail else outcome
    return f"{said} in {of.latency.ToMicroseconds() / 1000:.1f} ms at {of.time.ToJsonString()}"


def _check(of: Any) -> str:
    fewest = f", at least {of.min_up_percent} % UP" if of.min_up_percent else ""
    vip = " of the VIP" if of.target == health_pb2.PROBE_TARGET_VIP else ""
    return f"{of.WhichOneof('kind')}{vip} every {of.interval.ToMilliseconds() / 1000:g}s, rise {of.rise}, fall {of.fall}{fewest}"


def _ports(service: Any) -> str:
    if service.any_port:
        return "any"
    return f"{service.port}-{service.port_end}" if service.port_end else str(service.port)


_LIST: Sequence[Column] = (
    ("NAME", lambda one: names.short(one.name)),
    ("PREFIXES", lambda one: str(one.prefix_count)),
    ("SERVICES", lambda one: " ".join(map(names.short, one.services))),
    ("STATE", lambda one: "reconciling" if one.reconciling else "ok"),
)
_LIST_WIDE: Sequence[Column] = (
    ("ETAG", lambda one: one.etag),
    ("WHY", lambda one: one.reconciling_reason),
)


def _drain(backend: Any) -> str:
    if not backend.HasField("drain"):
        return ""
    left = f"{backend.drain.remaining_flows} flows left"
    if backend.drain.HasField("earliest_empty_time"):
        left += f", others may be until {backend.drain.earliest_empty_time.ToJsonString()}"
    return f"{word(backend_pb2.DrainResult, backend.drain.result)}, {left}" if backend.drain.result else left


def _columns(message: Message, wide: bool) -> Sequence[Column]:
    if isinstance(message, backend_pb2.Backend):
        return (*_BACKEND, *_BACKEND_WIDE) if wide else _BACKEND
    if isinstance(message, prefix_list_pb2.PrefixList):
        return (*_LIST, *_LIST_WIDE) if wide else _LIST
    return (*_SERVICE, *_SERVICE_WIDE) if wide else _SERVICE


def one(session: Session, message: Message) -> None:
    """One resource."""
    if structured(session, as_dict(message)):
        return
    table([[header, text(message)] for header, text in _columns(message, wide=True) if text(message)], headers=None)


def many(session: Session, key: str, messages: Sequence[Message]) -> None:
    """A list of resources, under `key` in JSON and YAML."""
    if structured(session, {key: [as_dict(message) for message in messages]}):
        return
    if not messages:
        click.echo(f"no {key}", err=True)
        return
    columns = _columns(messages[0], session.output == "wide")
    table([[text(message) for _, text in columns] for message in messages], headers=[header for header, _ in columns])


def done(session: Session, name: str, what: str, revision: int, dry_run: bool) -> None:
    """The end of a resource."""
    if not structured(session, {"name": name, "revision": revision}):
        click.echo(f"{names.short(name)} {'would be ' if dry_run else ''}{what}")


def event(session: Session, of: Event) -> None:
    """One event of a watch, on one line."""
    message: dict[str, Any] = {"kind": of.kind.value, "revision": of.revision}
    if of.backend is not None:
        message["backend"] = as_dict(of.backend)
    if structured(session, message, stream=True):
        return
    backend = of.backend
    about = f"  {names.short(backend.name)}  weight {backend.weight}  {_state(backend)}  {_drain(backend)}".rstrip() if backend else ""
    click.echo(f"{of.revision:>6}  {of.kind.value:<8}{about}")


def agent(session: Session, of: agent_pb2.Agent) -> None:
    """The agent."""
    if structured(session, as_dict(of)):
        return
    rows = [
        ["VERSION", of.version],
        ["READY", "yes" if of.ready else f"no: {of.not_ready_reason}"],
        ["REVISION", f"{of.revision}, applied {of.applied_revision}"],
        ["KERNEL", of.kernel],
        ["SOURCES", ", ".join(of.snat_addresses)],
        ["MAPS", f"{of.map_bytes / 2**20:.1f} MiB, layout {of.layout_version}, {of.map_writes} writes"],
    ]
    table([row for row in rows if row[1]], headers=None)
    click.echo()
    modes = [[i.name, word(agent_pb2.XdpMode, i.mode) if i.mode else "not attached", i.program_tag, i.mode_reason] for i in of.interfaces]
    table(modes, headers=["INTERFACE", "MODE", "PROGRAM", "WHY"])
    if session.output == "wide":
        click.echo()
        fill = [[m.stats.map, str(m.stats.entries), str(m.stats.max_entries), str(m.stats.bytes), str(m.map_id)] for m in of.maps]
        table(fill, headers=["MAP", "ENTRIES", "ROOM", "BYTES", "ID"])
    for warning in of.warnings:
        click.echo(f"warning: {warning.message} ({warning.reason})", err=True)


def config(session: Session, of: agent_pb2.Config) -> None:
    """All desired state."""
    if structured(session, as_dict(of)):
        return
    many(session, "services", of.services)
    click.echo()
    many(session, "backends", of.backends)
    click.echo()
    many(session, "lists", of.lists)


def structured(session: Session, value: Any, stream: bool = False) -> bool:
    """Writes `value` as JSON or YAML if that is wanted; whether it was."""
    if session.output == "json":
        click.echo(json.dumps(value, indent=None if stream else 2))
        return True
    if session.output == "yaml":
        import yaml

        click.echo(("---\n" if stream else "") + yaml.safe_dump(value, sort_keys=False).rstrip())
        return True
    return False


def as_dict(message: Message) -> dict[str, Any]:
    """The JSON mapping of protobuf with the names of the .proto files; fields at their default are there too."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def table(rows: Sequence[Sequence[str]], headers: Sequence[str] | None) -> None:
    """Columns as wide as their widest cell; without colours nothing but text."""
    everything = [headers, *rows] if headers else rows
    widths = [max(len(row[i]) for row in everything) for i in range(len(everything[0]))] if everything else []
    if headers:
        click.secho("  ".join(h.ljust(w) for h, w in zip(headers, widths)).rstrip(), bold=True)
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
