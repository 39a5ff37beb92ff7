"""One open door: a gRPC server with a port of its own, its limits, and the guard that knows who comes in there."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import grpc

from l4lb_agent.api import caller, unix_socket
from l4lb_agent.api.audit import Audit
from l4lb_agent.api.certificates import Certificates
from l4lb_agent.api.doors import TlsDoor, UnixDoor
from l4lb_agent.api.guard import Guard

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_CALLS = 1024
CONNECTION_CALLS = 256  # of one connection at a time
FINISH_SECONDS = 2.0  # that changes whose callers have gone get when the agent stops
LOOK_SECONDS = 2.0  # between looks at files that nobody asked for, and tries to open a port
_LIMITS = (
    ("grpc.so_reuseport", 0),  # else a second agent would share the port
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
    # gRPC refuses calls also because of those that have ended and are not freed yet: when many are answered at one time, as changes that
    # went into the journal together are, their callers' next calls would come too soon. So it is told of twice as many.
    ("grpc.max_concurrent_streams", 2 * CONNECTION_CALLS),
    # Calls that a busy agent does not come to within so many seconds end as CANCELLED: 30 by itself. Callers' own deadlines are enough.
    ("grpc.server_max_unrequested_time_in_server", 3600),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.max_connection_age_grace_ms", 10_000),
)
_SOCKET_LIMITS = (*_LIMITS, ("grpc.max_connection_age_ms", 3_600_000))  # whoever is no longer in the group is gone after an hour
Serve = Callable[[grpc.aio.Server], None]  # adds what is served

_log = logging.getLogger(__name__)


class Listener(Protocol):
    """A door that is open between start() and stop()."""

    async def start(self) -> None:
        """Opens it. Raises unix_socket.SocketRefused when it never can be."""

    async def stop(self, grace: float) -> None:
        """Refuses new calls, gives those that run `grace` seconds, ends."""

    def look(self) -> None:
        """Takes over what was replaced on disk."""

    def warnings(self) -> list[tuple[str, str]]:
        """(reason, message) of what is not as configured."""


Before = Sequence[grpc.aio.ServerInterceptor]  # what stands before the guard


def _server(guard: Guard, before: Before, serve: Serve, options: tuple[tuple[str, int], ...]) -> grpc.aio.Server:
    server = grpc.aio.server(interceptors=[*before, guard], options=options, maximum_concurrent_rpcs=MAX_CALLS)
    serve(server)
    return server


class UnixListener:
    """A Unix socket. Hold the agent's lock before start()."""

    def __init__(self, door: UnixDoor, serve: Serve, audit: Audit, before: Before = ()) -> None:
        self._door = door
        self._guard = Guard(caller.by_socket(door.role, door.path.name), audit)
        self._server = _server(self._guard, before, serve, _SOCKET_LIMITS)
        self._warnings: list[tuple[str, str]] = []

    async def start(self) -> None:
        """Binds and answers. Nobody but the agent's user may open the socket before it has its group."""
        unix_socket.clear(self._door.path)
        with unix_socket.mode_at_creation(self._door.mode & 0o700):
            self._server.add_insecure_port(f"unix:{self._door.path}")
        if problem := unix_socket.give(self._door.path, self._door.group):
            self._warnings = [("SOCKET_GROUP", problem)]
        self._door.path.chmod(self._door.mode)
        await self._server.start()
        _log.info("event=serving socket=%s role=%s", self._door.path, self._door.role.name.lower())

    async def stop(self, grace: float) -> None:
        """See Listener; removes the socket."""
        await self._server.stop(grace)
        self._door.path.unlink(missing_ok=True)
        await self._guard.finish(FINISH_SECONDS)

    def look(self) -> None:
        """Nothing to look at."""

    def warnings(self) -> list[tuple[str, str]]:
        """See Listener."""
        return self._warnings


class TlsListener:
    """A TCP port with certificates on both sides. It opens when there are good files and the address is there: an agent whose port must
    wait forwards all the same."""

    def __init__(self, door: TlsDoor, serve: Serve, audit: Audit, before: Before = ()) -> None:
        self._door, self._serve, self._before = door, serve, before
        self._certificates = Certificates(door)
        self._server: grpc.aio.Server | None = None
        self._looking: asyncio.Task[None] | None = None
        self._problem = ""
        self._guard = Guard(caller.by_certificate(caller.role_uris(door.trust_domain)), audit)
        self._limits = (
            *_LIMITS,
            ("grpc.max_connection_age_ms", door.max_connection_age * 1000),
            ("grpc.server_handshake_timeout_ms", door.handshake_timeout * 1000),
            ("grpc.max_allowed_incoming_connections", door.max_connections),
        )

    async def start(self) -> None:
        """Opens the port, or goes on trying."""
        await self._open()
        self._looking = asyncio.create_task(self._look_again(), name="certificates")

    async def _open(self) -> None:
        credentials = await asyncio.to_thread(self._certificates.credentials)
        if credentials is None:
            return
        server = _server(self._guard, self._before, self._serve, self._limits)
        try:
            server.add_secure_port(self._door.listen, credentials)
        except RuntimeError as error:
            if not self._problem:
                _log.error("event=listen_failed address=%s error=%r", self._door.listen, str(error))
            self._problem = f"{self._door.listen} cannot be listened on: is the address this host's, and the port free?"
            return
        self._problem = ""
        await server.start()
        self._server = server
        _log.info("event=serving tls=%s trust_domain=%s", self._door.listen, self._door.trust_domain)

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._server is None:
                await self._open()
            else:
                await asyncio.to_thread(self._certificates.look)

    async def stop(self, grace: float) -> None:
        """See Listener."""
        if self._looking:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        if self._server:
            await self._server.stop(grace)
        await self._guard.finish(FINISH_SECONDS)

    def look(self) -> None:
        """See Listener."""
        self._certificates.look()

    def warnings(self) -> list[tuple[str, str]]:
        """See Listener."""
        found = [("TLS_LISTEN_FAILED", self._problem)] if self._problem else []
        return found + self._certificates.warnings()


def listener(door: UnixDoor | TlsDoor, serve: Serve, audit: Audit, before: Before = ()) -> Listener:
    """The listener of a door."""
    return UnixListener(door, serve, audit, before) if isinstance(door, UnixDoor) else TlsListener(door, serve, audit, before)
