"""What packet tests of VLANs share: tags put on and taken off frames by hand, and VLANs as the agent writes them."""

from collections.abc import Iterable

from l4lb_agent.model import layout
from l4lb_agent.model.ways.vlan import Vlan, place
from tests.packet.balancer import LOOPBACK, Balancer

DEVICE = 1000  # interface number of the VLAN device of the first VLAN; the next ones follow


def tagged(frame: object, vlan: int, priority: int = 0, kind: int = 0x8100) -> bytes:
    """The frame with a tag; `priority` is of 3 bits, and the one for "may be dropped" below them."""
    raw = bytes(frame)  # type: ignore[call-overload]
    return raw[:12] + kind.to_bytes(2, "big") + (priority << 12 | vlan).to_bytes(2, "big") + raw[12:]


def join(lb: Balancer, vlans: Iterable[int], lower: int = LOOPBACK) -> None:
    """Make the host a member of these VLANs on an interface, and of no other."""
    elements, left = place(Vlan(DEVICE + number, lower, vlan) for number, vlan in enumerate(vlans))
    assert not left
    for key, value in elements.items():
        lb.write("vlans", key, value)
    lb.configure(flags=lb.config.flags | layout.CONFIG_VLANS)
