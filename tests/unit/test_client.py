"""What the client decides without any connection: names, requests, what a stream that comes back tells."""

import os
import subprocess
import sys
import uuid
from typing import Any

import pytest

from l4lb import names
from l4lb.calls import backends, services
from l4lb.cli.base import explain
from l4lb.errors import Error
from l4lb.streams import DrainWait, Event, EventKind, StatsStream, WatchStream
from l4lb.v1 import backend_pb2, virtual_service_pb2
from l4lb.v1 import service_pb2 as pb

LOST = Error("UNAVAILABLE", "gone")


def message(event: str, name: str = "", revision: int = 1, **given: Any) -> pb.WatchBackendsResponse:
    backend = backend_pb2.Backend(name=f"services/web/backends/{name}", **given) if name else None
    return pb.WatchBackendsResponse(event=f"EVENT_{event}", backend=backend, revision=revision)


def told(stream: WatchStream, *messages: pb.WatchBackendsResponse) -> list[tuple[str, str]]:
    events = [event for m in messages for event in stream.feed(m)]
    return [(event.kind.value, event.backend.name[-1] if event.backend else "") for event in events]


@pytest.mark.parametrize(
    ("text", "full"), [("web", "services/web"), ("services/web", "services/web"), ("-", "services/-"), ("services/-", names.ALL)]
)
def test_services_are_named_shortly_or_fully(text: str, full: str) -> None:
    assert names.service(text) == full


@pytest.mark.parametrize(("text", "short"), [("web/a", "web/a"), ("services/web/backends/a", "web/a")])
def test_backends_are_named_shortly_or_fully(text: str, short: str) -> None:
    assert names.backend(text) == "services/web/backends/a"
    assert names.short(names.backend(text)) == short
    assert names.split(names.backend(text)) == ("services/web", "a")


@pytest.mark.parametrize("text", ["", "a/b/c", "services/", "backends/web/x/y", "a/b"])
def test_what_cannot_be_a_service_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it like web"):
        names.service(text)


@pytest.mark.parametrize("text", ["", "web", "/a", "web/", "services/web", "services/web/backends/", "services/web/x/a"])
def test_what_cannot_be_a_backend_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it like web/a"):
        names.backend(text)


def test_an_update_names_in_its_mask_what_is_given_and_nothing_else() -> None:
    request: Any = backends.update_backend("web/a", weight=0, annotations={}).request
    assert list(request.update_mask.paths) == ["annotations", "weight"]
    assert request.backend.HasField("weight")
    assert request.backend.name == "services/web/backends/a"


def test_durations_and_choices_are_translated() -> None:
    request: Any = backends.drain("web/a", timeout=1.5, at_deadline="reset").request
    assert (request.policy.timeout.seconds, request.policy.timeout.nanos) == (1, 500_000_000)
    assert request.policy.deadline_action == backend_pb2.DEADLINE_ACTION_RESET
    assert not backends.drain("web/a").request.policy.HasField("timeout")  # type: ignore[attr-defined]
    service: Any = services.create_service("web", vip="10.0.0.1", port=53, protocol="UDP").request
    assert service.service.protocol == virtual_service_pb2.PROTOCOL_UDP
    with pytest.raises(ValueError, match="not one of tcp, udp"):
        services.create_service("web", vip="10.0.0.1", port=53, protocol="sctp")


def test_a_request_id_is_made_for_each_change_unless_one_is_given() -> None:
    first: Any = backends.undrain("web/a").request
    second: Any = backends.undrain("web/a").request
    assert uuid.UUID(first.request_id) != uuid.UUID(second.request_id)
    given: Any = backends.undrain("web/a", request_id="x").request
    assert given.request_id == "x"


def test_a_watch_resumes_after_the_last_revision_and_tells_synced_once() -> None:
    stream = WatchStream("web")
    assert stream.request() == pb.WatchBackendsRequest(parent="services/web")
    assert told(stream, message("ADDED", "a", 3), message("SYNCED", revision=5)) == [("ADDED", "a"), ("SYNCED", "")]
    assert told(stream, message("MODIFIED", "a", 7, weight=2), message("BOOKMARK", revision=9)) == [("MODIFIED", "a"), ("BOOKMARK", "")]
    assert stream.again(LOST)
    assert stream.request().resume_revision == 9
    assert told(stream, message("SYNCED", revision=9)) == []


def test_a_watch_that_was_cut_before_synced_begins_again_and_tells_nothing_twice() -> None:
    stream = WatchStream()
    stream.request()
    told(stream, message("ADDED", "a", 3))
    assert stream.again(LOST)
    assert stream.request().resume_revision == 0
    again = told(stream, message("ADDED", "a", 3), message("ADDED", "b", 3), message("SYNCED", revision=5))
    assert again == [("ADDED", "b"), ("SYNCED", "")]


def test_a_watch_whose_revision_is_forgotten_tells_the_difference() -> None:
    stream = WatchStream()
    stream.request()
    told(stream, message("ADDED", "a", 3), message("ADDED", "b", 3), message("SYNCED", revision=5))
    assert stream.again(Error("OUT_OF_RANGE", "forgotten"))
    assert stream.request().resume_revision == 0
    again = told(stream, message("ADDED", "b", 90, weight=4), message("ADDED", "c", 90), message("SYNCED", revision=90))
    assert again == [("MODIFIED", "b"), ("ADDED", "c"), ("DELETED", "a")]


def test_an_added_that_comes_again_after_a_removal_is_told_as_added() -> None:
    stream = WatchStream()
    stream.request()
    told(stream, message("ADDED", "a", 3), message("SYNCED", revision=5))
    assert told(stream, message("DELETED", "a", 6), message("ADDED", "a", 7)) == [("DELETED", "a"), ("ADDED", "a")]


@pytest.mark.parametrize("stream", [WatchStream(), StatsStream()])
def test_a_stream_that_was_never_connected_is_not_resumed(stream: Any) -> None:
    assert not stream.again(LOST)
    assert not stream.again(Error("NOT_FOUND", "no"))


def test_statistics_are_resumed_for_the_samples_that_are_left() -> None:
    stream = StatsStream(0.5, ["web"], backends=False, samples=5)
    assert len(list(stream.feed(pb.StreamStatsResponse()))) == 1
    assert stream.again(LOST)
    request = stream.request()
    assert (request.samples, request.interval.nanos, list(request.services), request.omit_backends) == (
        4,
        500_000_000,
        ["services/web"],
        True,
    )


def test_waiting_for_a_drain_ends_when_the_backend_is_gone_missing_or_enabled() -> None:
    def wait(*events: Event) -> str:
        waiting = DrainWait("web/a")
        for event in events[:-1]:
            waiting.feed(event)
        with pytest.raises(Error) as failure:
            waiting.feed(events[-1])
        return failure.value.code

    draining = backend_pb2.Backend(name="services/web/backends/a", admin_state="ADMIN_STATE_DRAINING")
    enabled = backend_pb2.Backend(name="services/web/backends/a", admin_state="ADMIN_STATE_ENABLED")
    other = backend_pb2.Backend(name="services/web/backends/b", admin_state="ADMIN_STATE_ENABLED")
    assert wait(Event(EventKind.ADDED, 1, other), Event(EventKind.SYNCED, 1)) == "NOT_FOUND"
    assert wait(Event(EventKind.ADDED, 1, draining), Event(EventKind.SYNCED, 1), Event(EventKind.DELETED, 2, draining)) == "NOT_FOUND"
    assert wait(Event(EventKind.ADDED, 1, draining), Event(EventKind.MODIFIED, 2, enabled)) == "FAILED_PRECONDITION"


def test_an_error_is_explained_with_field_reason_and_what_to_do() -> None:
    text = explain(Error("ABORTED", "it changed", reason="ETAG_MISMATCH", field="etag"), "unix:///x")
    assert text.splitlines() == [
        "error: it changed",
        "field: etag",
        "reason: ETAG_MISMATCH (ABORTED)",
        "It was changed meanwhile: read it again and repeat with the new etag.",
    ]
    assert "unix:///x" in explain(LOST, "unix:///x")


def test_help_and_completion_need_neither_grpc_nor_rich_nor_yaml() -> None:
    check = "import sys, l4lb.cli.main; print(sorted({'grpc', 'google.protobuf', 'rich', 'tenacity', 'yaml'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60, check=True, env=environment())
    assert result.stdout == "[]\n"


def environment() -> dict[str, str]:
    """So that the child finds what this process finds."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
