"""l4lbctl list: lists of prefixes."""

from typing import Any, TextIO

import click

from l4lb.cli.base import LIST, Commands, Session, annotate_option, change_options, etag_option, output_option

_HELP = "File with one prefix a line, - for standard input; # begins a comment."


@click.group("list", cls=Commands)
def prefix_list() -> None:
    """Lists of prefixes, which virtual services let in or keep out."""


@prefix_list.command()
@click.argument("name", type=LIST)
@click.option("--prefix", "prefixes", multiple=True, help="Prefix like 192.0.2.0/24, or an address; may be repeated.")
@click.option("--from", "source", type=click.File(), help=_HELP)
@annotate_option
@change_options
@click.pass_obj
def create(session: Session, /, name: str, prefixes: tuple[str, ...], source: TextIO | None, **options: Any) -> None:
    """Create a list."""
    from l4lb.cli import render

    annotations, every = dict(options.pop("annotations")), [*prefixes, *_lines(source)]
    render.one(session, session.client.create_list(name, prefixes=every, annotations=annotations, **options))


@prefix_list.command("list")
@output_option
@click.pass_obj
def list_(session: Session, /) -> None:
    """List all lists, without their prefixes."""
    from l4lb.cli import render

    render.many(session, "lists", list(session.client.list_lists()))


@prefix_list.command()
@click.argument("name", type=LIST)
@output_option
@click.pass_obj
def show(session: Session, /, name: str) -> None:
    """Show one list; its prefixes last, one a line."""
    from l4lb.cli import render

    found = session.client.get_list(name)
    render.one(session, found)
    if session.output in ("table", "wide"):
        for prefix in found.prefixes:
            click.echo(prefix)


@prefix_list.command()
@click.argument("name", type=LIST)
@click.option("--add", multiple=True, help="Prefix to add; may be repeated.")
@click.option("--remove", multiple=True, help="Prefix to remove, as the list has it; may be repeated.")
@click.option("--replace-from", "source", type=click.File(), help=f"All prefixes anew. {_HELP}")
@annotate_option
@etag_option
@change_options
@click.pass_obj
def update(session: Session, /, name: str, source: TextIO | None, annotations: tuple[tuple[str, str], ...], **options: Any) -> None:
    """Change a list. Given annotations replace all there were."""
    from l4lb.cli import render

    if not annotations and source is None and not options["add"] and not options["remove"]:
        raise click.UsageError("nothing to change: give --add, --remove, --replace-from or --annotate")
    prefixes = None if source is None else list(_lines(source))
    render.one(session, session.client.update_list(name, prefixes=prefixes, annotations=dict(annotations) or None, **options))


@prefix_list.command()
@click.argument("name", type=LIST)
@click.option("--allow-missing", is_flag=True, help="Done also when it does not exist.")
@etag_option
@change_options
@click.pass_obj
def delete(session: Session, /, name: str, **options: Any) -> None:
    """Delete a list that no virtual service names."""
    from l4lb.cli import render

    render.done(session, name, "deleted", session.client.delete_list(name, **options), options["validate_only"])


def _lines(source: TextIO | None) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in source or ())
    return [line for line in lines if line]
