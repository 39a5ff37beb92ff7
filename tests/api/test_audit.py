"""The audit of changes, over the real API."""

import asyncio
import errno
import json
import logging
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

import l4lb
from l4lb.v1 import service_pb2 as pb
from l4lb.v1 import virtual_service_pb2
from l4lb_agent.api import audit, roles
from l4lb_agent.api.audit import REFUSED_BURST
from l4lb_agent.api.roles import Role
from l4lb_agent.api.server import SERVICE, ApiServer
from l4lb_agent.control import start
from l4lb_agent.control.facade import Outcome
from l4lb_agent.model.errors import Unavailable
from l4lb_agent.system.audit import AuditFile
from tests.api.conftest import Agent
from tests.api.test_agent import Node
from tests.fakes.control import FakeControl
from tests.fakes.values import SECRETS


def test_what_changes_something_is_what_has_a_request_id() -> None:
    methods = pb.DESCRIPTOR.services_by_name["LoadBalancerService"].methods
    changing = {f"/{SERVICE}/{method.name}" for method in methods if "request_id" in method.input_type.fields_by_name}
    assert changing == roles.MUTATIONS
    assert len(changing) == 11


def create(lb: l4lb.Client, **options: Any) -> Any:
    return lb.create_service("web", vip="192.0.2.10", port=80, **options)


def test_a_change_leaves_one_line_with_who_role_request_id_revision_and_outcome(agent: Agent, client: l4lb.Client) -> None:
    request_id = str(uuid.uuid4())
    create(client, request_id=request_id)
    [entry] = agent.audit.entries()
    assert entry["time"].endswith("Z")
    assert {name: entry[name] for name in entry if name not in ("time", "diff")} == {
        "who": "admin.sock", "role": "admin", "rpc": "CreateVirtualService", "resource": "services/web", "request_id": request_id,
        "outcome": "OK", "revision": 1,
    }  # fmt: skip


def test_reading_and_validate_only_leave_none(agent: Agent, client: l4lb.Client) -> None:
    create(client, validate_only=True)
    client.agent()
    list(client.list_services())
    with pytest.raises(l4lb.Error):
        client.get_service("none")
    assert agent.audit.entries() == []


def test_a_refused_change_leaves_one_with_its_reason_and_no_revision(agent: Agent, client: l4lb.Client) -> None:
    with pytest.raises(l4lb.Error):
        client.remove_backend("web/a")
    with pytest.raises(l4lb.Error):
        client.create_service("web", vip="not an address", port=80)
    found = [(e["rpc"], e["resource"], e["outcome"], "revision" in e, "diff" in e) for e in agent.audit.entries()]
    assert found == [
        ("RemoveBackend", "services/web/backends/a", "NOT_FOUND", False, False),
        ("CreateVirtualService", "services/web", "INVALID_ARGUMENT", False, False),
    ]
    assert all(entry["reason"] for entry in agent.audit.entries())


def test_a_change_that_the_role_does_not_allow_leaves_one(start_agent: Callable[..., Agent]) -> None:
    agent = start_agent(Role.VIEWER)
    with l4lb.Client(agent.target) as lb, pytest.raises(l4lb.Error):
        create(lb)
    [entry] = agent.audit.entries()
    assert (entry["role"], entry["outcome"], entry["reason"]) == ("viewer", "PERMISSION_DENIED", "ROLE_NOT_ALLOWED")


def test_a_failure_that_nobody_foresaw_leaves_one(agent: Agent, client: l4lb.Client) -> None:
    agent.control.fail = RuntimeError("secret")
    with pytest.raises(l4lb.Error):
        create(client)
    [entry] = agent.audit.entries()
    assert entry["outcome"] == "INTERNAL"
    assert "secret" not in str(entry)


def test_a_repeated_request_is_told_as_such(agent: Agent, client: l4lb.Client) -> None:
    agent.control.repeats = True
    create(client)
    assert agent.audit.entries()[0]["repeated"] is True


def test_a_line_is_a_line_whatever_the_caller_writes(agent: Agent, stub: Any) -> None:
    for name in ("services/a\nb", "services/\u2028\x00\x1b[31m", "x" * 1_000_000):
        with pytest.raises(grpc.RpcError):
            stub.DeleteVirtualService(pb.DeleteVirtualServiceRequest(name=name, request_id="\n" * 1000), timeout=10)
    assert len(agent.audit.entries()) == 3
    assert all(line.count(b"\n") == 1 and line.isascii() and len(line) < 2000 for line in agent.audit.lines)


def test_the_log_has_the_same_in_one_line_at_any_level(
    agent: Agent, client: l4lb.Client, stub: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert logging.getLogger("l4lb_agent.api.audit").isEnabledFor(logging.INFO), "although the root may be at ERROR"
    create(client)
    with pytest.raises(grpc.RpcError):
        stub.DeleteVirtualService(pb.DeleteVirtualServiceRequest(name="services/a\nevent=audit who=forged"), timeout=10)
    lines = [record.getMessage() for record in caplog.records if record.name == audit.__name__]
    assert [line.startswith("event=audit who=admin.sock role=admin rpc=") for line in lines] == [True, True]
    assert "outcome=OK" in lines[0]
    assert not any("\n" in line for line in lines)


def test_a_refusal_is_one_line_of_the_log_with_its_message(
    agent: Agent, client: l4lb.Client, stub: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "l4lb_agent")
    for method, request in ((stub.DeleteVirtualService, pb.DeleteVirtualServiceRequest(name="services/none")),
                            (stub.GetVirtualService, pb.GetVirtualServiceRequest(name="services/none"))):  # fmt: skip
        caplog.clear()
        with pytest.raises(grpc.RpcError):
            method(request, timeout=10)
        [line] = [record.getMessage() for record in caplog.records if record.name.startswith("l4lb_agent")]
        assert "NOT_FOUND" in line
        assert "message='services/none does not exist'" in line
    assert "message" not in agent.audit.entries()[0]


def test_the_answer_waits_for_the_line(agent: Agent, client: l4lb.Client) -> None:
    seen: list[int] = []
    real = agent.audit.append

    def append(lines: Any) -> None:
        seen.append(agent.control.revision)
        real(lines)

    agent.audit.append = append  # type: ignore[method-assign]
    create(client)
    assert seen == [1], "the line was written after the change and before the answer"


def test_an_audit_that_cannot_be_written_is_told_and_stops_nothing(agent: Agent, client: l4lb.Client) -> None:
    agent.audit.refuse = OSError(errno.ENOSPC, "No space left on device")
    create(client)
    assert [warning.reason for warning in client.agent().warnings if warning.reason == "AUDIT_FAILED"] == ["AUDIT_FAILED"]
    agent.audit.refuse = None
    client.delete_service("web")
    assert "AUDIT_FAILED" not in [warning.reason for warning in client.agent().warnings]


def test_refused_calls_cannot_fill_the_disk_and_are_counted(agent: Agent, client: l4lb.Client, stub: Any) -> None:
    calls = int(2 * REFUSED_BURST)
    waiting = [stub.DeleteVirtualService.future(pb.DeleteVirtualServiceRequest(name="services/none"), timeout=30) for _ in range(calls)]
    assert {call.code() for call in waiting} == {grpc.StatusCode.NOT_FOUND}
    create(client)
    entries = agent.audit.entries()
    assert REFUSED_BURST <= len(entries) < calls
    assert entries[-1]["outcome"] == "OK"
    assert sum(entry.get("suppressed", 0) for entry in entries) == calls - (len(entries) - 1)


def test_many_changes_share_a_write(agent: Agent, stub: Any) -> None:
    requests = [pb.CreateVirtualServiceRequest(service_id=f"s{i}") for i in range(50)]
    for number, request in enumerate(requests):
        request.service.vip, request.service.port = "192.0.2.10", 1000 + number
        request.service.protocol = virtual_service_pb2.PROTOCOL_TCP
    real = agent.audit.append

    def append(lines: Any) -> None:
        agent.wait(lambda: agent.control.revision == 50)  # the first write takes as long as all the changes
        real(lines)

    agent.audit.append = append  # type: ignore[method-assign]
    for call in [stub.CreateVirtualService.future(request, timeout=30) for request in requests]:
        call.result()
    assert sorted(entry["revision"] for entry in agent.audit.entries()) == list(range(1, 51))
    assert agent.audit.appends <= 10


def test_a_change_whose_caller_has_gone_is_audited(agent: Agent, stub: Any) -> None:
    agent.control.hold = asyncio.Event()
    call = stub.DeleteVirtualService.future(pb.DeleteVirtualServiceRequest(name="services/none", allow_missing=True), timeout=30)
    agent.wait(lambda: agent.control.held)
    call.cancel()
    agent.release()
    agent.wait(lambda: agent.audit.lines)
    [entry] = agent.audit.entries()
    assert entry["rpc"] == "DeleteVirtualService"


def test_an_agent_that_stops_finishes_the_line(agent: Agent, stub: Any) -> None:
    agent.control.hold = asyncio.Event()
    call = stub.DeleteVirtualService.future(pb.DeleteVirtualServiceRequest(name="services/none", allow_missing=True), timeout=30)
    agent.wait(lambda: agent.control.held)
    agent.release(after=0.2)
    agent.stop()
    assert call.code() is not grpc.StatusCode.OK
    assert len(agent.audit.entries()) == 1


def test_what_the_agent_does_by_itself_is_audited_too(agent: Agent) -> None:
    async def tell() -> None:
        agent.control.tell(Outcome(7))

    agent.run(tell())
    agent.wait(lambda: agent.audit.lines)
    [entry] = agent.audit.entries()
    assert (entry["who"], entry["role"], entry["revision"], "rpc" in entry) == ("agent", "none", 7, False)


async def test_with_the_real_control_every_revision_has_a_line_with_what_changed(folder: Path) -> None:
    node = Node(folder)
    async with node.running() as lb:
        await lb.create_service("web", vip="192.0.2.10", port=80)
        for name, last in (("a", 1), ("b", 2)):
            await lb.add_backend(f"web/{name}", address=f"198.51.100.{last}")
        await lb.update_backend("web/a", weight=5)
        await lb.drain("web/a")
        await lb.wait_drained("web/a")
        await lb.delete_service("web", force=True)
        revision = (await lb.agent()).revision
    entries = node.audit.entries()
    assert sorted(entry["revision"] for entry in entries) == list(range(1, revision + 1))
    by_rpc = {entry.get("rpc", "the agent itself"): entry for entry in entries}
    [changed] = by_rpc["UpdateBackend"]["diff"]
    assert changed == {"resource": "services/web/backends/a", "change": "changed", "fields": {"weight": [1, 5]}}
    [ended] = by_rpc["the agent itself"]["diff"]
    assert ended["fields"]["admin"] == ["DRAINING", "DRAINED"]
    assert {one["change"] for one in by_rpc["DeleteVirtualService"]["diff"]} == {"removed"}
    assert len(by_rpc["DeleteVirtualService"]["diff"]) == 3


def test_a_refusal_of_the_journal_is_told(agent: Agent, client: l4lb.Client) -> None:
    agent.control.fail = Unavailable("the journal cannot be written", reason="JOURNAL_FAILED")
    create(client)  # tries again
    assert [(entry["outcome"], entry.get("reason")) for entry in agent.audit.entries()] == [("UNAVAILABLE", "JOURNAL_FAILED"), ("OK", None)]


def test_a_change_that_cannot_be_read_or_has_unknown_fields_leaves_one_too(agent: Agent) -> None:
    with grpc.insecure_channel(agent.target) as channel:
        raw: Any = channel.unary_unary(f"/{SERVICE}/RemoveBackend")
        for data in (b"\xff\xff\xff", b"\xa0\x06\x01"):
            with pytest.raises(grpc.RpcError) as failure:
                raw(data, timeout=10)
            assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [entry["reason"] for entry in agent.audit.entries()] == ["UNREADABLE_REQUEST", "UNKNOWN_FIELD"]


async def test_a_change_whose_agent_was_killed_before_its_line_is_told_by_the_next(folder: Path) -> None:
    node = Node(folder)
    request_id = str(uuid.uuid4())
    async with node.running() as lb:
        await lb.create_service("web", vip="192.0.2.10", port=80)
        await lb.add_backend("web/a", address="198.51.100.1", request_id=request_id)
        await lb.update_backend("web/a", weight=5)
    disk = AuditFile(folder)
    lines = node.audit.lines
    disk.append([lines[0], lines[2]])
    missing = list(start.unaudited(start.begin(node.datapath, node.journal, SECRETS).replayed, disk.told()))
    assert [(known, differences.revision) for known, differences in missing] == [(request_id, 2)]
    server = ApiServer(FakeControl(), [], disk, version="1.2.3")
    await server.audit.missing(missing)
    last = json.loads(disk.path.read_text().splitlines()[-1])
    assert (last["who"], last["request_id"], last["revision"], last["reason"]) == ("unknown", request_id, 2, "AGENT_WAS_KILLED")
    assert last["diff"][0]["resource"] == "services/web/backends/a"
    assert disk.told() == {1, 2, 3}
    assert list(start.unaudited(start.begin(node.datapath, node.journal, SECRETS).replayed, set())) == [], (
        "after a rotation nothing is known"
    )
