"""How long packets may be: bounds of MTUs, and what outer headers take of them."""

from typing import Final

from l4lb_agent.model.address import Address
from l4lb_agent.model.service import Mode

LEAST: Final = {4: 576, 6: 1280}  # by the VIP's family: senders need not believe in less (RFC 791 3.1, RFC 8200 5)
MAX_MTU: Final = 65535
_IP_BYTES: Final = {4: 20, 6: 40}
_TCP_BYTES: Final = 20
LEAST_MSS: Final = {family: least - _IP_BYTES[family] - _TCP_BYTES for family, least in LEAST.items()}
MOST_MSS: Final = {family: MAX_MTU - length - _TCP_BYTES for family, length in _IP_BYTES.items()}
_SHIM_BYTES: Final = {Mode.IPIP: 0, Mode.GUE: 12, Mode.FOU: 8}


def outer_bytes(mode: Mode, backend: Address) -> int:
    """Bytes of the headers that packets to `backend` get put before them."""
    return _IP_BYTES[backend.family] + shim_bytes(mode) if mode.encapsulates else 0


def shim_bytes(mode: Mode) -> int:
    """Those of them after the outer IP header: UDP and GUE's own (variant 1 of GUE has none)."""
    return _SHIM_BYTES[mode]


def effective(asked: int, way: int) -> int:
    """What holds of the MTU that a backend was given and the one of the way to it; 0 is none."""
    return min(asked, way) if asked and way else asked or way
