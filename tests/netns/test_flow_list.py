"""Flows of real connections, as the agent lists them: whose they are, how many, of whom."""

from l4lb.v1 import flow_pb2, virtual_service_pb2
from lab.services import Balanced


def test_every_open_connection_is_a_flow_of_its_client_and_can_be_asked_for(running: Balanced) -> None:
    running.add_echoes()
    load = running.lab.traffic.connections(running.vips(), 20)
    client4, client6 = (running.lab.topology.host("client").of(family) for family in (4, 6))
    try:
        pages = list(running.client.flows())
        summary = pages[-1].summary
        flows = [flow for page in pages for flow in page.flows if flow.protocol == virtual_service_pb2.PROTOCOL_TCP]
        assert len(flows) >= 20
        assert {flow.client for flow in flows} == {client4, client6}
        assert {flow.state for flow in flows if flow.idle.seconds < 2} >= {flow_pb2.FLOW_STATE_ESTABLISHED}
        assert {flow.source for flow in flows} == {running.lab.topology.snat().v4, running.lab.topology.snat().v6}
        assert len({(flow.client, flow.client_port, flow.service) for flow in flows}) == len(flows), "each of them once"
        assert summary.flows == sum(len(page.flows) for page in pages)
        assert sum(one.flows for one in summary.backends) == summary.flows
        assert {one.name for one in summary.clients} == {client4, client6}
        [of_backend] = [page.summary for page in running.client.flows("echo-tcp4/a", flows=False)]
        assert 0 < of_backend.flows < len(flows)
        [of_client] = [page.summary for page in running.client.flows(client=f"{client6}/128", flows=False)]
        assert [one.name for one in of_client.clients] == [client6]
        assert of_client.flows < summary.flows
    finally:
        load.kill()
