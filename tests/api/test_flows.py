"""ListFlows: what is asked for, what is told, and a reader that takes nothing."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result

import l4lb
from l4lb.cli.main import cli
from l4lb.v1 import flow_pb2
from l4lb.v1 import service_pb2 as pb
from l4lb_agent.control.facade import FlowsWanted
from l4lb_agent.model.address import Address
from l4lb_agent.model.flows.record import FlowRecord, FlowState
from tests.api.conftest import Agent

A, B = "services/web/backends/a", "services/web/backends/b"


def packed(text: str) -> bytes:
    return Address.parse(text, "test").packed


@pytest.fixture
def flowing(agent: Agent, client: l4lb.Client) -> Agent:
    """With three flows of two backends, one of which keeps no client."""
    client.create_service("web", vip="10.0.0.1", port=80)
    client.add_backend("web/a", address="10.1.0.1")
    client.add_backend("web/b", address="10.1.0.2")
    source = packed("10.0.0.200")
    agent.control.flow_records = [
        FlowRecord(1, FlowState.ESTABLISHED, 3, packed("192.0.2.7"), 40000, 80, source, 2000),
        FlowRecord(2, FlowState.SYN, 1, packed("2001:db8::7"), 40001, 80, packed("2001:db8::200"), 2001),
        FlowRecord(1, FlowState.PINNED, 60),
    ]
    return agent


def test_flows_come_page_by_page_with_the_summary_last(flowing: Agent, client: l4lb.Client) -> None:
    pages = list(client.flows("web"))
    assert [len(page.flows) for page in pages] == [2, 1, 0]
    assert [page.HasField("summary") for page in pages] == [False, False, True]
    first, second, third = [flow for page in pages for flow in page.flows]
    assert (first.service, first.backend, first.client, first.client_port, first.vip_port) == ("services/web", A, "192.0.2.7", 40000, 80)
    assert (first.source, first.source_port, first.state, first.idle.seconds) == ("10.0.0.200", 2000, flow_pb2.FLOW_STATE_ESTABLISHED, 3)
    assert (second.backend, second.client, second.state) == (B, "2001:db8::7", flow_pb2.FLOW_STATE_SYN)
    assert (third.client, third.client_port, third.source, third.state) == ("", 0, "", flow_pb2.FLOW_STATE_PINNED)
    summary = pages[-1].summary
    assert (summary.flows, summary.without_client) == (3, 1)
    assert [(one.name, one.flows) for one in summary.backends] == [(A, 2), (B, 1)]
    assert {one.name for one in summary.states} == {"FLOW_STATE_ESTABLISHED", "FLOW_STATE_SYN", "FLOW_STATE_PINNED"}
    assert [(one.name, one.flows, one.uncertain) for one in summary.clients] == [("192.0.2.7", 1, 0), ("2001:db8::7", 1, 0)]
    assert [flow.idle.seconds for flow in summary.oldest] == [60, 3, 1]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({}, FlowsWanted()),
        ({"parent": "web"}, FlowsWanted(service="services/web")),
        ({"parent": "web/a", "limit": 5, "top": 3}, FlowsWanted(backend=A, limit=5, top=3)),
        ({"flows": False, "limit": 5}, FlowsWanted(limit=0)),
        ({"client": "192.0.2.0/24"}, FlowsWanted(client=0xFFFFC00002, bits=120)),
        ({"client": "2001:db8::/32"}, FlowsWanted(client=0x20010DB8, bits=32)),
    ],
)
def test_what_is_asked_for_is_what_is_looked_for(flowing: Agent, client: l4lb.Client, asked: dict[str, Any], wanted: FlowsWanted) -> None:
    list(client.flows(asked.pop("parent", "-"), **asked))
    assert flowing.control.flows_wanted == [wanted]


@pytest.mark.parametrize(
    ("request_", "code", "field"),
    [
        (pb.ListFlowsRequest(), grpc.StatusCode.INVALID_ARGUMENT, "parent"),
        (pb.ListFlowsRequest(parent="web"), grpc.StatusCode.INVALID_ARGUMENT, "parent"),
        (pb.ListFlowsRequest(parent="services/none"), grpc.StatusCode.NOT_FOUND, "parent"),
        (pb.ListFlowsRequest(parent="services/web/backends/none"), grpc.StatusCode.NOT_FOUND, "parent"),
        (pb.ListFlowsRequest(parent="services/-", client="192.0.2.1/24"), grpc.StatusCode.INVALID_ARGUMENT, "client"),
        (pb.ListFlowsRequest(parent="services/-", top=1001), grpc.StatusCode.INVALID_ARGUMENT, "top"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_its_field(
    flowing: Agent, stub: Any, request_: pb.ListFlowsRequest, code: grpc.StatusCode, field: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.ListFlows(request_, timeout=10))
    assert caught.value.code() is code
    assert field in str(caught.value.trailing_metadata())
    assert flowing.control.flows_wanted == []


def test_a_reader_that_takes_nothing_holds_nobody_up(flowing: Agent, stub: Any, client: l4lb.Client) -> None:
    flowing.control.flow_records *= 50_000  # more than the transport takes by itself
    lazy = [stub.ListFlows(pb.ListFlowsRequest(parent="services/-"), timeout=60) for _ in range(4)]
    for stream in lazy:
        next(stream)
    [page] = client.flows(flows=False)
    assert page.summary.flows == 150_000
    for stream in lazy:
        stream.cancel()


@pytest.fixture
def run(flowing: Agent) -> Callable[..., Result]:
    """Runs a command line against the agent."""

    def run(line: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["-s", flowing.target, *line.split()])
        assert result.exit_code == code, f"{line}: {result.output} {result.exception!r}"
        return result

    return run


def test_l4lbctl_shows_flows_and_what_they_are_together(run: Callable[..., Result], flowing: Agent) -> None:
    lines = [line.split() for line in run("flows").output.splitlines()]
    assert lines[0] == ["BACKEND", "STATE", "PROTOCOL", "CLIENT", "PORT", "IDLE", "SOURCE"]
    assert ["web/b", "SYN", "TCP", "[2001:db8::7]:40001", "80", "1s", "[2001:db8::200]:2001"] in lines
    assert ["web/a", "PINNED", "TCP", "not", "known", "60s"] in lines
    assert "3 flows, 1 of unknown clients" in run("flows").output
    assert ["192.0.2.7", "1"] in lines
    assert "silent for the longest:" in run("flows").output
    assert "3 flows, 2 of them shown" in run("flows --limit 2").output
    assert "[2001:db8::7]:40001" not in run("flows --limit 0 --top 1").output
    assert run("flows --all").output.count("not known") == 2, "once in the list, once among the silent"
    flowing.control.flows_wanted.clear()
    run("flows web/a --client 192.0.2.0/24 --top 5")
    assert flowing.control.flows_wanted == [FlowsWanted(backend=A, client=0xFFFFC00002, bits=120, limit=20, top=5)]
    told = run("flows web -o json --all").output.splitlines()
    assert len(told) == 4
    assert '"summary"' in told[-1]
    assert "does not exist" in run("flows none", code=1).output
    run("flows a/b/c", code=2)
