"""One flow as a value, and which flows are wanted."""

import enum
import ipaddress
from dataclasses import dataclass
from typing import NamedTuple

from l4lb_agent.model.errors import InvalidArgument

_MAPPED_BITS = 96


class FlowState(enum.IntEnum):
    """Where a flow is in its life; numbers as in the API."""

    SYN = 1
    ANSWERED = 2
    ESTABLISHED = 3
    CLOSING = 4
    CLOSED = 5
    UDP = 6
    UDP_ANSWERED = 7
    PINNED = 8


class FlowRecord(NamedTuple):
    """One flow that is not over. Addresses are 16 bytes, ports numbers; client and source are b"" where the datapath keeps none."""

    backend: int  # id
    state: FlowState
    idle: int  # seconds since the last packet
    client: bytes = b""
    client_port: int = 0
    vip_port: int = 0
    source: bytes = b""
    source_port: int = 0


@dataclass(frozen=True)
class FlowFilter:
    """Which flows are wanted: of these backend ids (None: of all), and of clients whose address begins with these bits."""

    backends: frozenset[int] | None = None
    client: int = 0  # the prefix as a number of `bits` bits
    bits: int = 0  # of 128; 0 for any client, also those that are not known

    def takes(self, client: bytes) -> bool:
        """Whether the client's address, 16 bytes or b"", is wanted."""
        return not self.bits or bool(client) and int.from_bytes(client) >> (128 - self.bits) == self.client


def prefix(text: str, field_name: str) -> tuple[int, int]:
    """`client` and `bits` of the address or prefix in `text`. Raises InvalidArgument."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidArgument(
            f"{field_name}: {text!r} is no address and no prefix such as 192.0.2.0/24 or 2001:db8::/32: {error}",
            reason="INVALID_PREFIX", field=field_name, metadata={"prefix": text},
        ) from None  # fmt: skip
    mapped = network.version == 4
    whole = (0xFFFF << 32 if mapped else 0) | int(network.network_address)
    bits = network.prefixlen + (_MAPPED_BITS if mapped else 0)
    return whole >> (128 - bits), bits
