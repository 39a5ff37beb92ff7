"""Who calls, and with which role: by the socket that was opened, or by the certificate that was shown."""

import hashlib
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from l4lb_agent.api.roles import Role
from l4lb_agent.api.validity import valid

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class Caller:
    """`role` is None for a certificate that gives none, `why` says why. `who` is the certificate's SPIFFE ID, or the socket."""

    role: Role | None
    who: str
    peer: str = ""  # address and port
    subject: str = ""  # of the certificate
    pem: bytes = b""  # the certificate
    why: str = ""

    @property
    def role_name(self) -> str:
        """In lower case, "none" for a caller without role."""
        return self.role.name.lower() if self.role else "none"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` counts it, in lower case without colons; "" without one."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.pem.decode("ascii"))).hexdigest() if self.pem else ""


Identify = Callable[[Context], Caller]


def by_socket(role: Role, name: str) -> Identify:
    """Everybody who could open the socket `name` has `role`. gRPC does not tell which user that was."""
    caller = Caller(role, name)
    return lambda _context: caller


def by_certificate(roles: Mapping[str, Role]) -> Identify:
    """The role that `roles` gives to the URI in the certificate's subject alternative name, compared byte by byte. A certificate with
    more than one URI has none: a SPIFFE certificate has exactly one (X509-SVID, section 2). One that is not valid at the time of the call
    has none either, although its handshake may have been good, or none at all (a resumed session)."""

    def identify(context: Context) -> Caller:
        shown: Mapping[str, Any] = context.auth_context() or {}
        uris = [uri.decode(errors="replace") for uri in shown.get("peer_uri", ())]
        pem, subject = b"".join(shown.get("x509_pem_cert", ())), b", ".join(shown.get("x509_subject", ())).decode(errors="replace")
        role = roles.get(uris[0]) if len(uris) == 1 else None
        why = _when(pem) or ("" if role else _why(uris))
        return Caller(None if why else role, " ".join(uris), context.peer(), subject, pem, why)

    return identify


def _when(pem: bytes) -> str:
    """Why the certificate is not valid now, or nothing."""
    try:
        begin, end = valid(pem)
    except ValueError:
        return "the certificate does not say when it is valid"
    return "" if begin <= time.time() <= end else "the certificate has expired, or is not valid yet"


def _why(uris: list[str]) -> str:
    if not uris:
        return "the certificate has no URI in its subject alternative name"
    if len(uris) > 1:
        return f"the certificate has {len(uris)} URIs in its subject alternative name, and one is needed"
    return f"no role belongs to {uris[0]}"


def role_uris(trust_domain: str) -> dict[str, Role]:
    """The SPIFFE ID of each role: spiffe://TRUST_DOMAIN/role/viewer, operator and admin."""
    return {f"spiffe://{trust_domain}/role/{role.name.lower()}": role for role in Role}
