"""A connection of one probe: a non-blocking socket, with TLS in between when asked for, and whatever comes of it bounded."""

import asyncio
import functools
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Final, TypeVar

from l4lb_agent.model.health.check import HealthCheck, Target
from l4lb_agent.model.health.outcome import Why
from l4lb_agent.system.probing.failure import Failed

MOST: Final = 65536  # bytes that a probe reads, headers included: whoever sends more is not asked to go on
_READ: Final = 16384
# Closed by RST: neither side keeps a TIME_WAIT of each probe.
_NO_LINGER: Final = struct.pack("ii", 1, 0)
# <linux/in.h>, <linux/in6.h>: ICMP errors are told at once, those too that TCP and UDP would only note.
_TELL_ERRORS: Final = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}

T = TypeVar("T")


class Progress:
    """What a probe is about, for the words of a timeout, and how its socket is made."""

    doing: str = "connecting"
    prepare: Callable[[socket.socket], None] | None = None  # of the probe's socket, before it connects


def opened(target: Target, kind: socket.SocketKind, progress: Progress) -> socket.socket:
    """A non-blocking socket for `target`. Raises OSError, Failed."""
    family = socket.AF_INET if target.address.family == 4 else socket.AF_INET6
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(*_TELL_ERRORS[family], 1)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        if progress.prepare:
            progress.prepare(made)
    except BaseException:
        made.close()
        raise
    return made


class Connection:
    """TCP, closed when the `async with` ends, however it does. Errors are OSError, and Failed where more than MOST bytes came."""

    def __init__(self, target: Target, progress: Progress) -> None:
        self._target = target
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._socket = opened(target, socket.SOCK_STREAM, progress)
        self._tls: _Tls | None = None
        self._left = MOST

    async def __aenter__(self) -> "Connection":
        try:
            await self._loop.sock_connect(self._socket, (str(self._target.address), self._target.port))
        except BaseException:
            self._socket.close()
            raise
        self._progress.doing = "waiting for the answer"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def handshake(self, check: HealthCheck, protocol: str) -> None:
        """A TLS session, `protocol` offered by ALPN."""
        self._progress.doing = "in the TLS handshake"
        self._tls = _Tls(await _context(check.verify, protocol), check.server_name or _name(self._target.host))
        await self._through(self._tls, self._tls.session.do_handshake)
        self._progress.doing = "waiting for the answer"

    async def send(self, data: bytes) -> None:
        """All of it."""
        if self._tls:
            await self._through(self._tls, functools.partial(self._tls.session.write, data))
        else:
            await self._loop.sock_sendall(self._socket, data)

    async def receive(self) -> bytes:
        """What has come; b"" when the peer will send no more."""
        if not self._tls:
            return self._counted(await self._loop.sock_recv(self._socket, _READ))
        try:
            return await self._through(self._tls, functools.partial(self._tls.session.read, _READ))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise Failed(Why.ANSWER, f"an answer of more than {MOST} bytes")
        return data

    async def _through(self, tls: "_Tls", step: Callable[[], T]) -> T:
        """What `step` of the session returns, once the peer has said what it needs to hear."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush(tls)
                data = self._counted(await self._loop.sock_recv(self._socket, _READ))
                tls.incoming.write(data) if data else tls.incoming.write_eof()
                continue
            except ssl.SSLError:
                await self._flush(tls)  # the peer is told why
                raise
            await self._flush(tls)
            return result

    async def _flush(self, tls: "_Tls") -> None:
        if tls.outgoing.pending:
            await self._loop.sock_sendall(self._socket, tls.outgoing.read())


class _Tls:
    """A session between two memories."""

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)


_contexts: dict[tuple[bool, str], ssl.SSLContext] = {}


async def _context(verify: bool, protocol: str) -> ssl.SSLContext:
    """Made once. Reading what this host trusts may take a fifth of a second, and is done beside the event loop."""
    made = _contexts.get((verify, protocol))
    if not made:
        made = _contexts[verify, protocol] = await asyncio.to_thread(_trusting if verify else _trusting_all)
        made.set_alpn_protocols([protocol])
    return made


def _trusting() -> ssl.SSLContext:
    return ssl.create_default_context()


def _trusting_all() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _name(host: str) -> str:
    """The name or address in a Host header, which may have a port behind it."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
