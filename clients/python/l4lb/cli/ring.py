"""l4lbctl ring: which backend each slot of a service belongs to, and what a change moves."""

from typing import TYPE_CHECKING

import click

from l4lb import names
from l4lb.cli.base import SERVICE, Session, output_option

if TYPE_CHECKING:
    from l4lb.v1.ring_pb2 import Ring, RingShare


@click.command()
@click.argument("name", type=SERVICE, metavar="SERVICE")
@click.option("--slots", is_flag=True, help="Also every single slot: its number and its backend, and where flows without an entry go.")
@output_option
@click.pass_obj
def ring(session: Session, /, name: str, slots: bool) -> None:
    """Show the ring of a virtual service: shares wanted and got, what is settled or at risk, its digest."""
    from l4lb.cli import render

    found = session.client.ring(name, slots=slots)
    if render.structured(session, render.as_dict(found)):
        return
    _show(session, found)
    if slots:
        _slots(found)


def _show(session: Session, found: "Ring") -> None:
    from l4lb.cli import render

    wide = session.output == "wide"
    rows = [
        ["SLOTS", f"{found.size}" + (f", {found.empty_slots} of them without a backend" if found.empty_slots else "")],
        ["DIGEST", found.digest if wide else found.digest[:12]],
        ["BEFORE", (found.before_digest if wide else found.before_digest[:12]) if found.differing_slots else ""],
        ["SETTLED", _settled(found)],
    ]
    render.table([row for row in rows if row[1]], headers=None)
    click.echo()
    shares = [
        [
            names.short(s.backend), str(s.weight), f"{s.wanted_share:.1%}", f"{s.slot_share:.1%}", str(s.slots), _moves(s),
            str(s.active_flows), *([str(s.datapath_id), str(s.before_slots)] if wide else []), _why(s),
        ]
        for s in found.shares
    ]  # fmt: skip
    more = ["ID", "BEFORE"] if wide else []
    render.table(shares, headers=["BACKEND", "WEIGHT", "WANTED", "GOT", "SLOTS", "MOVES", "FLOWS", *more, "WHY"])


def _settled(found: "Ring") -> str:
    if not found.at_risk_slots:
        return "yes"
    if not found.differing_slots:
        return f"yes, {found.at_risk_slots} slots still have entries"
    until = f" until {found.settle_time.ToJsonString()}" if found.HasField("settle_time") else ""
    return f"no, {found.differing_slots} slots differ{until}, {found.at_risk_slots} are at risk"


def _why(share: "RingShare") -> str:
    """Why it takes no new flows, "" when it does."""
    from l4lb.cli import render
    from l4lb.v1 import health_pb2

    takes = share.effective_state == health_pb2.EFFECTIVE_STATE_TAKES_NEW_FLOWS
    return share.reconciling_reason or ("" if takes else render.word(health_pb2.EffectiveState, share.effective_state))


def _moves(share: "RingShare") -> str:
    moves = ((share.arriving_slots, "+"), (share.leaving_slots, "-"))
    return " ".join(f"{sign}{number}" for number, sign in moves if number)


def _slots(found: "Ring") -> None:
    backends = {share.datapath_id: names.short(share.backend) for share in found.shares} | {0: "nobody"}
    click.echo()
    for slot, number in enumerate(found.slots):
        before = found.before_slots[slot] if found.before_slots else number
        other = f"  before {backends.get(before, before)}" if before != number else ""
        click.echo(f"{slot:>5}  {backends.get(number, number)}{other}")
