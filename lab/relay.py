"""Relay of the management link: `python -m lab.relay ADDRESS PORT SOCKET` hands TCP connections on to a Unix socket, until it is ended.

The agent listens on a Unix socket only. A controller elsewhere reaches it the way an operator's would: through something that is allowed to
open that socket, as `ssh -L PORT:SOCKET` does.
"""

import asyncio
import contextlib
import sys
from typing import Final

PORT: Final = 7443


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _relay(socket: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        there, back = await asyncio.open_unix_connection(socket)
    except OSError:  # nobody listens: the caller sees a closed connection and tries again when it wants
        writer.close()
        return
    await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _serve(address: str, port: int, socket: str) -> None:
    await asyncio.start_server(lambda reader, writer: _relay(socket, reader, writer), address, port)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
