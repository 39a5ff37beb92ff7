"""Ways over VLAN devices as the API shows them."""

from dataclasses import replace

from l4lb_agent.model.ways.vlan import Vlan, place
from tests.api.test_agent import Node, node
from tests.fakes.values import address, hop

__all__ = ["node"]


async def test_the_api_shows_the_tag_of_a_way_and_why_another_is_none(node: Node) -> None:
    node.network.vlans_here = frozenset({Vlan(3, 2, 7)})
    node.network.moved[address("10.0.0.1")] = replace(hop(1), interface="eth0.7", vlan=7)
    node.network.moved[address("10.0.0.2")] = replace(hop(2), interface="eth0.8", trouble="eth0.8 has three tags")
    node.network.moved[address("10.0.0.3")] = replace(hop(3), interface="stacked", vlan=7, outer_vlan=100, by_device=True)
    async with node.running() as lb:
        await lb.create_service("web", vip="192.0.2.1", port=80, ring_size=1021)
        shown = await lb.add_backend("web/a", address="10.0.0.1")
        assert (shown.next_hop.interface, shown.next_hop.vlan, shown.reconciling) == ("eth0.7", 7, False)
        refused = await lb.add_backend("web/b", address="10.0.0.2")
        assert (refused.reconciling, refused.reconciling_reason) == (True, "eth0.8 has three tags")
        assert (await lb.get_backend("web/b")).slot_share == 0.0
        shown = await lb.add_backend("web/c", address="10.0.0.3")
        assert (shown.next_hop.vlan, shown.next_hop.outer_vlan, shown.reconciling) == (7, 100, False)
        assert node.datapath.maps_in_kernel["vlans"] == place(node.network.vlans_here)[0]
