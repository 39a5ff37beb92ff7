"""Health checks through the API, both clients and l4lbctl: what is asked for, what is refused, what is shown."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

import l4lb
from l4lb.cli.main import cli
from l4lb.v1 import health_pb2 as h
from l4lb.v1 import service_pb2 as pb
from l4lb.v1 import virtual_service_pb2 as v
from l4lb_agent.control.facade import BackendView, HealthView
from l4lb_agent.model.health.check import By, HealthCheck, Kind, OnAllDown, ProbeTarget, Target
from l4lb_agent.model.health.outcome import Outcome, Why
from l4lb_agent.model.health.state import Health, Probed, State
from tests.api.conftest import Agent
from tests.api.test_agent import Node, node
from tests.api.test_choice import create, ctl, refusal
from tests.fakes.values import backend

__all__ = ["node"]
WEB = "services/web"
ALL = [
    h.HealthCheck(tcp=h.TcpCheck(send=b"\0a", expect=b"b\xff")),
    h.HealthCheck(udp=h.UdpCheck(send=b"ping", expect=b"pong")),
    h.HealthCheck(grpc=h.GrpcCheck(service="a.B", tls=h.TlsOptions(server_name="n", verify=h.TLS_VERIFY_SYSTEM))),
    h.HealthCheck(http=h.HttpCheck(
        path="/x?y", host="web", method=h.HTTP_METHOD_GET, body_contains=b"ok", tls=h.TlsOptions(verify=h.TLS_VERIFY_NONE),
        statuses=[h.StatusRange(first=200, last=204), h.StatusRange(first=301, last=301)])),
]  # fmt: skip
MORE: dict[str, Any] = {
    "interval": Duration(seconds=1, nanos=500_000_000), "timeout": Duration(nanos=250_000_000), "rise": 4, "fall": 5, "port": 8081,
    "on_all_down": h.ON_ALL_DOWN_REJECT, "target": h.PROBE_TARGET_BACKEND,
}  # fmt: skip


@pytest.mark.parametrize("check", ALL, ids=lambda check: str(check.WhichOneof("kind")))
def test_a_check_is_shown_as_it_was_asked_for_and_may_be_sent_back(stub: Any, check: h.HealthCheck) -> None:
    check.MergeFrom(h.HealthCheck(**MORE))
    made = stub.CreateVirtualService(create(health_check=check)).service
    assert made.health_check == check
    assert stub.UpdateVirtualService(pb.UpdateVirtualServiceRequest(service=made)).service.health_check == check
    check.on_all_down, check.min_up_percent = h.ON_ALL_DOWN_KEEP_LAST, 100
    made.health_check.CopyFrom(check)
    made.etag = ""
    assert stub.UpdateVirtualService(pb.UpdateVirtualServiceRequest(service=made)).service.health_check == check


def test_what_is_left_out_has_defaults(agent: Agent, stub: Any) -> None:
    assert not stub.CreateVirtualService(create()).service.HasField("health_check")
    asked = v.VirtualService(name=WEB, health_check=h.HealthCheck(http=h.HttpCheck()))
    shown = stub.UpdateVirtualService(pb.UpdateVirtualServiceRequest(service=asked)).service.health_check
    assert (shown.interval.seconds, shown.timeout.seconds, shown.rise, shown.fall, shown.on_all_down) == (
        5,
        2,
        2,
        3,
        h.ON_ALL_DOWN_KEEP_LAST,
    )
    assert (shown.http.path, shown.http.method) == ("/", h.HTTP_METHOD_GET)
    assert [(one.first, one.last) for one in shown.http.statuses] == [(200, 399)]
    assert agent.control.services[WEB].service.health_check == HealthCheck(Kind.HTTP)
    quick = h.HealthCheck(tcp=h.TcpCheck(), interval=Duration(seconds=1))
    asked = v.VirtualService(name=WEB, health_check=quick)
    assert stub.UpdateVirtualService(pb.UpdateVirtualServiceRequest(service=asked)).service.health_check.timeout == Duration(
        nanos=500_000_000
    )


def test_a_check_is_ended_by_an_update_and_by_no_other(stub: Any) -> None:
    stub.CreateVirtualService(create(health_check=h.HealthCheck(tcp=h.TcpCheck()), down_grace=Duration(seconds=7)))
    untouched = pb.UpdateVirtualServiceRequest(service=v.VirtualService(name=WEB, annotations={"a": "b"}))
    shown = stub.UpdateVirtualService(untouched).service
    assert (shown.HasField("health_check"), shown.down_grace.seconds) == (True, 7)
    ended = pb.UpdateVirtualServiceRequest(service=v.VirtualService(name=WEB), update_mask=FieldMask(paths=["health_check"]))
    shown = stub.UpdateVirtualService(ended).service
    assert (shown.HasField("health_check"), shown.HasField("down_grace")) == (False, False)


def seconds(value: float) -> Duration:
    return Duration(seconds=int(value), nanos=round(value % 1 * 1e9))


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, ""),
        ({"tcp": {}, "interval": seconds(0.09)}, ".interval"),
        ({"tcp": {}, "interval": seconds(3601)}, ".interval"),
        ({"tcp": {}, "timeout": seconds(0.009)}, ".timeout"),
        ({"tcp": {}, "timeout": seconds(5)}, ".timeout"),
        ({"tcp": {}, "interval": seconds(0.5), "timeout": seconds(0.5)}, ".timeout"),
        ({"tcp": {}, "rise": 101}, ".rise"),
        ({"tcp": {}, "fall": 101}, ".fall"),
        ({"tcp": {}, "port": 65536}, ".port"),
        ({"tcp": {}, "min_up_percent": 101}, ".min_up_percent"),
        ({"tcp": {}, "min_up_percent": 1, "on_all_down": h.ON_ALL_DOWN_REJECT}, ".min_up_percent"),
        ({"tcp": {"send": bytes(1025)}}, ".tcp.send"),
        ({"tcp": {"expect": bytes(1025)}}, ".tcp.expect"),
        ({"udp": {}}, ".udp.send"),
        ({"udp": {"expect": b"a"}}, ".udp.send"),
        ({"grpc": {"service": "a b"}}, ".grpc.service"),
        ({"grpc": {"service": "a" * 254}}, ".grpc.service"),
        ({"grpc": {"tls": {"server_name": "a\n"}}}, ".grpc.tls.server_name"),
        ({"http": {"path": "x"}}, ".http.path"),
        ({"http": {"path": "/a b"}}, ".http.path"),
        ({"http": {"path": "/\r\nX: y"}}, ".http.path"),
        ({"http": {"path": "/" + "a" * 1024}}, ".http.path"),
        ({"http": {"host": "a\r\nX: y"}}, ".http.host"),
        ({"http": {"host": "\u00e4"}}, ".http.host"),
        ({"http": {"statuses": [{"first": 99}]}}, ".http.statuses[0].first"),
        ({"http": {"statuses": [{"first": 200}, {"first": 300, "last": 299}]}}, ".http.statuses[1].last"),
        ({"http": {"statuses": [{"first": 500, "last": 600}]}}, ".http.statuses[0].last"),
        ({"http": {"statuses": [{"first": 200}] * 17}}, ".http.statuses"),
        ({"http": {"body_contains": bytes(1025)}}, ".http.body_contains"),
        ({"http": {"body_contains": b"a", "method": h.HTTP_METHOD_HEAD}}, ".http.body_contains"),
    ],
)
def test_a_check_that_cannot_be_is_refused_by_its_field(stub: Any, given: dict[str, Any], field: str) -> None:
    error = refusal(stub.CreateVirtualService, create(health_check=h.HealthCheck(**given)))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", f"service.health_check{field}")


ENCAP = {"forwarding_mode": v.FORWARDING_MODE_ENCAP, "encap": v.Encap(encapsulation=v.ENCAPSULATION_IPIP)}
AT_VIP = h.HealthCheck(tcp=h.TcpCheck(), target=h.PROBE_TARGET_VIP)


@pytest.mark.parametrize("mode", [{"forwarding_mode": v.FORWARDING_MODE_DSR}, ENCAP], ids=["dsr", "encap"])
def test_the_vip_may_be_probed_where_backends_have_it(agent: Agent, stub: Any, mode: dict[str, Any]) -> None:
    made = stub.CreateVirtualService(create(health_check=AT_VIP, **mode)).service
    assert made.health_check.target == h.PROBE_TARGET_VIP
    assert agent.control.services[WEB].service.health_check == HealthCheck(Kind.TCP, target=ProbeTarget.VIP)
    assert stub.UpdateVirtualService(pb.UpdateVirtualServiceRequest(service=made)).service.health_check == made.health_check


@pytest.mark.parametrize("kept", [v.CLIENT_ADDRESS_TRANSLATE, v.CLIENT_ADDRESS_KEEP])
def test_the_vip_is_not_probed_where_backends_never_see_it(stub: Any, kept: v.ClientAddress.ValueType) -> None:
    error = refusal(stub.CreateVirtualService, create(health_check=AT_VIP, client_address=kept))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "service.health_check.target")
    assert "leave it out" in error.message
    before = stub.CreateVirtualService(create(client_address=kept)).service
    asked = pb.UpdateVirtualServiceRequest(service=v.VirtualService(name=WEB, health_check=AT_VIP))
    assert refusal(stub.UpdateVirtualService, asked).field == "service.health_check.target"
    assert stub.GetVirtualService(pb.GetVirtualServiceRequest(name=WEB)).service == before


async def test_a_port_that_nobody_names_cannot_be_probed(node: Node) -> None:
    async with node.running() as lb:
        await lb.create_service("range", vip="192.0.2.1", port=8000, port_end=8010, health_check={"tcp": {}})
        with pytest.raises(l4lb.Error) as refused:
            await lb.add_backend("range/a", address="10.0.0.1")
        assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", "backend.port")
        await lb.add_backend("range/a", address="10.0.0.1", port=8000)
        with pytest.raises(l4lb.Error) as refused:
            await lb.update_backend("range/a", port=0)
        assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", "backend.port")
        await lb.update_service("range", health_check={"tcp": {}, "port": 9000})
        await lb.add_backend("range/b", address="10.0.0.2")
        with pytest.raises(l4lb.Error) as refused:
            await lb.update_service("range", health_check={"tcp": {}})
        assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", "service.health_check.port")


async def until(what: Callable[[], Any]) -> Any:
    """Waits until an awaited answer is true."""
    async with asyncio.timeout(20):
        while not (found := await what()):
            await asyncio.sleep(0.02)
    return found


async def test_health_is_shown_and_watched(node: Node) -> None:
    node.prober.fail("10.0.0.2")
    async with node.running() as lb:
        check = {"http": {"path": "/x"}, "interval": 0.1, "timeout": 0.05}
        await lb.create_service("web", vip="192.0.2.1", port=80, ring_size=1021, health_check=check)
        await lb.add_backend("web/a", address="10.0.0.1")
        await lb.add_backend("web/b", address="10.0.0.2")

        async def shown(name: str, state: int) -> Any:
            found = await lb.get_backend(name)
            return found if found.health.state == state and found.health.last_probe.HasField("time") else None

        up, down = await until(lambda: shown("web/a", h.HEALTH_STATE_UP)), await until(lambda: shown("web/b", h.HEALTH_STATE_DOWN))
        assert up.health.last_probe.outcome == h.PROBE_OUTCOME_OK
        assert (down.health.last_probe.outcome, down.health.last_probe.detail) == (h.PROBE_OUTCOME_REFUSED, "refused by the test")
        assert down.effective_state == h.EFFECTIVE_STATE_UNHEALTHY
        assert (len(down.health.history) >= 1, down.health.HasField("next_probe_time")) == (True, True)
        [listed] = [one async for one in lb.list_backends("web") if one.name.endswith("/b")]
        assert (listed.health.state, len(listed.health.history)) == (h.HEALTH_STATE_DOWN, 0)
        async with asyncio.timeout(20):
            async for event in lb.watch("web"):
                if event.kind == "SYNCED":
                    node.prober.fail()
                elif event.backend and event.backend.name.endswith("/b") and event.backend.health.state == h.HEALTH_STATE_UP:
                    break


def test_the_client_and_l4lbctl_ask_for_checks_and_end_them(agent: Agent, client: l4lb.Client) -> None:
    tls = {"server_name": "n", "verify": "system"}
    http = {"path": "/x", "host": "web", "method": "get", "statuses": [(200, 204)], "body_contains": "ok", "tls": tls}
    asked = {"http": http, "interval": 1.5, "timeout": 0.5, "rise": 4, "fall": 5, "port": 81, "on_all_down": "reject"}
    made = client.create_service("a", vip="10.0.0.1", port=80, health_check=asked).health_check
    wanted = HealthCheck(
        Kind.HTTP, 1.5, 0.5, 4, 5, 81, OnAllDown.REJECT, 0, "/x", "web", "GET", ((200, 204),), b"ok", tls=True, server_name="n", verify=True
    )
    assert agent.control.services["services/a"].service.health_check == wanted
    ctl(
        agent,
        "service create b --vip 10.0.0.1 --port 81 --health http --health-path /x --health-host web --health-method get "
        "--health-status 200-204 --health-contains ok --health-tls --health-server-name n --health-verify "
        "--health-interval 1500ms --health-timeout 500ms "
        "--health-rise 4 --health-fall 5 --health-port 81 --on-all-down reject",
    )
    assert client.get_service("b").health_check == made
    assert "http every 1.5s, rise 4, fall 5" in ctl(agent, "service show b")
    ctl(agent, "service update b --health udp --health-send hex:00ff --health-expect pong")
    assert agent.control.services["services/b"].service.health_check == HealthCheck(Kind.UDP, send=b"\0\xff", expect=b"pong")
    ctl(agent, "service update b --health grpc --health-service a.B --min-up 60")
    fewest = HealthCheck(Kind.GRPC, service="a.B", min_up_percent=60)
    assert agent.control.services["services/b"].service.health_check == fewest
    assert "rise 2, fall 3, at least 60 % UP" in ctl(agent, "service show b")
    client.update_service("b", health_check={"grpc": {"service": "a.B"}, "min_up_percent": 60})
    assert agent.control.services["services/b"].service.health_check == fewest
    client.create_service("c", vip="10.0.0.1", port=82, forwarding_mode="dsr", health_check={"tcp": {}, "target": "vip"})
    assert agent.control.services["services/c"].service.health_check == HealthCheck(Kind.TCP, target=ProbeTarget.VIP)
    assert "tcp of the VIP every 5s" in ctl(agent, "service show c")
    ctl(agent, "service update c --health tcp --health-target backend")
    assert agent.control.services["services/c"].service.health_check == HealthCheck(Kind.TCP)
    ctl(agent, "service update c --health tcp --health-target vip")
    assert agent.control.services["services/c"].service.health_check == HealthCheck(Kind.TCP, target=ProbeTarget.VIP)
    ctl(agent, "service update b --no-health")
    assert not client.get_service("b").HasField("health_check")
    assert not client.update_service("a", health_check={}).HasField("health_check")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--health tcp --health-path /x", "--health-path goes with --health http, not with tcp"),
        ("--health-path /x", "--health"),
        ("--on-all-down reject", "--health"),
        ("--health-target vip", "--health"),
        ("--health http --health-verify", "--health-tls"),
        ("--health http --health-status 2xx", "200-399"),
        ("--health tcp --health-send hex:0", "hex:"),
        ("--health tcp --no-health", "--no-health takes away"),
        ("", "--no-health"),
    ],
)
def test_options_that_do_not_go_together_are_refused(agent: Agent, client: l4lb.Client, line: str, told: str) -> None:
    client.create_service("a", vip="10.0.0.1", port=80)
    failed = CliRunner().invoke(cli, ["-s", agent.target, "service", "update", "a", *line.split()])
    assert (failed.exit_code, told in failed.output) == (2, True), failed.output


def test_l4lbctl_shows_health(agent: Agent, client: l4lb.Client) -> None:
    client.create_service("web", vip="10.0.0.1", port=80, health_check={"tcp": {}})
    probed = Probed(Outcome(Why.STATUS, 0.0015, "503 Service Unavailable"), 1_800_000_000.0)
    vip, at = backend("web", "b", "10.0.0.1").address, backend("web", "b", "10.0.0.9").address
    to = Target(vip, 80, by=By("services/web/backends/b", at, "DSR"))
    for name, view in (
        ("a", HealthView(Health(State.UP, 1_800_000_000.0))),
        ("b", HealthView(Health(State.DOWN, 1_800_000_000.0, history=(probed,)), kept=True, target=to)),
        ("c", HealthView(Health(State.DOWN, 1_800_000_000.0), flapping_until=1_800_000_060.0)),
    ):
        one = backend("web", name, "10.0.0.9")
        agent.control.backends[one.name] = BackendView(one, health=view)
    lines = ctl(agent, "backend list web").splitlines()
    column = lines[0].index("HEALTH")
    assert [line[column:].split("  ")[0] for line in lines[1:]] == ["UP", "DOWN, kept", "DOWN, flapping until 2027-01-15T08:01:00Z"]
    assert "STATUS (503 Service Unavailable) in 1.5 ms at 2027-01-15T08:00:00Z" in ctl(agent, "backend show web/b")
    told = [" ".join(line.split()) for line in ctl(agent, "health web/b").splitlines()]
    assert {"HEALTH DOWN, kept", "SINCE 2027-01-15T08:00:00Z", "EFFECTIVE TAKES_NEW_FLOWS"} <= set(told)
    assert "PROBED the VIP 10.0.0.1 port 80, by DSR to 10.0.0.9" in told
    assert told[-2:] == ["PROBE OUTCOME MS DETAIL", "2027-01-15T08:00:00Z STATUS 1.5 503 Service Unavailable"]
    assert json.loads(ctl(agent, "health web/b -o json"))["state"] == "HEALTH_STATE_DOWN"
    client.create_service("bare", vip="10.0.0.2", port=80)
    client.add_backend("bare/a", address="10.0.0.9")
    assert "has no health check" in ctl(agent, "health bare/a")
    shown = json.loads(ctl(agent, "backend show web/b -o json"))
    assert (shown["health"]["state"], len(shown["health"]["history"])) == ("HEALTH_STATE_DOWN", 1)
