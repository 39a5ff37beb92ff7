"""l4lbctl backend: the servers behind a virtual service."""

from typing import Any

import click

from l4lb.cli.base import (
    BACKEND,
    DURATION,
    SERVICE,
    Commands,
    Session,
    annotate_option,
    change_options,
    etag_option,
    output_option,
)

_WEIGHT = click.IntRange(0, 65535)
_MTU = click.IntRange(0, 65535)
_STATES = click.Choice(("enabled", "disabled"))


@click.group(cls=Commands)
def backend() -> None:
    """Backends of a virtual service."""


@backend.command()
@click.argument("name", type=BACKEND)
@click.option("--address", required=True, help="IPv4 or IPv6 address, of the VIP's family.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; that of the service without it.")
@click.option("--weight", type=_WEIGHT, help="Share of new flows, 1 without it.")
@click.option("--state", "admin_state", type=_STATES, help="ENABLED without it.")
@click.option("--mtu", type=_MTU, default=0, help="Longest packet to it, outer headers included; that of the way without it.")
@annotate_option
@change_options
@click.pass_obj
def add(session: Session, /, name: str, annotations: tuple[tuple[str, str], ...], **options: Any) -> None:
    """Add a backend. It gets flows once its next hop answers."""
    from l4lb.cli import render

    render.one(session, session.client.add_backend(name, annotations=dict(annotations), **options))


@backend.command("list")
@click.argument("service", type=SERVICE, default="-")
@output_option
@click.pass_obj
def list_(session: Session, /, service: str) -> None:
    """List the backends of SERVICE, or of all."""
    from l4lb.cli import render

    render.many(session, "backends", list(session.client.list_backends(service)))


@backend.command()
@click.argument("name", type=BACKEND)
@output_option
@click.pass_obj
def show(session: Session, /, name: str) -> None:
    """Show one backend."""
    from l4lb.cli import render

    render.one(session, session.client.get_backend(name))


@backend.command("set")
@click.argument("name", type=BACKEND)
@click.option("--weight", type=_WEIGHT, help="Share of new flows; 0 receives none.")
@click.option("--state", "admin_state", type=_STATES)
@click.option("--address", help="Another address is another server: the flows of the old one are cut.")
@click.option("--port", type=click.IntRange(0, 65535))
@click.option("--mtu", type=_MTU, help="Longest packet to it, outer headers included; 0 for that of the way.")
@annotate_option
@etag_option
@change_options
@click.pass_obj
def set_(session: Session, /, name: str, annotations: tuple[tuple[str, str], ...], **options: Any) -> None:
    """Change a backend. Given annotations replace all there were."""
    from l4lb.cli import render

    wanted = dict(annotations) if annotations else None
    if wanted is None and all(options[key] is None for key in ("weight", "admin_state", "address", "port", "mtu")):
        raise click.UsageError("nothing to change: give --weight, --state, --address, --port, --mtu or --annotate")
    render.one(session, session.client.update_backend(name, annotations=wanted, **options))


@backend.command()
@click.argument("name", type=BACKEND)
@click.option("--force", is_flag=True, help="Also when it has flows, which are cut.")
@click.option("--allow-missing", is_flag=True, help="Done also when it does not exist.")
@etag_option
@change_options
@click.pass_obj
def remove(session: Session, /, name: str, **options: Any) -> None:
    """Remove a backend."""
    from l4lb.cli import render

    render.done(session, name, "removed", session.client.remove_backend(name, **options), options["validate_only"])


@backend.command()
@click.argument("service", type=SERVICE, default="-")
@click.option("--for", "seconds", type=DURATION, help="End after this time; without it, never.")
@output_option
@click.pass_obj
def watch(session: Session, /, service: str, seconds: float | None) -> None:
    """Show backends of SERVICE, or of all, and every change of them."""
    from l4lb.cli import render
    from l4lb.errors import Error

    try:
        for event in session.client.watch(service, timeout=seconds):
            render.event(session, event)
    except Error as error:
        if seconds is None or error.code != "DEADLINE_EXCEEDED":
            raise
