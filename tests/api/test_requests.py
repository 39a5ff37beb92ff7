"""What the API takes and what it refuses, seen by a client that sends exactly what it wants."""

import logging
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from l4lb.errors import Error
from l4lb.v1 import backend_pb2, virtual_service_pb2
from l4lb.v1 import service_pb2 as pb
from l4lb_agent.model import errors
from l4lb_agent.model.backend import DrainResult
from l4lb_agent.model.changes import commands
from tests.api.conftest import Agent

WEB, A = "services/web", "services/web/backends/a"


def service(**given: Any) -> virtual_service_pb2.VirtualService:
    return virtual_service_pb2.VirtualService(**{"vip": "10.0.0.1", "port": 80, "protocol": 6, **given})


def create(**given: Any) -> pb.CreateVirtualServiceRequest:
    return pb.CreateVirtualServiceRequest(service_id="web", service=service(**given))


def add(backend_id: str = "a", **given: Any) -> pb.AddBackendRequest:
    return pb.AddBackendRequest(parent=WEB, backend_id=backend_id, backend=backend_pb2.Backend(**{"address": "10.1.0.1", **given}))


def update(paths: list[str] | None = None, allow_missing: bool = False, **given: Any) -> pb.UpdateBackendRequest:
    mask = FieldMask(paths=paths) if paths else None
    return pb.UpdateBackendRequest(backend=backend_pb2.Backend(**{"name": A, **given}), update_mask=mask, allow_missing=allow_missing)


def refusal(call: Callable[[Any], Any], request: Message) -> Error:
    with pytest.raises(grpc.RpcError) as failure:
        call(request)
    return Error.from_rpc(failure.value)


def with_unknown_field(message: Message) -> bytes:
    """`message` and a varint field with number 999."""
    return message.SerializeToString() + bytes([0xB8, 0x3E, 1])


def test_a_ring_is_told_with_its_shares_and_its_slots_only_when_they_are_asked_for(stub: Any) -> None:
    stub.CreateVirtualService(pb.CreateVirtualServiceRequest(service_id="web", service=service()))
    for name in ("a", "b"):
        made = backend_pb2.Backend(address=f"198.51.100.{ord(name)}")
        stub.AddBackend(pb.AddBackendRequest(parent="services/web", backend_id=name, backend=made))
    ring = stub.GetRing(pb.GetRingRequest(name="services/web")).ring
    assert (ring.service, ring.digest, list(ring.slots)) == ("services/web", "ab", [])
    assert [(share.backend, share.slots, share.before_slots, share.arriving_slots) for share in ring.shares] == [
        ("services/web/backends/a", 500, 400, 100), ("services/web/backends/b", 500, 400, 100)
    ]  # fmt: skip
    whole = stub.GetRing(pb.GetRingRequest(name="services/web", include_slots=True)).ring
    assert (list(whole.slots), list(whole.before_slots)) == ([1, 2], [2, 0])
    for name, code in (("services/none", grpc.StatusCode.NOT_FOUND), ("web", grpc.StatusCode.INVALID_ARGUMENT)):
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetRing(pb.GetRingRequest(name=name))
        assert caught.value.code() is code


def test_a_field_that_the_agent_does_not_know_is_refused_with_its_place(stub: Any) -> None:
    inner = virtual_service_pb2.VirtualService.FromString(with_unknown_field(service()))
    error = refusal(stub.CreateVirtualService, pb.CreateVirtualServiceRequest(service_id="web", service=inner))
    assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "UNKNOWN_FIELD", "service.999")
    assert error.metadata == {"message": "l4lb.v1.VirtualService", "number": "999"}


def test_an_enum_value_that_the_agent_does_not_know_is_refused_with_its_place(stub: Any) -> None:
    error = refusal(stub.CreateVirtualService, create(protocol=132))
    assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "UNKNOWN_ENUM_VALUE", "service.protocol")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"vip": ""}, "service.vip"),
        ({"vip": "10.0.0"}, "service.vip"),
        ({"vip": "::ffff:10.0.0.1"}, "service.vip"),
        ({"port": 0}, "service.port"),
        ({"port": 65536}, "service.port"),
        ({"protocol": 0}, "service.protocol"),
        ({"ring_size": 1000}, "service.ring_size"),
        ({"idle_timeout": Duration(seconds=0)}, "service.idle_timeout"),
        ({"idle_timeout": Duration(seconds=64801)}, "service.idle_timeout"),
        ({"idle_timeout": Duration(seconds=1, nanos=500_000_000)}, "service.idle_timeout"),
        ({"idle_timeout": Duration(seconds=5, nanos=-1)}, "service.idle_timeout"),
        ({"annotations": {"k": "v" * 4097}}, "service.annotations"),
    ],
)
def test_a_service_that_cannot_be_is_refused_with_its_field(stub: Any, given: dict[str, Any], field: str) -> None:
    error = refusal(stub.CreateVirtualService, create(**given))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", field)


@pytest.mark.parametrize("service_id", ["", "Web", "1web", "web/a", "w" * 64, "wéb", "-"])
def test_names_are_small_letters_digits_and_dashes(stub: Any, service_id: str) -> None:
    error = refusal(stub.CreateVirtualService, pb.CreateVirtualServiceRequest(service_id=service_id, service=service()))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "service_id")


def test_output_only_fields_of_the_caller_are_ignored(stub: Any) -> None:
    made = stub.CreateVirtualService(create(name="services/other", etag='"9"', revision=77, reconciling=True, ring_digest="x")).service
    assert (made.name, made.etag, made.revision, made.reconciling, made.ring_digest) == (WEB, '"1"', 1, False, "ab")
    backend = stub.AddBackend(add(datapath_id=9, slot_share=1.0, drain=backend_pb2.Drain(remaining_flows=5))).backend
    assert (backend.datapath_id, backend.slot_share, backend.HasField("drain")) == (1, 0.5, False)


def test_a_weight_that_is_not_set_is_1_and_0_is_0(stub: Any) -> None:
    stub.CreateVirtualService(create())
    assert stub.AddBackend(add("a")).backend.weight == 1
    assert stub.AddBackend(add("b", weight=0)).backend.weight == 0


def test_the_port_of_a_backend_is_that_of_the_service_unless_set(stub: Any) -> None:
    stub.CreateVirtualService(create())
    assert stub.AddBackend(add("a")).backend.port == 80
    assert stub.AddBackend(add("b", port=8080)).backend.port == 8080


def test_without_a_mask_the_fields_that_are_set_change(stub: Any) -> None:
    stub.CreateVirtualService(create())
    stub.AddBackend(add(weight=3, annotations={"k": "v"}))
    backend = stub.UpdateBackend(update(port=8080)).backend
    assert (backend.port, backend.weight, dict(backend.annotations)) == (8080, 3, {"k": "v"})


def test_a_mask_decides_alone_what_changes(stub: Any) -> None:
    stub.CreateVirtualService(create())
    stub.AddBackend(add(weight=3, annotations={"k": "v"}))
    backend = stub.UpdateBackend(update(["annotations", "etag", "revision"], port=8080, weight=9)).backend
    assert (backend.port, backend.weight, dict(backend.annotations)) == (80, 3, {})


def test_a_mask_of_everything_sets_what_is_not_sent_to_its_default(stub: Any) -> None:
    stub.CreateVirtualService(create())
    stub.AddBackend(add(weight=3, annotations={"k": "v"}))
    backend = stub.UpdateBackend(update(["*"], address="10.1.0.9")).backend
    assert (backend.address, backend.weight, dict(backend.annotations)) == ("10.1.0.9", 1, {})
    assert refusal(stub.UpdateBackend, update(["*"])).field == "backend.address"


@pytest.mark.parametrize("path", ["wait", "annotations.k", "", "weight,port"])
def test_a_mask_with_a_path_that_is_not_a_field_is_refused(stub: Any, path: str) -> None:
    stub.CreateVirtualService(create())
    stub.AddBackend(add())
    error = refusal(stub.UpdateBackend, update(["weight", path], weight=1))
    assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "INVALID_MASK", "update_mask")
    assert refusal(stub.UpdateBackend, update(["*", "weight"], weight=1)).field == "update_mask"


def test_what_was_read_may_be_sent_back_with_one_change(stub: Any) -> None:
    read = stub.CreateVirtualService(create()).service
    read.idle_timeout.seconds = 60
    assert stub.UpdateVirtualService(pb.UpdateVirtualServiceRequest(service=read)).service.idle_timeout.seconds == 60
    read.port = 81
    read.etag = ""
    error = refusal(stub.UpdateVirtualService, pb.UpdateVirtualServiceRequest(service=read))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "service.port")


def test_a_draining_backend_that_was_read_may_be_sent_back_and_draining_may_not_be_written(stub: Any) -> None:
    stub.CreateVirtualService(create())
    stub.AddBackend(add())
    assert refusal(stub.UpdateBackend, update(admin_state="ADMIN_STATE_DRAINING")).field == "backend.admin_state"
    backend = stub.DrainBackend(pb.DrainBackendRequest(name=A)).backend
    backend.weight = 7
    assert stub.UpdateBackend(pb.UpdateBackendRequest(backend=backend)).backend.weight == 7


def test_an_old_etag_is_aborted(stub: Any) -> None:
    stub.CreateVirtualService(create())
    stub.AddBackend(add())
    for call, request in (
        (stub.UpdateVirtualService, pb.UpdateVirtualServiceRequest(service=service(name=WEB, etag='"999"'))),
        (stub.UndrainBackend, pb.UndrainBackendRequest(name=A, etag='"999"')),
        (stub.UpdateBackend, update(weight=5, etag='"999"')),
        (stub.DrainBackend, pb.DrainBackendRequest(name=A, etag='"999"')),
        (stub.RemoveBackend, pb.RemoveBackendRequest(name=A, etag='"999"')),
        (stub.DeleteVirtualService, pb.DeleteVirtualServiceRequest(name=WEB, etag='"999"')),
    ):
        assert refusal(call, request).code == "ABORTED"


def test_with_allow_missing_an_update_creates_and_a_removal_of_nothing_is_fine(stub: Any) -> None:
    missing = pb.UpdateVirtualServiceRequest(service=service(name=WEB), allow_missing=True)
    assert stub.UpdateVirtualService(missing).service.name == WEB
    assert refusal(stub.UpdateBackend, update(address="10.1.0.1")).code == "NOT_FOUND"
    assert stub.UpdateBackend(update(["weight"], allow_missing=True, address="10.1.0.1", weight=4)).backend.weight == 4
    stub.RemoveBackend(pb.RemoveBackendRequest(name=A))
    assert refusal(stub.RemoveBackend, pb.RemoveBackendRequest(name=A)).code == "NOT_FOUND"
    stub.RemoveBackend(pb.RemoveBackendRequest(name=A, allow_missing=True))


def test_one_resource_is_read_and_changed_without_a_look_at_all_others(agent: Agent, stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand backends must not make each call a thousand times as long."""
    stub.CreateVirtualService(create())
    stub.AddBackend(add(address="10.1.0.1"))
    monkeypatch.setattr(agent.control, "snapshot", None)
    assert stub.GetVirtualService(pb.GetVirtualServiceRequest(name=WEB)).service.name == WEB
    assert stub.GetBackend(pb.GetBackendRequest(name=A)).backend.name == A
    assert stub.UpdateBackend(update(["weight"], weight=4)).backend.weight == 4
    changed = service(name=WEB, annotations={"team": "blue"})
    assert stub.UpdateVirtualService(pb.UpdateVirtualServiceRequest(service=changed)).service.annotations["team"] == "blue"
    sample = pb.StreamStatsRequest(services=[WEB], samples=1)
    assert len(list(stub.StreamStats(sample))) == 1


def test_validate_only_answers_as_it_would_be_and_changes_nothing(stub: Any) -> None:
    request = create()
    request.validate_only = True
    assert stub.CreateVirtualService(request).service.name == WEB
    assert refusal(stub.GetVirtualService, pb.GetVirtualServiceRequest(name=WEB)).code == "NOT_FOUND"


@pytest.mark.parametrize(
    "request_id", ["1", "6fa459ea-ee8a-4ca4-894e", "{6fa459ea-ee8a-4ca4-894e-db77e160355e}", f"{0:08}-0000-0000-0000-{0:012}"]
)
def test_a_request_id_must_be_a_uuid(stub: Any, request_id: str) -> None:
    request = create()
    request.request_id = request_id
    error = refusal(stub.CreateVirtualService, request)
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "request_id")


def test_one_request_id_cannot_serve_two_kinds_of_request(stub: Any) -> None:
    request_id = "6fa459ea-ee8a-4ca4-894e-db77e160355e"
    stub.CreateVirtualService(create())
    stub.AddBackend(add())
    stub.RemoveBackend(pb.RemoveBackendRequest(name=A, request_id=request_id))
    error = refusal(stub.UndrainBackend, pb.UndrainBackendRequest(name=A, request_id=request_id))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "request_id")


@pytest.mark.parametrize(
    "timeout", [Duration(nanos=999_999_999), Duration(seconds=30 * 86400 + 1), Duration(seconds=-1), Duration(nanos=2**31 - 1)]
)
def test_a_drain_lasts_1_second_to_30_days(stub: Any, timeout: Duration) -> None:
    stub.CreateVirtualService(create())
    stub.AddBackend(add())
    request = pb.DrainBackendRequest(name=A, policy=backend_pb2.DrainPolicy(timeout=timeout))
    assert refusal(stub.DrainBackend, request).field == "policy.timeout"


def test_a_drain_shows_deadline_action_and_flows(agent: Agent, stub: Any) -> None:
    stub.CreateVirtualService(create())
    stub.AddBackend(add())
    agent.control.live[A] = 12
    policy = backend_pb2.DrainPolicy(timeout=Duration(seconds=60), deadline_action=backend_pb2.DEADLINE_ACTION_RESET)
    drain = stub.DrainBackend(pb.DrainBackendRequest(name=A, policy=policy)).backend.drain
    assert drain.deadline.seconds - drain.start_time.seconds == 60
    assert (drain.remaining_flows, drain.initial_flows, drain.deadline_action) == (12, 12, backend_pb2.DEADLINE_ACTION_RESET)
    agent.run(agent.control.change(commands.EndDrain(A, DrainResult.DEADLINE_CUT, 4)))
    ended = stub.GetBackend(pb.GetBackendRequest(name=A)).backend
    assert ended.admin_state == backend_pb2.ADMIN_STATE_DRAINED
    assert (ended.drain.remaining_flows, ended.drain.result) == (4, backend_pb2.DRAIN_RESULT_DEADLINE_CUT)


def test_pages_have_at_most_their_size_and_go_on_after_changes(stub: Any) -> None:
    stub.CreateVirtualService(create())
    for name in "abcd":
        stub.AddBackend(add(name, address=f"10.1.0.{ord(name)}"))
    first = stub.ListBackends(pb.ListBackendsRequest(parent=WEB, page_size=2))
    stub.RemoveBackend(pb.RemoveBackendRequest(name=A))
    second = stub.ListBackends(pb.ListBackendsRequest(parent=WEB, page_size=2, page_token=first.next_page_token))
    assert [b.name[-1] for b in [*first.backends, *second.backends]] == ["a", "b", "c", "d"]
    assert second.next_page_token == ""


def test_a_page_token_of_other_arguments_or_of_nowhere_is_refused(stub: Any) -> None:
    stub.CreateVirtualService(create())
    for name in "ab":
        stub.AddBackend(add(name, address=f"10.1.0.{ord(name)}"))
    token = stub.ListBackends(pb.ListBackendsRequest(parent=WEB, page_size=1)).next_page_token
    for parent, wrong in (("services/-", token), (WEB, "x"), (WEB, "W10="), (WEB, token[:-4])):
        error = refusal(stub.ListBackends, pb.ListBackendsRequest(parent=parent, page_token=wrong))
        assert (error.code, error.field) == ("INVALID_ARGUMENT", "page_token")


def test_what_does_not_exist_is_not_found_with_its_field(stub: Any) -> None:
    for call, request, field in (
        (stub.GetVirtualService, pb.GetVirtualServiceRequest(name=WEB), "name"),
        (stub.GetBackend, pb.GetBackendRequest(name=A), "name"),
        (stub.ListBackends, pb.ListBackendsRequest(parent=WEB), "parent"),
    ):
        error = refusal(call, request)
        assert (error.code, error.reason, error.field) == ("NOT_FOUND", "NOT_FOUND", field)
    assert refusal(next, stub.WatchBackends(pb.WatchBackendsRequest(parent=WEB))).field == "parent"
    assert refusal(next, stub.StreamStats(pb.StreamStatsRequest(services=[WEB]))).field == "services[0]"


def test_a_change_in_the_journal_and_not_in_the_kernel_is_unavailable_with_its_reason(agent: Agent, stub: Any) -> None:
    agent.control.fail = errors.Unavailable("kept and tried again", reason="APPLY_PENDING", metadata={"revision": "7"})
    error = refusal(stub.CreateVirtualService, create())
    assert (error.code, error.reason, error.metadata) == ("UNAVAILABLE", "APPLY_PENDING", {"revision": "7"})


def test_what_nobody_foresaw_is_internal_with_an_id_that_the_log_has_too(agent: Agent, stub: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    for call in (lambda r: stub.GetConfig(pb.GetConfigRequest()), lambda r: next(stub.StreamStats(pb.StreamStatsRequest()))):
        agent.control.fail = ZeroDivisionError("a secret of the agent")
        error = refusal(call, pb.GetConfigRequest())
        assert (error.code, error.reason) == ("INTERNAL", "INTERNAL")
        assert "secret" not in str(error)
        assert error.metadata["correlation_id"] in caplog.text
    assert "a secret of the agent" in caplog.text


def test_a_request_that_is_too_large_is_refused_and_the_agent_goes_on(stub: Any) -> None:
    large = create(annotations={str(i): "x" * 4096 for i in range(1300)})
    assert refusal(stub.CreateVirtualService, large).code == "RESOURCE_EXHAUSTED"
    assert stub.GetAgent(pb.GetAgentRequest()).agent.version == "1.2.3"


def test_the_agent_shows_interfaces_maps_warnings_and_revisions(stub: Any) -> None:
    stub.CreateVirtualService(create())
    agent = stub.GetAgent(pb.GetAgentRequest()).agent
    assert (agent.ready, agent.revision, agent.applied_revision, agent.kernel, agent.map_writes) == (True, 1, 1, "6.1.0", 12)
    assert [(i.name, i.mode, i.link_id) for i in agent.interfaces] == [("eth0", 1, 7)]
    assert [(m.stats.map, m.stats.entries, m.stats.bytes, m.map_id) for m in agent.maps] == [
        ("flows", 3, 64000, 5),
        ("services", 1, 8192, 6),
    ]
    assert agent.map_bytes == 72192
    assert [w.reason for w in agent.warnings] == ["VIP_IS_LOCAL"]


def test_the_configuration_is_all_desired_state_at_one_revision(stub: Any) -> None:
    stub.CreateVirtualService(create())
    stub.AddBackend(add())
    config = stub.GetConfig(pb.GetConfigRequest()).config
    assert (config.revision, [s.name for s in config.services], [b.name for b in config.backends]) == (2, [WEB], [A])
