"""Limits of new flows: of a whole service, and of each prefix of its sources."""

from dataclasses import dataclass

MAX_SERVICE_RATE = 10_000_000
MAX_SOURCE_RATE = 100_000  # the datapath's step of time is 2^-24 s there
MAX_FILL_SECONDS = 3600  # within which a bucket is full again: the datapath knows no fuller one than LIMIT_AHEAD
MIN_BURST_SECONDS = 0.01  # of the rate: the datapath's clock has steps of up to so much
DEFAULT_PREFIX_V4, DEFAULT_PREFIX_V6 = 32, 64  # a host, and what a host may choose its address from (RFC 4291 2.5.1)


@dataclass(frozen=True)
class Rate:
    """A token bucket: `burst` new flows at once, and `flows_per_second` after that."""

    flows_per_second: int
    burst: int


@dataclass(frozen=True)
class NewFlowLimit:
    """Both may be absent. Sources that are equal in so many bits share one bucket."""

    per_service: Rate | None = None
    per_source: Rate | None = None
    prefix_v4: int = DEFAULT_PREFIX_V4
    prefix_v6: int = DEFAULT_PREFIX_V6

    def __bool__(self) -> bool:
        """Whether anything is limited."""
        return self.per_service is not None or self.per_source is not None


UNLIMITED = NewFlowLimit()
