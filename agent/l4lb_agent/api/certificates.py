"""The agent's certificate, its key and the callers' authorities on disk: taken when they are good, kept when their successors are not.

gRPC asks at each handshake (`grpc.dynamic_ssl_server_credentials`). What is new is tried first: a handshake in memory with OpenSSL shows
that key and certificate belong together and that the certificate is valid now.
"""

import contextlib
import logging
import os
import ssl
import stat
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from l4lb_agent.api.doors import TlsDoor
from l4lb_agent.model.doctor.machine import expires

MAX_BYTES = 1 << 20
_END = "-----END CERTIFICATE-----"
# Beginnings of a SubjectPublicKeyInfo (RFC 5280) with kinds of keys that gRPC does not sign with, whatever OpenSSL says.
_UNUSABLE = {
    "Ed25519": bytes.fromhex("302a300506032b6570032100"),
    "Ed448": bytes.fromhex("3043300506032b6571033a00"),
    "ECDSA P-521": bytes.fromhex("30819b301006072a8648ce3d020106052b81040023"),
}

_log = logging.getLogger(__name__)


class BadCertificate(Exception):
    """The files cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Material:
    """What is needed to serve, and from when to when its certificate is valid (Unix seconds)."""

    cert: bytes
    key: bytes
    client_ca: bytes
    begins: float
    ends: float

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """For gRPC."""
        return grpc.ssl_server_certificate_configuration([(self.key, self.cert)], root_certificates=self.client_ca)


class Certificates:
    """The newest good files of a door. May be used from any thread."""

    def __init__(self, door: TlsDoor) -> None:
        self._door = door
        self._lock = threading.Lock()
        self._seen: tuple[object, ...] = ()
        self._current: Material | None = None
        self._fresh = False  # gRPC has not been given `_current` yet
        self._problem = ""

    def credentials(self) -> grpc.ServerCredentials | None:
        """For a port, None while there are no good files. Later ones are taken at the next handshake."""
        self.look()
        with self._lock:
            if self._current is None:
                return None
            self._fresh = False
            fetch: Any = self._fetch  # may return None, which grpc's annotations do not know
            return grpc.dynamic_ssl_server_credentials(self._current.configuration(), fetch, True)

    def look(self) -> None:
        """Reads the files when they are others than last time."""
        with self._lock:
            seen = self._state()
            if seen == self._seen:
                return
            try:
                self._current = read(self._door)
                self._fresh, problem = True, ""
            except BadCertificate as error:
                problem = str(error)
            if seen == self._state():  # else they are being written: look again
                self._seen = seen
                self._tell(problem)

    def warnings(self) -> list[tuple[str, str]]:
        """(reason, message) for GetAgent."""
        with self._lock:
            current, problem = self._current, self._problem
        if problem:
            kept = "the one before is kept" if current else "no TCP port is open"
            return [("TLS_CERTIFICATE_BAD", f"{problem}; {kept}")]
        if current and expires(current.begins, current.ends, time.time()):
            when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(current.ends))
            return [("TLS_CERTIFICATE_EXPIRES", f"{self._door.cert} is valid until {when}: replace it")]
        return []

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """What gRPC calls at each handshake, in a thread of its own: None when it has the newest."""
        self.look()
        with self._lock:
            if not self._fresh or self._current is None:
                return None
            self._fresh = False
            return self._current.configuration()

    def _state(self) -> tuple[object, ...]:
        return tuple(_state(path) for path in (self._door.cert, self._door.key, self._door.client_ca))

    def _tell(self, problem: str) -> None:
        if problem and problem != self._problem:
            _log.error("event=certificate_refused error=%r kept=%s", problem, self._current is not None)
        elif not problem and self._current:
            until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._current.ends))
            _log.info("event=certificate_taken file=%s valid_until=%s", self._door.cert, until)
        self._problem = problem


def read(door: TlsDoor) -> Material:
    """The files of `door`, tried. Raises BadCertificate."""
    cert, key, client_ca = (_bytes(path) for path in (door.cert, door.key, door.client_ca))
    if stat.S_IMODE(door.key.stat().st_mode) & 0o007:
        raise BadCertificate(f"{door.key} may be read by everybody: chmod o= {door.key}")
    _authorities(door.client_ca, client_ca)
    peer = _tried(door, cert)
    begins, ends = (ssl.cert_time_to_seconds(str(peer[name])) for name in ("notBefore", "notAfter"))
    return Material(cert, key, client_ca, begins, ends)


def dates(door: TlsDoor) -> list[tuple[str, float, float, str]]:
    """Path, beginning, end (Unix seconds) and problem of the agent's certificate and of each authority of its callers."""
    found = []
    try:
        material = read(door)
        found.append((str(door.cert), material.begins, material.ends, ""))
    except BadCertificate as error:
        found.append((str(door.cert), 0.0, 0.0, str(error)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with contextlib.suppress(ssl.SSLError, ValueError, BadCertificate):  # `read` has said so
        context.load_verify_locations(cadata=_bytes(door.client_ca).decode("ascii"))
    for authority in context.get_ca_certs():
        begins, ends = (ssl.cert_time_to_seconds(str(authority[name])) for name in ("notBefore", "notAfter"))
        found.append((str(door.client_ca), begins, ends, ""))
    return found


def _bytes(path: Path) -> bytes:
    if not path.is_absolute():
        raise BadCertificate(f"{path} is the name of a credential of the unit (LoadCredential=), and $CREDENTIALS_DIRECTORY is not set")
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadCertificate(f"{path}: {error.strerror}") from error
    if not data.strip() or len(data) > MAX_BYTES:
        raise BadCertificate(f"{path} is {'too long' if data.strip() else 'empty'}")
    return data


def _authorities(path: Path, pem: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise BadCertificate(f"{path} holds no certificates in PEM: {_words(error)}") from error
    if not context.get_ca_certs():
        raise BadCertificate(f"{path} holds no certificate of an authority (basicConstraints CA:TRUE)")


def _tried(door: TlsDoor, cert: bytes) -> dict[str, object]:
    """What a client sees of the certificate, in a handshake that trusts it and nothing else."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        leaf = cert.decode("ascii").partition(_END)[0] + _END + "\n"
        client.load_verify_locations(cadata=leaf)
        server.load_cert_chain(door.cert, door.key, password=lambda: b"")  # an encrypted key fails instead of asking
        seen = _handshake(server, client)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise BadCertificate(f"{door.cert} with {door.key}: {_words(error)}") from error
    der = ssl.PEM_cert_to_DER_cert(leaf[leaf.index("-----BEGIN CERTIFICATE-----") :])
    for kind, start in _UNUSABLE.items():
        if start in der:
            raise BadCertificate(f"{door.cert} has a key of kind {kind}, which gRPC does not take: use ECDSA P-256, or RSA")
    return seen


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, object]:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)]
    for end in (*ends, *ends):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return dict(ends[0].getpeercert() or {})


def _state(path: Path) -> object:
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode)


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error).replace("_", " ").lower()
    return str(getattr(error, "strerror", None) or error)
