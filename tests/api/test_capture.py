"""Captures over the API: what may be asked for, what is sent, and what l4lbctl makes of it: text, JSON and pcapng that others can read."""

import io
import itertools
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapNgReader

import l4lb
from l4lb.cli.main import cli
from l4lb.v1 import service_pb2 as pb
from l4lb_agent.control.captures import Batch, CapturedPacket
from l4lb_agent.model.access import prefixes
from l4lb_agent.model.capture.taken import Captured, Filter
from l4lb_agent.model.reasons import Reason, Verdict
from l4lb_agent.model.service import Protocol
from tests.api.conftest import Agent

CAME = bytes(Ether() / IP(src="198.51.100.7", dst="192.0.2.10") / TCP(sport=4000, dport=80, flags="S") / (b"x" * 500))
LEFT = bytes(Ether() / IP(src="192.0.2.20", dst="203.0.113.5") / TCP(sport=4000, dport=8080, flags="S") / (b"x" * 500))


def packet(reason: Reason, verdict: Verdict, left: bytes = b"") -> CapturedPacket:
    """One that the datapath handed over; a forwarded one is of web/a."""
    forwarded = verdict is Verdict.TX
    raw = Captured(5, 2, reason, verdict, 1, 1, frozenset({0}), len(CAME), CAME, len(left), left)
    names = ("services/web", "services/web/backends/a") if forwarded else ("", "")
    return CapturedPacket(raw, 1_800_000_000.25, "eth0", *names)


@pytest.fixture
def batches(agent: Agent) -> list[Batch]:
    """Three packets in two batches."""
    forwarded = packet(Reason.FLOW_CREATED, Verdict.TX, LEFT)
    dropped, passed = packet(Reason.NO_SERVICE, Verdict.DROP), packet(Reason.FOREIGN, Verdict.PASS, CAME)
    agent.control.batches = [Batch((forwarded,), 0, 0), Batch((dropped, passed), 7, 2)]
    return agent.control.batches


def test_every_field_of_the_filter_is_passed_on(agent: Agent, batches: list[Batch]) -> None:
    wanted: dict[str, Any] = {
        "reasons": ["no-service", "REASON_FOREIGN"], "verdicts": ["drop"], "service": "web", "prefix": "198.51.100.0/24", "port": 80,
        "protocol": "tcp", "interface": "eth0", "rate": 50, "packets": 1,
    }  # fmt: skip
    with l4lb.Client(agent.target) as lb:
        messages = list(lb.capture(**wanted))
    assert agent.control.captures == [
        Filter(
            frozenset({Reason.NO_SERVICE, Reason.FOREIGN}), frozenset({Verdict.DROP}), "services/web",
            prefixes.parse("198.51.100.0/24", "prefix"), 80, Protocol.TCP, "eth0", 50,
        )
    ]  # fmt: skip
    assert [len(message.packets) for message in messages] == [0, 1], "the first says that it runs, and one packet was asked for"


def test_packets_are_sent_as_they_came_and_left_and_cut_as_asked(agent: Agent, batches: list[Batch]) -> None:
    with l4lb.Client(agent.target) as lb:
        begun, first, second = itertools.islice(lb.capture(snap_bytes=100), 3)
    assert not begun.packets
    [one] = first.packets
    assert (one.received, one.received_bytes, one.sent, one.sent_bytes) == (CAME[:100], len(CAME), LEFT[:100], len(LEFT))
    assert (one.interface, one.service, one.backend) == ("eth0", "services/web", "services/web/backends/a")
    assert (one.time.seconds, one.time.nanos) == (1_800_000_000, 250_000_000)
    assert (second.limited_packets, second.lost_packets) == (7, 2)
    assert [bool(each.sent_bytes) for each in second.packets] == [False, True]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.CapturePacketsRequest(snap_bytes=2049), "snap_bytes"),
        (pb.CapturePacketsRequest(rate=100_001), "rate"),
        (pb.CapturePacketsRequest(filter={"port": 65536}), "filter.port"),
        (pb.CapturePacketsRequest(filter={"prefix": "192.0.2.1/24"}), "filter.prefix"),
        (pb.CapturePacketsRequest(filter={"prefix": "everyone"}), "filter.prefix"),
        (pb.CapturePacketsRequest(filter={"service": "web"}), "filter.service"),
        (pb.CapturePacketsRequest(filter={"reasons": [127]}), "filter.reasons"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_captured_is_refused_by_its_field(agent: Agent, stub: Any, request_: pb.CapturePacketsRequest, field: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        list(stub.CapturePackets(request_, timeout=10))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in refused.value.details()
    assert agent.control.captures == []


def test_l4lbctl_tells_each_packet_in_a_line(agent: Agent, batches: list[Batch]) -> None:
    done = CliRunner().invoke(cli, ["-s", agent.target, "capture", "--count", "3"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert "eth0  TCP 198.51.100.7:4000 > 192.0.2.10:80 S  554 bytes  verdict=TX reason=FLOW_CREATED service=web backend=web/a" in lines[0]
    assert lines[1].endswith("verdict=DROP reason=NO_SERVICE")
    assert "3 packets captured; 7 more were beyond the rate, 2 found no room" in done.stderr
    made = CliRunner().invoke(cli, ["-s", agent.target, "capture", "--count", "1", "-o", "json"])
    assert json.loads(made.stdout)["reason"] == "REASON_FLOW_CREATED"


@pytest.mark.parametrize("path", ["file.pcapng", "-"])
def test_pcapng_has_every_frame_in_both_directions_with_a_comment(agent: Agent, batches: list[Batch], tmp_path: Path, path: str) -> None:
    out = path if path == "-" else str(tmp_path / path)
    done = CliRunner().invoke(cli, ["-s", agent.target, "capture", "--count", "3", "--snaplen", "2048", "-w", out])
    assert done.exit_code == 0, done.output
    raw = done.stdout_bytes if path == "-" else Path(out).read_bytes()
    blocks = list(RawPcapNgReader(io.BytesIO(raw)))
    told = [(bytes(data), b" ".join(meta.comments or ())) for data, meta in blocks]
    assert told == [
        (CAME, b"verdict=TX reason=FLOW_CREATED service=web backend=web/a"),
        (LEFT, b"verdict=TX reason=FLOW_CREATED service=web backend=web/a"),
        (CAME, b"verdict=DROP reason=NO_SERVICE"),
        (CAME, b"verdict=PASS reason=FOREIGN"),
    ]
    assert [meta.direction for _, meta in blocks] == [1, 2, 1, 1]
    assert {meta.wirelen for _, meta in blocks} == {len(CAME), len(LEFT)}


def test_a_reason_that_nobody_knows_is_a_mistake_of_the_command_line(agent: Agent) -> None:
    done = CliRunner().invoke(cli, ["-s", agent.target, "capture", "--reason", "bad-luck"])
    assert done.exit_code == 2
    assert "no_service" in done.output
