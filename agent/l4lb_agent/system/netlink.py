"""Requests to rtnetlink(7) through pyroute2, with bounded retries of what passes by itself.

Transient errors: ENOBUFS (a queue overflowed), EINTR, EAGAIN, EBUSY, and dumps that the kernel says were interrupted. A connection that
failed outside of an answer is opened anew: pyroute2 keeps such an error for ever.
"""

import errno
import os
from collections.abc import Callable
from typing import Any, Final

import tenacity
from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError

TRANSIENT: Final = frozenset({errno.ENOBUFS, errno.EINTR, errno.EAGAIN, errno.EBUSY})
ATTEMPTS: Final = 6  # 0.01 s, doubling up to 0.2 s, at random: about half a second in all

Message = Any  # pyroute2 is not typed: a mapping with get(), for attributes by their lower-case name


def is_transient(error: BaseException) -> bool:
    """True for what is worth another attempt."""
    if isinstance(error, NetlinkDumpInterrupted):
        return True
    code = error.code if isinstance(error, NetlinkError) else getattr(error, "errno", None)
    return code in TRANSIENT


class Netlink:
    """One lazily opened connection of one event loop. `connect` makes a new pyroute2 AsyncIPRoute."""

    def __init__(self, connect: Callable[[], AsyncIPRoute] = AsyncIPRoute) -> None:
        self._connect = connect
        self._connection: AsyncIPRoute | None = None

    async def ask(self, what: str, command: str, **arguments: Any) -> list[Message]:
        """Answers to one request, such as ask("route", "get", dst="192.0.2.1"). Raises OSError with what was asked."""
        policy = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=0.01, max=0.2),
            retry=tenacity.retry_if_exception(is_transient),
            reraise=True,
        )
        try:
            return await policy(self._once, what, command, arguments)
        except NetlinkError as error:
            raise OSError(error.code, f"netlink {what} {command} {arguments}: {os.strerror(abs(error.code))}") from error

    async def _once(self, what: str, command: str, arguments: dict[str, Any]) -> list[Message]:
        if self._connection is None:
            self._connection = self._connect()
        try:
            answers = await getattr(self._connection, what)(command, **arguments)
            return [message async for message in answers] if hasattr(answers, "__aiter__") else list(answers)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
