"""l4lbctl explain: what would become of a packet, step by step."""

import ipaddress
import re
from typing import TYPE_CHECKING, Any

import click

from l4lb import names
from l4lb.cli.base import EXIT_DISAGREED, Session, output_option

if TYPE_CHECKING:
    from l4lb.v1.explain_pb2 import Explanation, FrameSummary

KINDS = {"tcp": "tcp", "udp": "udp", "icmp": "echo_request"}
FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg")
_COLOURS = {"DROP": "red", "PASS": "yellow"}


class End(click.ParamType[tuple[str, int]]):
    """ADDRESS:PORT, [IPv6]:PORT, or an address alone."""

    name = "end"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Address and port, 0 without one."""
        match = re.fullmatch(r"\[(?P<v6>[^]]+)\](?::(?P<p6>\d+))?|(?P<v4>[^:]+)(?::(?P<p4>\d+))?|(?P<bare>.+)", str(value))
        address = match and (match["v6"] or match["v4"] or match["bare"])
        port = int(match and (match["p6"] or match["p4"]) or 0)
        try:
            ipaddress.ip_address(address or "")
        except ValueError:
            self.fail(f"{value!r} is not an end: write it like 192.0.2.1:80, [2001:db8::1]:80, or an address alone", param, ctx)
        if port > 65535:
            self.fail(f"{value!r}: a port is at most 65535", param, ctx)
        return address or "", port


class Flags(click.ParamType[list[str]]):
    """Flags of a segment with | or commas between."""

    name = "flags"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Their names."""
        parts = [part for part in re.split(r"[|,+]", str(value).lower()) if part]
        wrong = [part for part in parts if part not in FLAGS]
        if wrong or not parts:
            self.fail(f"{value!r}: flags are some of {', '.join(FLAGS)}, like syn or fin|ack", param, ctx)
        return parts


@click.command()
@click.argument("protocol", type=click.Choice(list(KINDS)), metavar="PROTOCOL")
@click.argument("source", type=End(), metavar="SOURCE[:PORT]")
@click.argument("destination", type=End(), metavar="DESTINATION[:PORT]")
@click.option("--flags", type=Flags(), metavar="FLAGS", help="Of TCP, such as syn or fin|ack. [default: syn]")
@click.option("--if", "interface", default="", metavar="IFACE", help="It comes by. [default: the one towards SOURCE, else the first]")
@click.option("--seq", type=click.IntRange(0, 0xFFFFFFFF), default=0, help="TCP sequence number.")
@click.option("--ack", type=click.IntRange(0, 0xFFFFFFFF), default=0, help="TCP acknowledgement number.")
@click.option("--length", type=click.IntRange(0, 3400), default=0, help="Bytes after its headers.")
@click.option("--hops", type=click.IntRange(1, 255), default=64, show_default=True, help="TTL or hop limit.")
@click.option("--may-fragment", is_flag=True, help="Routers may fragment it (IPv4 without DF).")
@click.option("--fragment", metavar="first|OFFSET", help="It is the first fragment of a datagram, or that after OFFSET bytes.")
@click.option("--last", is_flag=True, help="With --fragment OFFSET: it is the last one.")
@click.option("--id", "identification", type=click.IntRange(0, 0xFFFFFFFF), default=0, help="Of its datagram.")
@click.option("--vlan", type=click.IntRange(0, 4094), default=0, help="Tag of its frame.")
@output_option
@click.pass_obj
def explain(session: Session, /, protocol: str, source: tuple[str, int], destination: tuple[str, int], **given: Any) -> None:
    """Say what would become of a packet that arrived now, and why: each step of the datapath with what it finds there.

    PROTOCOL is tcp, udp or icmp (an echo request, without ports). A client's packet is for the VIP, a backend's reply through NAT for the
    SNAT address. Nothing is sent, counted or changed. The last line says what becomes of it, what that means, and what to do.

    The datapath's own program is asked the same, aside. Exit code 7 when it says something else, which is a bug.
    """
    from l4lb.cli import render
    from l4lb.v1 import explain_pb2

    offset, more = _fragment(given.pop("fragment"), given.pop("last"))
    explanation = session.client.explain(
        KINDS[protocol], source[0], destination[0], source_port=source[1], destination_port=destination[1],
        flags=given.pop("flags") or (), sequence=given.pop("seq"), acknowledgement=given.pop("ack"), payload_bytes=given.pop("length"),
        fragment_offset=offset, more_fragments=more, **given,
    )  # fmt: skip
    if not render.structured(session, render.as_dict(explanation)):
        _show(explanation, wide=session.output == "wide")
    if explanation.comparison == explain_pb2.COMPARISON_DISAGREED:
        raise click.exceptions.Exit(EXIT_DISAGREED)


def _fragment(fragment: str | None, last: bool) -> tuple[int, bool]:
    if fragment is None:
        return 0, False
    if fragment == "first":
        return 0, True
    if not fragment.isdigit() or int(fragment) % 8 or not int(fragment):
        raise click.UsageError(f"--fragment {fragment}: is `first`, or a number of bytes that 8 divides")
    return int(fragment), not last


def _show(of: "Explanation", *, wide: bool) -> None:
    from l4lb.cli import render
    from l4lb.v1 import reason_pb2

    verdict, reason = render.word(reason_pb2.Verdict, of.verdict), render.word(reason_pb2.Reason, of.reason)
    _frame("comes", of.received)
    for number, step in enumerate(of.steps, start=1):
        click.echo(f"{number:>3}  {step.name:<13} {step.finding}")
        facts = [f"{name}={_short(value)}" for name, value in sorted(step.evidence.items())]
        for line in _lines(facts):
            click.echo(click.style(f"{'':19}{line}", dim=True))
    if of.HasField("sent"):
        _frame("leaves" if verdict in ("TX", "REDIRECT") else "passes", of.sent)
        if wide:
            click.echo(f"        {of.sent.frame.hex()}")
    _compared(of)
    where = " ".join(names.short(name) for name in (of.backend or of.service,) if name)
    head = click.style(f"{verdict} {reason}", fg=_COLOURS.get(verdict, "green"), bold=True)
    click.echo(f"{head}{f' ({where})' if where else ''}: {of.meaning} What to do: {of.advice}")


def _compared(of: "Explanation") -> None:
    from l4lb.cli import render
    from l4lb.v1 import explain_pb2, reason_pb2

    if of.comparison == explain_pb2.COMPARISON_AGREED:
        limited = of.program.verdict != of.verdict
        click.echo("the datapath's own program does the same" + (", but for a budget that is used up now" if limited else ""))
        return
    if of.comparison == explain_pb2.COMPARISON_DISAGREED:
        said = f"{render.word(reason_pb2.Verdict, of.program.verdict)} {render.word(reason_pb2.Reason, of.program.reason)}"
        click.echo(
            click.style(f"DISAGREEMENT, a bug: the datapath's own program says {said}, and that is what happens.", fg="red", bold=True)
        )
    elif of.comparison == explain_pb2.COMPARISON_UNSTEADY:
        click.echo("the datapath's own program says something else, while what it looks at changes: ask again")
    for difference in of.differences:
        click.echo(f"     {difference}")


def _frame(how: str, of: "FrameSummary") -> None:
    from l4lb.cli import render

    protocol = render.PROTOCOLS.get(of.protocol, str(of.protocol))
    text = f"{protocol} {_end(of.source, of.source_port)} -> {_end(of.destination, of.destination_port)}"
    if of.outer_source:
        outer = _end(of.outer_source, of.outer_source_port), _end(of.outer_destination, of.outer_destination_port)
        text = f"{outer[0]} -> {outer[1]} around {text}"
    by = f" by {of.interface}" if of.interface else ""
    tag = f", VLAN {of.vlan}" if of.vlan else ""
    click.echo(f"{how}{by}: {text}")
    click.echo(click.style(f"     {of.source_mac} -> {of.destination_mac}{tag}, {len(of.frame)} bytes", dim=True))


def _end(address: str, port: int) -> str:
    from l4lb.cli import render

    return render.endpoint(address, port) if port else address


def _short(value: str) -> str:
    return names.short(value) if value.startswith("services/") else value


def _lines(facts: list[str]) -> list[str]:
    """As many to a line as fit."""
    lines: list[str] = []
    for fact in facts:
        if lines and len(lines[-1]) + len(fact) < 100:
            lines[-1] += f"  {fact}"
        else:
            lines.append(fact)
    return lines
