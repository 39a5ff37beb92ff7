"""What packet tests of VLANs share: tags put on and taken off frames by hand, and VLANs as the agent writes them."""

from collections.abc import Iterable
from dataclasses import replace

from l4lb_agent.model import layout
from l4lb_agent.model.ways.vlan import Vlan, place
from tests.packet.balancer import LOOPBACK, Balancer

DEVICE = 1000  # interface number of the VLAN device of the first VLAN; the next ones follow
STACKED = 2000  # of the first VLAN device on another one
SERVICE = 0x88A8
# 100, and 8 inside it; 9 of a service provider
SEVERAL = (Vlan(DEVICE, LOOPBACK, 100), Vlan(STACKED, DEVICE, 8), Vlan(STACKED + 1, LOOPBACK, 9, True))

OF_WORLDS = (Vlan(DEVICE, LOOPBACK, 7), Vlan(DEVICE + 1, LOOPBACK, 8), Vlan(STACKED, DEVICE, 8), Vlan(STACKED + 1, LOOPBACK, 9, True))


def tagged(frame: object, vlan: int, priority: int = 0, kind: int = 0x8100) -> bytes:
    """The frame with a tag; `priority` is of 3 bits, and the one for "may be dropped" below them."""
    raw = bytes(frame)  # type: ignore[call-overload]
    return raw[:12] + kind.to_bytes(2, "big") + (priority << 12 | vlan).to_bytes(2, "big") + raw[12:]


def stack(lb: Balancer, pairs: Iterable[tuple[Vlan, ...]], mtu: int = 0) -> None:
    """Make the host a member of VLANs by hand: (outer, inner) or single ones of 802.1ad, with the interface numbers that they have."""
    elements, left = place(replace(one, mtu=mtu) for pair in pairs for one in pair)
    assert not left
    for key, value in elements.items():
        lb.write("vlans", key, value)
    lb.configure(flags=lb.config.flags | layout.CONFIG_VLANS)


def join(lb: Balancer, vlans: Iterable[int], lower: int = LOOPBACK) -> None:
    """Make the host a member of these VLANs on an interface, and of no other."""
    elements, left = place(Vlan(DEVICE + number, lower, vlan) for number, vlan in enumerate(vlans))
    assert not left
    for key, value in elements.items():
        lb.write("vlans", key, value)
    lb.configure(flags=lb.config.flags | layout.CONFIG_VLANS)
