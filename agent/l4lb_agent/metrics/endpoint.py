"""Answers scrapes: HTTP on a socket that the agent's host alone can reach, GET /metrics and nothing else.

Nothing that a scraper does costs the agent more than its share: the text is made in a thread that pauses again and again, at most once in
MADE_SECONDS whoever asks, and each connection has one request, a deadline and a bound.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from l4lb_agent.control.measure import Measured
from l4lb_agent.metrics import families, fill
from l4lb_agent.metrics.fill import About
from l4lb_agent.metrics.text import Sheet
from l4lb_agent.model.errors import Refused

MADE_SECONDS = 1.0
REQUEST_BYTES, REQUEST_SECONDS, ANSWER_SECONDS = 16384, 5.0, 20.0
CONNECTIONS = 16
BREATH_SECONDS = 0.0002  # that the thread sleeps after each millisecond of work or so
RETRY_SECONDS = 5.0  # while the address is not this host's, or the port taken

_log = logging.getLogger(__name__)
Bind = Callable[[], socket.socket]
Warnings = Callable[[], list[tuple[str, str]]]


@dataclass(frozen=True)
class Source:
    """What a scrape tells. `warnings` are those that GetAgent gives besides the agent's own."""

    measured: Callable[[], Awaitable[Measured]]
    warnings: Warnings
    version: str
    calls: Callable[[], Mapping[tuple[str, str], int]] = dict  # that have ended, by method and status
    backends: bool = True


class Endpoint:
    """Serves `source` on the socket that `bind` makes; `name` is what to call it. bind() raises OSError when it cannot now."""

    def __init__(self, source: Source, bind: Bind, name: str) -> None:
        self._source, self._bind, self._name = source, bind, name
        self._problem = ""
        self._open = 0
        self._made: tuple[float, asyncio.Task[Sheet]] | None = None

    def warnings(self) -> list[tuple[str, str]]:
        """(reason, message) for GetAgent."""
        return [("METRICS_LISTEN_FAILED", f"metrics: {self._name} cannot be listened on: {self._problem}")] if self._problem else []

    async def run(self) -> None:
        """Serves until cancelled. An endpoint that cannot be opened, or fails, is tried again: forwarding is more important."""
        while True:
            try:
                await self._serve()
            except OSError as error:
                reason = str(error.strerror or error)
                if reason != self._problem:
                    _log.error("event=metrics_listen_failed listen=%s error=%r", self._name, reason)
                self._problem = reason
            except Exception:
                _log.exception("event=metrics_failed listen=%s", self._name)
                self._problem = "the agent's log says why"
            await asyncio.sleep(RETRY_SECONDS)

    async def _serve(self) -> None:
        async with await asyncio.start_server(self._answer, sock=self._bind(), limit=REQUEST_BYTES) as server:
            self._problem = ""
            _log.info("event=serving metrics=%s backends=%s", self._name, self._source.backends)
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > CONNECTIONS:
                writer.write(_status("503 Service Unavailable", f"more than {CONNECTIONS} connections at the same time\n".encode()))
                return
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            parts = await self._response(head.decode("latin-1"))
            async with asyncio.timeout(ANSWER_SECONDS):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass  # a scraper that is slow or gone
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _response(self, head: str) -> list[bytes]:
        request, *lines = head.split("\r\n")
        method, target, *_ = [*request.split(" "), "", ""]
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if method not in ("GET", "HEAD"):
            return [_status("405 Method Not Allowed", b"GET /metrics\n", "Allow: GET, HEAD\r\n")]
        if target.partition("?")[0] != "/metrics":
            return [_status("404 Not Found", b"GET /metrics\n")]
        try:
            sheet = await asyncio.shield(self._sheet())
        except (Refused, OSError) as error:
            _log.warning("event=scrape_failed error=%r", str(error))
            return [_status("503 Service Unavailable", f"{error}\n".encode())]
        content_type, parts = await asyncio.to_thread(sheet.write, headers.get("accept", ""), families.EVERY)
        first = _head("200 OK", content_type, sum(map(len, parts)))
        return [first] if method == "HEAD" else [first, *parts]

    def _sheet(self) -> "asyncio.Task[Sheet]":
        """The samples of now, or of at most MADE_SECONDS ago; who asks meanwhile waits for the same ones."""
        now = asyncio.get_running_loop().time()
        if self._made is None or now - self._made[0] >= MADE_SECONDS and self._made[1].done():
            self._made = (now, asyncio.create_task(self._make(), name="scrape"))
            self._made[1].add_done_callback(lambda task: task.cancelled() or task.exception())  # whoever waits for it may have gone
        return self._made[1]

    async def _make(self) -> Sheet:
        source = self._source
        about = About(await source.measured(), source.warnings(), dict(source.calls()), source.version)
        return await asyncio.to_thread(fill.sheet, about, backends=source.backends, breathe=_breathe)


def _breathe() -> None:
    time.sleep(BREATH_SECONDS)


def _status(status: str, body: bytes, more: str = "") -> bytes:
    return _head(status, "text/plain; charset=utf-8", len(body), more) + body


def _head(status: str, content_type: str, length: int, more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n".encode()
