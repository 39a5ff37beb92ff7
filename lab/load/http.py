"""HTTP over connections that carry one request each: counted, at a constant rate, from given ports, slow downloads, uploads."""

import asyncio
import hashlib
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from lab.load.sockets import PATIENCE, Tally, connect

_CHUNK: Final = 1 << 16


@dataclass(frozen=True)
class Target:
    """What to ask for. `marker` becomes the query, so that access logs tell generators apart."""

    address: str
    port: int
    path: str
    marker: str

    def request(self, method: str = "GET", length: int = 0) -> bytes:
        """Head of a request. The server closes first, so the client's port is free at once."""
        uri = f"{self.path}?{self.marker}"
        body = f"Content-Length: {length}\r\n" if method != "GET" else ""
        return f"{method} {uri} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n{body}\r\n".encode()


class BadReply(Exception):
    """The reply is not a whole 2xx."""


async def receive(sock: Any, take: Callable[[bytes], object], begun: Callable[[str], object] = len, patience: float = PATIENCE) -> int:
    """Read a reply until the server closes; tells `begun` which backend answers, hands the body to `take` piece by piece. Returns its
    length. Raises BadReply, OSError or TimeoutError."""
    loop = asyncio.get_running_loop()
    head, total, expected = b"", 0, -1
    while True:
        async with asyncio.timeout(patience):
            data = await loop.sock_recv(sock, _CHUNK)
        if not data:
            break
        if expected < 0:
            head += data
            if b"\r\n\r\n" not in head:
                continue
            lines, data = head.split(b"\r\n\r\n", 1)
            fields = _fields(lines.decode("latin-1"))
            expected = int(fields.get("content-length", "0"))
            begun(fields.get("x-backend", ""))
        take(data)
        total += len(data)
    if total != expected:
        raise BadReply(f"{total} of {expected} bytes")
    return total


def _fields(head: str) -> dict[str, str]:
    first, *fields = head.split("\r\n")
    if not first.split(" ", 2)[1].startswith("2"):
        raise BadReply(first)
    return {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}


async def fetch(target: Target, source_port: int = 0, patience: float = PATIENCE) -> str:
    """The body of one reply, on a connection of its own. Raises OSError, TimeoutError or BadReply."""
    body: list[bytes] = []
    with await connect(target.address, target.port, source_port=source_port, patience=patience) as sock:
        async with asyncio.timeout(patience):
            await asyncio.get_running_loop().sock_sendall(sock, target.request())
        await receive(sock, body.append, patience=patience)
    return b"".join(body).decode().strip()


class Requests:
    """Requests by who answered, and how long each took."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self.tally = Tally()
        self._patience = patience
        self.by_backend: dict[str, int] = {}
        self.seconds: list[float] = []
        self.answered: list[float] = []  # CLOCK_MONOTONIC, comparable with other processes of this machine

    async def one(self, target: Target, source_port: int = 0) -> None:
        """Make one request and count it."""
        started = time.monotonic()
        try:
            name = await fetch(target, source_port, self._patience)
        except (OSError, TimeoutError, BadReply) as failure:
            self.tally.add(failure)
            return
        self.answered.append(time.monotonic())
        self.seconds.append(self.answered[-1] - started)
        self.by_backend[name] = self.by_backend.get(name, 0) + 1

    def result(self) -> dict[str, Any]:
        """Counts, and latencies in milliseconds."""
        ordered = sorted(self.seconds)
        quantiles = {f"p{q}": round(1000 * ordered[len(ordered) * q // 100], 2) for q in (50, 99)} if ordered else {}
        requests = len(self.seconds) + self.tally.failed
        return {"requests": requests, **self.tally.result(), "by_backend": self.by_backend, "milliseconds": quantiles}


async def counted(
    targets: list[Target], count: int, concurrency: int, ports: list[int], patience: float, ready: Callable[[], None]
) -> dict[str, Any]:
    """`count` requests to each target, `concurrency` at a time. With `ports`, each target's requests are bound to one after the other."""
    requests = Requests(patience)
    cycle = itertools.islice(itertools.cycle(ports or [0]), count)
    work = iter([(target, port) for port in cycle for target in targets])

    async def worker() -> None:
        for target, port in work:
            await requests.one(target, port)

    ready()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return requests.result()


async def constant(targets: list[Target], rate: float, stop: Awaitable[object], ready: Callable[[], None]) -> dict[str, Any]:
    """`rate` new connections a second, to each target in turn, whatever becomes of the earlier ones, until `stop`."""
    requests, tasks = Requests(), set[asyncio.Task[None]]()
    stopped = asyncio.ensure_future(stop)
    started = time.monotonic()
    ready()
    for number, target in enumerate(itertools.cycle(targets)):
        wait = started + number / rate - time.monotonic()
        if wait > 0:
            await asyncio.wait([stopped], timeout=wait)
        if stopped.done():
            break
        task = asyncio.create_task(requests.one(target))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    seconds = time.monotonic() - started
    await asyncio.gather(*tasks)
    return {**requests.result(), "seconds": seconds, "answered": requests.answered}


async def download(target: Target, ready: Callable[..., None]) -> dict[str, Any]:
    """One GET; ready, naming the backend, when the reply has begun. A failure is in `errors`."""
    digest, tally, total = hashlib.sha256(), Tally(), 0
    started = time.monotonic()

    try:
        with await connect(target.address, target.port) as sock:
            await asyncio.get_running_loop().sock_sendall(sock, target.request())
            total = await receive(sock, digest.update, lambda name: ready(backend=name))
    except (OSError, TimeoutError, BadReply) as failure:
        tally.add(failure)
    ended = time.monotonic()
    return {"sha256": digest.hexdigest(), "bytes": total, "seconds": ended - started, "ended": ended, **tally.result()}


async def upload(target: Target, content: bytes) -> dict[str, Any]:
    """One PUT; `sha256` is that of what was sent."""
    tally = Tally()
    started = time.monotonic()
    try:
        with await connect(target.address, target.port) as sock:
            await asyncio.get_running_loop().sock_sendall(sock, target.request("PUT", len(content)) + content)
            await receive(sock, len)
    except (OSError, TimeoutError, BadReply) as failure:
        tally.add(failure)
    return {"sha256": hashlib.sha256(content).hexdigest(), "seconds": time.monotonic() - started, **tally.result()}
