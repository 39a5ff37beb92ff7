"""The flight recorder over the API: what it remembers, and the files that it wrote by itself, in pieces and within limits."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from l4lb.v1 import service_pb2 as pb
from l4lb_agent.api import convert, pages
from l4lb_agent.api.caller import Context
from l4lb_agent.control.facade import Control
from l4lb_agent.model.errors import ResourceExhausted, Unavailable

MAX_DUMPS, DUMP_SECONDS = 4, 60.0  # at once, and until one must have been read
CHUNK = 1 << 16

_log = logging.getLogger(__name__)


class Dumps:
    """Of one agent. Who does not read a dump may not hold it for ever."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._sent = 0  # just now

    async def record(self, context: Context) -> None:
        """Sends what is remembered now."""
        async with self._one():
            data = await asyncio.to_thread(convert.record, await self._control.record())
            _log.info("event=record_dumped peer=%s bytes=%d", context.peer(), len(data))
            async with _in_time():
                for start in range(0, len(data), CHUNK):
                    await context.write(pb.DumpRecordResponse(chunk=data[start : start + CHUNK]))

    async def page(self, request: pb.ListDumpsRequest) -> pb.ListDumpsResponse:
        """One page of the files."""
        kept = [(one.name, one) for one in await self._control.dumps()]
        page, token = pages.page(kept, convert.kept_dump, request.page_size, request.page_token, "dumps")
        return pb.ListDumpsResponse(dumps=page, next_page_token=token)

    async def read(self, request: pb.ReadDumpRequest, context: Context) -> None:
        """Sends a file, of which never more than a piece is in memory."""
        dump_id = convert.dump_id(request.name)
        async with self._one():
            file = await self._control.open_dump(dump_id)
            with contextlib.closing(file):
                _log.info("event=dump_read peer=%s name=%s", context.peer(), request.name)
                async with _in_time():
                    while chunk := await _next(file):
                        await context.write(pb.ReadDumpResponse(chunk=chunk))

    @contextlib.asynccontextmanager
    async def _one(self) -> AsyncIterator[None]:
        if self._sent >= MAX_DUMPS:
            message = f"{MAX_DUMPS} dumps are being sent, as many as this agent sends at once: try again"
            raise ResourceExhausted(message, reason="TOO_MANY_DUMPS", metadata={"maximum": str(MAX_DUMPS)})
        self._sent += 1
        try:
            yield
        finally:
            self._sent -= 1


async def _next(file: Any) -> bytes:
    """The next piece, b"" at the end. Raises Unavailable when the disk does not give it."""
    try:
        return bytes(await asyncio.to_thread(file.read, CHUNK))
    except OSError as error:
        raise Unavailable(f"the dump cannot be read: {error}", reason="DUMPS_UNREADABLE") from error


@contextlib.asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(DUMP_SECONDS):
            yield
    except TimeoutError:
        raise Unavailable(f"the dump was not read within {DUMP_SECONDS:g} seconds", reason="NOT_READ") from None
