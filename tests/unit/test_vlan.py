"""VLAN devices as the kernel tells of them, and what becomes of them in the maps."""

from dataclasses import replace
from typing import Any

import pytest

from l4lb_agent.model import build, layout
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.ids import Ids
from l4lb_agent.model.service import Mode
from l4lb_agent.model.tables import Tables, array_key
from l4lb_agent.model.ways.vlan import Vlan, place
from l4lb_agent.model.ways.way import way
from l4lb_agent.system import routing
from tests.fakes.values import SECRETS, address, backend, config, hop, service

DOT1Q, DOT1AD = 0x8100, 0x88A8
ETH0: dict[str, Any] = {"index": 2, "ifname": "eth0", "flags": 65, "address": "02:00:00:00:00:02", "mtu": 1500}


def vlan_link(index: int, vlan: int, lower: int = 2, protocol: int = DOT1Q, **more: object) -> dict[str, Any]:
    """What rtnetlink(7) says of a VLAN device."""
    about = {"kind": "vlan", "data": {"vlan_id": vlan, "vlan_protocol": protocol}}
    return {**ETH0, "index": index, "ifname": f"vlan{index}", "link": lower, "linkinfo": about, **more}


def test_a_vlan_is_known_by_its_lower_device_and_tag() -> None:
    assert routing.vlans([ETH0, vlan_link(3, 7), vlan_link(4, 4094)]) == {Vlan(3, 2, 7), Vlan(4, 2, 4094)}


@pytest.mark.parametrize(
    ("link", "lower", "why"),
    [
        (vlan_link(3, 7, protocol=DOT1AD), ETH0, "802.1ad"),
        (vlan_link(3, 7, link_netnsid=0), ETH0, "another network namespace"),
        (vlan_link(3, 7), None, "another network namespace"),
        (vlan_link(3, 7, lower=4), vlan_link(4, 8), "two tags"),
    ],
)
def test_what_cannot_be_a_way_says_why(link: dict[str, Any], lower: dict[str, Any] | None, why: str) -> None:
    said = routing.vlan(link, lower)
    assert isinstance(said, str)
    assert why in said
    assert routing.vlans([link, *([lower] if lower else [])]) <= {Vlan(4, 2, 8)}


def test_another_tag_is_another_route_generation() -> None:
    assert routing.canonical([ETH0, vlan_link(3, 7)], [], []) != routing.canonical([ETH0, vlan_link(3, 8)], [], [])
    assert routing.canonical([vlan_link(3, 7), ETH0], [], []) == routing.canonical([ETH0, vlan_link(3, 7)], [], [])


def built(vlans: frozenset[Vlan]) -> Tables:
    return build.build(Desired(), Ids(), {}, build.World(config(), SECRETS, 1 << 24, vlans=vlans), Tables({})).tables


def test_vlans_are_in_the_maps_and_a_flag_says_so() -> None:
    some = frozenset({Vlan(3, 2, 7)})
    elements, _ = place(some)
    assert built(some).get("vlans") == elements
    assert len(elements) == 2
    for vlans, flag in ((some, layout.CONFIG_VLANS), (frozenset(), 0)):
        assert layout.Config.from_buffer_copy(built(vlans).get("config")[array_key(0)]).flags & layout.CONFIG_VLANS == flag


def test_a_way_over_a_vlan_carries_its_tag_and_one_in_trouble_is_none() -> None:
    asked, one = service("web"), backend("web", "a", "10.0.0.1")
    tagged = replace(hop(), vlan=7)
    assert way(one, asked, {address("10.0.0.1"): tagged}) == tagged
    world = build.World(config(), SECRETS, 1 << 24, next_hops={address("10.0.0.1"): tagged})
    assert layout.Backend.from_buffer_copy(build.backend_element(one, asked, 1, world)).vlan == 7
    for mode in Mode:
        assert way(one, replace(asked, mode=mode), {address("10.0.0.1"): replace(hop(), trouble="no way")}) is None
