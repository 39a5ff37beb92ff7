"""l4lbctl explain: what would become of a packet, step by step."""

from typing import TYPE_CHECKING, Any

import click

from l4lb import names
from l4lb.cli.asked_packet import asked, packet_options
from l4lb.cli.base import EXIT_DISAGREED, Session, output_option

if TYPE_CHECKING:
    from l4lb.v1.explain_pb2 import Explanation, FrameSummary

_COLOURS = {"DROP": "red", "PASS": "yellow"}
_ARP = 0x0806
_PLAIN = 0x8100  # EtherType of tags that are no provider's


@click.command()
@packet_options
@output_option
@click.pass_obj
def explain(session: Session, /, **given: Any) -> None:
    """Say what would become of a packet that arrived now, and why: each step of the datapath with what it finds there.

    PROTOCOL is tcp, udp, icmp (an echo request, or with --error anything else), arp, ndp, the number of another IP protocol, or 0x and
    an EtherType. A client's packet is for the VIP, a backend's reply through NAT for the SNAT address. Nothing is sent, counted or
    changed. The last line says what becomes of it, what that means, and what to do.

    The datapath's own program is asked the same, aside. Exit code 7 when it says something else, which is a bug.

    \b
    Examples:
      explain tcp 198.51.100.7:40000 192.0.2.10:80 --flags ack     a segment of that connection
      explain icmp 198.51.100.7 192.0.2.10                         a ping
      explain icmp 203.0.113.1 192.0.2.10 --error too-big --mtu 1400 --about tcp 192.0.2.10:80 198.51.100.7:40000
                                                                   a router's error about a packet of that connection
      explain udp [2001:db8::7]:5000 [2001:db8::10]:53 --fragment 1448 --id 7 --last
      explain arp 192.0.2.1 192.0.2.10                             192.0.2.1 asks who has the VIP
    """
    from l4lb.cli import render
    from l4lb.v1 import explain_pb2

    explanation = session.client.explain(**asked(given))
    if not render.structured(session, render.as_dict(explanation)):
        _show(explanation, wide=session.output == "wide")
    if explanation.comparison == explain_pb2.COMPARISON_DISAGREED:
        raise click.exceptions.Exit(EXIT_DISAGREED)


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

    protocol = "ARP" if of.ether_type == _ARP else render.PROTOCOLS.get(of.protocol, f"protocol {of.protocol}")
    text = f"{protocol} {_end(of.source, of.source_port)} -> {_end(of.destination, of.destination_port)}"
    if not of.source:
        text = f"EtherType {of.ether_type:#06x}"
    if of.outer_source:
        outer = _end(of.outer_source, of.outer_source_port), _end(of.outer_destination, of.outer_destination_port)
        text = f"{outer[0]} -> {outer[1]} around {text}"
    by = f" by {of.interface}" if of.interface else ""
    which = "within" if of.service_vlan_type == _PLAIN else "a provider's"
    tag = (f", VLAN {of.vlan}" if of.vlan else "") + (f", {which} VLAN {of.service_vlan}" if of.service_vlan else "")
    click.echo(f"{how}{by}: {text}")
    click.echo(click.style(f"     {of.source_mac} -> {of.destination_mac}{tag}, {len(of.frame)} bytes", dim=True))


def _end(address: str, port: int) -> str:
    from l4lb.cli import render

    return render.endpoint(address, port) if port else address


def _short(value: str) -> str:
    return names.short(value) if value.startswith(("services/", "lists/")) else value


def _lines(facts: list[str]) -> list[str]:
    """As many to a line as fit."""
    lines: list[str] = []
    for fact in facts:
        if lines and len(lines[-1]) + len(fact) < 100:
            lines[-1] += f"  {fact}"
        else:
            lines.append(fact)
    return lines
