"""The command line itself: global options and the list of commands."""

import os

import click

from l4lb import DEFAULT_TARGET, __version__
from l4lb.cli import backend, capture, doctor, drain, events, explain, flows, health, observe, prefix_list, record, ring, service, top
from l4lb.cli.base import DURATION, FORMATS, Root, Session

_EPILOG = """\b
When something is wrong:
  l4lbctl doctor                       what is wrong, the worst first, each with the command that cures it
  l4lbctl stats                        how packets end, by reason; traffic of services and backends; --watch: rates
  l4lbctl explain tcp CLIENT VIP:PORT  what would become of that client's packet, step by step, and why
  l4lbctl capture --verdict drop       packets that are dropped, with reason, service and backend
  l4lbctl flows SERVICE/BACKEND        whose flows there are, and in which state
  l4lbctl health SERVICE/BACKEND       what probes have said of a backend
  l4lbctl ring SERVICE                 which backends take new flows, and why not
  l4lbctl agent                        whether the agent is ready, what it warns of, its interfaces
Where l4lbctl cannot reach the agent, run it on the agent's host, where it needs no certificate.

\b
Names are short (web, web/a) or full (services/web/backends/a).
Exit codes: 0 done, 1 refused by the agent, 2 wrong usage, 3 no agent reached, 4 the time was up first,
5 and 6 what doctor found, 7 the datapath does not do what explain says.
Colours follow NO_COLOR. Completion: eval "$(_L4LBCTL_COMPLETE=bash_source l4lbctl)"
"""

PEM = click.Path(exists=True, dir_okay=False)


@click.group(cls=Root, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option(
    "-s", "--server", metavar="TARGET", envvar="L4LB_TARGET", default=DEFAULT_TARGET, show_default=True, help="unix:///path or host:port."
)
@click.option("--ca", type=PEM, envvar="L4LB_CA", metavar="FILE", help="For host:port: certificates of those who sign for agents.")
@click.option("--cert", type=PEM, envvar="L4LB_CERT", metavar="FILE", help="For host:port: your certificate.")
@click.option("--key", type=PEM, envvar="L4LB_KEY", metavar="FILE", help="For host:port: its key.")
@click.option("--server-name", envvar="L4LB_SERVER_NAME", default="", metavar="NAME", help="In the agent's certificate, if not the host's.")
@click.option("-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="Output format.")
@click.option("--call-timeout", type=DURATION, default="10s", show_default=True, help="Deadline of each call.")
@click.version_option(__version__, prog_name="l4lbctl")
@click.pass_context
def cli(
    ctx: click.Context, server: str, ca: str | None, cert: str | None, key: str | None, server_name: str, output: str, call_timeout: float
) -> None:
    """Drive an l4lb load balancer."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    ctx.obj = Session(server, output, call_timeout, {"ca": ca, "cert": cert, "key": key, "server_name": server_name})
    ctx.call_on_close(ctx.obj.close)


cli.add_command(service.service)
cli.add_command(backend.backend)
cli.add_command(health.health)
cli.add_command(prefix_list.prefix_list)
cli.add_command(drain.drain)
cli.add_command(drain.undrain)
cli.add_command(observe.stats)
cli.add_command(top.top)
cli.add_command(events.events)
cli.add_command(capture.capture)
cli.add_command(explain.explain)
cli.add_command(record.record)
cli.add_command(ring.ring)
cli.add_command(flows.flows)
cli.add_command(observe.agent)
cli.add_command(doctor.doctor)
cli.add_command(observe.config)


def main() -> None:
    """Entry point of `l4lbctl`."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its core writes to the terminal by itself what errors say too
    cli(prog_name="l4lbctl")


if __name__ == "__main__":
    main()
