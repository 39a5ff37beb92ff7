"""The flight recorder over the API: the file, what l4lbctl makes of it, and slow readers. Captures and dumps as others read them."""

import contextlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result

import l4lb
from l4lb.cli.main import cli
from l4lb.v1 import service_pb2 as pb
from l4lb_agent.api import dumps
from l4lb_agent.api.convert.record import record
from l4lb_agent.control.captures import Batch
from l4lb_agent.control.recorder.dump import Dump, Look
from l4lb_agent.control.recorder.timeline import Event
from l4lb_agent.model.errors import FailedPrecondition
from l4lb_agent.model.reasons import Reason, Verdict
from tests import readers
from tests.api.conftest import Agent
from tests.api.test_capture import CAME, LEFT, packet

KEPT = "20270115T080000.250Z-failed"
EVENTS = [
    Event(1_800_000_000.0, "info", "control.monitor", "attached", {"interface": "eth0", "mode": "native"}),
    Event(1_800_000_001.5, "info", "api.audit", "audit", {"who": "me\n", "rpc": "AddBackend", "outcome": "NOT_FOUND", "message": "“x” ☃"}),
]
DUMP = Dump(
    "asked", 1_800_000_002.0, "1.2.3", [packet(Reason.NO_SERVICE, Verdict.DROP), packet(Reason.NO_FLOW, Verdict.DROP)], EVENTS, 4,
    Look(1_800_000_002.0, {"ready": True}, {(Reason.NO_SERVICE, Verdict.DROP): (70, 7000)}),
)  # fmt: skip


@pytest.fixture
def remembering(agent: Agent) -> Agent:
    """An agent that remembers two drops and two events."""
    agent.control.remembered = DUMP
    return agent


def run(agent: Agent, *words: str) -> Result:
    return CliRunner().invoke(cli, ["-s", agent.target, "record", "dump", *words])


def kept(agent: Agent, *words: str) -> Result:
    return CliRunner().invoke(cli, ["-s", agent.target, "record", *words])


def contents(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive.getmembers()}  # type: ignore[union-attr]


def test_the_file_holds_the_drops_and_the_timeline(remembering: Agent) -> None:
    with l4lb.Client(remembering.target) as lb:
        data = b"".join(lb.dump_record())
    found = contents(data)
    assert list(found) == ["drops.pcapng", "timeline.json"]
    told = json.loads(found["timeline.json"])
    assert (told["format"], told["why"], told["events_forgotten"]) == (1, "asked", 4)
    assert told["events"][1]["fields"] == dict(EVENTS[1].fields)
    assert told["drops"][0] == {"reason": "NO_SERVICE", "packets": 70, "bytes": 7000, "in_file": 1, "beyond_rate": 0, "lost": 0}


@pytest.mark.parametrize("where", ["out.tar.gz", "folder", "new/", "-", ""])
def test_l4lbctl_writes_a_file_a_folder_or_standard_output(
    remembering: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    done = run(remembering, *(["-w", where] if where else []))
    assert done.exit_code == 0, done.output
    assert "2 dropped packets of 2 reasons, 2 events" in done.stderr
    made = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    if where.rstrip("/") in ("folder", "new"):
        assert made == [f"{where.rstrip('/')}/drops.pcapng", f"{where.rstrip('/')}/timeline.json"]
        assert json.loads((tmp_path / made[1]).read_text())["why"] == "asked"
        return
    data = done.stdout_bytes if where == "-" else (tmp_path / made[0]).read_bytes()
    assert set(contents(data)) == {"drops.pcapng", "timeline.json"}
    assert len(made) == (where != "-")


def test_a_place_that_cannot_be_written_is_told(remembering: Agent, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = run(remembering, "-w", f"{tmp_path}/file/x.tar.gz")
    assert done.exit_code == 1
    assert f"{tmp_path}/file" in done.output


def test_an_agent_that_does_not_record_says_what_to_do(agent: Agent) -> None:
    agent.control.fail = FailedPrecondition("this agent does not record: [recorder] enabled switches it on", reason="RECORDER_OFF")
    done = run(agent)
    assert done.exit_code == 1
    assert "RECORDER_OFF" in done.output
    assert "[recorder] enabled" in done.output


@pytest.fixture
def large(agent: Agent) -> Agent:
    """What it remembers is more than a connection holds that nobody reads."""
    agent.control.remembered = Dump("asked", 1.0, "1.2.3", [], [], stacks=[os.urandom(1 << 20).hex() for _ in range(8)])
    agent.control.kept = {KEPT: os.urandom(8 << 20)}
    return agent


@contextlib.contextmanager
def unread(agent: Agent, rpc: str = "DumpRecord") -> Iterator[Any]:
    """A dump of which the first piece is read and no other. A channel of its own: gRPC shares windows between calls."""
    request = pb.ReadDumpRequest(name=f"dumps/{KEPT}") if rpc == "ReadDump" else pb.DumpRecordRequest()
    with grpc.insecure_channel(agent.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call: Any = channel.unary_stream(
            f"/l4lb.v1.LoadBalancerService/{rpc}", type(request).SerializeToString, pb.DumpRecordResponse.FromString
        )(request, timeout=60)
        next(call)
        yield call


@pytest.mark.parametrize("rpc", ["DumpRecord", "ReadDump"])
def test_clients_that_stop_reading_hold_a_few_dumps_and_not_for_ever(large: Agent, monkeypatch: pytest.MonkeyPatch, rpc: str) -> None:
    with contextlib.ExitStack() as opened:
        calls = [opened.enter_context(unread(large, rpc)) for _ in range(dumps.MAX_DUMPS)]
        with pytest.raises(l4lb.Error) as refused, l4lb.Client(large.target) as lb:
            list(lb.dump_record())
        assert (refused.value.code, refused.value.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_DUMPS")
        calls[0].cancel()
        with l4lb.Client(large.target) as lb:
            large.wait(lambda: _dumps(lb))
    monkeypatch.setattr(dumps, "DUMP_SECONDS", 2.0)
    with contextlib.ExitStack() as opened, l4lb.Client(large.target) as lb:
        large.wait(lambda: _dumps(lb))
        calls = [opened.enter_context(unread(large, rpc)) for _ in range(dumps.MAX_DUMPS)]
        large.wait(lambda: _dumps(lb))
        with pytest.raises(grpc.RpcError) as ended:
            for _ in calls[0]:
                pass
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "was not read within 2 seconds" in ended.value.details()


def _dumps(lb: l4lb.Client) -> bool:
    """Whether a dump can be had."""
    try:
        return bool(list(lb.dump_record()))
    except l4lb.Error as error:
        if error.reason != "TOO_MANY_DUMPS":
            raise
        return False


def test_tshark_and_tcpdump_read_a_dump(remembering: Agent, tmp_path: Path) -> None:
    assert run(remembering, "-w", str(tmp_path)).exit_code == 0
    frames = readers.tshark(tmp_path / "drops.pcapng")
    assert [(one.comment, one.direction, one.interface, one.bytes, one.captured) for one in frames] == [
        ("verdict=DROP reason=NO_SERVICE", "Inbound", "eth0", len(CAME), CAME[:256]),
        ("verdict=DROP reason=NO_FLOW", "Inbound", "eth0", len(CAME), CAME[:256]),
    ]
    assert {one.time for one in frames} == {1_800_000_000.25}
    assert all(one.protocols.startswith("eth:ethertype:ip:tcp") for one in frames)
    lines = readers.tcpdump(tmp_path / "drops.pcapng")
    assert len(lines) == 2
    assert all(line.startswith("IP 198.51.100.7.4000 > 192.0.2.10.80: Flags [S]") for line in lines)


def test_tshark_and_tcpdump_read_a_capture(agent: Agent, tmp_path: Path) -> None:
    agent.control.batches = [Batch((packet(Reason.FLOW_CREATED, Verdict.TX, LEFT), packet(Reason.NO_SERVICE, Verdict.DROP)), 0, 0)]
    path = tmp_path / "capture.pcapng"
    done = CliRunner().invoke(cli, ["-s", agent.target, "capture", "--count", "2", "--snaplen", "100", "-w", str(path)])
    assert done.exit_code == 0, done.output
    forwarded = "verdict=TX reason=FLOW_CREATED service=web backend=web/a"
    assert [(one.comment, one.direction, one.captured) for one in readers.tshark(path)] == [
        (forwarded, "Inbound", CAME[:100]), (forwarded, "Outbound", LEFT[:100]), ("verdict=DROP reason=NO_SERVICE", "Inbound", CAME[:100]),
    ]  # fmt: skip
    assert [line.split(": ")[0] for line in readers.tcpdump(path)] == [
        "IP 198.51.100.7.4000 > 192.0.2.10.80", "IP 192.0.2.20.4000 > 203.0.113.5.8080", "IP 198.51.100.7.4000 > 192.0.2.10.80",
    ]  # fmt: skip


def test_without_packets_there_is_a_file_that_can_be_read_all_the_same(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "drops.pcapng").write_bytes(contents(record(Dump("stopped", 1.0, "1.2.3", [], [])))["drops.pcapng"])
    done = CliRunner().invoke(cli, ["-s", agent.target, "capture", "--for", "300ms", "-w", str(tmp_path / "none.pcapng")])
    assert done.exit_code == 0, done.output
    for path in (tmp_path / "drops.pcapng", tmp_path / "none.pcapng"):
        assert readers.tshark(path) == []
        assert readers.tcpdump(path) == []


def test_files_that_the_agent_wrote_are_listed_with_time_cause_and_size(remembering: Agent) -> None:
    remembering.control.kept = {KEPT: b"x" * 1234, "20270116T080000.250Z-stopped": b""}
    done = kept(remembering, "list")
    assert done.output.splitlines() == [
        "NAME                          WRITTEN                   CAUSE    BYTES",
        "20270115T080000.250Z-failed   2027-01-15T08:00:00.250Z  failed   1234",
        "20270116T080000.250Z-stopped  2027-01-15T08:00:00.250Z  stopped  0",
    ]
    told = json.loads(kept(remembering, "list", "-o", "json").output)
    assert told["dumps"][0] == {"name": f"dumps/{KEPT}", "create_time": "2027-01-15T08:00:00.250Z", "cause": "failed", "bytes": "1234"}
    with l4lb.Client(remembering.target) as lb:
        assert [one.name for one in lb.list_dumps(page_size=1)] == [f"dumps/{KEPT}", "dumps/20270116T080000.250Z-stopped"]
    remembering.control.kept = {}
    assert "no dumps" in kept(remembering, "list").stderr


def test_one_of_them_is_fetched_as_it_is(remembering: Agent, tmp_path: Path) -> None:
    data = record(DUMP)
    remembering.control.kept = {KEPT: data}
    done = kept(remembering, "get", KEPT, "-w", str(tmp_path / "out.tar.gz"))
    assert done.exit_code == 0, done.output
    assert "2 dropped packets of 2 reasons, 2 events" in done.stderr
    assert (tmp_path / "out.tar.gz").read_bytes() == data
    assert kept(remembering, "get", f"dumps/{KEPT}", "-w", f"{tmp_path}/new/").exit_code == 0
    assert json.loads((tmp_path / "new/timeline.json").read_text())["version"] == "1.2.3"


def test_pieces_of_a_large_file_come_in_order(large: Agent) -> None:
    with l4lb.Client(large.target) as lb:
        pieces = list(lb.read_dump(KEPT))
    assert len(pieces) == (8 << 20) // dumps.CHUNK
    assert b"".join(pieces) == large.control.kept[KEPT]


def test_of_a_file_that_is_gone_nothing_is_written(remembering: Agent, tmp_path: Path) -> None:
    done = kept(remembering, "get", "20260101T000000.000Z-failed", "-w", str(tmp_path / "out.tar.gz"))
    assert (done.exit_code, list(tmp_path.iterdir())) == (1, [])
    assert "dumps/20260101T000000.000Z-failed does not exist" in done.stderr


@pytest.mark.parametrize("name", ["", "x", "dumps/../journal", "dumps/x", f"dumps/{KEPT}/", f"dumps/{KEPT}\n", f"dumps/{KEPT[:-6]}../x"])
def test_a_name_that_no_dump_can_have_is_refused(remembering: Agent, stub: Any, name: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        next(stub.ReadDump(pb.ReadDumpRequest(name=name), timeout=20))
    assert l4lb.Error.from_rpc(refused.value).field == "name"
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
