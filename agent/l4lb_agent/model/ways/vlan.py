"""VLANs of this host as the datapath finds them: which tags an interface takes, and which way out a VLAN device is."""

from collections.abc import Iterable
from dataclasses import dataclass

from l4lb_agent.model import layout
from l4lb_agent.model.tables import Elements, array_key


@dataclass(frozen=True, order=True)
class Vlan:
    """One VLAN device: interface numbers of it and of its lower device, and the VLAN, 1 to 4094."""

    device: int
    lower: int
    vlan: int


def first_place(ifindex: int, key: int) -> int:
    """Where the datapath begins to look."""
    mixed = (ifindex * 65537 + key) * layout.VLAN_MIX & 0xFFFFFFFF
    return (mixed >> 16) % layout.VLAN_PLACES


def place(vlans: Iterable[Vlan]) -> tuple[Elements, tuple[Vlan, ...]]:
    """The elements of `vlans`, and the ones that found no place: of some two thousand VLANs the first."""
    elements: Elements = {}
    left = []
    for one in sorted(vlans):
        ways = ((one.lower, one.vlan, one.device), (one.device, layout.VLAN_DEVICE, one.lower))
        taken = dict(elements)
        for ifindex, key, other in ways:
            number = _free(taken, ifindex, key)
            if number is None:
                left.append(one)
                break
            taken[number] = bytes(layout.Vlan(ifindex=ifindex, key=key, tag=one.vlan, other=other))
        else:
            elements = taken
    return elements, tuple(left)


def _free(elements: Elements, ifindex: int, key: int) -> bytes | None:
    first = first_place(ifindex, key)
    tries = (array_key((first + more) % layout.VLAN_PLACES) for more in range(layout.VLAN_TRIES))
    return next((number for number in tries if number not in elements), None)
