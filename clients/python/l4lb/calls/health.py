"""Health checks, as callers write them."""

from collections.abc import Mapping
from typing import Any

from l4lb import names
from l4lb.calls.call import duration, present
from l4lb.v1 import health_pb2

_KINDS = {"tcp": health_pb2.TcpCheck, "http": health_pb2.HttpCheck, "grpc": health_pb2.GrpcCheck, "udp": health_pb2.UdpCheck}
_BYTES = ("send", "expect", "body_contains")


def check(given: Mapping[str, Any]) -> health_pb2.HealthCheck | None:
    """A HealthCheck of its fields: one of tcp, http, grpc and udp with the fields of that kind, interval and timeout in seconds, the others
    as they are. Bytes may be text. None for an empty one, which is none."""
    wanted = present(given)
    for field in ("interval", "timeout"):
        if field in wanted:
            wanted[field] = duration(wanted[field])
    if "on_all_down" in wanted:
        wanted["on_all_down"] = names.number(health_pb2.OnAllDown, "ON_ALL_DOWN", wanted["on_all_down"])
    if "target" in wanted:
        wanted["target"] = names.number(health_pb2.ProbeTarget, "PROBE_TARGET", wanted["target"])
    for kind, message in _KINDS.items():
        if kind in wanted:
            wanted[kind] = message(**_of_kind(wanted[kind]))
    return health_pb2.HealthCheck(**wanted) if wanted else None


def _of_kind(given: Mapping[str, Any]) -> dict[str, Any]:
    wanted = present(given)
    for field in _BYTES:
        if isinstance(wanted.get(field), str):
            wanted[field] = wanted[field].encode()
    if "method" in wanted:
        wanted["method"] = names.number(health_pb2.HttpMethod, "HTTP_METHOD", wanted["method"])
    if "statuses" in wanted:
        wanted["statuses"] = [health_pb2.StatusRange(first=first, last=last) for first, last in wanted["statuses"]]
    if "tls" in wanted:
        tls = present(wanted["tls"])
        if "verify" in tls:
            tls["verify"] = names.number(health_pb2.TlsVerify, "TLS_VERIFY", tls["verify"])
        wanted["tls"] = health_pb2.TlsOptions(**tls)
    return wanted
