"""l4lbctl stats, agent and config: what happens, what the agent is, what was asked of it."""

import click

from l4lb.cli.base import DURATION, SERVICE, Session, output_option


@click.command()
@click.option("--watch", is_flag=True, help="Go on until interrupted, with rates.")
@click.option("--interval", type=DURATION, default="1s", show_default=True, help="100ms to 1h.")
@click.option("--samples", type=click.IntRange(0), default=0, help="With --watch: end after this many.")
@click.option("--service", "services", type=SERVICE, multiple=True, help="Only this virtual service; may be repeated.")
@click.option("--no-backends", is_flag=True, help="Leave out backends.")
@output_option
@click.pass_obj
def stats(session: Session, /, watch: bool, interval: float, samples: int, services: tuple[str, ...], no_backends: bool) -> None:
    """Show traffic, reasons and the fill of the flow table."""
    from l4lb.cli import traffic

    wanted = samples if watch else 1
    stream = session.client.stats(interval=interval, services=services, backends=not no_backends, samples=wanted)
    traffic.show(session, stream, live=watch)


@click.command()
@output_option
@click.pass_obj
def agent(session: Session, /) -> None:
    """Show the agent: whether it is ready, its interfaces, maps and warnings."""
    from l4lb.cli import render

    render.agent(session, session.client.agent())


@click.command()
@output_option
@click.pass_obj
def config(session: Session, /) -> None:
    """Show all that was asked of the agent."""
    from l4lb.cli import render

    render.config(session, session.client.config())
