"""The audit of callers with certificates."""

import subprocess
from collections.abc import Callable

import pytest

import l4lb
from tests.remote.conftest import Pki, Served


def test_an_entry_names_the_certificate_and_where_it_came_from(shared_pki: Pki, serve: Callable[..., Served]) -> None:
    served = serve(shared_pki.door())
    with served.client(shared_pki.files("admin")) as lb:
        lb.create_service("web", vip="192.0.2.10", port=80)
    [entry] = served.audit.entries()
    shown = ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", str(shared_pki.roles["admin"].cert)]
    fingerprint = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.strip().partition("=")[2]
    assert (entry["who"], entry["role"]) == ("spiffe://l4lb/role/admin", "admin")
    assert entry["subject"] == "CN=admin"
    assert entry["certificate"] == fingerprint.replace(":", "").lower()
    assert entry["peer"].startswith("ipv4:127.0.0.1:")


@pytest.mark.parametrize(("sans", "who"), [
    ([], ""),
    (["URI:spiffe://l4lb/role/viewer", "URI:spiffe://l4lb/role/admin"], "spiffe://l4lb/role/viewer spiffe://l4lb/role/admin"),
    (["URI:spiffe://elsewhere/role/admin"], "spiffe://elsewhere/role/admin"),
])  # fmt: skip
def test_who_has_no_role_is_named_all_the_same(shared_pki: Pki, serve: Callable[..., Served], sans: list[str], who: str) -> None:
    served = serve(shared_pki.door())
    shown = shared_pki.authority.issue("somebody", sans)
    with served.client(shared_pki.files(shown)) as lb, pytest.raises(l4lb.Error):
        lb.create_service("web", vip="192.0.2.10", port=80, request_id="6fa459ea-ee8a-4ca4-894e-db77e160355e")
    [entry] = served.audit.entries()
    assert (entry["who"], entry["role"], entry["outcome"], entry["reason"]) == (who, "none", "PERMISSION_DENIED", "ROLE_NOT_ALLOWED")
    assert entry["request_id"] == "6fa459ea-ee8a-4ca4-894e-db77e160355e"
    assert entry["subject"] == "CN=somebody"
