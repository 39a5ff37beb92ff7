"""l4lbctl drain and undrain: take a backend out without breaking its flows, and put it back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from l4lb.cli.base import BACKEND, DURATION, EXIT_TIMEOUT, Session, change_options, etag_option

if TYPE_CHECKING:
    from l4lb.streams import DrainProgress


@click.command()
@click.argument("name", type=BACKEND)
@click.option("--timeout", type=DURATION, help="Deadline of the drain; without it, until no flow is left.")
@click.option(
    "--at-deadline", type=click.Choice(("keep", "cut", "reset")), default="keep", show_default=True,
    help="What happens then to the flows that are left.",
)  # fmt: skip
@click.option("--allow-empty", is_flag=True, help="Also when no other backend receives new flows.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the end.")
@click.option("--wait-timeout", type=DURATION, help="Wait this long at most; the drain goes on.")
@etag_option
@change_options
@click.pass_obj
def drain(session: Session, /, name: str, no_wait: bool, wait_timeout: float | None, **options: Any) -> None:
    """Let NAME finish its flows and give it no new ones. Exit code 4 when the deadline came before the last flow ended."""
    from l4lb.cli import render
    from l4lb.v1 import backend_pb2

    backend = session.client.drain(name, **options)
    if not no_wait and not options["validate_only"]:
        with _progress() as report:
            session.client.wait_drained(name, timeout=wait_timeout, on_progress=report)
        backend = session.client.get_backend(name)  # the end of a drain is told a moment before the kernel has it
    render.one(session, backend)
    if backend.drain.result in (backend_pb2.DRAIN_RESULT_DEADLINE_KEPT, backend_pb2.DRAIN_RESULT_DEADLINE_CUT):
        raise click.exceptions.Exit(EXIT_TIMEOUT)


@click.command()
@click.argument("name", type=BACKEND)
@etag_option
@change_options
@click.pass_obj
def undrain(session: Session, /, name: str, **options: Any) -> None:
    """End a drain, or put a drained backend back."""
    from l4lb.cli import render

    render.one(session, session.client.undrain(name, **options))


@contextmanager
def _progress() -> Iterator[Callable[["DrainProgress"], None]]:
    """Where progress goes: a bar on a terminal, else a line for each change, both on standard error."""
    from rich.console import Console

    console = Console(stderr=True)
    try:
        if console.is_terminal:
            with _bar(console) as report:
                yield report
        else:
            yield lambda progress: click.echo(str(progress), err=True)
    except KeyboardInterrupt:
        click.echo("The drain goes on without this command; l4lbctl undrain ends it.", err=True)
        raise


@contextmanager
def _bar(console: Any) -> Iterator[Callable[["DrainProgress"], None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]} flows left"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("draining", total=None, left="?")

        def report(progress: "DrainProgress") -> None:
            initial = max(progress.initial, 1)
            bar.update(task, total=initial, completed=initial if progress.done else initial - progress.remaining, left=progress.remaining)

        yield report
