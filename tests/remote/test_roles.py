"""Who may do what over TCP: by the URI in the certificate, exactly."""

from collections.abc import Callable, Sequence
from typing import Any

import grpc
import pytest

import l4lb
from l4lb.v1 import service_pb2 as pb
from l4lb_agent.api import roles
from l4lb_agent.api.roles import Role
from l4lb_agent.api.server import SERVICE
from lab.certificates import Certificate
from tests.remote.conftest import Pki, Served

METHODS = pb.DESCRIPTOR.services_by_name["LoadBalancerService"].methods


def code_of(channel: Any, path: str, streams: bool) -> grpc.StatusCode:
    """Status of a call with an empty request, or of the first message of its answer."""
    try:
        if streams:
            next(channel.unary_stream(path)(b"", timeout=10))
        else:
            channel.unary_unary(path)(b"", timeout=10)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def denied_methods(served: Served, files: dict[str, Any]) -> set[str]:
    """Paths of the rpcs that answer PERMISSION_DENIED; each is called with an empty request."""
    ca, key, cert = (files[name].read_bytes() for name in ("ca", "key", "cert"))
    codes = {}
    with grpc.secure_channel(served.door.listen, grpc.ssl_channel_credentials(ca, key, cert)) as channel:
        for method in METHODS:
            path = f"/{SERVICE}/{method.name}"
            codes[path] = code_of(channel, path, method.server_streaming)
    assert not {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED} & set(codes.values()), "every call is answered"
    return {path for path, code in codes.items() if code is grpc.StatusCode.PERMISSION_DENIED}


@pytest.mark.parametrize("role", list(Role))
def test_a_certificates_role_may_call_what_the_table_says_and_nothing_else(
    shared_pki: Pki, serve: Callable[..., Served], role: Role
) -> None:
    served = serve(shared_pki.door())
    expected = {f"/{SERVICE}/{method.name}" for method in METHODS if not roles.allowed(role, f"/{SERVICE}/{method.name}")}
    assert denied_methods(served, shared_pki.files(role.name.lower())) == expected


ROLELESS: dict[str, Sequence[str]] = {
    "no-san": [],
    "name-only": ["DNS:admin", "IP:127.0.0.1"],
    "other-domain": ["URI:spiffe://elsewhere/role/admin"],
    "unknown-role": ["URI:spiffe://l4lb/role/root"],
    "longer": ["URI:spiffe://l4lb/role/admin/"],
    "prefix": ["URI:spiffe://l4lb/role/admi"],
    "upper-case": ["URI:spiffe://l4lb/role/ADMIN"],
    "other-scheme": ["URI:https://l4lb/role/admin"],
    "two-roles": ["URI:spiffe://l4lb/role/viewer", "URI:spiffe://l4lb/role/admin"],
    "twice": ["URI:spiffe://l4lb/role/admin", "URI:spiffe://l4lb/role/admin"],
}


@pytest.mark.parametrize("name", ROLELESS)
def test_any_other_certificate_of_the_authority_may_call_nothing(shared_pki: Pki, serve: Callable[..., Served], name: str) -> None:
    """Its common name may say what it likes: here it is `admin` in a certificate without a role."""
    served = serve(shared_pki.door())
    shown = shared_pki.authority.issue(name, ROLELESS[name])
    assert denied_methods(served, shared_pki.files(shown)) == {f"/{SERVICE}/{method.name}" for method in METHODS}


def test_health_and_reflection_are_denied_without_a_role_too(shared_pki: Pki, serve: Callable[..., Served]) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    served = serve(shared_pki.door())

    def codes(shown: Certificate) -> list[grpc.StatusCode]:
        files = shared_pki.files(shown)
        ca, key, cert = (files[name].read_bytes() for name in ("ca", "key", "cert"))
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        found = []
        with grpc.secure_channel(served.door.listen, grpc.ssl_channel_credentials(ca, key, cert)) as channel:
            health, reflection = health_pb2_grpc.HealthStub(channel), reflection_pb2_grpc.ServerReflectionStub(channel)
            for call in (
                lambda: health.Check(health_pb2.HealthCheckRequest(), timeout=10),
                lambda: next(health.Watch(health_pb2.HealthCheckRequest(), timeout=10)),
                lambda: next(reflection.ServerReflectionInfo(iter([ask]), timeout=10)),
            ):
                try:
                    call()
                    found.append(grpc.StatusCode.OK)
                except grpc.RpcError as error:
                    found.append(error.code())
        return found

    assert codes(shared_pki.roles["viewer"]) == [grpc.StatusCode.OK] * 3
    assert codes(shared_pki.authority.issue("nobody", [])) == [grpc.StatusCode.PERMISSION_DENIED] * 3


def test_a_trust_domain_of_ones_own_replaces_the_other(shared_pki: Pki, serve: Callable[..., Served]) -> None:
    served = serve(shared_pki.door(trust_domain="example.org"))
    shown = shared_pki.authority.issue("example", ["URI:spiffe://example.org/role/viewer"])
    with served.client(shared_pki.files(shown)) as lb:
        assert lb.agent().version == "1.2.3"
    with served.client(shared_pki.files("admin")) as lb, pytest.raises(l4lb.Error) as failure:
        lb.agent()
    assert (failure.value.code, failure.value.reason) == ("PERMISSION_DENIED", "ROLE_NOT_ALLOWED")
    assert "no role belongs to spiffe://l4lb/role/admin" in failure.value.message
