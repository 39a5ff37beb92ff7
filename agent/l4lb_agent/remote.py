"""[api] and [tls] of agent.toml: the doors of the API. There is no setting for TCP without certificates."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from l4lb_agent.api.doors import GROUPS, Doors, TlsDoor, sockets
from l4lb_agent.table import Table, address_and_port, number

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")  # SPIFFE-ID, section 2.1
_GROUP = re.compile(r"[a-z_][a-z0-9_-]{0,31}")  # useradd(8)


def doors(top: Table, runtime_dir: Path, environment: Mapping[str, str]) -> Doors:
    """What `top` says of them. Names without a slash in [tls] are those of credentials, below $CREDENTIALS_DIRECTORY (systemd.exec(5),
    LoadCredential=); they stay as they are where that is not set, since only an agent that serves needs the files."""
    api = top.table("api")
    groups = api.table("groups")
    found = {role: groups.take(role.name.lower(), _group, name) for role, name in GROUPS.items()}
    mode = api.take("mode", _file_mode, 0o660)
    groups.end()
    api.end()
    return Doors(sockets(runtime_dir, mode, found), _tls(top, environment))


def _tls(top: Table, environment: Mapping[str, str]) -> TlsDoor | None:
    if not top.has("tls"):
        return None
    table, path = top.table("tls"), _path_below(environment.get("CREDENTIALS_DIRECTORY", ""))
    for key in ("listen", "cert", "key", "client_ca"):
        table.require(key)
    door = TlsDoor(
        table.take("listen", _listen, ""),
        table.take("cert", path, Path()),
        table.take("key", path, Path()),
        table.take("client_ca", path, Path()),
        trust_domain=table.take("trust_domain", _trust_domain, TlsDoor.trust_domain),
        max_connections=table.take("max_connections", number(1, 65536), TlsDoor.max_connections),
        max_connection_age=table.take("max_connection_age", number(1, 86400), TlsDoor.max_connection_age),
        handshake_timeout=table.take("handshake_timeout", number(1, 120), TlsDoor.handshake_timeout),
    )
    table.end()
    return door


def _listen(value: Any) -> str:
    address_and_port(value)
    return str(value)


def _path_below(credentials: str) -> Callable[[Any], Path]:
    def read(value: Any) -> Path:
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueError("must be a path")
        if value.startswith("/"):
            return Path(value)
        if "/" in value or value in (".", ".."):
            raise ValueError("must be an absolute path, or the name of a credential of the unit (LoadCredential=)")
        return Path(credentials, value)

    return read


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"must be {what}")
        return value

    return read


_trust_domain = _matching(_TRUST_DOMAIN, "a SPIFFE trust domain: a-z, 0-9, dots, dashes and underscores, without spiffe://")
_group = _matching(_GROUP, "the name of a group")


def _file_mode(value: Any) -> int:
    if not isinstance(value, str) or len(value) != 4 or not value.startswith("0") or any(c not in "01234567" for c in value):
        raise ValueError('must be four octal digits in quotes, such as "0660"')
    mode = int(value, 8)
    if mode & 0o007:
        raise ValueError("must not let others in: whoever may connect has the socket's role")
    return mode
