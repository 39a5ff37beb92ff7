"""[metrics] of agent.toml: what it says, and the socket that it means. There is no setting for an address that other hosts reach: whoever
reads metrics is not asked who they are."""

import errno
import socket
from pathlib import Path
from typing import Any

from l4lb_agent.api import unix_socket
from l4lb_agent.api.doors import UnixDoor
from l4lb_agent.metrics.door import MetricsDoor
from l4lb_agent.table import Table, address_and_port, flag


def metrics(top: Table) -> MetricsDoor:
    """What `top` says of it."""
    table = top.table("metrics")
    door = MetricsDoor(table.take("listen", _listen, ""), table.take("backends", flag, MetricsDoor.backends))
    table.end()
    return door


def _listen(value: Any) -> str:
    if isinstance(value, str) and (value == "" or value.startswith("/") and "\0" not in value):
        return value
    try:
        loopback = address_and_port(value)[0].is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError(
            "must be a loopback address and a port, such as 127.0.0.1:9476 or [::1]:9476, or the path of a Unix socket; "
            "for other hosts put a proxy before it that asks who they are"
        )
    return str(value)


def bound(listen: str, viewer: UnixDoor) -> socket.socket:
    """A socket that is bound to it. On a Unix socket are those who may open the viewer's. Raises OSError."""
    if listen.startswith("/"):
        return _bound_path(Path(listen), viewer)
    address, port = address_and_port(listen)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((str(address), port))
    except OSError:
        made.close()
        raise
    return made


def _bound_path(path: Path, viewer: UnixDoor) -> socket.socket:
    try:
        unix_socket.clear(path)
    except unix_socket.SocketRefused as refused:
        raise OSError(errno.EADDRINUSE, str(refused)) from None
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with unix_socket.mode_at_creation(viewer.mode & 0o700):
            made.bind(str(path))
        unix_socket.give(path, viewer.group)
        path.chmod(viewer.mode)
    except OSError:
        made.close()
        raise
    return made
