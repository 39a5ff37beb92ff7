"""l4lbctl top: a live view of one agent."""

import click

from l4lb.cli.base import DURATION, Session


@click.command()
@click.option("--interval", type=DURATION, default="1s", show_default=True, help="100ms to 1h.")
@click.pass_obj
def top(session: Session, /, interval: float) -> None:
    """Show services and backends live: rates, flows, drains, drops, fill of the tables. Keys are shown; d drains after a question."""
    try:
        from l4lb.top import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise click.ClickException("top needs Textual: pip install 'l4lb-client[cli,top]'") from None
    app.run(session.connect, session.target, interval)
