"""Echo server of a backend: `python -m lab.echo PORT` sends back what it gets, over TCP and UDP, IPv4 and IPv6, until it is ended."""

import asyncio
import contextlib
import socket
import sys

_BACKLOG = 1024


_IP_PKTINFO = 8  # linux/in.h; Python does not name it
_CONTROL_BYTES = 64


def _answer(sock: socket.socket) -> None:
    """Send one datagram back, from the address that it was sent to: a VIP on lo, when the load balancer has not translated it."""
    with contextlib.suppress(OSError):
        data, control, _, source = sock.recvmsg(65536, _CONTROL_BYTES)
        sock.sendmsg([data], [_from(*message) for message in control], 0, source)


def _from(level: int, kind: int, info: bytes) -> tuple[int, int, bytes]:
    """The same without the interface, which may be a tunnel: the route says where it goes."""
    if level == socket.IPPROTO_IPV6:
        return level, kind, info[:16] + bytes(4)
    return level, kind, bytes(4) + info[8:12] + bytes(4)


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
        datagrams = _socket(family, socket.SOCK_DGRAM, port)
        datagrams.setblocking(False)
        if family == socket.AF_INET:
            datagrams.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        else:
            datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        loop.add_reader(datagrams, _answer, datagrams)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
