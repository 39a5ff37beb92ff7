"""VLAN devices as the kernel tells of them, and what becomes of them in the maps."""

from dataclasses import replace
from typing import Any

import pytest

from l4lb_agent.model import build, layout
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.ids import Ids
from l4lb_agent.model.service import Mode
from l4lb_agent.model.tables import Tables, array_key
from l4lb_agent.model.ways.vlan import Vlan, on, place
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
    assert routing.vlans([ETH0, vlan_link(3, 7), vlan_link(4, 4094)]) == {Vlan(3, 2, 7, mtu=1500), Vlan(4, 2, 4094, mtu=1500)}


def test_addresses_are_told_on_vlans_of_the_interface_that_run() -> None:
    links = [ETH0, {**ETH0, "index": 9}, vlan_link(3, 7), vlan_link(4, 8, lower=3, flags=1), vlan_link(5, 7, lower=9)]
    found = on(2, routing.vlans(links))
    assert [(one.device, one.name, one.up) for one in found] == [(3, "vlan3", True), (4, "vlan4", False)]


@pytest.mark.parametrize(("outer", "inner"), [(DOT1AD, DOT1Q), (DOT1Q, DOT1Q), (DOT1Q, DOT1AD)])
def test_a_vlan_may_be_on_another_one(outer: int, inner: int) -> None:
    links = [vlan_link(4, 7, lower=3, protocol=inner, mtu=1400), vlan_link(3, 100, protocol=outer), {**ETH0, "mtu": 9000}]
    below, above = Vlan(3, 2, 100, outer == DOT1AD, 9000), Vlan(4, 3, 7, inner == DOT1AD, 9000)
    assert routing.vlans(links) == {below, above}
    elements, left = place([above, below])
    assert not left
    assert len(elements) == 4
    ways = {one.ifindex: one for one in map(layout.Vlan.from_buffer_copy, elements.values()) if one.key == layout.VLAN_DEVICE}
    assert (ways[4].other, ways[4].tag, ways[4].inner, ways[4].mtu) == (2, below.number, above.number, 8996)
    assert (ways[3].other, ways[3].tag, ways[3].inner, ways[3].mtu) == (2, below.number, 0, 0)


ON = [vlan_link(3, 7), vlan_link(4, 8, lower=3), vlan_link(5, 9, lower=4), vlan_link(6, 9, lower=5)]


@pytest.mark.parametrize(
    ("link", "others", "why"),
    [
        (vlan_link(3, 7, link_netnsid=0), [ETH0], "another network namespace"),
        (vlan_link(3, 7), [], "another network namespace"),
        (vlan_link(4, 7, lower=3), [vlan_link(3, 7, link_netnsid=0), ETH0], "vlan3, which is on an interface of another"),
        (ON[2], [*ON, ETH0], "vlan4, which is one on another one: three tags"),
        (ON[3], [*ON, ETH0], "vlan5, which is a VLAN on vlan4"),
    ],
)
def test_what_cannot_be_a_way_says_why(link: dict[str, Any], others: list[dict[str, Any]], why: str) -> None:
    links = {one["index"]: one for one in (link, *others)}
    said = routing.vlan(link, links)
    assert isinstance(said, str)
    assert why in said
    assert link["index"] not in {one.device for one in routing.vlans(links.values())}


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
    inside = build.World(config(), SECRETS, 1 << 24, next_hops={address("10.0.0.1"): replace(tagged, outer_vlan=100, by_device=True)})
    assert layout.Backend.from_buffer_copy(build.backend_element(one, asked, 1, inside)).vlan == layout.OUT_DEVICE
    for mode in Mode:
        assert way(one, replace(asked, mode=mode), {address("10.0.0.1"): replace(hop(), trouble="no way")}) is None


def test_the_agents_own_devices_are_no_part_of_the_route_generation() -> None:
    own = [{**ETH0, "index": 8 + place, "ifname": name} for place, name in enumerate(routing.OWN_DEVICES)]
    assert routing.canonical([ETH0, *own], [], []) == routing.canonical([ETH0], [], [])
    header = dict.fromkeys(("family", "dst_len", "src_len", "tos", "type", "flags"), 0)
    kept, others = {**header, "oif": ETH0["index"]}, {**header, "oif": 8}
    assert routing.canonical([ETH0, *own], [kept, others], []) == routing.canonical([ETH0], [kept], [])
    assert routing.canonical([ETH0], [kept, others], []) != routing.canonical([ETH0], [kept], []), "of another device"
