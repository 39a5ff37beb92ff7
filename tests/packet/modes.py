"""What packet tests that hold for every forwarding mode share: a balancer in any mode, and backends that tell themselves apart by MAC."""

from typing import Any

import pytest

from l4lb_agent.model import layout
from tests.packet import direct, keep
from tests.packet.balancer import Balancer, Result
from tests.packet.conftest import Make
from tests.packet.direct import MODES, OUTER, SERVICE
from tests.packet.wire import NUMBER, PROTOCOLS, V4, V6, VIP_PORT, Family

MANY = 31  # distinct backends, so that a wrong slot is a wrong backend
FIRST = 20
EVERY_MODE = {"nat": layout.MODE_NAT, "keep": layout.MODE_KEEP, **MODES}

every_mode = pytest.mark.parametrize("mode", EVERY_MODE)


def furnish(make: Make, mode: str, flags: int = 0, **options: int) -> Balancer:
    """As direct.furnish(), with SNAT addresses: NAT works too. Its backends have the VIP's port."""
    lb = direct.furnish(make, EVERY_MODE[mode], flags, **options)
    lb.snat(V4.snat, V6.snat)
    if mode == "keep":
        keep.name(lb, *range(1, 7))
    return lb


def spread(lb: Balancer, family: Family, mode: str, flags: int = 0, **options: Any) -> None:
    """The services of the family get a ring of MANY backends, FIRST and those after it, in turn."""
    service = SERVICE[family.version, 6]
    for number in range(MANY):
        text = f"203.0.113.{100 + number}" if family is V4 else f"2001:db8:2::{100 + number:x}"
        mac = bytes([2, 0, 0, 0, 1, number])
        lb.backend(FIRST + number, text, VIP_PORT, outer_source=OUTER[family.version], service=service, destination=mac)
    lb.ring(3, [FIRST + number for number in range(MANY)])
    for kind in PROTOCOLS:
        number = NUMBER[kind]
        lb.service(SERVICE[family.version, number], family.vip, VIP_PORT, number, now=3, mode=EVERY_MODE[mode], flags=flags, **options)


def backend_of(result: Result) -> int:
    """The backend of spread() that a frame goes to."""
    assert result.data[:5] == bytes([2, 0, 0, 0, 1]), f"{result.reason.name}: not to one of them"
    return FIRST + result.data[5]
