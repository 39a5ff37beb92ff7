"""Who gets in at all: certificates of the one authority, valid now; nothing without one."""

import os
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc.experimental.session_cache import ssl_session_cache_lru

import l4lb
from l4lb.v1 import service_pb2 as pb
from l4lb.v1 import service_pb2_grpc
from lab.certificates import Authority
from tests.remote.conftest import Pki, Served, until


def answer(served: Served, credentials: grpc.ChannelCredentials | None) -> str:
    """Name of the status of a call that waits for no second connection."""
    target = served.door.listen
    channel: Any = grpc.secure_channel(target, credentials) if credentials else grpc.insecure_channel(target)
    with channel:
        try:
            service_pb2_grpc.LoadBalancerServiceStub(channel).GetAgent(pb.GetAgentRequest(), timeout=10)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def shown(pki: Pki, cert: Path | None, key: Path | None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        pki.authority.ca.read_bytes(), key.read_bytes() if key else None, cert.read_bytes() if cert else None
    )  # fmt: skip


def test_a_good_certificate_is_served_and_no_certificate_or_no_tls_is_refused(shared_pki: Pki, serve: Callable[..., Served]) -> None:
    served = serve(shared_pki.door())
    viewer = shared_pki.roles["viewer"]
    assert answer(served, shown(shared_pki, viewer.cert, viewer.key)) == "OK"
    assert answer(served, shown(shared_pki, None, None)) == "UNAVAILABLE"
    assert answer(served, None) == "UNAVAILABLE"


def test_certificates_of_another_authority_of_another_time_or_signed_by_themselves_are_refused(
    pki: Pki, serve: Callable[..., Served], tmp_path: Path
) -> None:
    served = serve(pki.door())
    uri = ["URI:spiffe://l4lb/role/admin"]
    other = Authority(tmp_path / "other")
    now = datetime.now(UTC)
    bad = {
        "other": other.issue("admin", uri),
        "expired": pki.authority.issue("expired", uri, days=-1),
        "future": pki.authority.issue("future", uri, begins=now + timedelta(hours=1)),
        "authority itself": other.itself(),
    }
    for name, certificate in bad.items():
        assert answer(served, shown(pki, certificate.cert, certificate.key)) == "UNAVAILABLE", name
    good = pki.roles["admin"]
    assert answer(served, shown(pki, good.cert, good.key)) == "OK", "the others changed nothing"


def test_a_certificate_that_expires_lets_nobody_go_on_or_resume_a_session(shared_pki: Pki, serve: Callable[..., Served]) -> None:
    """TLS verifies a certificate in full handshakes only; a session may be resumed for hours."""
    name = "lb1.example.org"  # gRPC's clients keep sessions by name, not by address
    named = shared_pki.authority.issue("named", [f"DNS:{name}"])
    served = serve(shared_pki.door(cert=named.cert, key=named.key))
    ends = datetime.now(UTC) + timedelta(seconds=5)
    short = shared_pki.authority.issue("short", ["URI:spiffe://l4lb/role/viewer"], begins=ends - timedelta(days=1))
    credentials = shown(shared_pki, short.cert, short.key)
    sessions = ssl_session_cache_lru(1)
    plain = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", name)]
    options = [*plain, ("grpc.ssl_session_cache", sessions)]

    def call(channel: Any) -> str:
        try:
            service_pb2_grpc.LoadBalancerServiceStub(channel).GetAgent(pb.GetAgentRequest(), timeout=10)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return "OK"

    with grpc.secure_channel(served.door.listen, credentials, options=options) as stays:
        assert call(stays) == "OK"
        until(lambda: datetime.now(UTC) > ends + timedelta(seconds=1), "it expires")
        denied = call(stays)
        assert denied.startswith("PERMISSION_DENIED")
        assert "expired" in denied
    with grpc.secure_channel(served.door.listen, credentials, options=options) as resumed:
        assert call(resumed) == denied, "the session is resumed, or it would be UNAVAILABLE"
    with grpc.secure_channel(served.door.listen, credentials, options=plain) as anew:
        assert call(anew).startswith("UNAVAILABLE"), "without a session the handshake fails"


def test_an_agent_of_another_name_or_authority_is_refused_by_the_client(pki: Pki, serve: Callable[..., Served], tmp_path: Path) -> None:
    named = pki.authority.issue("named", ["DNS:lb1.example.org"])
    served = serve(pki.door(cert=named.cert, key=named.key))
    with served.client(pki.files("viewer")) as lb, pytest.raises(l4lb.Error) as failure:
        lb.agent()
    assert failure.value.unreachable
    with served.client(pki.files("viewer"), server_name="lb1.example.org") as lb:
        assert lb.agent().version == "1.2.3"
    foreign = pki.files("viewer") | {"ca": Authority(tmp_path / "other").ca}
    with served.client(foreign, server_name="lb1.example.org") as lb, pytest.raises(l4lb.Error) as failure:
        lb.agent()
    assert failure.value.unreachable


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_older_than_1_2_is_refused(shared_pki: Pki, serve: Callable[..., Served], version: ssl.TLSVersion) -> None:
    served = serve(shared_pki.door())
    context = ssl.create_default_context(cafile=os.fspath(shared_pki.authority.ca))
    context.load_cert_chain(shared_pki.roles["viewer"].cert, shared_pki.roles["viewer"].key)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    host, port = served.door.listen.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        if version >= ssl.TLSVersion.TLSv1_2:
            with context.wrap_socket(raw, server_hostname=host) as secure:
                assert secure.version() == version.name.replace("_", ".")
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                context.wrap_socket(raw, server_hostname=host)


def test_the_client_refuses_a_tcp_target_without_certificates() -> None:
    with pytest.raises(ValueError, match="by TLS only"):
        l4lb.Client("127.0.0.1:7443")
    with pytest.raises(ValueError, match="takes no certificates"):
        l4lb.Client("unix:///run/l4lb/admin.sock", ca="/none")
