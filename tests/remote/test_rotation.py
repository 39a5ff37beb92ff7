"""Certificates are replaced while the agent runs; bad ones are not taken; what was withdrawn ends."""

import logging
import os
import shutil
import socket
import ssl
import threading
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
from l4lb_agent.api import caller, certificates
from l4lb_agent.api.certificates import Certificates
from lab.certificates import Authority, Certificate
from tests.remote.conftest import Pki, Served, until


def put(new: Certificate, door_files: Certificate) -> None:
    """Replaces files as rename(2) does, the key first."""
    for source, target in ((new.key, door_files.key), (new.cert, door_files.cert)):
        fresh = target.with_suffix(".new")
        shutil.copy(source, fresh)
        fresh.rename(target)


def serial(served: Served, pki: Pki) -> str:
    """Of the certificate that the agent shows now."""
    context = ssl.create_default_context(cafile=os.fspath(pki.authority.ca))
    context.load_cert_chain(pki.roles["viewer"].cert, pki.roles["viewer"].key)
    context.set_alpn_protocols(["h2"])
    host, port = served.door.listen.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw, context.wrap_socket(raw, server_hostname=host) as secure:
        found = secure.getpeercert()
        assert found
        return str(found["serialNumber"])


def test_a_new_certificate_is_shown_at_the_next_handshake_and_open_connections_stay(pki: Pki, serve: Callable[..., Served]) -> None:
    served = serve(pki.door())
    before = serial(served, pki)
    with served.client(pki.files("viewer")) as lb:
        samples = lb.stats(interval=0.1)
        next(samples)
        put(pki.authority.issue("next", ["IP:127.0.0.1"]), pki.agent)
        assert serial(served, pki) != before
        for _ in range(5):
            next(samples)
    assert served.reasons() == []


def test_without_any_handshake_a_bad_file_is_noticed(pki: Pki, serve: Callable[..., Served], caplog: pytest.LogCaptureFixture) -> None:
    served = serve(pki.door())
    pki.agent.cert.write_text("")
    until(lambda: served.reasons() == ["TLS_CERTIFICATE_BAD"], "the warning")
    [record] = [r for r in caplog.records if "event=certificate_refused" in r.getMessage()]
    assert record.levelno == logging.ERROR
    assert record.name == certificates.__name__


def _emptied(pki: Pki) -> None:
    pki.agent.cert.write_text("")


def _garbage(pki: Pki) -> None:
    pki.agent.key.write_bytes(os.urandom(2000))


def _removed(pki: Pki) -> None:
    pki.agent.key.unlink()


def _folder(pki: Pki) -> None:
    pki.agent.cert.unlink()
    pki.agent.cert.mkdir()


def _half(pki: Pki) -> None:
    pki.agent.cert.write_bytes(pki.agent.cert.read_bytes()[:200])


def _other_key(pki: Pki) -> None:
    shutil.copy(pki.authority.issue("other", ["IP:127.0.0.1"]).key, pki.agent.key)


def _readable_key(pki: Pki) -> None:
    pki.agent.key.chmod(0o644)


def _expired(pki: Pki) -> None:
    put(pki.authority.issue("expired", ["IP:127.0.0.1"], days=-1), pki.agent)


def _not_yet(pki: Pki) -> None:
    put(pki.authority.issue("future", ["IP:127.0.0.1"], begins=datetime.now(UTC) + timedelta(hours=1)), pki.agent)


def _ed25519(pki: Pki) -> None:
    put(pki.authority.issue("ed", ["IP:127.0.0.1"], key=("ed25519",)), pki.agent)


def _p521(pki: Pki) -> None:
    put(pki.authority.issue("p521", ["IP:127.0.0.1"], key=("ec", "-pkeyopt", "ec_paramgen_curve:P-521")), pki.agent)


def _no_authority(pki: Pki) -> None:
    shutil.copy(pki.roles["viewer"].cert, pki.authority.ca)


def _authority_garbage(pki: Pki) -> None:
    pki.authority.ca.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


BAD = {
    "empty": _emptied, "garbage": _garbage, "removed": _removed, "a folder": _folder, "half written": _half,
    "another's key": _other_key, "a key for everybody": _readable_key, "expired": _expired, "not valid yet": _not_yet,
    "Ed25519": _ed25519, "P-521": _p521, "no authority": _no_authority, "an authority of garbage": _authority_garbage,
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_keeps_the_one_before_and_raises_a_warning_until_it_is_mended(
    pki: Pki, serve: Callable[..., Served], tmp_path: Path, what: str
) -> None:
    served = serve(pki.door())
    shutil.copytree(pki.authority.folder, tmp_path / "kept")
    kept = Pki.of(tmp_path / "kept")
    before = serial(served, kept)
    BAD[what](pki)
    assert serial(served, kept) == before
    with served.client(kept.files("viewer")) as lb:
        [warning] = lb.agent().warnings[-1:]
        assert warning.reason == "TLS_CERTIFICATE_BAD"
        assert warning.message.endswith("the one before is kept")
        assert str(pki.authority.folder) in warning.message, "it names the file"
        if pki.agent.cert.is_dir():
            pki.agent.cert.rmdir()
        for file in ("agent.pem", "agent.key", "ca.pem"):
            shutil.copy2(tmp_path / "kept" / file, pki.authority.folder / file)
        served.server.reload()
        assert "TLS_CERTIFICATE_BAD" not in [warning.reason for warning in lb.agent().warnings]


def test_files_that_come_after_the_agent_open_the_port(pki: Pki, serve: Callable[..., Served], tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    pki.agent.cert.rename(aside)
    served = serve(pki.door())
    assert served.reasons() == ["TLS_CERTIFICATE_BAD"]
    host, port = served.door.listen.split(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0
    aside.rename(pki.agent.cert)
    until(lambda: served.reasons() == [], "the port opens")
    with served.client(pki.files("viewer")) as lb:
        assert lb.agent().version == "1.2.3"


def test_a_port_that_is_taken_is_told_and_opened_once_it_is_free(pki: Pki, serve: Callable[..., Served]) -> None:
    door = pki.door()
    host, port = door.listen.split(":")
    with socket.create_server((host, int(port))):
        served = serve(door)
        assert served.reasons() == ["TLS_LISTEN_FAILED"]
    until(lambda: served.reasons() == [], "the port opens")
    with served.client(pki.files("viewer")) as lb:
        assert lb.agent().version == "1.2.3"


def test_a_certificate_that_is_about_to_expire_is_warned_of(pki: Pki) -> None:
    begins = datetime.now(UTC) - timedelta(hours=23)
    put(pki.authority.issue("old", ["IP:127.0.0.1"], begins=begins, days=1), pki.agent)
    found = Certificates(pki.door())
    found.look()
    assert [reason for reason, _ in found.warnings()] == ["TLS_CERTIFICATE_EXPIRES"]


def test_a_withdrawn_authority_lets_nobody_in_and_ends_what_is_open(pki: Pki, serve: Callable[..., Served], tmp_path: Path) -> None:
    """The server's own certificate stays; callers of the authority before are those who lose their access."""
    served = serve(pki.door(max_connection_age=1))
    other = Authority(tmp_path / "other")
    old = {name: shutil.copy(file, tmp_path / file.name) for name, file in pki.files("viewer").items()}
    files = {name: Path(file) for name, file in old.items()}
    ended = threading.Event()
    with served.client(files, resume=0.5) as lb:
        stream = lb.stats(interval=0.1)
        next(stream)

        def follow() -> None:
            with pytest.raises(l4lb.Error):
                for _ in stream:
                    pass
            ended.set()

        thread = threading.Thread(target=follow)
        thread.start()
        shutil.copy(other.ca, pki.authority.ca)
        with served.client(files) as late, pytest.raises(l4lb.Error) as failure:
            late.agent()
        assert failure.value.unreachable, "a new connection is refused at once"
        assert ended.wait(60), "an open stream ends after max_connection_age and its grace"
        thread.join()
    admitted = other.controller("viewer")
    with l4lb.Client(served.door.listen, ca=files["ca"], cert=admitted.cert, key=admitted.key) as lb:
        assert lb.agent().version == "1.2.3"


def test_a_session_of_a_withdrawn_authority_is_not_resumed(pki: Pki, serve: Callable[..., Served], tmp_path: Path) -> None:
    """A resumed session shows no certificate: with the authority its sessions must end."""
    name = "lb1.example.org"  # gRPC's clients keep sessions by name, not by address
    put(pki.authority.issue("named", [f"DNS:{name}"]), pki.agent)
    served = serve(pki.door())
    files = pki.files("viewer")
    ca, key, cert = (files[one].read_bytes() for one in ("ca", "key", "cert"))
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    plain = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", name)]
    options = [*plain, ("grpc.ssl_session_cache", ssl_session_cache_lru(1))]
    reused: list[bytes] = []

    def call() -> grpc.StatusCode:
        with grpc.secure_channel(served.door.listen, credentials, options=options) as channel:
            try:
                service_pb2_grpc.LoadBalancerServiceStub(channel).GetAgent(pb.GetAgentRequest(), timeout=10)
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK

    identify = caller.by_certificate(caller.role_uris("l4lb"))

    def seen(context: Any) -> Any:
        reused.extend(context.auth_context()["ssl_session_reused"])
        return identify(context)

    served.identify_by(seen)
    assert [call(), call()] == [grpc.StatusCode.OK] * 2
    assert reused == [b"false", b"true"], "sessions are resumed as long as nothing changes"
    shutil.copy(Authority(tmp_path / "other").ca, pki.authority.ca)
    assert call() is grpc.StatusCode.UNAVAILABLE
