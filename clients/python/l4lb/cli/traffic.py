"""Samples of statistics as tables; with rates when there are two."""

import sys
from collections.abc import Iterator
from typing import Any

import click

from l4lb import counting, names
from l4lb.cli import render
from l4lb.cli.base import Session
from l4lb.v1 import reason_pb2
from l4lb.v1.stats_pb2 import Stats, Traffic

_HEADERS = ["NAME", "IN pkt", "IN byte", "OUT pkt", "OUT byte", "NEW flow", "ACTIVE"]


def show(session: Session, samples: Iterator[Stats], live: bool) -> None:
    """Every sample; on a terminal each in the place of the one before."""
    before: Stats | None = None
    for sample in samples:
        if not render.structured(session, render.as_dict(sample), stream=live):
            if live and sys.stdout.isatty():
                click.clear()
            _tables(sample, before)
        before = sample


def _tables(sample: Stats, before: Stats | None) -> None:
    unit = "per second" if before else "since the maps were made"
    skipped = f", {sample.skipped_samples} samples skipped" if sample.skipped_samples else ""
    click.echo(f"{sample.sample_time.ToDatetime():%H:%M:%S} UTC, {unit}{skipped}")
    render.table(_rows(sample, before), headers=_HEADERS)
    click.echo()
    reasons = _reasons(sample, before)
    if reasons:
        render.table(reasons, headers=["REASON", "VERDICT", "pkt", "byte"])
        click.echo()
    for fill in sample.maps:
        click.echo(f"{fill.map}: {fill.entries} of {fill.max_entries}")


def _rows(sample: Stats, before: Stats | None) -> list[list[str]]:
    old = counting.traffic(before) if before else {}
    seconds = counting.seconds(sample, before)
    return [[names.short(name), *_counts(traffic, old.get(name), seconds)] for name, traffic in counting.traffic(sample).items()]


def _counts(traffic: Traffic, old: Traffic | None, seconds: float) -> list[str]:
    fields = ("packets_in", "bytes_in", "packets_out", "bytes_out", "flows")
    return [_rate(getattr(traffic, f), getattr(old, f) if old else None, seconds) for f in fields] + [str(traffic.active_flows)]


def _reasons(sample: Stats, before: Stats | None) -> list[list[str]]:
    old: dict[tuple[int, int], Any] = {(r.reason, r.verdict): r for r in before.reasons} if before else {}
    seconds = counting.seconds(sample, before)
    rows = []
    for of in sample.reasons:
        was = old.get((of.reason, of.verdict))
        packets = _rate(of.packets, was.packets if was else (0 if before else None), seconds)
        size = _rate(of.bytes, was.bytes if was else (0 if before else None), seconds)
        rows.append([render.word(reason_pb2.Reason, of.reason), render.word(reason_pb2.Verdict, of.verdict), packets, size])
    return rows


def _rate(now: int, before: int | None, seconds: float) -> str:
    """The count, or how fast it grew."""
    if before is None or not seconds:
        return str(now)
    return f"{counting.grown(now, before) / seconds:.0f}"
