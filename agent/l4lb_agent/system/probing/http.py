"""One HTTP/1.1 request, by h11. The body is read only as far as it is asked about."""

from collections.abc import AsyncIterator

import h11

from l4lb_agent.model.health.check import HealthCheck, Target
from l4lb_agent.model.health.outcome import Why
from l4lb_agent.system.probing.connection import Connection, Progress
from l4lb_agent.system.probing.failure import Failed, printable, too_early, unexpected

_BEGIN = b"HTTP/"
_LONGEST_HEAD = 16384  # bytes of status line and headers


async def http(check: HealthCheck, target: Target, progress: Progress) -> str:
    """Status and reason as seen. Raises OSError, Failed."""
    async with Connection(target, progress) as connection:
        if check.tls:
            await connection.handshake(check, "http/1.1")
        state = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
        headers = [("Host", target.host), ("User-Agent", "l4lb-agent"), ("Accept", "*/*"), ("Connection", "close")]
        request = h11.Request(method=check.method, target=check.path, headers=headers)
        await connection.send((state.send(request) or b"") + (state.send(h11.EndOfMessage()) or b""))
        seen, body, found = "", bytearray(), not check.contains
        async for event in _events(connection, state):
            if isinstance(event, h11.Response):
                seen = _judged(check, event)
                progress.doing = "reading the body"
            elif isinstance(event, h11.Data):
                begin = max(0, len(body) - len(check.contains))  # before it, it was looked for
                body += event.data
                found = found or body.find(check.contains, begin) >= 0
            if seen and found:
                return seen
    raise Failed(Why.ANSWER, f"{seen}, without what the body should contain")


def _judged(check: HealthCheck, response: h11.Response) -> str:
    seen = f"{response.status_code} {printable(bytes(response.reason))}".strip()
    if not any(first <= response.status_code <= last for first, last in check.statuses):
        raise Failed(Why.STATUS, seen)
    return seen


async def _events(connection: Connection, state: h11.Connection) -> AsyncIterator[h11.Response | h11.Data]:
    """What matters of an answer, until it is whole. Raises Failed for one that is none, or ends too early."""
    closed = False
    while True:
        try:
            event = state.next_event()
        except h11.RemoteProtocolError as error:
            if closed:
                raise too_early() from None
            raise Failed(Why.ANSWER, f"no answer of HTTP/1.1: {printable(str(error))}") from None
        if event is h11.NEED_DATA:
            data = await connection.receive()
            closed = not data
            state.receive_data(data)
            begun = state.trailing_data[0]
            # h11 would wait for the end of what are no headers.
            if state.their_state is h11.SEND_RESPONSE and not _BEGIN.startswith(begun[: len(_BEGIN)]):
                raise unexpected(begun)
        elif isinstance(event, h11.Response | h11.Data):
            yield event
        elif isinstance(event, h11.EndOfMessage):
            return
