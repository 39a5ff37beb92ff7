"""Which packets a virtual service takes and how it chooses a backend, through the API, the client and l4lbctl."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

import l4lb
from l4lb.cli.main import cli
from l4lb.errors import Error
from l4lb.v1 import service_pb2 as pb
from l4lb.v1 import virtual_service_pb2 as v
from tests.api.conftest import Agent

WEB = "services/web"


def message(**given: Any) -> v.VirtualService:
    return v.VirtualService(**{"vip": "10.0.0.1", "port": 80, "protocol": v.PROTOCOL_TCP, **given})


def create(**given: Any) -> pb.CreateVirtualServiceRequest:
    return pb.CreateVirtualServiceRequest(service_id="web", service=message(**given))


def refusal(call: Callable[[Any], Any], request: Message) -> Error:
    with pytest.raises(grpc.RpcError) as failure:
        call(request)
    return Error.from_rpc(failure.value)


def ctl(agent: Agent, line: str) -> str:
    result = CliRunner().invoke(cli, ["-s", agent.target, *line.split()])
    assert result.exit_code == 0, result.output
    return result.output


def test_without_a_choice_the_whole_tuple_is_hashed(stub: Any) -> None:
    assert stub.CreateVirtualService(create()).service.hash == v.HASH_TUPLE


@pytest.mark.parametrize("hash_", [v.HASH_TUPLE, v.HASH_SOURCE, v.HASH_SOURCE_DESTINATION])
def test_the_hash_is_shown_as_it_was_asked_for_and_stays(stub: Any, hash_: v.Hash.ValueType) -> None:
    made = stub.CreateVirtualService(create(hash=hash_)).service
    assert made.hash == hash_
    assert stub.UpdateVirtualService(pb.UpdateVirtualServiceRequest(service=made)).service.hash == hash_
    other = v.HASH_SOURCE if hash_ == v.HASH_TUPLE else v.HASH_TUPLE
    error = refusal(stub.UpdateVirtualService, pb.UpdateVirtualServiceRequest(service=v.VirtualService(name=WEB, hash=other)))
    assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "FIELD_FIXED", "service.hash")


def test_the_client_and_l4lbctl_choose_the_hash(agent: Agent, client: l4lb.Client) -> None:
    assert client.create_service("a", vip="10.0.0.1", port=80, hash="source").hash == v.HASH_SOURCE
    ctl(agent, "service create b --vip 10.0.0.1 --port 81 --hash source-destination")
    assert client.get_service("b").hash == v.HASH_SOURCE_DESTINATION


def test_by_default_packets_without_a_backend_are_dropped(stub: Any) -> None:
    assert stub.CreateVirtualService(create()).service.on_empty == v.ON_EMPTY_DROP


@pytest.mark.parametrize("kind", [v.ON_EMPTY_DROP, v.ON_EMPTY_RESET, v.ON_EMPTY_UNREACHABLE, v.ON_EMPTY_PROHIBITED])
def test_what_an_empty_service_does_is_shown_as_asked_for_and_can_be_changed(stub: Any, kind: v.OnEmpty.ValueType) -> None:
    made = stub.CreateVirtualService(create(on_empty=kind)).service
    assert made.on_empty == kind
    other = v.ON_EMPTY_RESET if kind == v.ON_EMPTY_DROP else v.ON_EMPTY_DROP
    changed = stub.UpdateVirtualService(pb.UpdateVirtualServiceRequest(service=v.VirtualService(name=WEB, on_empty=other))).service
    assert (changed.on_empty, changed.revision) == (other, made.revision + 1)
    untouched = stub.UpdateVirtualService(pb.UpdateVirtualServiceRequest(service=v.VirtualService(name=WEB, annotations={"a": "b"})))
    assert untouched.service.on_empty == other


def test_an_unknown_way_to_be_empty_is_refused_by_its_name(stub: Any) -> None:
    error = refusal(stub.CreateVirtualService, create(on_empty=9))
    assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "UNKNOWN_ENUM_VALUE", "service.on_empty")


def test_the_client_and_l4lbctl_say_what_an_empty_service_does(agent: Agent, client: l4lb.Client) -> None:
    assert client.create_service("a", vip="10.0.0.1", port=80, on_empty="reset").on_empty == v.ON_EMPTY_RESET
    ctl(agent, "service create b --vip 10.0.0.1 --port 81 --on-empty unreachable")
    assert client.get_service("b").on_empty == v.ON_EMPTY_UNREACHABLE
    ctl(agent, "service update b --on-empty prohibited")
    assert client.get_service("b").on_empty == v.ON_EMPTY_PROHIBITED


def test_a_service_may_have_a_range_of_ports_or_every_port(stub: Any) -> None:
    made = stub.CreateVirtualService(create(port=8000, port_end=8010)).service
    assert (made.port, made.port_end, made.any_port) == (8000, 8010, False)
    assert stub.UpdateVirtualService(pb.UpdateVirtualServiceRequest(service=made)).service.port_end == 8010
    request = pb.CreateVirtualServiceRequest(service_id="rest", service=message(port=0, any_port=True))
    rest = stub.CreateVirtualService(request).service
    assert (rest.port, rest.port_end, rest.any_port) == (0, 0, True)
    assert stub.UpdateVirtualService(pb.UpdateVirtualServiceRequest(service=rest)).service.any_port


@pytest.mark.parametrize(
    ("given", "field", "reason"),
    [
        ({"port": 0}, "service.port", "INVALID_FIELD"),
        ({"port": 0, "port_end": 80}, "service.port_end", "FIELDS_CONTRADICT"),
        ({"port": 0, "port_end": 65535}, "service.port_end", "FIELDS_CONTRADICT"),
        ({"port": 80, "port_end": 80}, "service.port_end", "INVALID_FIELD"),
        ({"port": 80, "port_end": 79}, "service.port_end", "INVALID_FIELD"),
        ({"port": 80, "port_end": 65536}, "service.port_end", "INVALID_FIELD"),
        ({"port": 65536, "port_end": 65537}, "service.port", "INVALID_FIELD"),
        ({"port": 80, "any_port": True}, "service.any_port", "FIELDS_CONTRADICT"),
        ({"port": 0, "port_end": 80, "any_port": True}, "service.any_port", "FIELDS_CONTRADICT"),
    ],
)
def test_ports_that_cannot_be_are_refused_by_their_field(stub: Any, given: dict[str, Any], field: str, reason: str) -> None:
    error = refusal(stub.CreateVirtualService, create(**given))
    assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", reason, field)


@pytest.mark.parametrize(
    ("asked", "field"), [({"port": 8001}, "port"), ({"port_end": 8011, "port": 8000}, "port_end"), ({"any_port": True}, "port")]
)
def test_the_ports_of_a_service_are_fixed(stub: Any, asked: dict[str, Any], field: str) -> None:
    stub.CreateVirtualService(create(port=8000, port_end=8010))
    error = refusal(stub.UpdateVirtualService, pb.UpdateVirtualServiceRequest(service=v.VirtualService(name=WEB, **asked)))
    assert (error.reason, error.field) == ("FIELD_FIXED", f"service.{field}")


def test_the_client_and_l4lbctl_make_services_with_several_ports(agent: Agent, client: l4lb.Client) -> None:
    assert client.create_service("a", vip="10.0.0.1", port=8000, port_end=8010).port_end == 8010
    assert client.create_service("b", vip="10.0.0.1", any_port=True, protocol="udp").any_port
    ctl(agent, "service create c --vip 10.0.0.2 --port 9000 --port-end 9100")
    ctl(agent, "service create d --vip 10.0.0.2 --any-port")
    assert (client.get_service("c").port, client.get_service("c").port_end) == (9000, 9100)
    ports = [line.split()[2] for line in ctl(agent, "service list").splitlines()[1:]]
    assert ports == ["8000-8010", "any", "9000-9100", "any"]
    failed = CliRunner().invoke(cli, ["-s", agent.target, "service", "create", "e", "--vip", "10.0.0.3"])
    assert (failed.exit_code, "--any-port" in failed.output) == (2, True)


def test_affinity_has_defaults_and_is_shown_with_them(stub: Any) -> None:
    assert not stub.CreateVirtualService(create()).service.HasField("affinity")
    for vip, bits in (("10.0.0.2", 32), ("2001:db8::1", 128)):
        request = pb.CreateVirtualServiceRequest(service_id=f"s{bits}", service=message(vip=vip, affinity=v.Affinity()))
        made = stub.CreateVirtualService(request).service.affinity
        assert (made.timeout.seconds, made.prefix_length) == (3 * 3600, bits)


def test_affinity_is_changed_and_ended_by_an_update(stub: Any) -> None:
    stub.CreateVirtualService(create(affinity=v.Affinity(timeout=Duration(seconds=60), prefix_length=24)))
    asked = v.VirtualService(name=WEB, affinity=v.Affinity(timeout=Duration(seconds=90)))
    changed = stub.UpdateVirtualService(pb.UpdateVirtualServiceRequest(service=asked)).service.affinity
    assert (changed.timeout.seconds, changed.prefix_length) == (90, 32)
    untouched = pb.UpdateVirtualServiceRequest(service=v.VirtualService(name=WEB, annotations={"a": "b"}))
    assert stub.UpdateVirtualService(untouched).service.HasField("affinity")
    ended = pb.UpdateVirtualServiceRequest(service=v.VirtualService(name=WEB), update_mask=FieldMask(paths=["affinity"]))
    assert not stub.UpdateVirtualService(ended).service.HasField("affinity")


@pytest.mark.parametrize(
    ("given", "more", "field"),
    [
        ({"timeout": Duration()}, {}, "service.affinity.timeout"),
        ({"timeout": Duration(seconds=86401)}, {}, "service.affinity.timeout"),
        ({"timeout": Duration(seconds=1, nanos=5)}, {}, "service.affinity.timeout"),
        ({"prefix_length": 33}, {}, "service.affinity.prefix_length"),
        ({"prefix_length": 129}, {"vip": "2001:db8::1"}, "service.affinity.prefix_length"),
        (
            {},
            {"forwarding_mode": v.FORWARDING_MODE_DSR, "flow_tracking": v.FLOW_TRACKING_CHANGES},
            "service.affinity",
        ),
    ],
)
def test_affinity_that_cannot_be_is_refused_by_its_field(stub: Any, given: dict[str, Any], more: dict[str, Any], field: str) -> None:
    error = refusal(stub.CreateVirtualService, create(affinity=v.Affinity(**given), **more))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", field)


@pytest.mark.parametrize("protocol", [v.PROTOCOL_TCP, v.PROTOCOL_UDP])
@pytest.mark.parametrize("mode", [v.FORWARDING_MODE_DSR, v.FORWARDING_MODE_ENCAP])
def test_with_affinity_dsr_and_encap_track_all_flows(stub: Any, mode: v.ForwardingMode.ValueType, protocol: v.Protocol.ValueType) -> None:
    made = stub.CreateVirtualService(create(protocol=protocol, forwarding_mode=mode, affinity=v.Affinity())).service
    assert made.flow_tracking == v.FLOW_TRACKING_ALL
    other = pb.CreateVirtualServiceRequest(service_id="changes", service=message(vip="10.0.0.9", forwarding_mode=mode))
    assert stub.CreateVirtualService(other).service.flow_tracking == v.FLOW_TRACKING_CHANGES
    asked = v.VirtualService(name="services/changes", affinity=v.Affinity())
    error = refusal(stub.UpdateVirtualService, pb.UpdateVirtualServiceRequest(service=asked))
    assert (error.field, "flow_tracking" in error.message) == ("service.affinity", True)


def test_the_client_and_l4lbctl_ask_for_affinity_and_end_it(agent: Agent, client: l4lb.Client) -> None:
    made = client.create_service("a", vip="10.0.0.1", port=80, affinity={"timeout": 60, "prefix_length": 24}).affinity
    assert (made.timeout.seconds, made.prefix_length) == (60, 24)
    assert not client.update_service("a", affinity={}).HasField("affinity")
    ctl(agent, "service create b --vip 10.0.0.1 --port 81 --affinity 90s --affinity-prefix 20")
    shown = client.get_service("b").affinity
    assert (shown.timeout.seconds, shown.prefix_length) == (90, 20)
    assert "90s by /20" in ctl(agent, "service show b")
    ctl(agent, "service update b --affinity 2m")
    assert client.get_service("b").affinity.timeout.seconds == 120
    ctl(agent, "service update b --no-affinity")
    assert not client.get_service("b").HasField("affinity")
