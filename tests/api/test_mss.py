"""MSS clamping as the API takes, shows and refuses it."""

from typing import Any

import pytest

import l4lb
from l4lb.v1 import virtual_service_pb2 as v
from l4lb_agent.model import layout
from tests.api.conftest import Agent
from tests.api.test_agent import Node, node
from tests.api.test_choice import create, ctl, refusal

__all__ = ["node"]


def written(node: Node) -> int:
    """What the only service has in the kernel."""
    [element] = node.datapath.maps_in_kernel["services"].values()
    return layout.Service.from_buffer_copy(element).mss


async def test_a_clamp_reaches_the_datapath_and_may_change(node: Node) -> None:
    async with node.running() as lb:
        shown = await lb.create_service("web", vip="192.0.2.1", port=80, ring_size=1021)
        assert (shown.mss_clamp, shown.mss, written(node)) == (v.MSS_CLAMP_OFF, 0, 0)
        for given, mss, held in (
            ({"mss_clamp": "auto"}, 0, layout.MSS_AUTO),
            ({"mss_clamp": "fixed", "mss": 1400}, 1400, 1400),
            ({"mss": 1300}, 1300, 1300),
            ({"mss_clamp": "fixed"}, 1300, 1300),
            ({"idle_timeout": 77.0}, 1300, 1300),
            ({"mss_clamp": "auto"}, 0, layout.MSS_AUTO),
            ({"mss_clamp": "off"}, 0, 0),
        ):
            shown = await lb.update_service("web", **given)
            assert (shown.mss, written(node)) == (mss, held)


async def test_it_is_there_again_after_a_restart(node: Node) -> None:
    async with node.running() as lb:
        await lb.create_service("web", vip="192.0.2.1", port=80, ring_size=1021, mss_clamp="fixed", mss=1400)
    async with node.running() as lb:
        shown = await lb.get_service("web")
        assert (shown.mss_clamp, shown.mss, written(node)) == (v.MSS_CLAMP_FIXED, 1400, 1400)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"mss_clamp": v.MSS_CLAMP_FIXED}, "service.mss"),
        ({"mss_clamp": v.MSS_CLAMP_FIXED, "mss": 535}, "service.mss"),
        ({"mss_clamp": v.MSS_CLAMP_FIXED, "mss": 65496}, "service.mss"),
        ({"mss_clamp": v.MSS_CLAMP_FIXED, "mss": 1219, "vip": "2001:db8::1"}, "service.mss"),
        ({"mss_clamp": v.MSS_CLAMP_FIXED, "mss": 65476, "vip": "2001:db8::1"}, "service.mss"),
        ({"mss_clamp": v.MSS_CLAMP_AUTO, "mss": 1400}, "service.mss"),
        ({"mss": 1400}, "service.mss"),
        ({"mss_clamp": v.MSS_CLAMP_AUTO, "protocol": v.PROTOCOL_UDP}, "service.mss_clamp"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(stub: Any, given: dict[str, Any], field: str) -> None:
    error = refusal(stub.CreateVirtualService, create(**given))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", field)


def test_l4lbctl_sets_it(agent: Agent, client: l4lb.Client) -> None:
    ctl(agent, "service create web --vip 192.0.2.1 --port 80 --mss-clamp fixed --mss 1400")
    assert client.get_service("web").mss == 1400
    ctl(agent, "service update web --mss-clamp auto")
    assert client.get_service("web").mss_clamp == v.MSS_CLAMP_AUTO
