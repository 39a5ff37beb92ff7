"""Where callers come in, as values: Unix sockets, and TCP with certificates on both sides. There is no door without one of the two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from l4lb_agent.api.roles import Role

SOCKETS = {Role.ADMIN: "admin.sock", Role.OPERATOR: "operator.sock", Role.VIEWER: "viewer.sock"}
GROUPS = {Role.ADMIN: "l4lb-admin", Role.OPERATOR: "l4lb-operator", Role.VIEWER: "l4lb-viewer"}


@dataclass(frozen=True)
class UnixDoor:
    """A Unix socket: whoever may open it has `role`. Without such a group on the host it keeps the agent's own."""

    path: Path
    role: Role
    mode: int = 0o660
    group: str = ""  # "" for the agent's own


@dataclass(frozen=True)
class TlsDoor:
    """A TCP port where both sides show a certificate. Files may be replaced at any time."""

    listen: str  # 192.0.2.1:7443 or [2001:db8::1]:7443
    cert: Path  # PEM: the agent's own, then those between it and its authority
    key: Path
    client_ca: Path  # PEM: those who sign for callers
    trust_domain: str = "l4lb"
    max_connections: int = 512  # those in a handshake too
    max_connection_age: int = 600  # seconds after which a caller must connect again
    handshake_timeout: int = 10  # seconds


def sockets(folder: Path, mode: int = 0o660, groups: Mapping[Role, str] = GROUPS) -> tuple[UnixDoor, ...]:
    """admin.sock, operator.sock and viewer.sock in `folder`."""
    return tuple(UnixDoor(folder / name, role, mode, groups[role]) for role, name in SOCKETS.items())


@dataclass(frozen=True)
class Doors:
    """All of them."""

    sockets: Sequence[UnixDoor] = field(default_factory=lambda: sockets(Path("/run/l4lb")))
    tls: TlsDoor | None = None

    @property
    def all(self) -> tuple[UnixDoor | TlsDoor, ...]:
        """In the order in which they are opened."""
        return (*self.sockets, *((self.tls,) if self.tls else ()))
