"""What the packet tests of limits share: a clock that stands still, limits in whole numbers, buckets found by the mirrored hash."""

import ctypes
import functools
from dataclasses import dataclass

from l4lb_agent.model import hashing, layout
from l4lb_agent.model.access.policy import source_mask
from tests.packet.balancer import INDEX_SECRET, Balancer, address

SECOND = 1 << 40
MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Bucket:
    """`burst` flows at once, one each `seconds` after that."""

    burst: int
    seconds: float

    @property
    def terms(self) -> tuple[int, int]:
        """Interval and tolerance as the datapath has them."""
        interval = int(self.seconds * SECOND)
        return interval, interval * self.burst


def stop_clock(lb: Balancer) -> None:
    """Seconds stand still: at 0 for the datapath."""
    lb.configure(second_multiplier=0)


def limit(
    lb: Balancer, number: int, *, service: Bucket | None = None, source: Bucket | None = None, prefix_v4: int = 32, prefix_v6: int = 64
) -> None:  # fmt: skip
    """Limit the service of that number, which is there."""
    policy = layout.Policy()
    if service:
        policy.service_interval, policy.service_tolerance = service.terms
    element = layout.Service.from_buffer_copy(lb.read("services", number))
    if source:
        policy.source_interval, policy.source_tolerance = source.terms
        mask = source_mask(element.family, prefix_v4 if element.family == 4 else prefix_v6)
        policy.source_mask[:] = hashing.words(mask)
    lb.write("policies", number, bytes(policy))
    element.word |= layout.SERVICE_LIMITED
    lb.write("services", number, bytes(element))


def age_limits(lb: Balancer, seconds: int) -> None:
    """Every bucket gets back what `seconds` bring."""
    size = ctypes.sizeof(layout.LimitLine)
    for name in ("service_limits", "source_limits"):
        for number, raw in lb.used(name):
            line = layout.LimitLine.from_buffer_copy(raw)
            line.word[:] = [(word - seconds * SECOND) & MASK if word else 0 for word in line.word]
            assert len(bytes(line)) == size
            lb.write(name, number, bytes(line))


def line_and_tag(client: str, service: int, prefix: int, bucket: Bucket) -> tuple[int, int]:
    """Where the bucket of a client's prefix is, by the mirror of the hash."""
    packed = address(client)
    family = 4 if packed.startswith(bytes(10) + b"\xff\xff") else 6
    low, high = (part & bits for part, bits in zip(hashing.words(packed), hashing.words(source_mask(family, prefix))))
    return _place(low, high, service, bucket)


def _place(low: int, high: int, service: int, bucket: Bucket) -> tuple[int, int]:
    hash_ = hashing.mix(low ^ sum(bucket.terms), high, INDEX_SECRET) ^ (service * 0xBF58476D1CE4E5B9 & MASK)
    return hash_ >> 32 & (layout.SOURCE_LIMIT_LINES - 1), hash_ & 0xFFFF


@functools.cache
def clients_of_one_line(count: int, service: int, bucket: Bucket) -> list[str]:
    """IPv4 clients whose buckets are in the same line, each with a tag of its own. Some twenty thousand are tried."""
    lines: dict[int, dict[int, int]] = {}
    for number in range(1 << 20):
        packed = (0x0A000000 + number).to_bytes(4, "big")
        line, tag = _place(0, int.from_bytes(b"\0\0\xff\xff" + packed, "little"), service, bucket)
        tags = lines.setdefault(line, {})
        tags.setdefault(tag, number)
        if len(tags) == count:
            return [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in tags.values()]
    raise AssertionError("no line with so many")
