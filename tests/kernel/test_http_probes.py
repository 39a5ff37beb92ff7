"""HTTP probes against nginx and against servers that behave badly; gRPC probes against a server of grpcio."""

import asyncio
import contextlib
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from l4lb_agent.model.health.check import Kind
from l4lb_agent.model.health.outcome import LONGEST_DETAIL, Outcome, Why
from l4lb_agent.system.probing import connection
from lab import certificates, install
from tests.kernel import probed as bed
from tests.kernel.probed import check, probed

_CONFIGURATION = """\
daemon off; user root; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ }}
http {{
    access_log off; client_body_temp_path {folder}/tmp; proxy_temp_path {folder}/tmp; fastcgi_temp_path {folder}/tmp;
    uwsgi_temp_path {folder}/tmp; scgi_temp_path {folder}/tmp;
    server {{
        listen 127.0.0.1:{port}; listen 127.0.0.1:{tls} ssl;
        ssl_certificate {cert}; ssl_certificate_key {key};
        location = / {{ return 200 "all is well\\n"; }}
        location = /host {{ return 200 "of $host by $request_method\\n"; }}
        location = /sick {{ return 503; }}
        location = /moved {{ return 302 /elsewhere; }}
    }}
}}
"""


@dataclass(frozen=True)
class Servers:
    """Ports of nginx, and the certificates that it and others show: of www.example.org and of 127.0.0.1."""

    http: int
    https: int
    authority: certificates.Authority
    mine: certificates.Certificate
    expired: certificates.Certificate


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("nginx")
    authority = certificates.Authority(folder / "authority")
    names = ["DNS:www.example.org", "IP:127.0.0.1"]
    mine, expired = authority.issue("mine", names), authority.issue("expired", names, days=-1)
    port, tls = free_port(), free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, port=port, tls=tls, cert=mine.cert, key=mine.key))
    nginx = str(install.cache_folder() / "nginx/usr/sbin/nginx")
    process = subprocess.Popen([nginx, "-p", str(folder), "-c", str(configuration), "-e", str(folder / "error.log")])
    try:
        while not (folder / "pid").exists():
            assert process.poll() is None, (folder / "error.log").read_text()
            time.sleep(0.01)
        yield Servers(port, tls, authority, mine, expired)
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize(
    ("other", "why", "detail"),
    [
        ({}, Why.OK, "200 OK"),
        ({"contains": b"is well"}, Why.OK, "200 OK"),
        ({"contains": b"is ill"}, Why.ANSWER, "200 OK, without what the body should contain"),
        ({"path": "/host", "contains": b"of www.example.org by GET"}, Why.OK, "200 OK"),
        ({"method": "HEAD"}, Why.OK, "200 OK"),
        ({"path": "/sick"}, Why.STATUS, "503 Service Temporarily Unavailable"),
        ({"path": "/sick", "statuses": ((200, 299), (503, 503))}, Why.OK, "503 Service Temporarily Unavailable"),
        ({"path": "/moved"}, Why.OK, "302 Moved Temporarily"),
        ({"path": "/moved", "statuses": ((200, 299),)}, Why.STATUS, "302 Moved Temporarily"),
        ({"path": "/nothing"}, Why.STATUS, "404 Not Found"),
        ({"tls": True}, Why.OK, "200 OK"),
        ({"tls": True, "path": "/sick"}, Why.STATUS, "503 Service Temporarily Unavailable"),
    ],
)
async def test_nginx_is_judged_by_what_it_answers(servers: Servers, other: dict[str, object], why: Why, detail: str) -> None:
    outcome = await probed(check(Kind.HTTP, **other), servers.https if "tls" in other else servers.http)
    assert (outcome.why, outcome.detail) == (why, detail)


async def test_plain_http_to_a_port_of_tls_and_the_other_way_round(servers: Servers) -> None:
    assert (await probed(check(Kind.HTTP), servers.https)).detail == "400 Bad Request"
    outcome = await probed(check(Kind.HTTP, tls=True), servers.http)
    assert (outcome.why, outcome.detail) == (Why.TLS, "in the TLS handshake: wrong version number")


@pytest.fixture
def trusting(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """This host trusts the authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(servers.authority.ca))
    monkeypatch.setattr(connection, "_contexts", {})


async def https(port: int, **other: object) -> Outcome:
    return await probed(check(Kind.HTTP, tls=True, verify=True, **other), port)


async def test_a_certificate_of_an_unknown_authority_is_refused_only_where_it_is_verified(servers: Servers) -> None:
    outcome = await https(servers.https)
    assert (outcome.why, outcome.detail) == (Why.TLS, "in the TLS handshake: unable to get local issuer certificate")
    assert (await probed(check(Kind.HTTP, tls=True), servers.https)).ok


@pytest.mark.usefixtures("trusting")
async def test_a_trusted_certificate_must_be_of_the_name(servers: Servers) -> None:
    assert (await https(servers.https)).ok
    assert (await probed(check(Kind.HTTP, tls=True, verify=True), servers.https, host="127.0.0.1")).ok
    assert (await probed(check(Kind.HTTP, tls=True, verify=True), servers.https, host="www.example.org:8443")).ok
    outcome = await https(servers.https, server_name="other.example.org")
    assert outcome.why is Why.TLS
    assert "certificate is not valid for 'other.example.org'" in outcome.detail


@contextlib.asynccontextmanager
async def session(certificate: certificates.Certificate, talk: bed.Talk) -> AsyncIterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.usefixtures("trusting")
async def test_an_expired_certificate_is_refused(servers: Servers) -> None:
    async with session(servers.expired, bed.saying(b"HTTP/1.1 200 OK\r\n\r\n")) as port:
        assert (await https(port)).detail == "in the TLS handshake: certificate has expired"
        assert (await probed(check(Kind.HTTP, tls=True), port)).ok


@pytest.mark.parametrize("kind", [Kind.HTTP, Kind.GRPC])
async def test_a_server_that_says_nothing_times_out_where_it_stands(kind: Kind) -> None:
    await probed(check(kind, tls=True), free_port())  # loads what it needs
    with bed.deaf() as port:
        outcome = await probed(check(kind, timeout_seconds=0.3), port)
        assert (outcome.why, outcome.detail) == (Why.TIMEOUT, "waiting for the answer: nothing within 0.3 s")
        outcome = await probed(check(kind, tls=True, timeout_seconds=0.3), port)
        assert (outcome.why, outcome.detail) == (Why.TIMEOUT, "in the TLS handshake: nothing within 0.3 s")


@pytest.mark.parametrize("kind", [Kind.HTTP, Kind.GRPC])
@pytest.mark.parametrize("tls", [False, True])
async def test_an_answer_by_rst_is_a_reset(kind: Kind, tls: bool) -> None:
    async with bed.serving(bed.resetting) as port:
        assert (await probed(check(kind, tls=tls), port)).why is Why.RESET


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "other", "why", "detail"),
    [
        (b"", {}, Why.RESET, "closed before the answer was whole"),
        (b"HTTP/1.1 200", {}, Why.RESET, "closed before the answer was whole"),
        (OK + b"Content-Length: 9\r\n\r\nwel", {}, Why.OK, "200 OK"),
        (OK + b"Content-Length: 9\r\n\r\nwel", {"contains": b"well"}, Why.RESET, "closed before the answer was whole"),
        (OK + b"\r\nall is well", {"contains": b"well"}, Why.OK, "200 OK"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nwe\r\n2\r\nll\r\n0\r\n\r\n", {"contains": b"well"}, Why.OK, "200 OK"),
        (OK + b"Content-Length: 4\r\n\r\nwell", {"method": "HEAD"}, Why.OK, "200 OK"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", {}, Why.OK, "204 No Content"),
        (b"HTTP/1.1 500 \x1b[2J\xff\r\n\r\n", {}, Why.STATUS, "500 ?[2J\ufffd"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", {}, Why.ANSWER, "answered 'SSH-2.0-OpenSSH_9.2??'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", {}, Why.ANSWER, None),
        (b"HTTP/1.1 500 " + b"x" * 1000 + b"\r\n\r\n", {}, Why.STATUS, ("500 " + "x" * 1000)[:LONGEST_DETAIL]),
        (OK + b"X-Long: " + b"x" * 100_000, {}, Why.ANSWER, None),
        (OK + b"X-Many: x\r\n" * 100_000, {}, Why.ANSWER, None),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, {}, Why.ANSWER, "an answer of more than 65536 bytes"),
        (OK + b"\r\n" + b"x" * 1_000_000 + b"well", {"contains": b"well"}, Why.ANSWER, "an answer of more than 65536 bytes"),
    ],
)  # fmt: skip
async def test_whatever_comes_is_bounded_and_judged(answer: bytes, other: dict[str, object], why: Why, detail: str | None) -> None:
    async with bed.serving(bed.saying(answer)) as port:
        outcome = await probed(check(Kind.HTTP, **other), port)
    assert outcome.why is why, outcome
    assert outcome.detail == detail or (detail is None and outcome.detail.isprintable())


async def test_a_body_that_trickles_ends_with_the_timeout() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\n")
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.01)

    async with bed.serving(talk) as port:
        outcome = await probed(check(Kind.HTTP, contains=b"well", timeout_seconds=0.5), port)
        assert (outcome.why, outcome.detail) == (Why.TIMEOUT, "reading the body: nothing within 0.5 s")


@dataclass(frozen=True)
class Grpc:
    """A server of grpcio with the standard health service."""

    said: health.aio.HealthServicer
    port: int
    tls: int


@pytest.fixture
async def grpc_server(servers: Servers) -> AsyncIterator[Grpc]:
    server, said = grpc.aio.server(), health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(said, server)
    credentials = grpc.ssl_server_credentials([(servers.mine.key.read_bytes(), servers.mine.cert.read_bytes())])
    port, tls = server.add_insecure_port("127.0.0.1:0"), server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield Grpc(said, port, tls)
    await server.stop(None)


async def test_a_grpc_server_is_as_well_as_it_says(grpc_server: Grpc) -> None:
    assert (await probed(check(Kind.GRPC), grpc_server.port)).detail == "SERVING"
    missing = await probed(check(Kind.GRPC, service="shop.v1.Cart"), grpc_server.port)
    assert (missing.why, missing.detail) == (Why.NOT_SERVING, "grpc-status 5")
    for status in (health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING):
        await grpc_server.said.set("shop.v1.Cart", status)
        outcome = await probed(check(Kind.GRPC, service="shop.v1.Cart"), grpc_server.port)
        assert outcome.ok is (status == health_pb2.HealthCheckResponse.SERVING)
        assert outcome.detail == health_pb2.HealthCheckResponse.ServingStatus.Name(status)


async def test_grpc_over_tls_verifies_when_asked_to(grpc_server: Grpc, trusting: None) -> None:
    assert (await probed(check(Kind.GRPC, tls=True, verify=True), grpc_server.tls)).ok
    assert (await probed(check(Kind.GRPC, tls=True, verify=True, server_name="other"), grpc_server.tls)).why is Why.TLS
    assert (await probed(check(Kind.GRPC, tls=True, server_name="other"), grpc_server.tls)).ok


async def test_a_server_without_the_health_service_does_not_serve() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    outcome = await probed(check(Kind.GRPC), port)
    await server.stop(None)
    assert (outcome.why, outcome.detail) == (Why.NOT_SERVING, "grpc-status 12: Method not found!")


async def test_grpc_to_a_server_of_http_is_no_answer(servers: Servers) -> None:
    outcome = await probed(check(Kind.GRPC), servers.http)
    assert (outcome.why, outcome.detail[:34]) == (Why.ANSWER, "answered 'HTTP/1.1 400 Bad Request")
    outcome = await probed(check(Kind.GRPC, tls=True), servers.https)
    assert (outcome.why, outcome.detail) == (Why.TLS, "in the TLS handshake: tlsv1 alert no application protocol")


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


SETTINGS, HEADERS, DATA, RST_STREAM, GOAWAY = 4, 1, 0, 3, 7
STATUS_200, STATUS_404 = b"\x88", b"\x8d"  # RFC 7541, appendix A


@pytest.mark.parametrize(
    ("frames", "why", "detail"),
    [
        (frame(HEADERS, 5, 1, STATUS_404), Why.STATUS, "404 Not Found"),
        (frame(HEADERS, 5, 1, STATUS_200), Why.ANSWER, "grpc-status missing"),
        (frame(HEADERS, 5, 1, STATUS_200 + b"\x40\x0bgrpc-status\x010"), Why.ANSWER, "no message of grpc.health.v1"),
        (frame(HEADERS, 4, 1, STATUS_200 + b"\x40\x0bgrpc-status\x010") + frame(DATA, 1, 1, b"\1\0\0\0\2\x08\1"), Why.ANSWER,
         "no message of grpc.health.v1"),
        (frame(HEADERS, 4, 1, STATUS_200 + b"\x40\x0bgrpc-status\x010") + frame(DATA, 1, 1, b"\0\0\0\0\2\xff\xff"), Why.ANSWER,
         "no message of grpc.health.v1"),
        (frame(RST_STREAM, 0, 1, b"\0\0\0\7"), Why.RESET, "ended by HTTP/2 error 7"),
        (frame(GOAWAY, 0, 0, bytes(4) + b"\0\0\0\1"), Why.RESET, "ended by HTTP/2 error 1"),
        (frame(HEADERS, 4, 1, STATUS_200), Why.RESET, "closed before the answer was whole"),
        (frame(HEADERS, 4, 1, b"\xff\xff\xff\xff"), Why.ANSWER, None),
        (frame(HEADERS, 0, 1, STATUS_200) + frame(9, 0, 1, b"\0") * 9000, Why.ANSWER, None),
        (frame(HEADERS, 4, 1, STATUS_200) + frame(DATA, 0, 1, bytes(16000)) * 9, Why.ANSWER, "an answer of more than 65536 bytes"),
        (frame(DATA, 0, 1, bytes(16)), Why.ANSWER, None),
    ],
)  # fmt: skip
async def test_whatever_comes_of_http_2_is_bounded_and_judged(frames: bytes, why: Why, detail: str | None) -> None:
    async with bed.serving(bed.saying(frame(SETTINGS, 0, 0, b"") + frames)) as port:
        outcome = await probed(check(Kind.GRPC), port)
    assert outcome.why is why, outcome
    assert outcome.detail == detail or (detail is None and outcome.detail.isprintable())
