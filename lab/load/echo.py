"""Echoes: long-lived TCP connections and UDP probes that send numbered messages and want them back."""

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

from lab.load.sockets import PATIENCE, Tally, connect

Address = tuple[str, int]
_UDP_PATIENCE: Final = 2.0
_SIZE: Final = 64


class BadEcho(Exception):
    """What came back is not what was sent."""


async def _exchange(sock: socket.socket, message: bytes) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE):
        await loop.sock_sendall(sock, message)
        back = b""
        while len(back) < len(message):
            data = await loop.sock_recv(sock, _SIZE)
            if not data:
                raise BadEcho("the other side closed")
            back += data
    if back != message:
        raise BadEcho("another message came back")


async def connections(
    addresses: list[Address], count: int, interval: float, stop: Awaitable[object], ready: Callable[[], None]
) -> dict[str, Any]:
    """`count` connections, spread over `addresses`, each with a message every `interval` seconds until `stop`. A connection that fails once
    is over. `open` is how many lasted to the end."""
    tally, messages, lasted = Tally(), 0, 0
    stopped = asyncio.ensure_future(stop)
    opened = asyncio.Barrier(count + 1)

    async def one(number: int) -> None:
        nonlocal messages, lasted
        sock: socket.socket | None = None
        try:
            sock = await connect(*addresses[number % len(addresses)])
            await _exchange(sock, f"{number}".encode().ljust(_SIZE))
        except (OSError, TimeoutError, BadEcho) as failure:
            tally.add(failure)
            if sock:
                sock.close()
            sock = None
        await opened.wait()
        if sock is None:
            return
        messages += 1
        try:
            await asyncio.sleep(interval * number / count)  # spread over the interval
            for turn in itertools.count():
                await _exchange(sock, f"{number} {turn}".encode().ljust(_SIZE))
                messages += 1
                await asyncio.wait([stopped], timeout=interval)
                if stopped.done():
                    break
            lasted += 1
        except (OSError, TimeoutError, BadEcho) as failure:
            tally.add(failure)
        finally:
            sock.close()

    tasks = [asyncio.create_task(one(number)) for number in range(count)]
    await opened.wait()
    ready()
    await asyncio.gather(*tasks)
    return {"requests": messages, "open": lasted, **tally.result()}


async def datagrams(
    addresses: list[Address], count: int, interval: float, stop: Awaitable[object], ready: Callable[[], None]
) -> dict[str, Any]:
    """`count` sockets that keep their port, and as many senders that take a new one each time; each sends a datagram every `interval`
    seconds and wants it back within 2 s, until `stop`. A datagram that does not come back failed; nothing is sent again."""
    tally, probes = Tally(), 0
    stopped = asyncio.ensure_future(stop)

    async def probe(sock: socket.socket, message: bytes) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_UDP_PATIENCE):
            await loop.sock_sendall(sock, message)
            while await loop.sock_recv(sock, _SIZE) != message:
                pass  # a late answer to a probe that failed already

    async def sender(number: int) -> None:
        nonlocal probes
        address = addresses[number % len(addresses)]
        fresh = number >= count
        await asyncio.sleep(interval * number / (2 * count))
        sock = await connect(*address, kind=socket.SOCK_DGRAM)
        for turn in itertools.count():
            if fresh and turn:
                sock.close()
                sock = await connect(*address, kind=socket.SOCK_DGRAM)
            probes += 1
            try:
                await probe(sock, f"{number} {turn}".encode())
            except (OSError, TimeoutError) as failure:
                tally.add(failure)
            await asyncio.wait([stopped], timeout=interval)
            if stopped.done():
                break
        sock.close()

    ready()
    await asyncio.gather(*(sender(number) for number in range(2 * count)))
    return {"requests": probes, **tally.result()}
