"""A real ApiServer with a TLS door on loopback and certificates made for the test."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

import l4lb
from l4lb_agent.api.doors import TlsDoor
from l4lb_agent.api.server import ApiServer
from lab.certificates import ROLES, Authority, Certificate
from tests.fakes.control import FakeControl
from tests.fakes.world import FakeAuditFile

T = TypeVar("T")
WITHIN = 20.0  # seconds that anything here may take


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], Any], what: str) -> None:
    """Waits for something that happens by itself."""
    end = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < end, f"not within {WITHIN} s: {what}"
        time.sleep(0.02)


class Pki:
    """An authority with an agent's certificate and one for each role."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.agent = self.authority.agent("127.0.0.1")
        self.roles = {role: self.authority.controller(role) for role in ROLES}

    @classmethod
    def of(cls, folder: Path) -> "Pki":
        """A copy of another's folder."""
        made = cls.__new__(cls)
        made.authority = Authority.at(folder)
        made.agent = Certificate(folder / "agent.pem", folder / "agent.key")
        made.roles = {role: Certificate(folder / f"{role}.pem", folder / f"{role}.key") for role in ROLES}
        return made

    def door(self, **changes: Any) -> TlsDoor:
        """A door on a free port of loopback."""
        return replace(TlsDoor(f"127.0.0.1:{free_port()}", self.agent.cert, self.agent.key, self.authority.ca), **changes)

    def files(self, who: str | Certificate) -> dict[str, Path]:
        """TLS arguments of a client with the certificate of a role, or another."""
        shown = self.roles[who] if isinstance(who, str) else who
        return {"ca": self.authority.ca, "cert": shown.cert, "key": shown.key}


class Served:
    """A server in a loop of its own."""

    def __init__(self, door: TlsDoor) -> None:
        self.door = door
        self.audit = FakeAuditFile()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.control, self.server = self.run(self._make())

    async def _make(self) -> tuple[FakeControl, ApiServer]:
        control = FakeControl()
        server = ApiServer(control, [self.door], self.audit, version="1.2.3")
        await server.start()
        return control, server

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs `coroutine` in the server's loop."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(WITHIN)

    def client(self, files: dict[str, Path], **options: Any) -> l4lb.Client:
        """A client with these files."""
        return l4lb.Client(self.door.listen, **files, **options)

    def identify_by(self, identify: Callable[[Any], Any]) -> None:
        """Lets the test look on when callers are identified."""
        [listener] = self.server._open
        listener._guard._identify = identify  # type: ignore[attr-defined]

    def reasons(self) -> list[str]:
        """Of the warnings."""
        return [reason for reason, _ in self.server.warnings()]

    def close(self) -> None:
        """Ends it."""
        self.run(self.server.stop(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture(scope="session")
def shared_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """For tests that change no file of it."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    """For tests that change files."""
    return Pki(tmp_path / "pki")


@pytest.fixture
def serve() -> Iterator[Callable[[TlsDoor], Served]]:
    """Makes servers that end with the test."""
    made: list[Served] = []

    def start(door: TlsDoor) -> Served:
        made.append(Served(door))
        return made[-1]

    yield start
    for served in made:
        served.close()
