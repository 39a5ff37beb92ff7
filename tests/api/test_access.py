"""Who may use a virtual service, through the API, the client and l4lbctl."""

from typing import Any

import pytest

import l4lb
from l4lb.v1 import service_pb2 as pb
from l4lb.v1 import virtual_service_pb2 as v
from tests.api.conftest import Agent
from tests.api.test_choice import WEB, create, ctl, refusal

FULL = v.NewFlowLimit(
    per_service=v.FlowRate(flows_per_second=100, burst=300), per_source=v.FlowRate(flows_per_second=7, burst=9), prefix_v4=24, prefix_v6=48
)


def update(limit: v.NewFlowLimit | None, *paths: str) -> pb.UpdateVirtualServiceRequest:
    request = pb.UpdateVirtualServiceRequest(service=v.VirtualService(name=WEB, new_flow_limit=limit))
    request.update_mask.paths.extend(paths)
    return request


def test_a_service_without_limits_shows_none(stub: Any) -> None:
    assert not stub.CreateVirtualService(create()).service.HasField("new_flow_limit")
    assert not stub.UpdateVirtualService(update(v.NewFlowLimit())).service.HasField("new_flow_limit")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (FULL, FULL),
        (
            v.NewFlowLimit(per_source=v.FlowRate(flows_per_second=50)),
            v.NewFlowLimit(per_source=v.FlowRate(flows_per_second=50, burst=50), prefix_v4=32, prefix_v6=64),
        ),
        (
            v.NewFlowLimit(per_service=v.FlowRate(flows_per_second=50), prefix_v6=128),
            v.NewFlowLimit(per_service=v.FlowRate(flows_per_second=50, burst=50), prefix_v4=32, prefix_v6=128),
        ),
    ],
)
def test_limits_show_what_was_left_out(stub: Any, given: v.NewFlowLimit, shown: v.NewFlowLimit) -> None:
    assert stub.CreateVirtualService(create(new_flow_limit=given)).service.new_flow_limit == shown
    assert stub.GetVirtualService(pb.GetVirtualServiceRequest(name=WEB)).service.new_flow_limit == shown


def test_an_update_replaces_all_limits_and_a_mask_without_them_takes_them_away(stub: Any) -> None:
    stub.CreateVirtualService(create(new_flow_limit=FULL))
    one = v.NewFlowLimit(per_service=v.FlowRate(flows_per_second=5, burst=5), prefix_v4=32, prefix_v6=64)
    assert stub.UpdateVirtualService(update(one)).service.new_flow_limit == one
    assert stub.UpdateVirtualService(update(None, "annotations")).service.new_flow_limit == one
    assert not stub.UpdateVirtualService(update(None, "new_flow_limit")).service.HasField("new_flow_limit")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (v.NewFlowLimit(per_service=v.FlowRate()), "per_service.flows_per_second"),
        (v.NewFlowLimit(per_source=v.FlowRate(flows_per_second=100_001)), "per_source.flows_per_second"),
        (v.NewFlowLimit(per_source=v.FlowRate(flows_per_second=10_000, burst=99)), "per_source.burst"),
        (v.NewFlowLimit(per_service=v.FlowRate(flows_per_second=1), prefix_v4=33), "prefix_v4"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_and_changes_nothing(stub: Any, given: v.NewFlowLimit, field: str) -> None:
    stub.CreateVirtualService(create(new_flow_limit=FULL))
    error = refusal(stub.UpdateVirtualService, update(given))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", f"service.new_flow_limit.{field}")
    assert stub.GetVirtualService(pb.GetVirtualServiceRequest(name=WEB)).service.new_flow_limit == FULL


def test_the_client_and_l4lbctl_set_limits(agent: Agent, client: l4lb.Client) -> None:
    asked = {"per_source": {"flows_per_second": 20}, "prefix_v4": 24}
    made = client.create_service("a", vip="10.0.0.1", port=80, new_flow_limit=asked)
    assert (made.new_flow_limit.per_source.burst, made.new_flow_limit.prefix_v4) == (20, 24)
    assert not client.update_service("a", new_flow_limit={}).HasField("new_flow_limit")
    limits = "--new-flow-limit 100:300 --source-flow-limit 7:9 --source-prefix-v4 24 --source-prefix-v6 48"
    ctl(agent, f"service create b --vip 10.0.0.1 --port 81 {limits}")
    assert client.get_service("b").new_flow_limit == FULL
    ctl(agent, "service update b --source-flow-limit 5")
    assert client.get_service("b").new_flow_limit.per_source.burst == 5
    assert not client.get_service("b").new_flow_limit.HasField("per_service")
    ctl(agent, "service update b --no-limits")
    assert not client.get_service("b").HasField("new_flow_limit")


@pytest.mark.parametrize("words", ["--new-flow-limit many", "--new-flow-limit 5:", "--no-limits --new-flow-limit 5", ""])
def test_l4lbctl_refuses_what_makes_no_limit(agent: Agent, words: str) -> None:
    with pytest.raises(AssertionError, match=r"RATE:BURST|--no-limits"):
        ctl(agent, f"service update web {words}")
