"""What a running agent explains of packets is what then happens to them; asking leaves no trace; the last line says the cause."""

import asyncio
import json

import pytest
from click.testing import CliRunner

import l4lb
from l4lb.cli.main import cli
from l4lb.v1 import explain_pb2, reason_pb2
from lab import netns
from lab.direct.modes import Mode
from lab.load.http import Target, fetch
from lab.services import Balanced
from lab.topology import FAMILIES, PORT_HTTP
from tests.netns.conftest import set_up

PORTS = range(40000, 40008)


def l4lbctl(lb: Balanced, *line: str) -> str:
    """What `l4lbctl explain` prints."""
    done = CliRunner().invoke(cli, ["-s", lb.agent.target, "explain", *line])
    assert done.exit_code == 0, done.output
    return done.stdout


def end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def explained(lb: Balanced, family: int, port: int, **more: object) -> explain_pb2.Explanation:
    """Of a client's SYN for the web."""
    topology = lb.lab.topology
    client, vip = topology.host("client").of(family), topology.vip().of(family)
    return lb.client.explain("tcp", client, vip, source_port=port, destination_port=PORT_HTTP, **more)


def answered_by(lb: Balanced, family: int, port: int) -> str:
    """What answers a connection from that port."""
    target = Target(lb.lab.topology.vip().of(family), PORT_HTTP, "/", "explain")
    return netns.inside(lb.lab.namespace("client"), lambda: asyncio.run(fetch(target, port)))


def steps(explanation: explain_pb2.Explanation) -> dict[str, explain_pb2.ExplainStep]:
    return {step.name: step for step in explanation.steps}


@pytest.mark.parametrize("mode", ["nat", "dsr", "gue"])
def test_a_connection_goes_to_the_backend_that_was_explained(mode: str) -> None:
    forwarding = {"nat": Mode.NAT, "dsr": Mode.DSR, "gue": Mode.GUE}[mode]
    with set_up(forwarding=forwarding) as lb:
        lb.add_web()
        seen = set()
        for family in FAMILIES:
            for port in PORTS:
                explanation = explained(lb, family, port)
                assert explanation.reason == reason_pb2.REASON_FLOW_CREATED, explanation
                assert explanation.comparison == explain_pb2.COMPARISON_AGREED, explanation
                backend = explanation.backend.rpartition("/")[2]
                assert explanation.sent.destination_mac == lb.lab.mac(backend)
                assert bool(explanation.sent.outer_destination) == (mode == "gue")
                assert steps(explanation)["backend_state"].evidence["admin_state"] == "ENABLED"
                assert answered_by(lb, family, port) == f"hello from backend-{backend}"
                seen.add(backend)
        assert seen == {"a", "b"}


def test_asking_leaves_no_trace(web: Balanced) -> None:
    topology = web.lab.topology
    before = next(iter(web.client.stats(samples=1)))
    for family in FAMILIES:
        for port in PORTS:
            explained(web, family, port)
            explained(web, family, port, flags=["ack"])
        web.client.explain("echo_request", topology.host("client").of(family), topology.vip().of(family))
    after = next(iter(web.client.stats(samples=1)))
    ours = ("REASON_FLOW_CREATED", "REASON_RST_ANSWERED", "REASON_ECHO_ANSWERED")
    counts = [{reason_pb2.Reason.Name(one.reason): one.packets for one in stats.reasons} for stats in (before, after)]
    assert [[one.get(name, 0) for name in ours] for one in counts][0] == [[one.get(name, 0) for name in ours] for one in counts][1]
    assert [page.summary.flows for page in web.client.flows(flows=False)] == [0]


def test_the_last_line_says_what_becomes_of_it_and_what_to_do(web: Balanced) -> None:
    topology = web.lab.topology
    client, vip = topology.host("client").v4, topology.vip().v4
    ends = end(client, 40000), end(vip, PORT_HTTP)
    lines = l4lbctl(web, "tcp", *ends).splitlines()
    assert lines[0] == f"comes by eth0: TCP {ends[0]} -> {ends[1]}"
    assert lines[-1].startswith("TX FLOW_CREATED (web4/")
    assert lines[-1].endswith("What to do: Nothing; this is the rate of new flows.")
    assert lines[-2] == "the datapath's own program does the same"
    assert "RST_ANSWERED" in l4lbctl(web, "tcp", *ends, "--flags", "ack").splitlines()[-1]
    assert "NO_SERVICE" in l4lbctl(web, "udp", client + ":5000", vip + ":53").splitlines()[-1]
    assert "ECHO_ANSWERED" in l4lbctl(web, "icmp", client, vip).splitlines()[-1]
    for name in ("a", "b"):
        web.client.update_backend(f"web4/{name}", admin_state="disabled")
    last = l4lbctl(web, "tcp", *ends).splitlines()[-1]
    assert last.startswith("DROP NO_BACKEND (web4): ")
    assert last.endswith("What to do: Add or enable a backend, give one weight, or mend one whose health is DOWN.")
    whole = json.loads(l4lbctl(web, "tcp", *ends, "-o", "json"))
    assert (whole["verdict"], whole["reason"], whole["service"]) == ("VERDICT_DROP", "REASON_NO_BACKEND", "services/web4")
    assert whole["steps"][-1]["evidence"] == {"DISABLED": "services/web4/backends/a"}


def test_a_flow_that_is_there_is_found_and_both_its_directions_are_explained(web: Balanced) -> None:
    topology = web.lab.topology
    web.add_echoes()
    load = web.lab.traffic.connections([topology.vip().v4], 1)
    try:
        [flow] = [flow for page in web.client.flows() for flow in page.flows if flow.service.endswith("echo-tcp4")]
        there = web.client.explain(
            "tcp", flow.client, topology.vip().v4, source_port=flow.client_port, destination_port=flow.vip_port, flags=["ack"]
        )
        assert (there.reason, there.backend) == (reason_pb2.REASON_TO_BACKEND, flow.backend)
        assert steps(there)["record"].evidence["state"] == "ESTABLISHED"
        quoted = {"kind": 1, "source": topology.vip().v4, "source_port": flow.vip_port}
        quoted |= {"destination": flow.client, "destination_port": flow.client_port}
        error = web.client.explain(
            "icmp", flow.client, topology.vip().v4, icmp={"type": 3, "code": 4, "mtu": 1400, "quoted": quoted}
        )  # fmt: skip
        assert (error.reason, error.backend, error.comparison) == (
            reason_pb2.REASON_ICMP_TO_BACKEND, flow.backend, explain_pb2.COMPARISON_AGREED,
        )  # fmt: skip
        address, port = there.sent.destination, there.sent.destination_port
        back = web.client.explain("tcp", address, flow.source, source_port=port, destination_port=flow.source_port, flags=["ack"])
        assert back.reason == reason_pb2.REASON_TO_CLIENT
        assert (back.sent.destination, back.sent.destination_port) == (flow.client, flow.client_port)
        assert back.sent.destination_mac == web.lab.mac("client")
    finally:
        load.kill()


def test_what_cannot_be_asked_is_refused_by_name(web: Balanced) -> None:
    vip = web.lab.topology.vip()
    for field, asked in {
        "packet.interface": {"kind": "tcp", "source": "192.0.2.1", "destination": vip.v4, "interface": "eth9"},
        "packet.source": {"kind": "tcp", "source": "192.0.2.1", "destination": vip.v6},
        "packet.payload_bytes": {"kind": "udp", "source": "192.0.2.1", "destination": vip.v4, "payload_bytes": 5000},
        "packet.tcp_flags": {"kind": "udp", "source": "192.0.2.1", "destination": vip.v4, "flags": ["syn"]},
        "packet.destination": {"kind": "udp", "source": "192.0.2.1", "destination": "here"},
    }.items():
        with pytest.raises(l4lb.Error) as refused:
            web.client.explain(**asked)  # type: ignore[arg-type]
        assert refused.value.field == field
