"""Health checks and what they say: parts of the messages of virtual services and of backends."""

from typing import cast

from google.protobuf.duration_pb2 import Duration

from l4lb.v1 import health_pb2, virtual_service_pb2
from l4lb_agent.api import fields
from l4lb_agent.api.convert.parts import moment
from l4lb_agent.control.facade import HealthView
from l4lb_agent.model.health import check as model
from l4lb_agent.model.health.check import HealthCheck, Kind, OnAllDown, ProbeTarget
from l4lb_agent.model.health.effective import EffectiveState
from l4lb_agent.model.health.state import Probed

_FIELD = "service.health_check"
_METHODS = {health_pb2.HTTP_METHOD_UNSPECIFIED: "GET", health_pb2.HTTP_METHOD_GET: "GET", health_pb2.HTTP_METHOD_HEAD: "HEAD"}
_DEFAULTS = HealthCheck(Kind.TCP)
_SHORT = 2 * _DEFAULTS.timeout_seconds  # of intervals that are shorter half is the timeout


def health_check(message: virtual_service_pb2.VirtualService) -> HealthCheck | None:
    """The check of a virtual service with what was left out, None when none is asked for."""
    if not message.HasField("health_check"):
        return None
    asked = message.health_check
    kind = asked.WhichOneof("kind")
    if kind is None:
        raise fields.contradiction(_FIELD, "has no kind: set one of tcp, http, grpc and udp, or leave out the check")
    interval = _DEFAULTS.interval_seconds
    if asked.HasField("interval"):
        interval = fields.seconds(asked.interval, model.SHORTEST_INTERVAL, model.LONGEST_INTERVAL, f"{_FIELD}.interval")
    timeout = min(_DEFAULTS.timeout_seconds, interval / 2) if interval < _SHORT else _DEFAULTS.timeout_seconds
    if asked.HasField("timeout"):
        timeout = fields.seconds(asked.timeout, model.SHORTEST_TIMEOUT, model.LONGEST_INTERVAL, f"{_FIELD}.timeout")
    http, tls = asked.http, getattr(getattr(asked, kind), "tls", health_pb2.TlsOptions())
    return HealthCheck(
        Kind[kind.upper()],
        interval,
        timeout,
        asked.rise or _DEFAULTS.rise,
        asked.fall or _DEFAULTS.fall,
        asked.port,
        OnAllDown(asked.on_all_down or OnAllDown.KEEP_LAST),
        asked.min_up_percent,
        http.path or _DEFAULTS.path,
        http.host,
        _METHODS[http.method],
        tuple((one.first, one.last or one.first) for one in http.statuses) or _DEFAULTS.statuses,
        http.body_contains,
        kind in ("http", "grpc") and getattr(asked, kind).HasField("tls"),
        tls.server_name,
        tls.verify == health_pb2.TLS_VERIFY_SYSTEM,
        asked.grpc.service,
        asked.udp.send if kind == "udp" else asked.tcp.send,
        asked.udp.expect if kind == "udp" else asked.tcp.expect,
        ProbeTarget(asked.target or ProbeTarget.BACKEND),
    )


def shown_check(of: HealthCheck | None) -> health_pb2.HealthCheck | None:
    """A check as the API shows it."""
    if of is None:
        return None
    shown = health_pb2.HealthCheck(
        interval=_duration(of.interval_seconds), timeout=_duration(of.timeout_seconds), rise=of.rise, fall=of.fall, port=of.port,
        on_all_down=cast("health_pb2.OnAllDown", int(of.on_all_down)), min_up_percent=of.min_up_percent,
        target=cast("health_pb2.ProbeTarget", int(of.target)),
    )  # fmt: skip
    tls = None
    if of.tls:
        verify = health_pb2.TLS_VERIFY_SYSTEM if of.verify else health_pb2.TLS_VERIFY_NONE
        tls = health_pb2.TlsOptions(server_name=of.server_name, verify=verify)
    match of.kind:
        case Kind.TCP:
            shown.tcp.CopyFrom(health_pb2.TcpCheck(send=of.send, expect=of.expect))
        case Kind.UDP:
            shown.udp.CopyFrom(health_pb2.UdpCheck(send=of.send, expect=of.expect))
        case Kind.GRPC:
            shown.grpc.CopyFrom(health_pb2.GrpcCheck(service=of.service, tls=tls))
        case Kind.HTTP:
            statuses = [health_pb2.StatusRange(first=first, last=last) for first, last in of.statuses]
            method = health_pb2.HTTP_METHOD_HEAD if of.method == "HEAD" else health_pb2.HTTP_METHOD_GET
            http = health_pb2.HttpCheck(
                path=of.path, host=of.host, method=method, statuses=statuses, body_contains=of.contains, tls=tls
            )  # fmt: skip
            shown.http.CopyFrom(http)
    return shown


def shown_health(of: HealthView | None, *, history: bool) -> health_pb2.Health | None:
    """A backend's health as the API shows it."""
    if of is None:
        return None
    health = of.health
    return health_pb2.Health(
        state=cast("health_pb2.HealthState", int(health.state)), change_time=moment(health.since), last_probe=_probe(health.last),
        consecutive=health.consecutive, transitions=health.transitions, next_probe_time=moment(of.next_probe),
        kept_by_on_all_down=of.kept, flapping_until=moment(of.flapping_until or None),
        target=of.target.words if of.target else "",
        history=[one for one in map(_probe, health.history) if one] if history else [],
    )  # fmt: skip


def shown_effective(of: EffectiveState) -> health_pb2.EffectiveState:
    """The same in the API's numbers."""
    return cast("health_pb2.EffectiveState", int(of))


def _probe(of: Probed | None) -> health_pb2.Probe | None:
    if of is None:
        return None
    outcome = cast("health_pb2.ProbeOutcome", int(of.outcome.why))
    latency = _duration(of.outcome.latency_seconds)
    return health_pb2.Probe(time=moment(of.time), latency=latency, outcome=outcome, detail=of.outcome.detail)


def _duration(seconds: float) -> Duration:
    whole, micros = divmod(round(seconds * 1e6), 1_000_000)
    return Duration(seconds=whole, nanos=micros * 1000)
