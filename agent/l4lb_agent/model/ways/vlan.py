"""VLANs of this host as the datapath finds them: which tags an interface takes, and which way out a VLAN device is. A VLAN device may be on
another one: its frames have two tags."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from l4lb_agent.model import layout
from l4lb_agent.model.tables import Elements, array_key


@dataclass(frozen=True, order=True)
class Vlan:
    """One VLAN device: interface numbers of it and of its lower device, which may be a VLAN device, too, and the VLAN, 1 to 4094."""

    device: int
    lower: int
    vlan: int
    service: bool = False  # of 802.1ad
    mtu: int = 0  # of the interface that carries the frames
    name: str = field(default="", compare=False)  # of the device
    up: bool = field(default=True, compare=False)

    @property
    def number(self) -> int:
        """As `vlans` numbers VLANs."""
        return self.vlan | (layout.VLAN_SERVICE if self.service else 0)


def on(interface: int, vlans: Iterable[Vlan]) -> tuple[Vlan, ...]:
    """The VLAN devices on an interface, and those on them, in order."""
    vlans = sorted(vlans)
    lower = {interface}.union(one.device for one in vlans if one.lower == interface)
    return tuple(one for one in vlans if one.lower in lower)


def first_place(ifindex: int, key: int) -> int:
    """Where the datapath begins to look."""
    mixed = (ifindex * 65537 + key) * layout.VLAN_MIX & 0xFFFFFFFF
    return (mixed >> 16) % layout.VLAN_PLACES


def place(vlans: Iterable[Vlan]) -> tuple[Elements, tuple[Vlan, ...]]:
    """The elements of `vlans`, and the ones that found no place: of some two thousand VLANs the first."""
    elements: Elements = {}
    left = []
    by_device = {one.device: one for one in vlans}
    for one in sorted(by_device.values()):
        into = layout.Vlan(ifindex=one.lower, key=one.number, tag=one.number, other=one.device)
        taken = dict(elements)
        for element in (into, _way_out(one, by_device.get(one.lower))):
            number = _free(taken, element.ifindex, element.key)
            if number is None:
                left.append(one)
                break
            taken[number] = bytes(element)
        else:
            elements = taken
    return elements, tuple(left)


def beside_two_tags(mtu: int) -> int:
    """MTU of packets that an interface carries beside two tags: its own takes one into account."""
    return mtu - layout.TAG_BYTES


def _way_out(one: Vlan, under: Vlan | None) -> layout.Vlan:
    """The interface and the tags of a VLAN device, which may be on another one."""
    found = layout.Vlan(ifindex=one.device, key=layout.VLAN_DEVICE, tag=one.number, other=one.lower)
    if under is not None:
        found.tag, found.inner, found.other, found.mtu = under.number, one.number, under.lower, beside_two_tags(one.mtu)
    return found


def _free(elements: Elements, ifindex: int, key: int) -> bytes | None:
    first = first_place(ifindex, key)
    tries = (array_key((first + more) % layout.VLAN_PLACES) for more in range(layout.VLAN_TRIES))
    return next((number for number in tries if number not in elements), None)
