"""l4lbctl service: virtual services."""

from typing import Any

import click

from l4lb.cli.access import limit_options, list_options, no_list_options, take_limit, take_lists
from l4lb.cli.affinity import affinity_options, take_affinity
from l4lb.cli.base import (
    DURATION,
    SERVICE,
    Commands,
    Session,
    annotate_option,
    change_options,
    etag_option,
    output_option,
)
from l4lb.cli.health_options import health_options, take_health

_PROTOCOLS = click.Choice(("tcp", "udp"))
_HASHES = click.Choice(("tuple", "source", "source-destination"))
_on_empty = click.option(
    "--on-empty", type=click.Choice(("drop", "reset", "unreachable", "prohibited")), help="What becomes of new flows without a backend."
)
_ENCAP = {"encapsulation": "encapsulation", "port": "encap_port", "outer_source": "outer_source", "outer_checksum": "outer_checksum"}
_CHANGEABLE = (
    "idle_timeout", "change_window", "down_grace", "on_empty", "mss_clamp", "mss", "new_flow_limit", "allow_list", "deny_list", "affinity",
    "health_check",
)  # fmt: skip
_change_window = click.option("--change-window", type=DURATION, help="How long after a change silent flows of dsr and encap stay put.")
_down_grace = click.option("--down-grace", type=DURATION, help="How long flows stay with a backend that is unreachable or DOWN.")

_mss_clamp = click.option("--mss-clamp", type=click.Choice(("off", "auto", "fixed")), help="Lower the MSS of SYNs: to what fits, or --mss.")
_mss = click.option("--mss", type=click.IntRange(0, 65495), help="Longest TCP segment, with --mss-clamp fixed.")


@click.group(cls=Commands)
def service() -> None:
    """Virtual services: VIP, port and protocol."""


@service.command()
@click.argument("name", type=SERVICE)
@click.option("--vip", required=True, help="IPv4 or IPv6 address that clients use.")
@click.option("--port", type=click.IntRange(1, 65535), help="Of a range the first.")
@click.option("--port-end", type=click.IntRange(2, 65535), help="Last port of a range.")
@click.option("--any-port", is_flag=True, help="Every port that no other service of the VIP and protocol takes.")
@click.option("--protocol", type=_PROTOCOLS, default="tcp", show_default=True)
@click.option("--ring-size", type=int, default=0, help="Slots of the ring: 1021, 4093, 16381 (default) or 65537.")
@click.option("--forwarding-mode", type=click.Choice(("nat", "dsr", "encap")), default="nat", show_default=True)
@click.option("--client-address", type=click.Choice(("translate", "keep")), help="Of nat, as backends see it; translate by default.")
@click.option("--encapsulation", type=click.Choice(("ipip", "gue", "gue-variant-1")), help="Outer header of encap; ipip by default.")
@click.option("--encap-port", type=click.IntRange(1, 65535), help="UDP destination port of gue; 6080 by default.")
@click.option("--outer-source", type=click.Choice(("real", "spread")), help="Source of outer headers; real by default.")
@click.option("--outer-checksum", is_flag=True, help="Outer UDP headers have a checksum.")
@click.option("--flow-tracking", type=click.Choice(("changes", "all")), help="Of dsr and encap; changes by default.")
@click.option("--hash", type=_HASHES, help="What of a packet picks its backend; the whole tuple by default.")
@click.option("--idle-timeout", type=DURATION, help="Lifetime of a flow without packets.")
@_change_window
@_down_grace
@_on_empty
@_mss_clamp
@_mss
@limit_options
@list_options
@affinity_options
@health_options
@annotate_option
@change_options
@click.pass_obj
def create(session: Session, /, name: str, annotations: tuple[tuple[str, str], ...], **options: Any) -> None:
    """Create a virtual service without backends."""
    from l4lb.cli import render

    if not options["port"] and not options["any_port"]:
        raise click.UsageError("give --port, or --any-port for every port")
    encap = {field: options.pop(option) for field, option in _ENCAP.items()}
    options["encap"] = encap if any(encap.values()) else None
    options["new_flow_limit"] = take_limit(options)
    options["affinity"] = take_affinity(options)
    options["health_check"] = take_health(options)
    render.one(session, session.client.create_service(name, annotations=dict(annotations), **options))


@service.command("list")
@output_option
@click.pass_obj
def list_(session: Session, /) -> None:
    """List all virtual services."""
    from l4lb.cli import render

    render.many(session, "services", list(session.client.list_services()))


@service.command()
@click.argument("name", type=SERVICE)
@output_option
@click.pass_obj
def show(session: Session, /, name: str) -> None:
    """Show one virtual service."""
    from l4lb.cli import render

    render.one(session, session.client.get_service(name))


@service.command()
@click.argument("name", type=SERVICE)
@click.option("--idle-timeout", type=DURATION, help="Lifetime of a flow without packets.")
@_change_window
@_down_grace
@_on_empty
@_mss_clamp
@_mss
@limit_options
@click.option("--no-limits", is_flag=True, help="New flows are no longer limited.")
@list_options
@no_list_options
@affinity_options
@click.option("--no-affinity", is_flag=True, help="Each new flow goes where the ring says.")
@health_options
@click.option("--no-health", is_flag=True, help="Backends are not probed any more, and all take new flows.")
@annotate_option
@etag_option
@change_options
@click.pass_obj
def update(
    session: Session,
    /,
    name: str,
    annotations: tuple[tuple[str, str], ...],
    no_limits: bool,
    no_affinity: bool,
    no_health: bool,
    **options: Any,
) -> None:
    """Change a virtual service. Given annotations replace all there were, and given limits, affinity and health check too."""
    from l4lb.cli import render

    limit = take_limit(options)
    if limit and no_limits:
        raise click.UsageError("--no-limits takes away what the other options ask for")
    options["new_flow_limit"] = {} if no_limits else limit
    take_lists(options)
    affinity = take_affinity(options)
    if affinity and no_affinity:
        raise click.UsageError("--no-affinity takes away what the other options ask for")
    options["affinity"] = {} if no_affinity else affinity
    health = take_health(options)
    if health and no_health:
        raise click.UsageError("--no-health takes away what the other options ask for")
    options["health_check"] = {} if no_health else health
    if not annotations and all(options[name] is None for name in _CHANGEABLE):
        known = ", ".join(f"--{name.replace('_', '-')}" for name in _CHANGEABLE).replace("health-check", "health")
        takes_away = "--no-limits, --no-affinity, --no-health"
        raise click.UsageError(f"nothing to change: give {known}, --source-flow-limit, {takes_away} or --annotate")
    wanted = dict(annotations) if annotations else None
    render.one(session, session.client.update_service(name, annotations=wanted, **options))


@service.command()
@click.argument("name", type=SERVICE)
@click.option("--force", is_flag=True, help="Also delete its backends and cut their flows.")
@click.option("--allow-missing", is_flag=True, help="Done also when it does not exist.")
@etag_option
@change_options
@click.pass_obj
def delete(session: Session, /, name: str, **options: Any) -> None:
    """Delete a virtual service."""
    from l4lb.cli import render

    render.done(session, name, "deleted", session.client.delete_service(name, **options), options["validate_only"])
