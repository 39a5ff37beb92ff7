"""One call of grpc.health.v1.Health/Check, by h2, on a connection of its own: a channel of grpcio has threads and sockets that outlive its
closing, says in prose alone why it could not connect, and cannot leave a certificate unverified."""

from collections.abc import AsyncIterator
from http import HTTPStatus

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from l4lb_agent.model.health.check import HealthCheck, Target
from l4lb_agent.model.health.outcome import Why
from l4lb_agent.system.probing import serving
from l4lb_agent.system.probing.connection import Connection, Progress
from l4lb_agent.system.probing.failure import Failed, printable, too_early, unexpected

_BEGIN = 4  # RFC 9113, 3.4: servers begin with a frame of this type, SETTINGS


class _Answer:
    """What has come of it."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.body = b""


async def grpc_health(check: HealthCheck, target: Target, progress: Progress) -> str:
    """What the server says of the service. Raises OSError, Failed."""
    async with Connection(target, progress) as connection:
        if check.tls:
            await connection.handshake(check, "h2")
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        _ask(state, check, target)
        await connection.send(state.data_to_send())
        answer = _Answer()
        async for event in _events(connection, state):
            if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                answer.headers.update((bytes(name), bytes(value)) for name, value in event.headers or [])
            elif isinstance(event, h2.events.DataReceived):
                answer.body += event.data or b""
    return _judged(answer)


def _ask(state: h2.connection.H2Connection, check: HealthCheck, target: Target) -> None:
    state.initiate_connection()
    headers = [
        (":method", "POST"),
        (":scheme", "https" if check.tls else "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", target.host),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-accept-encoding", "identity"),
        ("grpc-timeout", f"{round(check.timeout_seconds * 1000)}m"),
        ("user-agent", "l4lb-agent"),
    ]
    state.send_headers(1, headers)
    state.send_data(1, serving.question(check.service), end_stream=True)


async def _events(connection: Connection, state: h2.connection.H2Connection) -> AsyncIterator[h2.events.Event]:
    """Until the stream has ended. Raises Failed where it does not end as it should."""
    first = True
    while True:
        data = await connection.receive()
        if not data:
            raise too_early()
        # h2 would wait for the end of what is no frame.
        if first and len(data) > 3 and data[3] != _BEGIN:
            raise unexpected(data)
        first = False
        try:
            events = state.receive_data(data)
            await connection.send(state.data_to_send())
        except h2.exceptions.ProtocolError as error:
            raise Failed(Why.ANSWER, f"no answer of HTTP/2: {printable(str(error))}") from None
        for event in events:
            if isinstance(event, h2.events.StreamEnded):
                return
            if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                raise Failed(Why.RESET, f"ended by HTTP/2 error {int(event.error_code or 0)}")
            yield event


def _judged(answer: _Answer) -> str:
    status = answer.headers.get(b":status", b"")
    if status != b"200":
        words = HTTPStatus(int(status)).phrase if status.isdigit() and int(status) in HTTPStatus.__members__.values() else ""
        raise Failed(Why.STATUS, f"{printable(status)} {words}".strip())
    code = answer.headers.get(b"grpc-status", b"")
    if code != b"0":
        words = printable(answer.headers.get(b"grpc-message", b""))
        raise Failed(Why.NOT_SERVING if code else Why.ANSWER, f"grpc-status {printable(code) or 'missing'}: {words}".removesuffix(": "))
    said = serving.answered(answer.body)
    if said != serving.SERVING:
        raise Failed(Why.NOT_SERVING if said else Why.ANSWER, said or "no message of grpc.health.v1")
    return said
