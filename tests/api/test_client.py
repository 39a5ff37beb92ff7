"""The Python client against a real server."""

import asyncio
import threading
import time
import uuid
from typing import Any

import grpc
import pytest

import l4lb
from l4lb import channel
from l4lb.v1 import backend_pb2
from l4lb_agent.model.backend import DrainResult
from l4lb_agent.model.changes import commands
from tests.api.conftest import Agent


def fill(lb: l4lb.Client) -> None:
    lb.create_service("web", vip="10.0.0.1", port=80)
    lb.add_backend("web/a", address="10.1.0.1", weight=3)
    lb.add_backend("web/b", address="10.1.0.2")


def test_five_lines_create_a_service_drain_a_backend_and_wait(agent: Agent, client: l4lb.Client) -> None:
    agent.control.live["services/web/backends/a"] = 2
    client.create_service("web", vip="10.0.0.1", port=80, protocol="tcp")
    client.add_backend("web/a", address="10.1.0.1", weight=3)
    client.add_backend("web/b", address="10.1.0.2", weight=1)
    assert client.drain("web/a", timeout=300).admin_state == backend_pb2.ADMIN_STATE_DRAINING
    seen: list[l4lb.DrainProgress] = []

    def end() -> None:
        while not seen:
            time.sleep(0.01)
        agent.run(agent.control.change(commands.EndDrain("services/web/backends/a", DrainResult.EMPTY, 0)))

    thread = threading.Thread(target=end)
    thread.start()
    drained = client.wait_drained("web/a", timeout=20, on_progress=seen.append)
    thread.join()
    assert drained.drain.result == backend_pb2.DRAIN_RESULT_EMPTY
    assert [str(p) for p in seen] == ["web/a: draining, 2 of 2 flows left", "web/a: drained, 0 of 2 flows left"]


def test_waiting_for_a_drain_ends_with_its_timeout(client: l4lb.Client) -> None:
    fill(client)
    client.drain("web/a")
    with pytest.raises(l4lb.Error) as failure:
        client.wait_drained("web/a", timeout=0.3)
    assert failure.value.code == "DEADLINE_EXCEEDED"


def test_waiting_for_what_is_not_drained_or_not_there_is_refused_at_once(client: l4lb.Client) -> None:
    fill(client)
    for name, code in (("web/a", "FAILED_PRECONDITION"), ("web/none", "NOT_FOUND")):
        with pytest.raises(l4lb.Error) as failure:
            client.wait_drained(name, timeout=20)
        assert failure.value.code == code


def test_an_error_carries_code_reason_field_message_and_metadata(client: l4lb.Client) -> None:
    with pytest.raises(l4lb.Error) as failure:
        client.create_service("web", vip="224.0.0.1", port=80)
    error = failure.value
    assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "INVALID_ADDRESS", "service.vip")
    assert "224.0.0.1" in error.message
    assert error.metadata == {"address": "224.0.0.1"}
    assert not error.unreachable


def test_without_an_agent_the_error_says_unreachable(folder: object) -> None:
    with l4lb.Client(f"unix://{folder}/none.sock") as lb, pytest.raises(l4lb.Error) as failure:
        lb.agent()
    assert failure.value.unreachable


def test_every_change_has_a_request_id_of_its_own(agent: Agent, client: l4lb.Client) -> None:
    fill(client)
    ids = list(agent.control.requests)
    assert len({uuid.UUID(i) for i in ids}) == 3


def test_the_same_request_id_gives_the_first_answer_again_and_another_body_is_refused(agent: Agent, client: l4lb.Client) -> None:
    request_id = str(uuid.uuid4())
    first = client.create_service("web", vip="10.0.0.1", port=80, request_id=request_id)
    assert client.create_service("web", vip="10.0.0.1", port=80, request_id=request_id.upper()) == first
    with pytest.raises(l4lb.Error) as failure:
        client.create_service("web", vip="10.0.0.1", port=81, request_id=request_id)
    assert (failure.value.code, failure.value.field) == ("INVALID_ARGUMENT", "request_id")


def test_lists_go_through_every_page(client: l4lb.Client) -> None:
    fill(client)
    for i in range(5):
        client.add_backend(f"web/x{i}", address=f"10.1.1.{i + 1}")
    names = [backend.name.rsplit("/", 1)[1] for backend in client.list_backends("web", page_size=2)]
    assert names == ["a", "b", "x0", "x1", "x2", "x3", "x4"]
    assert [service.name for service in client.list_services()] == ["services/web"]


def test_an_update_changes_what_is_given_and_nothing_else(client: l4lb.Client) -> None:
    fill(client)
    before = client.get_backend("web/a")
    after = client.update_backend("web/a", weight=0, etag=before.etag)
    assert (after.weight, after.address, after.port) == (0, before.address, before.port)
    with pytest.raises(l4lb.Error) as failure:
        client.update_backend("web/a", weight=5, etag=before.etag)
    assert failure.value.code == "ABORTED"


def test_a_watch_goes_on_over_a_restart_of_the_agent_and_repeats_nothing(agent: Agent, client: l4lb.Client) -> None:
    fill(client)
    watch = client.watch("web", timeout=60)
    assert [(e.kind, e.backend.name if e.backend else "") for e in (next(watch) for _ in range(3))] == [
        ("ADDED", "services/web/backends/a"),
        ("ADDED", "services/web/backends/b"),
        ("SYNCED", ""),
    ]
    agent.stop()
    agent.start()
    client.update_backend("web/b", weight=9)
    event = next(watch)
    assert (event.kind, event.backend and event.backend.weight) == ("MODIFIED", 9)


def test_statistics_go_on_over_a_restart_of_the_agent(agent: Agent, client: l4lb.Client) -> None:
    fill(client)
    stats = client.stats(interval=0.1, samples=4)
    next(stats)
    agent.stop()
    agent.start()
    assert len(list(stats)) == 3


class Absent(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Lets nothing through to the agent so many times, as if it were starting."""

    def __init__(self, times: int) -> None:
        self.times, self.asked = times, 0

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """See grpc.aio.ServerInterceptor."""
        self.asked += 1
        if self.asked > self.times:
            return await continuation(details)

        async def refuse(_request: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "starting")

        made = grpc.unary_stream_rpc_method_handler if details.method.endswith("/WatchBackends") else grpc.unary_unary_rpc_method_handler
        return made(refuse)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """Attempts at each call, fewer than else."""
    monkeypatch.setattr(channel, "ATTEMPTS", 3)
    return channel.ATTEMPTS


def restarted(agent: Agent, times: int) -> Absent:
    """The agent comes back and is unavailable so many times."""
    agent.stop()
    absent = Absent(times)
    agent.before = (absent,)
    agent.start()
    return absent


def test_a_call_and_the_beginning_of_a_stream_are_tried_as_often_as_is_said_and_no_more(agent: Agent, few: int) -> None:
    """By clients that have no connection yet: one that has breaks under the first try, which the agent then does not see."""
    for call in (lambda lb: lb.agent(), lambda lb: next(lb.watch(timeout=20))):
        absent = restarted(agent, few - 1)
        with l4lb.Client(agent.target) as lb:
            call(lb)
        assert absent.asked == few
        absent = restarted(agent, 100)
        with l4lb.Client(agent.target) as lb, pytest.raises(l4lb.Error) as failure:
            call(lb)
        assert (failure.value.code, failure.value.message, absent.asked) == ("UNAVAILABLE", "starting", few)


async def test_the_asyncio_client_tries_as_often(agent: Agent, few: int) -> None:
    for call in (lambda lb: lb.agent(), lambda lb: anext(lb.watch(timeout=20))):
        absent = await asyncio.to_thread(restarted, agent, few - 1)
        async with l4lb.AsyncClient(agent.target) as lb:
            await call(lb)
        assert absent.asked == few
        absent = await asyncio.to_thread(restarted, agent, 100)
        async with l4lb.AsyncClient(agent.target) as lb:
            with pytest.raises(l4lb.Error) as failure:
                await call(lb)
        assert (failure.value.code, absent.asked) == ("UNAVAILABLE", few)


def test_a_call_is_not_tried_for_longer_than_it_may_take(agent: Agent) -> None:
    absent = restarted(agent, 100)
    with l4lb.Client(agent.target, timeout=0.5) as lb, pytest.raises(l4lb.Error) as failure:
        lb.agent()
    assert failure.value.code == "UNAVAILABLE"
    assert absent.asked < channel.ATTEMPTS


def test_a_stream_that_was_lost_is_given_up_when_its_time_is_over(agent: Agent) -> None:
    with l4lb.Client(agent.target, resume=1.0) as lb:
        watch = lb.watch(timeout=20)
        assert next(watch).kind == "SYNCED"
        absent = restarted(agent, 10_000)
        with pytest.raises(l4lb.Error) as failure:
            next(watch)
        assert failure.value.code == "UNAVAILABLE"
        assert absent.asked > 1


async def test_the_asyncio_client_does_the_same(agent: Agent) -> None:
    async with l4lb.AsyncClient(agent.target) as lb:
        await lb.create_service("web", vip="10.0.0.1", port=80)
        await lb.add_backend("web/a", address="10.1.0.1")
        await lb.add_backend("web/b", address="10.1.0.2")
        assert [b.name async for b in lb.list_backends(page_size=1)] == ["services/web/backends/a", "services/web/backends/b"]
        await lb.drain("web/a")
        waiting = asyncio.create_task(lb.wait_drained("web/a", timeout=20))
        agent.control.live["services/web/backends/a"] = 0
        await asyncio.to_thread(agent.run, agent.control.change(commands.EndDrain("services/web/backends/a", DrainResult.EMPTY, 0)))
        assert (await waiting).admin_state == backend_pb2.ADMIN_STATE_DRAINED
        assert [s.skipped_samples async for s in lb.stats(interval=0.1, samples=2)] == [0, 0]
        with pytest.raises(l4lb.Error) as failure:
            await lb.get_backend("web/none")
        assert failure.value.code == "NOT_FOUND"


async def test_an_asyncio_watch_goes_on_over_a_restart_of_the_agent(agent: Agent) -> None:
    async with l4lb.AsyncClient(agent.target) as lb:
        await lb.create_service("web", vip="10.0.0.1", port=80)
        watch = lb.watch(timeout=60)
        assert (await anext(watch)).kind == "SYNCED"
        await asyncio.to_thread(agent.stop)
        await asyncio.to_thread(agent.start)
        await lb.add_backend("web/a", address="10.1.0.1")
        assert (await anext(watch)).kind == "ADDED"
