"""Samples of statistics as tables; with rates when there are two."""

import sys
from collections.abc import Iterator
from typing import Any

import click

from l4lb import names
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
    old = _traffic(before) if before else {}
    seconds = _seconds(sample, before)
    return [[names.short(name), *_counts(traffic, old.get(name), seconds)] for name, traffic in _traffic(sample).items()]


def _traffic(sample: Stats) -> dict[str, Traffic]:
    found = {of.service: of.traffic for of in sample.services}
    return dict(sorted({**found, **{of.backend: of.traffic for of in sample.backends}}.items()))


def _counts(traffic: Traffic, old: Traffic | None, seconds: float) -> list[str]:
    fields = ("packets_in", "bytes_in", "packets_out", "bytes_out", "flows")
    return [_rate(getattr(traffic, f), getattr(old, f) if old else None, seconds) for f in fields] + [str(traffic.active_flows)]


def _reasons(sample: Stats, before: Stats | None) -> list[list[str]]:
    old: dict[tuple[int, int], Any] = {(r.reason, r.verdict): r for r in before.reasons} if before else {}
    seconds = _seconds(sample, before)
    rows = []
    for of in sample.reasons:
        was = old.get((of.reason, of.verdict))
        packets = _rate(of.packets, was.packets if was else (0 if before else None), seconds)
        size = _rate(of.bytes, was.bytes if was else (0 if before else None), seconds)
        rows.append([render.word(reason_pb2.Reason, of.reason), render.word(reason_pb2.Verdict, of.verdict), packets, size])
    return rows


def _rate(now: int, before: int | None, seconds: float) -> str:
    """The count, or how fast it grew; a counter that went back began anew."""
    if before is None or not seconds:
        return str(now)
    return f"{(now - before if now >= before else now) / seconds:.0f}"


def _seconds(sample: Stats, before: Stats | None) -> float:
    return (sample.sample_time.ToNanoseconds() - before.sample_time.ToNanoseconds()) / 1e9 if before else 0.0
