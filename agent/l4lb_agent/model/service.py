"""A virtual service: VIP + port + protocol, with its options."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from l4lb_agent.model.address import Address


class Protocol(enum.IntEnum):
    """IP protocol number."""

    TCP = 6
    UDP = 17


DEFAULT_RING_SIZE = 16381
DEFAULT_IDLE_SECONDS = {Protocol.TCP: 900, Protocol.UDP: 120}
MAX_IDLE_SECONDS = 18 * 3600


@dataclass(frozen=True)
class VirtualService:
    """As asked for. `name` is `services/{service}`; times are Unix seconds; `revision` is the one that changed it last."""

    name: str
    vip: Address
    port: int
    protocol: Protocol
    ring_size: int = DEFAULT_RING_SIZE
    idle_seconds: int = 900
    annotations: Mapping[str, str] = field(default_factory=dict)
    revision: int = 0
    created: float = 0.0
    updated: float = 0.0

    @property
    def etag(self) -> str:
        """Quoted version of this resource (RFC 9110 8.8.3); commands carry it back unchanged."""
        return f'"{self.revision}"'

    @property
    def identity(self) -> tuple[Address, int, int]:
        """What the datapath finds it by: VIP, port, protocol. Unique among services."""
        return (self.vip, self.port, int(self.protocol))
