"""What the tests of probes share: servers that behave badly in one way each, on the loopback."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from l4lb_agent.model.address import MAPPED, Address
from l4lb_agent.model.health.check import HealthCheck, Kind, Target
from l4lb_agent.model.health.outcome import Outcome
from l4lb_agent.system.probing.prober import Prober

HERE = Address(MAPPED + socket.inet_aton("127.0.0.1"))
HERE_6 = Address(socket.inet_pton(socket.AF_INET6, "::1"))
STOOD_STILL = "the agent stood still for "
RESET = struct.pack("ii", 1, 0)
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def check(kind: Kind, **other: object) -> HealthCheck:
    """With a timeout that is long enough on a busy machine."""
    return HealthCheck(kind, **{"timeout_seconds": 5.0, **other})  # type: ignore[arg-type]


async def probed(what: HealthCheck, port: int, *, host: str = "www.example.org", address: Address = HERE) -> Outcome:
    """Of a prober of its own; once more when this machine stood still meanwhile."""
    for _ in range(20):
        outcome = await Prober().probe(what, Target(address, port, host))
        if not outcome.detail.startswith(STOOD_STILL):
            break
    return outcome


@contextlib.asynccontextmanager
async def serving(talk: Talk) -> AsyncIterator[int]:
    """A TCP server that lets `talk` have each connection; its port."""
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def saying(answer: bytes) -> Talk:
    """Reads a request, says `answer` and that there is no more, and hears the other side out: what is unread would be answered by RST."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read(4096)
            writer.write(answer)
            await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
            else:
                writer.close()
            while await reader.read(4096):
                pass
        writer.close()

    return talk


async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads a request, and answers by RST."""
    await reader.read(4096)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


@contextlib.contextmanager
def deaf() -> Iterator[int]:
    """A port whose connections are made by the kernel, and answered by nobody; over UDP it answers nobody either."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(server.getsockname())
        yield server.getsockname()[1]


@contextlib.contextmanager
def full() -> Iterator[int]:
    """A port that answers no SYN: there is no room for another connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, socket.create_connection(server.getsockname()):
        yield server.getsockname()[1]
