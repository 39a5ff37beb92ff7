"""l4lbctl doctor: what is not as it should be around the agent, worst first."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from l4lb.cli.base import EXIT_ERRORS, EXIT_WARNINGS, Session, output_option

if TYPE_CHECKING:
    from l4lb.v1.doctor_pb2 import Finding

_COLOURS = {"ERROR": "red", "WARNING": "yellow"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The same as -o json.")
@output_option
@click.pass_obj
def doctor(session: Session, /, as_json: bool) -> None:
    """Look at the agent's host and the network around it. Exit code 5 for warnings, 6 for errors.

    The commands it shows are for a root shell of that host; `l4lb-agent doctor --fix` there offers to run those that are safe.
    """
    from l4lb.cli import render
    from l4lb.v1 import doctor_pb2

    if as_json:
        session.output = "json"
    found = session.client.diagnose()
    if not render.structured(session, {"findings": [render.as_dict(finding) for finding in found]}):
        _show(found)
    worst = max((finding.severity for finding in found), default=doctor_pb2.SEVERITY_INFO)
    if worst > doctor_pb2.SEVERITY_INFO:
        raise click.exceptions.Exit(EXIT_ERRORS if worst == doctor_pb2.SEVERITY_ERROR else EXIT_WARNINGS)


def _show(found: Sequence["Finding"]) -> None:
    from l4lb.cli import render
    from l4lb.v1 import doctor_pb2

    for finding in found:
        severity = render.word(doctor_pb2.Severity, finding.severity)
        click.echo(f"{click.style(f'{severity:<8}', fg=_COLOURS.get(severity))} {finding.id}  {finding.subject}")
        click.echo(f"         {finding.evidence}")
        for command in finding.commands:
            click.echo(f"         $ {command}{'   (safe)' if finding.safe_to_fix else ''}")
    if not found:
        click.echo("nothing was found")
