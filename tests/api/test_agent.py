"""The API on the real control, over a fake kernel, network, clock and disk: what a controller can rely on from end to end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import l4lb
from l4lb.v1 import backend_pb2
from l4lb_agent.api.convert import record
from l4lb_agent.api.doors import UnixDoor
from l4lb_agent.api.roles import Role
from l4lb_agent.api.server import ApiServer
from l4lb_agent.control import start
from l4lb_agent.control.agent import Agent
from l4lb_agent.control.host import Host
from l4lb_agent.control.monitor import Interface
from l4lb_agent.control.ports import Doors
from l4lb_agent.control.recorder.recorder import Recorder
from l4lb_agent.system.dumps import DumpFolder
from tests.fakes.datapath import FakeDatapath
from tests.fakes.values import SECRETS, address, config
from tests.fakes.world import FakeAuditFile, FakeClock, FakeExaminer, FakeJournal, FakeNetwork, FakeProber

SECONDS = 30  # a guard, never a speed


class Node:
    """A machine whose kernel and disk outlive its agent."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "admin.sock"
        self.network, self.clock, self.journal, self.prober = FakeNetwork(), FakeClock(), FakeJournal(), FakeProber()
        self.datapath = FakeDatapath(config().sizes)
        self.audit = FakeAuditFile()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[l4lb.AsyncClient]:
        """An agent with its API, killed at the end, and a client of it."""
        self.datapath = FakeDatapath(config().sizes, self.datapath.maps_in_kernel or None)
        doors = Doors(self.datapath, self.network, self.clock, self.journal, FakeExaminer(), self.prober)
        host = Host("boot", "6.1.0", (Interface("eth0"),), config())
        recorder = Recorder(self.clock, DumpFolder(self.socket.parent, 2), record, "1.2.3", 60)
        agent = Agent(doors, host, start.begin(self.datapath, self.journal, SECRETS), lambda: None, recorder)
        server = ApiServer(agent, [UnixDoor(self.socket, Role.ADMIN)], self.audit, version="1.2.3")
        await server.start()
        task = asyncio.create_task(agent.run())
        try:
            async with l4lb.AsyncClient(f"unix://{self.socket}") as lb:
                async with asyncio.timeout(SECONDS):
                    while not (await lb.agent()).ready:
                        await asyncio.sleep(0.01)
                yield lb
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await server.stop(0)


@pytest.fixture
def node(folder: Path) -> Node:
    return Node(folder)


async def fill(lb: l4lb.AsyncClient) -> None:
    await lb.create_service("web", vip="192.0.2.1", port=80, ring_size=1021)
    await lb.add_backend("web/a", address="10.0.0.1", weight=3)
    await lb.add_backend("web/b", address="10.0.0.2", weight=1)


async def test_backends_get_the_shares_that_their_weights_ask_for(node: Node) -> None:
    async with node.running() as lb:
        await fill(lb)
        a, b = [backend async for backend in lb.list_backends("web")]
        assert (a.wanted_share, b.wanted_share) == (0.75, 0.25)
        assert abs(a.slot_share - 0.75) < 0.003
        assert (a.port, a.reconciling, a.next_hop.mac, a.next_hop.interface) == (80, False, "02:00:00:00:00:01", "eth0")
        service = await lb.get_service("web")
        assert (service.reconciling, len(service.ring_digest)) == (False, 64)


async def test_a_backend_without_next_hop_is_taken_and_says_why_it_gets_nothing(node: Node) -> None:
    node.network.missing.add(address("10.0.0.2"))
    async with node.running() as lb:
        await fill(lb)
        b = await lb.get_backend("web/b")
        assert b.reconciling
        assert "10.0.0.2" in b.reconciling_reason
        assert (b.slot_share, b.wanted_share) == (0.0, 0.25)


async def test_a_drain_without_flows_has_ended_with_its_answer(node: Node) -> None:
    async with node.running() as lb:
        await fill(lb)
        drained = await lb.drain("web/a")
        assert (drained.admin_state, drained.drain.result) == (backend_pb2.ADMIN_STATE_DRAINED, backend_pb2.DRAIN_RESULT_EMPTY)
        assert (await lb.undrain("web/a")).admin_state == backend_pb2.ADMIN_STATE_ENABLED


async def test_a_drain_is_followed_down_to_its_last_flow(node: Node) -> None:
    async with node.running() as lb:
        await fill(lb)
        number = (await lb.get_backend("web/a")).datapath_id
        node.datapath.live[number] = 3
        assert (await lb.drain("web/a", timeout=600)).admin_state == backend_pb2.ADMIN_STATE_DRAINING
        left: list[int] = []

        def step(progress: l4lb.DrainProgress) -> None:
            left.append(progress.remaining)
            if node.datapath.live.get(number):
                node.datapath.live[number] -= 1

        drained = await lb.wait_drained("web/a", timeout=SECONDS, on_progress=step)
        assert drained.drain.result == backend_pb2.DRAIN_RESULT_EMPTY
        assert left[0] == 3
        assert left == sorted(left, reverse=True)
        assert left[-1] == 0


async def test_the_last_backend_is_drained_only_when_that_is_meant(node: Node) -> None:
    async with node.running() as lb:
        await fill(lb)
        await lb.drain("web/a")
        with pytest.raises(l4lb.Error) as failure:
            await lb.drain("web/b")
        assert (failure.value.code, failure.value.reason, failure.value.field) == ("FAILED_PRECONDITION", "LAST_BACKEND", "allow_empty")
        await lb.drain("web/b", allow_empty=True)


async def test_a_request_id_is_remembered_over_a_kill(node: Node) -> None:
    request_id = "6fa459ea-ee8a-4ca4-894e-db77e160355e"
    async with node.running() as lb:
        first = await lb.create_service("web", vip="192.0.2.1", port=80, ring_size=1021, request_id=request_id)
    async with node.running() as lb:
        again = await lb.create_service("web", vip="192.0.2.1", port=80, ring_size=1021, request_id=request_id)
        assert (again.name, again.revision, again.create_time) == (first.name, first.revision, first.create_time)
        with pytest.raises(l4lb.Error) as failure:
            await lb.create_service("other", vip="192.0.2.2", port=80, request_id=request_id)
        assert (failure.value.code, failure.value.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")


async def test_a_watch_goes_on_over_a_kill_with_every_change_and_no_other(node: Node) -> None:
    async with node.running() as lb:
        await fill(lb)
        revision = (await lb.config()).revision
    async with node.running() as lb:
        watch = lb.watch("web", resume_revision=revision)
        assert (await anext(watch)).kind == "SYNCED"
        await lb.update_backend("web/b", weight=7)
        event = await anext(watch)
        assert (event.kind, event.backend and event.backend.weight, event.revision) == ("MODIFIED", 7, revision + 1)


async def test_a_kernel_that_refuses_is_apply_pending_and_the_same_request_is_answered_once_it_is_done(node: Node) -> None:
    async with node.running() as lb:
        await fill(lb)
        node.datapath.refuse_writes = 1
        changed = await lb.update_backend("web/a", weight=9)  # the client repeats what is UNAVAILABLE, with the same request_id
        assert changed.weight == 9
        assert (await lb.agent()).reconcile_retries >= 1
        assert (await lb.config()).revision == 4, "the change was made once"


async def test_what_was_read_names_the_version_that_may_be_changed(node: Node) -> None:
    async with node.running() as lb:
        await fill(lb)
        read = await lb.get_backend("web/a")
        await lb.update_backend("web/a", weight=5, etag=read.etag)
        with pytest.raises(l4lb.Error) as failure:
            await lb.remove_backend("web/a", etag=read.etag)
        assert (failure.value.code, failure.value.reason) == ("ABORTED", "ETAG_MISMATCH")


async def test_a_backend_with_flows_is_removed_only_by_force(node: Node) -> None:
    async with node.running() as lb:
        await fill(lb)
        node.datapath.live[(await lb.get_backend("web/a")).datapath_id] = 1
        with pytest.raises(l4lb.Error) as failure:
            await lb.remove_backend("web/a")
        assert (failure.value.code, failure.value.field) == ("FAILED_PRECONDITION", "force")
        assert await lb.remove_backend("web/a", force=True) == 4


async def test_statistics_name_services_and_backends(node: Node) -> None:
    async with node.running() as lb:
        await fill(lb)
        async for stats in lb.stats(samples=1):
            assert [s.service for s in stats.services] == ["services/web"]
            assert [b.backend for b in stats.backends] == ["services/web/backends/a", "services/web/backends/b"]
            assert {m.map for m in stats.maps} == {"flows"}


async def test_a_dry_run_is_decided_on_what_there_is_and_changes_nothing(node: Node) -> None:
    async with node.running() as lb:
        await fill(lb)
        before = await lb.config()
        assert (await lb.update_backend("web/a", weight=9, validate_only=True)).weight == 9
        with pytest.raises(l4lb.Error) as failure:
            await lb.create_service("two", vip="192.0.2.1", port=80, validate_only=True)
        assert failure.value.code == "ALREADY_EXISTS"
        assert await lb.config() == before


async def test_a_service_and_its_backends_go_together_only_by_force(node: Node) -> None:
    async with node.running() as lb:
        await fill(lb)
        with pytest.raises(l4lb.Error) as failure:
            await lb.delete_service("web")
        assert (failure.value.code, failure.value.field) == ("FAILED_PRECONDITION", "force")
        await lb.delete_service("web", force=True)
        config_left = await lb.config()
        assert not config_left.services
        assert not config_left.backends
