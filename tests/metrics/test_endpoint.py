"""Scrapes over HTTP: what is answered, to whom, and what nobody can do to the agent by asking."""

import asyncio
import contextlib
import errno
import socket
import stat
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from l4lb_agent import telemetry
from l4lb_agent.api.doors import UnixDoor
from l4lb_agent.api.roles import Role
from l4lb_agent.control.agent import Agent
from l4lb_agent.metrics import endpoint as endpoint_module
from l4lb_agent.metrics.endpoint import CONNECTIONS, Endpoint, Source
from l4lb_agent.model.observed import Counters
from tests.fakes.node import Node, until
from tests.metrics.conftest import OPENMETRICS, parsed

VIEWER = UnixDoor(Path("/unused"), Role.VIEWER, 0o660, "")


class Served:
    """An endpoint on a port of its own, and ways to ask it."""

    def __init__(self, agent: Agent) -> None:
        self.port = 0
        self.endpoint = Endpoint(Source(agent.measured, lambda: [], "1.2.3"), self._bind, "test")

    def _bind(self) -> socket.socket:
        made = socket.socket()
        made.bind(("127.0.0.1", 0))
        self.port = made.getsockname()[1]
        return made

    async def send(self, data: bytes) -> tuple[str, dict[str, str], bytes]:
        """Status line, headers and body of the answer; empty when there is none."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        async with asyncio.timeout(20):
            answer = await reader.read()
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        return status, dict(line.lower().split(": ", 1) for line in lines), body

    async def get(self, target: str = "/metrics", accept: str = OPENMETRICS, method: str = "GET") -> tuple[str, dict[str, str], bytes]:
        """One request as scrapers make it."""
        return await self.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode())


@contextlib.asynccontextmanager
async def serving(node: Node) -> AsyncIterator[Served]:
    async with node.running() as agent:
        served = Served(agent)
        task = asyncio.create_task(served.endpoint.run())
        try:
            await until(lambda: served.port)
            yield served
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_a_scraper_gets_the_format_that_it_understands(node: Node) -> None:
    async with serving(node) as served:
        status, headers, body = await served.get()
        assert status == "HTTP/1.1 200 OK"
        assert headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert int(headers["content-length"]) == len(body)
        assert "l4lb_agent_ready" in parsed(body.decode())
        _, headers, body = await served.get("/metrics?x=1", "*/*")
        assert headers["content-type"].startswith("text/plain; version=0.0.4")
        assert b"# EOF" not in body
        status, headers, body = await served.get(method="HEAD")
        assert (status, body) == ("HTTP/1.1 200 OK", b"")
        assert int(headers["content-length"]) > 1000


async def test_there_is_nothing_else(node: Node) -> None:
    async with serving(node) as served:
        assert (await served.get("/"))[0].startswith("HTTP/1.1 404")
        status, headers, _ = await served.get(method="POST")
        assert (status.split()[1], headers["allow"]) == ("405", "get, head")
        assert (await served.send(b"\xff\x00\r\n\r\n"))[0].startswith("HTTP/1.1 405")
        assert await served.send(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 100_000) == ("", {}, b"")
        assert (await served.get())[0] == "HTTP/1.1 200 OK"


async def test_a_scraper_that_says_nothing_is_let_go(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "REQUEST_SECONDS", 0.2)
    async with serving(node) as served:
        assert await served.send(b"GET /metrics HTTP/1.1\r\n") == ("", {}, b"")
        assert (await served.get())[0] == "HTTP/1.1 200 OK"


async def test_one_that_does_not_read_is_let_go(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "ANSWER_SECONDS", 0.2)
    node.datapath.traffic = Counters({}, {}, {(n, v): (1, 1) for n in range(256) for v in range(256)}, 0.0)  # megabytes
    async with serving(node) as served:
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.connect(("127.0.0.1", served.port))
            lazy.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            await until(lambda: served.endpoint._open == 1)
            await until(lambda: served.endpoint._open == 0)
        assert len((await served.get())[2]) > 4_000_000


async def test_more_connections_than_there_is_room_for_are_refused_at_once(node: Node) -> None:
    async with serving(node) as served:
        opened = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(CONNECTIONS)]
        await until(lambda: served.endpoint._open == CONNECTIONS)
        assert (await served.send(b""))[0].startswith("HTTP/1.1 503")
        for _, writer in opened:
            writer.close()
        await until(lambda: served.endpoint._open == 0)
        assert (await served.get())[0] == "HTTP/1.1 200 OK"


async def test_scrapes_at_the_same_time_read_the_counters_once(node: Node) -> None:
    async with serving(node) as served:
        before = node.datapath.counter_reads
        answers = await asyncio.gather(*(served.get() for _ in range(CONNECTIONS)))
        assert {status for status, _, _ in answers} == {"HTTP/1.1 200 OK"}
        assert node.datapath.counter_reads == before + 1


async def test_counters_that_cannot_be_read_are_an_answer_and_not_the_end(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "MADE_SECONDS", 0.0)
    async with serving(node) as served:
        node.datapath.unreadable = True
        status, _, body = await served.get()
        assert (status.split()[1], b"refused by the test" in body) == ("503", True)
        node.datapath.unreadable = False
        assert (await served.get())[0] == "HTTP/1.1 200 OK"


async def test_a_port_that_is_taken_is_a_warning_and_is_tried_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "RETRY_SECONDS", 0.05)
    async with node.running() as agent:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            listen = f"127.0.0.1:{taken.getsockname()[1]}"
            endpoint = Endpoint(Source(agent.measured, lambda: [], "1"), lambda: telemetry.bound(listen, VIEWER), listen)
            task = asyncio.create_task(endpoint.run())
            await until(endpoint.warnings)
            assert endpoint.warnings()[0][0] == "METRICS_LISTEN_FAILED"
        await until(lambda: not endpoint.warnings())
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_unix_socket_is_for_those_who_may_open_the_viewers_and_replaces_a_dead_one(node: Node) -> None:
    with tempfile.TemporaryDirectory(prefix="l4lb-metrics-") as folder:
        path = Path(folder, "metrics.sock")
        telemetry.bound(str(path), VIEWER).close()
        path.chmod(0o600)
        async with node.running() as agent:
            endpoint = Endpoint(Source(agent.measured, lambda: [], "1"), lambda: telemetry.bound(str(path), VIEWER), str(path))
            task = asyncio.create_task(endpoint.run())
            await until(lambda: path.exists() and stat.S_IMODE(path.stat().st_mode) == 0o660)
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
            writer.close()
            with pytest.raises(OSError, match="another process listens") as caught:
                telemetry.bound(str(path), VIEWER)
            assert caught.value.errno == errno.EADDRINUSE
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
