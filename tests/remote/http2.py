"""A client that breaks the rules: HTTP/2 frames by hand (RFC 9113, HPACK of RFC 7541 without tables or Huffman), over TLS or not."""

import contextlib
import os
import select
import socket
import ssl
import struct
import time
from pathlib import Path
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INITIAL_WINDOW_SIZE = 4
SERVICE: Final = "/l4lb.v1.LoadBalancerService/"


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", key, value) for key, value in values.items()))


def _number(value: int, bits: int) -> bytes:
    most = (1 << bits) - 1
    if value < most:
        return bytes((value,))
    out, value = bytes((most,)), value - most
    while value >= 128:
        out, value = out + bytes((value % 128 + 128,)), value // 128
    return out + bytes((value,))


def literal(name: str, value: str) -> bytes:
    """A header field that is in no table (RFC 7541, 6.2.2)."""
    return b"\0" + b"".join(_number(len(part), 7) + part for part in (name.encode(), value.encode()))


def call(method: str, **more: str) -> bytes:
    """The header block of a call of the API."""
    fields = {":method": "POST", ":scheme": "https", ":path": SERVICE + method, ":authority": "agent"}
    fields |= {"content-type": "application/grpc", "te": "trailers"} | more
    return b"".join(literal(name.replace("_", "-"), value) for name, value in fields.items())


def message(body: bytes = b"", *, length: int | None = None, compressed: bool = False) -> bytes:
    """A gRPC message, which may lie about its length."""
    return struct.pack(">BI", compressed, len(body) if length is None else length) + body


def raw(listen: str) -> socket.socket:
    """A TCP connection."""
    host, port = listen.split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def context(files: dict[str, Path]) -> ssl.SSLContext:
    """TLS with a certificate."""
    made = ssl.create_default_context(cafile=os.fspath(files["ca"]))
    made.load_cert_chain(files["cert"], files["key"])
    made.set_alpn_protocols(["h2"])
    return made


def connected(listen: str, tls: ssl.SSLContext, initial_window: int | None = None) -> ssl.SSLSocket:
    """A connection after the prefaces; frames of the server are left unread."""
    secure = tls.wrap_socket(raw(listen), server_hostname=listen.split(":")[0])
    secure.sendall(PREFACE + settings({} if initial_window is None else {INITIAL_WINDOW_SIZE: initial_window}))
    return secure


def answer(connection: ssl.SSLSocket, seconds: float = 10.0) -> bytes:
    """Kinds of the frames that come until the connection ends, a stream ends, GOAWAY comes, or nothing for so long."""
    connection.settimeout(seconds)
    kinds, buffer, end = b"", b"", time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while time.monotonic() < end and (data := connection.recv(65536)):
            buffer += data
            while len(buffer) >= 9 and len(buffer) >= 9 + (length := int.from_bytes(buffer[:3], "big")):
                kind, flags = buffer[3], buffer[4]
                kinds, buffer = kinds + bytes((kind,)), buffer[9 + length :]
                if kind in (RST_STREAM, GOAWAY) or (kind == HEADERS and flags & END_STREAM):
                    return kinds
    return kinds


def ended(sockets: list[socket.socket], seconds: float) -> list[float]:
    """Seconds after which the other side closed each of `sockets`; those it did not close are left out. What it sends is thrown away."""
    began, left, found = time.monotonic(), set(sockets), []
    poll = select.poll()
    by_fd = {one.fileno(): one for one in sockets}
    for one in sockets:
        one.setblocking(False)
        poll.register(one, select.POLLIN)
    while left and (rest := began + seconds - time.monotonic()) > 0:
        for fd, _ in poll.poll(rest * 1000):
            try:
                data = by_fd[fd].recv(65536)
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
            except OSError:
                data = b""
            if not data:
                poll.unregister(fd)
                left.discard(by_fd[fd])
                found.append(time.monotonic() - began)
    return found
