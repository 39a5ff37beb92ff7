"""MTUs of backends as the API takes, shows and refuses them."""

from typing import Any

import pytest

import l4lb
from l4lb_agent.model import layout
from tests.api.conftest import Agent
from tests.api.test_agent import Node, node
from tests.api.test_choice import ctl

__all__ = ["node"]


def written(node: Node) -> int:
    """The MTU that the only backend has in the kernel."""
    [element] = node.datapath.maps_in_kernel["backends"].values()
    return layout.Backend.from_buffer_copy(element).mtu


@pytest.mark.parametrize(
    ("service", "address", "least"),
    [
        ({}, "10.0.0.1", 576),
        ({"vip": "2001:db8::1"}, "2001:db8:2::1", 1280),
        ({"forwarding_mode": "dsr"}, "10.0.0.1", 576),
        ({"forwarding_mode": "encap"}, "10.0.0.1", 596),
        ({"forwarding_mode": "encap"}, "2001:db8:2::1", 616),
        ({"forwarding_mode": "encap", "vip": "2001:db8::1"}, "10.0.0.1", 1300),
        ({"forwarding_mode": "encap", "encap": {"encapsulation": "gue"}, "vip": "2001:db8::1"}, "2001:db8:2::1", 1332),
        ({"forwarding_mode": "encap", "encap": {"encapsulation": "gue-variant-1"}, "vip": "2001:db8::1"}, "10.0.0.1", 1308),
    ],
)
async def test_what_is_left_behind_outer_headers_has_a_floor(node: Node, service: dict[str, Any], address: str, least: int) -> None:
    async with node.running() as lb:
        await lb.create_service("web", **{"vip": "192.0.2.1", "port": 80, **service})
        for wrong in (1, least - 1, 65536):
            with pytest.raises(l4lb.Error) as refused:
                await lb.add_backend("web/a", address=address, mtu=wrong)
            assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", "backend.mtu")
            assert f"neither 0 nor {least} to 65535" in refused.value.message
        assert (await lb.add_backend("web/a", address=address, mtu=least)).mtu == least
        with pytest.raises(l4lb.Error) as refused:
            await lb.update_backend("web/a", mtu=least - 1)
        assert refused.value.field == "backend.mtu"
        assert (await lb.get_backend("web/a")).mtu == least


async def test_the_mtu_reaches_the_datapath_unless_the_way_is_narrower(node: Node) -> None:
    async with node.running() as lb:
        await lb.create_service("web", vip="192.0.2.1", port=80, ring_size=1021)
        await lb.add_backend("web/a", address="10.0.0.1", mtu=1400)
        assert written(node) == 1400
        for asked, held in ((9000, 1500), (0, 1500), (576, 576)):
            shown = await lb.update_backend("web/a", mtu=asked)
            assert (shown.mtu, shown.next_hop.mtu, written(node)) == (asked, 1500, held)


def test_l4lbctl_sets_it(agent: Agent, client: l4lb.Client) -> None:
    client.create_service("web", vip="192.0.2.1", port=80)
    ctl(agent, "backend add web/a --address 10.0.0.1 --mtu 1400")
    assert client.get_backend("web/a").mtu == 1400
    ctl(agent, "backend set web/a --mtu 0")
    assert client.get_backend("web/a").mtu == 0
