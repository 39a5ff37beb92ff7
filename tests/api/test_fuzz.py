"""Requests that no client of ours would send: mutations of good ones, and values that have hurt others. Over real gRPC and the real
control; an answer names what is wrong, and what is refused changes nothing."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from l4lb.v1 import backend_pb2, prefix_list_pb2, service_pb2_grpc, virtual_service_pb2
from l4lb.v1 import service_pb2 as pb
from l4lb_agent.api import roles
from l4lb_agent.api.server import SERVICE
from tests.api.test_agent import Node

MUTATIONS = 2500
SEED = 20260923
REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.ABORTED,
    grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.RESOURCE_EXHAUSTED,
}  # fmt: skip
WEB, A = "services/web", "services/web/backends/a"


def service(**changes: Any) -> virtual_service_pb2.VirtualService:
    fields = {"vip": "192.0.2.10", "port": 80, "protocol": virtual_service_pb2.PROTOCOL_TCP} | changes
    return virtual_service_pb2.VirtualService(**fields)


def backend(**changes: Any) -> backend_pb2.Backend:
    return backend_pb2.Backend(**({"address": "198.51.100.1", "weight": 1} | changes))


def prefixes(*texts: str, **more: Any) -> prefix_list_pb2.PrefixList:
    return prefix_list_pb2.PrefixList(prefixes=texts, **more)


def good() -> list[tuple[str, Message]]:
    """One request of each unary rpc; in this order each can be answered with OK."""
    return [
        ("CreateVirtualService", pb.CreateVirtualServiceRequest(service_id="web", service=service())),
        ("AddBackend", pb.AddBackendRequest(parent=WEB, backend_id="a", backend=backend(annotations={"rack": "1"}))),
        ("GetVirtualService", pb.GetVirtualServiceRequest(name=WEB)),
        ("ListVirtualServices", pb.ListVirtualServicesRequest(page_size=10)),
        ("UpdateVirtualService", pb.UpdateVirtualServiceRequest(
            service=service(name=WEB, idle_timeout=Duration(seconds=60), health_check={"interval": Duration(seconds=1), "rise": 1,
            "http": {"path": "/x", "host": "h", "statuses": [{"first": 200, "last": 299}], "body_contains": b"ok", "tls": {"verify": 2}}}),
            update_mask=FieldMask(paths=["idle_timeout", "health_check"]))),
        ("GetBackend", pb.GetBackendRequest(name=A)),
        ("ListBackends", pb.ListBackendsRequest(parent=WEB, page_size=10)),
        ("GetRing", pb.GetRingRequest(name=WEB, include_slots=True)),
        ("Explain", pb.ExplainRequest(packet={"kind": 4, "source": "2001:db8::9", "destination": "2001:db8::1", "hops": 9, "vlan": 7,
            "more_fragments": True, "identification": 7, "extension_headers": [{"kind": 60, "data": b"\1\4"}, {"kind": 44}],
            "icmp": {"type": 2, "mtu": 1400, "quoted_bytes": 8, "quoted": {"kind": 1, "source": "2001:db8::1", "source_port": 80,
            "destination": "2001:db8::2", "destination_port": 4000, "tcp_flags": [5], "payload_bytes": 20}}})),
        ("UpdateBackend", pb.UpdateBackendRequest(backend=backend(name=A, weight=7), update_mask=FieldMask(paths=["weight"]))),
        ("DrainBackend", pb.DrainBackendRequest(name=A, policy={"timeout": Duration(seconds=60)}, allow_empty=True)),
        ("UndrainBackend", pb.UndrainBackendRequest(name=A)),
        ("RemoveBackend", pb.RemoveBackendRequest(name=A, force=True)),
        ("DeleteVirtualService", pb.DeleteVirtualServiceRequest(name=WEB, force=True)),
        ("CreatePrefixList", pb.CreatePrefixListRequest(list_id="bad", list=prefixes("192.0.2.0/24", "2001:db8::/32"))),
        ("GetPrefixList", pb.GetPrefixListRequest(name="lists/bad")),
        ("ListPrefixLists", pb.ListPrefixListsRequest(page_size=10)),
        ("UpdatePrefixList", pb.UpdatePrefixListRequest(
            list=prefixes("10.0.0.0/8", name="lists/bad"), add_prefixes=["192.0.2.7"], remove_prefixes=["10.0.0.0/8"])),
        ("DeletePrefixList", pb.DeletePrefixListRequest(name="lists/bad")),
        ("ListDumps", pb.ListDumpsRequest(page_size=10)),
        ("GetAgent", pb.GetAgentRequest()),
        ("GetConfig", pb.GetConfigRequest()),
        ("Diagnose", pb.DiagnoseRequest()),
    ]  # fmt: skip


def mutated(data: bytes, chance: random.Random) -> bytes:
    """`data` with a few bytes changed, added, taken away, doubled or cut off."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(out) + 1)
        match chance.randrange(5):
            case 0 if out:
                out[place % len(out)] ^= 1 << chance.randrange(8)
            case 1:
                out[place:place] = chance.choice([b"\xff" * 10, b"\x80", b"\0", chance.randbytes(5), b"\x0a\x02\x0a\x00"])
            case 2:
                del out[place : place + chance.randint(1, 8)]
            case 3:
                out[place:place] = out[place : place + chance.randint(1, 20)]
            case _:
                del out[place:]
    return bytes(out)


class Caller:
    """Calls with raw bytes, and what is asked for at the moment."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self.stub = service_pb2_grpc.LoadBalancerServiceStub(channel)

    async def call(self, method: str, request: bytes) -> tuple[grpc.StatusCode, str]:
        """Status and message."""
        raw: Any = self._channel.unary_unary(f"/{SERVICE}/{method}")
        try:
            await raw(request, timeout=20)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        return grpc.StatusCode.OK, ""

    async def config(self) -> bytes:
        """All desired state."""
        return bytes((await self.stub.GetConfig(pb.GetConfigRequest(), timeout=20)).config.SerializeToString(deterministic=True))


@pytest.fixture
async def caller(folder: Path) -> Any:
    node = Node(folder)
    node.prober.hold.clear()  # what is seen of backends must not change by itself
    async with node.running(), grpc.aio.insecure_channel(f"unix://{node.socket}") as channel:
        yield Caller(channel)


async def test_each_good_request_is_answered(caller: Caller) -> None:
    """Else mutations of it would say nothing."""
    assert {method: (await caller.call(method, request.SerializeToString()))[0] for method, request in good()} == {
        method: grpc.StatusCode.OK for method, _ in good()
    }
    unary = {method.name for method in pb.DESCRIPTOR.services_by_name["LoadBalancerService"].methods if not method.server_streaming}
    assert {method for method, _ in good()} == unary


async def test_mutated_requests_are_done_or_refused_and_what_is_refused_changes_nothing(caller: Caller) -> None:
    chance = random.Random(SEED)
    requests = [(method, request.SerializeToString()) for method, request in good()]
    for method, request in requests[:2]:
        await caller.call(method, request)
    seen: dict[grpc.StatusCode, int] = {}
    before = await caller.config()
    for number in range(MUTATIONS):
        method, request = chance.choice(requests)
        sent = mutated(request, chance)
        code, message = await caller.call(method, sent)
        seen[code] = seen.get(code, 0) + 1
        assert code is grpc.StatusCode.OK or code in REFUSALS, f"{number} {method} {sent!r}: {code} {message}"
        assert "Traceback" not in message
        if f"/{SERVICE}/{method}" in roles.MUTATIONS:
            after = await caller.config()
            assert after == before or code is grpc.StatusCode.OK, f"{number} {method} {sent!r}: {code} {message}"
            before = after
    assert seen[grpc.StatusCode.OK] > MUTATIONS / 50
    assert seen[grpc.StatusCode.INVALID_ARGUMENT] > MUTATIONS / 10


def hostile() -> Iterator[tuple[str, Message, str]]:
    """Method, request, and the field that must be blamed."""
    for port in (0, 65536, 2**32 - 1):
        yield "CreateVirtualService", pb.CreateVirtualServiceRequest(service_id="s", service=service(port=port)), "service.port"
    vips = [
        "0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1", "::", "::1", "ff02::1", "fe80::1", "::ffff:192.0.2.1", "fe80::1%eth0",
        "192.0.2.010", "192.0.2", "3221225994", "0xc0000201", "192.0.2.1/32", "ⅵ::1", "xn--bcher-kva", "bücher",
        " 192.0.2.1", "192.0.2.1\0", "", "1" * 100_000,
    ]  # fmt: skip
    for vip in vips:
        yield "CreateVirtualService", pb.CreateVirtualServiceRequest(service_id="s", service=service(vip=vip)), "service.vip"
        yield "AddBackend", pb.AddBackendRequest(parent=WEB, backend_id="b", backend=backend(address=vip)), "backend.address"
    yield "AddBackend", pb.AddBackendRequest(parent=WEB, backend_id="b", backend=backend(address="192.0.2.10")), "backend.address"
    yield "AddBackend", pb.AddBackendRequest(parent=WEB, backend_id="b", backend=backend(address="2001:db8::1")), "backend.address"
    yield "AddBackend", pb.AddBackendRequest(parent=WEB, backend_id="b", backend=backend(port=65536)), "backend.port"
    yield "AddBackend", pb.AddBackendRequest(parent=WEB, backend_id="b", backend=backend(weight=2**32 - 1)), "backend.weight"
    for name in ("", "../x", "a/b", "a\0", "a\n", "ａ", "A", "-", "x" * 64, "x" * 1_000_000, "{service}", "%2e%2e", "a b"):
        yield "AddBackend", pb.AddBackendRequest(parent=WEB, backend_id=name, backend=backend()), "backend_id"
        yield "CreateVirtualService", pb.CreateVirtualServiceRequest(service_id=name, service=service()), "service_id"
        yield "GetBackend", pb.GetBackendRequest(name=f"{WEB}/backends/{name}"), "name"
    for duration in (Duration(seconds=-1), Duration(seconds=2**62), Duration(nanos=2**31 - 1), Duration(seconds=1, nanos=-1)):
        yield "DrainBackend", pb.DrainBackendRequest(name=A, policy={"timeout": duration}), "policy.timeout"
        yield (
            "UpdateVirtualService",
            pb.UpdateVirtualServiceRequest(service=service(name=WEB, idle_timeout=duration)),
            "service.idle_timeout",
        )
    yield "ListBackends", pb.ListBackendsRequest(parent=WEB, page_token="\0" * 10_000), "page_token"


async def test_values_that_have_hurt_others_are_refused_with_their_field(caller: Caller) -> None:
    for method, request in good()[:2]:
        assert (await caller.call(method, request.SerializeToString()))[0] is grpc.StatusCode.OK
    before = await caller.config()
    wrong = []
    for method, request, field in hostile():
        code, message = await caller.call(method, request.SerializeToString())
        if code is not grpc.StatusCode.INVALID_ARGUMENT or field not in message:
            wrong.append(f"{method} {str(request)[:80]!r}: {code} {message[:200]}, not {field}")
    assert not wrong, "\n".join(wrong)
    assert await caller.config() == before


async def test_messages_nested_without_end_are_refused(caller: Caller) -> None:
    deep = b""
    for _ in range(2000):
        deep = b"\x0a" + len(deep).to_bytes(1, "little") + deep if len(deep) < 128 else b"\x0b" + deep + b"\x0c"
    for method, _ in good():
        code, _message = await caller.call(method, deep)
        assert code is not grpc.StatusCode.OK
    assert (await caller.call("GetAgent", b""))[0] is grpc.StatusCode.OK
