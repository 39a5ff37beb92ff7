"""l4lbctl health: what probes have said of a backend."""

from typing import TYPE_CHECKING

import click

from l4lb.cli.base import BACKEND, Session, output_option

if TYPE_CHECKING:
    from l4lb.v1.backend_pb2 import Backend


@click.command()
@click.argument("name", type=BACKEND, metavar="BACKEND")
@output_option
@click.pass_obj
def health(session: Session, /, name: str) -> None:
    """Show the health of a backend: its state, and the last probes with what came of each."""
    from l4lb.cli import render

    found = session.client.get_backend(name)
    if render.structured(session, render.as_dict(found.health)):
        return
    if not found.HasField("health"):
        click.echo("its virtual service has no health check: l4lbctl service update SERVICE --health begins one", err=True)
        return
    _show(found)


def _show(found: "Backend") -> None:
    from l4lb.cli import render
    from l4lb.v1 import health_pb2

    of = found.health
    rows = [
        ["HEALTH", render.health(found)],
        ["SINCE", of.change_time.ToJsonString()],
        ["PROBED", of.target],
        ["EFFECTIVE", render.word(health_pb2.EffectiveState, found.effective_state)],
        ["IN A ROW", str(of.consecutive)],
        ["TRANSITIONS", str(of.transitions)],
        ["NEXT PROBE", of.next_probe_time.ToJsonString()],
    ]
    render.table(rows, headers=None)
    click.echo()
    probes = [
        [
            one.time.ToJsonString(),
            render.word(health_pb2.ProbeOutcome, one.outcome),
            f"{one.latency.ToMicroseconds() / 1000:.1f}",
            one.detail,
        ]
        for one in reversed(of.history)
    ]
    render.table(probes, headers=["PROBE", "OUTCOME", "MS", "DETAIL"])
