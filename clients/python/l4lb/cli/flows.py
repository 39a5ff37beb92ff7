"""l4lbctl flows: which flows there are, whose, and who has the most."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from l4lb import names
from l4lb.cli.base import Session, output_option

if TYPE_CHECKING:
    from l4lb.v1.flow_pb2 import Flow, FlowCount, FlowSummary

HEADERS = ("BACKEND", "STATE", "PROTOCOL", "CLIENT", "PORT", "IDLE", "SOURCE")


class _Whose(click.ParamType[str]):
    name = "service or backend"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The full name of either."""
        try:
            short = str(value).removeprefix("services/")
            return names.backend(value) if "/" in short else names.service(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.argument("whose", type=_Whose(), metavar="[SERVICE|BACKEND]", default="-")
@click.option("--client", default="", metavar="ADDRESS", help="Only those of this client: an address or a prefix such as 192.0.2.0/24.")
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="Show at most so many; all are counted. 0 shows none.")
@click.option("--all", "every", is_flag=True, help="Show all of them, as they come.")
@click.option("--top", type=click.IntRange(1, 1000), default=10, show_default=True, help="So many clients and silent flows at the end.")
@output_option
@click.pass_obj
def flows(session: Session, /, whose: str, client: str, limit: int, every: bool, top: int) -> None:
    """Show flows, of all services, of one, or of one backend: how many, which are silent for long, which clients have the most.

    Counted are flows that have an entry and are not over: all of NAT; of DSR and ENCAP those that a change put at risk, whose clients are
    not known, or all with flow tracking ALL.
    """
    from l4lb.cli import render

    shown = None if every else limit
    pages = session.client.flows(whose, client=client, limit=limit if not every else 0, flows=every or limit > 0, top=top)
    with closing(pages):  # type: ignore[type-var]
        if session.output in ("json", "yaml"):
            for page in pages:
                for flow in page.flows:
                    render.structured(session, {"flow": render.as_dict(flow)}, stream=True)
                if page.HasField("summary"):
                    render.structured(session, {"summary": render.as_dict(page.summary)}, stream=True)
            return
        _show(pages, shown)


def _show(pages: Iterable[Any], shown: int | None) -> None:
    """All of them are written page by page, since there may be millions; a few are one table."""
    from l4lb.cli import render

    rows: list[Sequence[str]] = []
    told, headers = 0, True
    for page in pages:
        rows += [_cells(flow) for flow in page.flows]
        told += len(page.flows)
        if rows and (shown is None or page.HasField("summary")):
            render.table(rows, headers=HEADERS if headers else None)
            rows, headers = [], False
        if page.HasField("summary"):
            if told:
                click.echo()
            _summary(page.summary, told)


def _cells(flow: "Flow") -> Sequence[str]:
    from l4lb.cli import render
    from l4lb.v1 import flow_pb2, virtual_service_pb2

    client = render.endpoint(flow.client, flow.client_port) if flow.client else "not known"
    source = render.endpoint(flow.source, flow.source_port) if flow.source else ""
    state, protocol = render.word(flow_pb2.FlowState, flow.state), render.word(virtual_service_pb2.Protocol, flow.protocol)
    return (names.short(flow.backend), state, protocol, client, str(flow.vip_port or ""), f"{flow.idle.seconds}s", source)


def _summary(summary: "FlowSummary", told: int) -> None:
    from l4lb.cli import render

    more = f", {told} of them shown" if told < summary.flows else ""
    unknown = f", {summary.without_client} of unknown clients" if summary.without_client else ""
    click.echo(f"{summary.flows} flows{more}{unknown}")
    _counts("BACKEND", summary.backends, names.short)
    _counts("STATE", summary.states, lambda name: name.removeprefix("FLOW_STATE_"))
    _counts("CLIENT", summary.clients, str)
    if summary.oldest:
        click.echo("\nsilent for the longest:")
        render.table([_cells(flow) for flow in summary.oldest], headers=HEADERS)


def _counts(title: str, counts: Iterable["FlowCount"], shorten: Callable[[str], str]) -> None:
    from l4lb.cli import render

    rows = [[shorten(one.name), f"{one.flows}" + (f" to {one.flows + one.uncertain}" if one.uncertain else "")] for one in counts]
    if rows:
        click.echo()
        render.table(rows, headers=[title, "FLOWS"])
