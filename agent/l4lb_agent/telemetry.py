"""[metrics] and [tracing] of agent.toml: what they say, and the socket and the spans that they mean. There is no setting for metrics on an
address that other hosts reach: whoever reads them is not asked who they are."""

import errno
import logging
import re
import socket
from pathlib import Path
from typing import Any

from l4lb_agent.api import unix_socket
from l4lb_agent.api.doors import UnixDoor
from l4lb_agent.api.tracing import Tracing, TracingConfig
from l4lb_agent.metrics.door import MetricsDoor
from l4lb_agent.table import Table, address_and_port, flag

_log = logging.getLogger(__name__)


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


def tracing(top: Table) -> TracingConfig:
    """What `top` says of it."""
    table, default = top.table("tracing"), TracingConfig()
    config = TracingConfig(table.take("endpoint", _collector, default.endpoint), table.take("ratio", _ratio, default.ratio))
    table.end()
    return config


def _collector(value: Any) -> str:
    if value != "" and (not isinstance(value, str) or not re.fullmatch(r"https?://[\w.:\[\]-]+:[0-9]{1,5}", value, re.ASCII)):
        raise ValueError("must be the collector's address for OTLP over gRPC, such as http://127.0.0.1:4317 or https://HOST:PORT")
    return str(value)


def _ratio(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("must be a number from 0 to 1")
    return float(value)


def started(config: TracingConfig, version: str) -> tuple[Tracing | None, list[tuple[str, str]]]:
    """What makes spans, and warnings (reason, message) for GetAgent: an agent without the packages forwards all the same."""
    if not config.endpoint:
        return None, []
    try:
        made = Tracing.to_collector(config, version)
    except ImportError as error:
        _log.error("event=tracing_unavailable error=%r", str(error))
        return None, [("TRACING_UNAVAILABLE", f"no traces are sent ({error}): docs/operations.md says which packages are needed")]
    _log.info("event=tracing endpoint=%s ratio=%s", config.endpoint, config.ratio)
    return made, []


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
