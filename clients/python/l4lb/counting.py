"""Differences of two samples of counters."""

from l4lb.v1 import reason_pb2
from l4lb.v1.stats_pb2 import Stats, Traffic

LOST = (reason_pb2.VERDICT_DROP, reason_pb2.VERDICT_UNSPECIFIED)  # the second is XDP_ABORTED


def grown(now: int, before: int) -> int:
    """By how much a counter has grown; one that went back began anew."""
    return now - before if now >= before else now


def seconds(sample: Stats, before: Stats | None) -> float:
    """Between two samples; 0 without an earlier one."""
    return (sample.sample_time.ToNanoseconds() - before.sample_time.ToNanoseconds()) / 1e9 if before else 0.0


def traffic(sample: Stats) -> dict[str, Traffic]:
    """Of services and backends, by their full names in order."""
    found = {of.service: of.traffic for of in sample.services} | {of.backend: of.traffic for of in sample.backends}
    return dict(sorted(found.items()))


def dropped(sample: Stats) -> dict[str, int]:
    """Packets by the names of the reasons for which they are not forwarded, answered or passed on."""
    found: dict[str, int] = {}
    for of in sample.reasons:
        if of.verdict in LOST:
            found[reason(of.reason)] = found.get(reason(of.reason), 0) + of.packets
    return found


def reason(number: int) -> str:
    """Its name, or the number of one that this client is too old for."""
    known = reason_pb2.Reason.DESCRIPTOR.values_by_number.get(number)
    return known.name.removeprefix("REASON_") if known else str(number)
