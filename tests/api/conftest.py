"""A real ApiServer on a Unix socket with a FakeControl behind it, in a loop of its own so that blocking clients can be tested too."""

import asyncio
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest

import l4lb
from l4lb.v1 import service_pb2_grpc
from l4lb_agent.api.doors import UnixDoor
from l4lb_agent.api.roles import Role
from l4lb_agent.api.server import ApiServer
from tests.fakes.control import FakeControl
from tests.fakes.world import FakeAuditFile

T = TypeVar("T")


class Agent:
    """A server that can be stopped and started again, and its control."""

    def __init__(self, folder: Path, role: Role = Role.ADMIN) -> None:
        self.socket = folder / "admin.sock"
        self.target = f"unix://{self.socket}"
        self.role = role
        self.audit = FakeAuditFile()
        self.before: Sequence[grpc.aio.ServerInterceptor] = ()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.control = self.run(self._make())
        self.server: ApiServer | None = None
        self.start()

    async def _make(self) -> FakeControl:
        return FakeControl()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs `coroutine` in the server's loop."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(30)

    def wait(self, condition: Callable[[], Any]) -> None:
        """Waits for something that happens by itself."""
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "it does not happen"
            time.sleep(0.01)

    def release(self, after: float = 0.0) -> None:
        """Lets the changes go on that `control.hold` holds."""
        assert self.control.hold
        self._loop.call_soon_threadsafe(self._loop.call_later, after, self.control.hold.set)

    def start(self) -> None:
        """Starts a new server on the same socket, with the same control."""

        async def start() -> ApiServer:
            server = ApiServer(self.control, [UnixDoor(self.socket, self.role)], self.audit, version="1.2.3", before=self.before)
            await server.start()
            return server

        self.server = self.run(start())

    def stop(self) -> None:
        """Stops the server; the control stays."""
        assert self.server is not None
        self.run(self.server.stop(0))
        self.server = None

    def close(self) -> None:
        """Stops everything."""
        if self.server:
            self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: that of a Unix socket may have 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="l4lb-api-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start_agent(folder: Path) -> Iterator[Callable[..., Agent]]:
    """Makes agents that end with the test."""
    agents: list[Agent] = []

    def start(role: Role = Role.ADMIN) -> Agent:
        agents.append(Agent(folder, role))
        return agents[-1]

    yield start
    for agent in agents:
        agent.close()


@pytest.fixture
def agent(start_agent: Callable[..., Agent]) -> Agent:
    """One agent whose socket gives the role admin."""
    return start_agent()


@pytest.fixture
def client(agent: Agent) -> Iterator[l4lb.Client]:
    """A blocking client of that agent."""
    with l4lb.Client(agent.target) as lb:
        yield lb


@pytest.fixture
def stub(agent: Agent) -> Iterator[Any]:
    """The generated stub, without any of the client's help."""
    with grpc.insecure_channel(agent.target) as channel:
        yield service_pb2_grpc.LoadBalancerServiceStub(channel)
