"""Cases of DSR and ENCAP: one service for each mode, tracking and family, each with a VIP and backends of its own."""

import ipaddress
from dataclasses import dataclass
from typing import Final

from bench.traffic import ACK, SYN, V4, V6, Case, Family, Packet
from l4lb_agent.model.reasons import Reason
from l4lb_agent.model.service import Mode, OuterSource, Tracking

CROWD: Final = 1000  # services of the crowd
CROWD_FLOWS: Final = 1000 * CROWD
FRESH: Final = 1 << 24
_FIRST_VIP: Final = 10


@dataclass(frozen=True)
class Direct:
    """One service."""

    mode: Mode
    tracking: Tracking
    family: Family
    number: int

    @property
    def name(self) -> str:
        """MODE/TRACKING/FAMILY."""
        return f"{self.mode.name.lower()}/{self.tracking.name.lower()}/v{self.family.number}"

    @property
    def vip(self) -> str:
        """Its VIP."""
        return self.family.host(0, _FIRST_VIP + self.number)

    @property
    def outer_source(self) -> OuterSource:
        """As validation wants it."""
        return OuterSource.REAL if self.mode.encapsulates else OuterSource.NONE

    def packet(self, flags: int = ACK) -> Packet:
        """Of its clients."""
        return Packet(self.family, flags=flags, destination=self.vip)


_KINDS: Final = (
    (Mode.IPIP, Tracking.CHANGES, V4), (Mode.DSR, Tracking.CHANGES, V4), (Mode.GUE, Tracking.CHANGES, V4), (Mode.IPIP, Tracking.ALL, V4),
    (Mode.DSR, Tracking.ALL, V4), (Mode.IPIP, Tracking.CHANGES, V6), (Mode.DSR, Tracking.CHANGES, V6), (Mode.IPIP, Tracking.ALL, V6),
)  # fmt: skip
SERVICES: Final = tuple(Direct(*kind, number) for number, kind in enumerate(_KINDS))


def cases(flows: tuple[int, ...], fresh: int = FRESH) -> tuple[Case, ...]:
    """Established flows among so many, and new ones."""
    found: list[Case] = []
    for service in SERVICES:
        tracked = service.tracking is Tracking.ALL
        counts = flows if service.mode is Mode.IPIP and service.family is V4 else (min(flows), max(flows))
        found += [
            Case(f"{service.name}/established", count, service.packet(), Reason.TO_BACKEND, tracked=tracked) for count in counts
        ]  # fmt: skip
        found.append(Case(f"{service.name}/syn", fresh, service.packet(SYN), Reason.FLOW_CREATED))
    return tuple(found)


def crowd_vip(number: int) -> str:
    """The VIP of a service of the crowd."""
    return str(ipaddress.IPv4Address("198.19.0.1") + number)


def crowd_cases(size: int, flows: int = CROWD_FLOWS) -> tuple[Case, ...]:
    """Many services with rings of `size` slots, each with as many flows."""
    packet = Packet(V4, destination=crowd_vip(0), services=CROWD)
    return (Case(f"ipip/changes/v4/services-{size}", flows, packet, Reason.TO_BACKEND),)
