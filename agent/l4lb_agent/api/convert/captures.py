"""What a capture is to take, and packets as the API shows them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from l4lb.v1 import capture_pb2, reason_pb2, service_pb2
from l4lb_agent.api import fields
from l4lb_agent.api.convert.parts import moment
from l4lb_agent.control.captures import Batch, CapturedPacket
from l4lb_agent.model.access import prefixes
from l4lb_agent.model.capture.layout import CAPTURE_BYTES
from l4lb_agent.model.capture.taken import Filter
from l4lb_agent.model.errors import InvalidArgument
from l4lb_agent.model.reasons import Reason, Verdict
from l4lb_agent.model.service import Protocol

DEFAULT_SNAP_BYTES, DEFAULT_RATE, MAX_RATE = 256, 1000, 100_000
TOGETHER = 64  # packets in one message: with the longest, a quarter of a megabyte


@dataclass(frozen=True)
class Asked:
    """A request. `packets` is 0 for any number."""

    filter: Filter
    snap_bytes: int
    packets: int


def capture(request: service_pb2.CapturePacketsRequest) -> Asked:
    """Raises InvalidArgument."""
    of = request.filter
    _within(request.snap_bytes, CAPTURE_BYTES, "snap_bytes")
    _within(request.rate, MAX_RATE, "rate")
    _within(of.port, 65535, "filter.port")
    return Asked(
        Filter(
            frozenset(map(Reason, of.reasons)), frozenset(map(Verdict, of.verdicts)),
            fields.name(of.service, fields.SERVICE_NAME, "filter.service") if of.service else "",
            prefixes.parse(of.prefix, "filter.prefix") if of.prefix else None, of.port, Protocol(of.protocol) if of.protocol else None,
            of.interface, request.rate or DEFAULT_RATE,
        ),
        request.snap_bytes or DEFAULT_SNAP_BYTES,
        request.packets,
    )  # fmt: skip


def captured(batch: Batch, snap_bytes: int, most: int) -> Iterator[service_pb2.CapturePacketsResponse]:
    """At least one message; of the packets the first `most` (0: all)."""
    packets = batch.packets[: most or None]
    for part in [packets[i : i + TOGETHER] for i in range(0, len(packets), TOGETHER)] or [()]:
        yield service_pb2.CapturePacketsResponse(
            packets=[packet(one, snap_bytes) for one in part], limited_packets=batch.limited, lost_packets=batch.lost
        )  # fmt: skip


def packet(one: CapturedPacket, snap_bytes: int) -> capture_pb2.CapturedPacket:
    """One packet with at most so many bytes of each frame."""
    of = one.packet
    return capture_pb2.CapturedPacket(
        time=moment(one.time), interface=one.interface, reason=cast("reason_pb2.Reason", int(of.reason)),
        verdict=cast("reason_pb2.Verdict", int(of.verdict)), service=one.service, backend=one.backend, received_bytes=of.came_bytes,
        received=of.came[:snap_bytes], sent_bytes=of.left_bytes if of.left else 0, sent=of.left[:snap_bytes],
    )  # fmt: skip


def _within(value: int, most: int, field: str) -> None:
    if value > most:
        raise InvalidArgument(
            f"{field}: {value} is more than {most}",
            reason="OUT_OF_BOUNDS", field=field, metadata={"value": str(value), "minimum": "0", "maximum": str(most)},
        )  # fmt: skip
