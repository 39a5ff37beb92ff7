"""Sockets of the load generators."""

import asyncio
import errno
import socket
from typing import Any, Final

PATIENCE: Final = 5.0  # seconds for one step of one connection; longer than any retransmission that is worth waiting for
LAST_ACK_SECONDS: Final = 0.15  # a FIN that was lost is sent again later than that, and is an error


def family_of(address: str) -> socket.AddressFamily:
    """AF_INET6 for an address with a colon."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


async def connect(
    address: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM, source_port: int = 0, patience: float = PATIENCE
) -> socket.socket:
    """A connected non-blocking socket. A source port is bound with SO_REUSEADDR, so that one in use before may be used again.
    Raises OSError or TimeoutError."""
    made = socket.socket(family_of(address), kind)
    try:
        made.setblocking(False)
        if source_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(("", source_port))
        async with asyncio.timeout(patience):
            await _connected(made, (address, port))
    except BaseException:
        made.close()
        raise
    return made


async def _connected(sock: socket.socket, to: tuple[str, int]) -> None:
    """A port that was in use before is free when the last ACK has come; that a busy machine handles a little later."""
    loop = asyncio.get_running_loop()
    until = loop.time() + LAST_ACK_SECONDS
    while True:
        try:
            return await loop.sock_connect(sock, to)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL or loop.time() > until:
                raise
        await asyncio.sleep(0.005)


def describe(failure: BaseException) -> str:
    """A failure in few words."""
    return f"{type(failure).__name__}: {failure}" if str(failure) else type(failure).__name__


class Tally:
    """Failures by description, and how many."""

    def __init__(self) -> None:
        self.failed = 0
        self.errors: dict[str, int] = {}

    def add(self, failure: BaseException) -> None:
        """Count one."""
        self.failed += 1
        text = describe(failure)
        self.errors[text] = self.errors.get(text, 0) + 1

    def result(self) -> dict[str, Any]:
        """As part of a generator's result."""
        return {"failed": self.failed, "errors": self.errors}
