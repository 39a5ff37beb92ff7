"""Echo server of a backend: `python -m lab.echo PORT` sends back what it gets, over TCP and UDP, IPv4 and IPv6, until it is ended."""

import asyncio
import contextlib
import socket
import sys
from typing import cast

_BACKLOG = 1024


class _Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        self._transport.sendto(data, source)


async def _stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def _socket(family: socket.AddressFamily, kind: socket.SocketKind, port: int) -> socket.socket:
    made = socket.socket(family, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind(("", port))
    return made


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    for family in (socket.AF_INET, socket.AF_INET6):
        await asyncio.start_server(_stream, sock=_socket(family, socket.SOCK_STREAM, port), backlog=_BACKLOG)
        await loop.create_datagram_endpoint(_Datagrams, sock=_socket(family, socket.SOCK_DGRAM, port))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
