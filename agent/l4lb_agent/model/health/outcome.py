"""What came of one probe."""

import enum
from dataclasses import dataclass

LONGEST_DETAIL = 200  # characters


class Why(enum.IntEnum):
    """Why a probe ended as it did; numbers as in the API."""

    OK = 1
    TIMEOUT = 2  # no answer in time
    REFUSED = 3  # by RST to the SYN, or by ICMP port unreachable
    UNREACHABLE = 4  # no route, no neighbour, or ICMP says so
    RESET = 5  # closed before the answer was whole
    STATUS = 6  # another HTTP status than those that are well
    ANSWER = 7  # another answer than expected, or none of the protocol
    TLS = 8  # no session, or a certificate that is not trusted
    NOT_SERVING = 9  # gRPC
    OWN_FAULT = 10  # of this host, which had no port, file descriptor or time, or no way to the VIP: says nothing of the backend


@dataclass(frozen=True, slots=True)
class Outcome:
    """`detail` says it in words: "503 Service Unavailable"; what is longer than LONGEST_DETAIL is cut."""

    why: Why
    latency_seconds: float = 0.0
    detail: str = ""

    def __post_init__(self) -> None:
        if len(self.detail) > LONGEST_DETAIL:
            object.__setattr__(self, "detail", self.detail[:LONGEST_DETAIL])

    @property
    def ok(self) -> bool:
        """Whether the backend is well."""
        return self.why is Why.OK

    @property
    def conclusive(self) -> bool:
        """Whether it says something of the backend."""
        return self.why is not Why.OWN_FAULT
