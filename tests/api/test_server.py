"""The server: its socket, who may call, health, reflection, and its end."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from l4lb.v1 import service_pb2 as pb
from l4lb.v1 import service_pb2_grpc
from l4lb_agent.api import listener, roles
from l4lb_agent.api.roles import Role
from l4lb_agent.api.server import SERVICE
from l4lb_agent.api.unix_socket import SocketRefused
from tests.api.conftest import Agent

ROUNDS = 5
HealthCheckResponse = health_pb2.HealthCheckResponse


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_socket_has_mode_0660_whatever_the_umask(start_agent: Callable[..., Agent], umask: int) -> None:
    before = os.umask(umask)
    try:
        mode = start_agent().socket.lstat().st_mode
        assert os.umask(umask) == umask, "the umask is as it was"
    finally:
        os.umask(before)
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_another_user_is_refused_by_the_kernel(agent: Agent, folder: Path) -> None:
    folder.chmod(0o755)
    connect = (
        "import os,socket,sys; os.setgroups([]); os.setgid(65534); os.setuid(65534); socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    )
    result = subprocess.run([sys.executable, "-c", connect, agent.socket], capture_output=True, text=True, timeout=60, check=False)
    assert "PermissionError" in result.stderr


def test_a_socket_that_a_killed_agent_left_is_replaced(start_agent: Callable[..., Agent], folder: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(folder / "admin.sock"))
    left.close()
    agent = start_agent()
    with grpc.insecure_channel(agent.target) as channel:
        grpc.channel_ready_future(channel).result(10)


def test_a_socket_that_answers_is_not_stolen(agent: Agent, folder: Path) -> None:
    with pytest.raises(SocketRefused, match="another process listens"):
        agent.start()
    with grpc.insecure_channel(agent.target) as channel:
        grpc.channel_ready_future(channel).result(10)


def test_a_file_or_a_symbolic_link_in_its_place_is_refused_and_left(agent: Agent, folder: Path) -> None:
    agent.stop()
    precious = folder / "precious"
    precious.write_text("kept")
    (folder / "admin.sock").symlink_to(precious)
    with pytest.raises(SocketRefused, match="not a socket"):
        agent.start()
    (folder / "admin.sock").unlink()
    (folder / "admin.sock").write_text("kept")
    with pytest.raises(SocketRefused, match="not a socket"):
        agent.start()
    assert precious.read_text() == (folder / "admin.sock").read_text() == "kept"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a socket away")
def test_a_socket_of_another_user_is_refused(agent: Agent, folder: Path) -> None:
    agent.stop()
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(str(folder / "admin.sock"))
    os.chown(folder / "admin.sock", 65534, 65534)
    with pytest.raises(SocketRefused, match="belongs to user 65534"):
        agent.start()


def test_a_folder_that_everybody_may_write_is_refused_unless_it_is_sticky(agent: Agent, folder: Path) -> None:
    agent.stop()
    folder.chmod(0o777)
    with pytest.raises(SocketRefused, match="chmod o-w"):
        agent.start()
    folder.chmod(0o1777)
    agent.start()


def test_a_path_too_long_for_a_socket_is_refused_in_words(agent: Agent, folder: Path) -> None:
    agent.stop()
    agent.socket = folder / ("x" * 108)
    with pytest.raises(SocketRefused, match="107 bytes"):
        agent.start()
    agent.socket = folder / "none" / "admin.sock"
    with pytest.raises(SocketRefused, match="No such file"):
        agent.start()


def test_stopping_ends_streams_and_removes_the_socket(agent: Agent, stub: Any) -> None:
    stream = stub.WatchBackends(pb.WatchBackendsRequest(parent="services/-"))
    next(stream)
    agent.stop()
    with pytest.raises(grpc.RpcError) as failure:
        next(stream)
    assert failure.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert not agent.socket.exists()


@pytest.mark.parametrize(("seconds", "code"), [(None, grpc.StatusCode.OK), (1, grpc.StatusCode.CANCELLED)])
def test_a_call_that_a_busy_agent_does_not_come_to_waits_as_long_as_its_caller(
    start_agent: Callable[..., Agent], monkeypatch: pytest.MonkeyPatch, seconds: int | None, code: grpc.StatusCode
) -> None:
    name = "grpc.server_max_unrequested_time_in_server"  # beyond which gRPC, by itself after 30 s, takes a call for forgotten
    if seconds is None:
        assert {dict(limits)[name] for limits in (listener._LIMITS, listener._SOCKET_LIMITS)} == {3600}
    else:
        monkeypatch.setattr(listener, "_SOCKET_LIMITS", tuple({**dict(listener._SOCKET_LIMITS), name: seconds}.items()))
    agent, busy = start_agent(), threading.Event()

    async def work() -> None:
        busy.set()
        time.sleep(3)  # noqa: ASYNC251 (the loop is to come to nothing else)

    with grpc.insecure_channel(agent.target) as channel:
        stub = service_pb2_grpc.LoadBalancerServiceStub(channel)
        stub.GetAgent(pb.GetAgentRequest(), timeout=20)
        working = threading.Thread(target=lambda: agent.run(work()))
        working.start()
        assert busy.wait(20)
        calls = [stub.GetAgent.future(pb.GetAgentRequest(), timeout=20) for _ in range(20)]
        codes = [call.code() for call in calls]
        working.join()
    assert codes[-1] is code


async def test_as_many_calls_as_one_connection_may_have_are_taken_again_and_again_although_all_are_answered_at_one_time(
    agent: Agent,
) -> None:
    agent.control.hold = asyncio.Barrier(listener.CONNECTION_CALLS)  # type: ignore[assignment]
    refused = 0

    async def call(stub: Any, number: int) -> None:
        nonlocal refused
        for _ in range(ROUNDS):
            request = pb.DeleteVirtualServiceRequest(name=f"services/s{number}", allow_missing=True)
            while True:  # the others wait for it
                try:
                    await stub.DeleteVirtualService(request, timeout=60)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                    refused += 1
                else:
                    break

    # Clients make refused calls again by themselves, unless they are told not to.
    async with grpc.aio.insecure_channel(agent.target, options=[("grpc.enable_retries", 0)]) as channel:
        stub = service_pb2_grpc.LoadBalancerServiceStub(channel)
        await asyncio.gather(*(call(stub, number) for number in range(listener.CONNECTION_CALLS)))
    assert refused == 0


@pytest.mark.parametrize("name", ["", SERVICE])
def test_health_is_not_serving_until_told(agent: Agent, name: str) -> None:
    with grpc.insecure_channel(agent.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=name))
        assert next(watch).status == HealthCheckResponse.NOT_SERVING
        assert agent.server
        agent.run(agent.server.serving(True))
        assert next(watch).status == HealthCheckResponse.SERVING
        agent.run(agent.server.serving(False))
        assert health.Check(health_pb2.HealthCheckRequest(service=name)).status == HealthCheckResponse.NOT_SERVING


def test_reflection_tells_the_services(agent: Agent) -> None:
    with grpc.insecure_channel(agent.target) as channel:
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        answer = next(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask])))
    names = {service.name for service in answer.list_services_response.service}
    assert names == {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


def test_every_rpc_has_a_role_and_what_has_none_is_denied() -> None:
    rpcs = {f"/{SERVICE}/{method.name}" for method in pb.DESCRIPTOR.services_by_name["LoadBalancerService"].methods}
    assert {method for method in roles.ALLOWED if method.startswith(f"/{SERVICE}/")} == rpcs
    assert not roles.allowed(Role.ADMIN, f"/{SERVICE}/Forgotten")


READS = {
    "GetVirtualService",
    "ListVirtualServices",
    "GetBackend",
    "ListBackends",
    "GetPrefixList",
    "ListPrefixLists",
    "WatchBackends",
    "StreamStats",
    "ListFlows",
    "GetRing",
    "Explain",
    "ListDumps",
    "GetAgent",
    "GetConfig",
    "Diagnose",
}
PACKETS = {"CapturePackets", "DumpRecord", "ReadDump"}
BACKENDS = {*PACKETS, "AddBackend", "UpdateBackend", "RemoveBackend", "DrainBackend", "UndrainBackend", "UpdatePrefixList"}
SERVICES = {"CreateVirtualService", "UpdateVirtualService", "DeleteVirtualService", "CreatePrefixList", "DeletePrefixList"}


def test_a_viewer_reads_an_operator_changes_backends_too_and_an_admin_everything() -> None:
    """Written out once more: the other tests compare what the server does with its own table."""
    wanted = {Role.VIEWER: READS, Role.OPERATOR: READS | BACKENDS, Role.ADMIN: READS | BACKENDS | SERVICES}
    rpcs = [method.name for method in pb.DESCRIPTOR.services_by_name["LoadBalancerService"].methods]
    assert {role: {name for name in rpcs if roles.allowed(role, f"/{SERVICE}/{name}")} for role in Role} == wanted


@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_call_what_the_table_says_and_nothing_else(start_agent: Callable[..., Agent], role: Role) -> None:
    agent = start_agent(role)
    with grpc.insecure_channel(agent.target) as channel:
        for method in pb.DESCRIPTOR.services_by_name["LoadBalancerService"].methods:
            path = f"/{SERVICE}/{method.name}"
            denied = _code(channel, path, method.server_streaming) is grpc.StatusCode.PERMISSION_DENIED
            assert denied is not roles.allowed(role, path), path


def _code(channel: Any, path: str, streams: bool) -> grpc.StatusCode:
    """Status of a call with an empty request, or of the first message of its answer; the role comes before the request."""
    try:
        if streams:
            next(channel.unary_stream(path)(b"", timeout=5))
        else:
            channel.unary_unary(path)(b"", timeout=5)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_a_method_that_does_not_exist_is_unimplemented(agent: Agent) -> None:
    with grpc.insecure_channel(agent.target) as channel:
        assert _code(channel, f"/{SERVICE}/Explode", streams=False) is grpc.StatusCode.UNIMPLEMENTED


def test_bytes_that_are_no_request_are_refused_and_the_agent_goes_on(agent: Agent, stub: Any) -> None:
    with grpc.insecure_channel(agent.target) as channel:
        raw: Any = channel.unary_unary(f"/{SERVICE}/GetBackend")
        with pytest.raises(grpc.RpcError):
            raw(b"\xff\xff\xff", timeout=5)
    assert stub.GetAgent(pb.GetAgentRequest()).agent.version == "1.2.3"
