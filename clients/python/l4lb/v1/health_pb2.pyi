import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OnAllDown(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_ALL_DOWN_UNSPECIFIED: _ClassVar[OnAllDown]
    ON_ALL_DOWN_KEEP_LAST: _ClassVar[OnAllDown]
    ON_ALL_DOWN_REJECT: _ClassVar[OnAllDown]

class ProbeTarget(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROBE_TARGET_UNSPECIFIED: _ClassVar[ProbeTarget]
    PROBE_TARGET_BACKEND: _ClassVar[ProbeTarget]
    PROBE_TARGET_VIP: _ClassVar[ProbeTarget]

class HttpMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HTTP_METHOD_UNSPECIFIED: _ClassVar[HttpMethod]
    HTTP_METHOD_GET: _ClassVar[HttpMethod]
    HTTP_METHOD_HEAD: _ClassVar[HttpMethod]

class TlsVerify(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TLS_VERIFY_UNSPECIFIED: _ClassVar[TlsVerify]
    TLS_VERIFY_NONE: _ClassVar[TlsVerify]
    TLS_VERIFY_SYSTEM: _ClassVar[TlsVerify]

class HealthState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HEALTH_STATE_UNSPECIFIED: _ClassVar[HealthState]
    HEALTH_STATE_UNKNOWN: _ClassVar[HealthState]
    HEALTH_STATE_UP: _ClassVar[HealthState]
    HEALTH_STATE_DOWN: _ClassVar[HealthState]

class ProbeOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROBE_OUTCOME_UNSPECIFIED: _ClassVar[ProbeOutcome]
    PROBE_OUTCOME_OK: _ClassVar[ProbeOutcome]
    PROBE_OUTCOME_TIMEOUT: _ClassVar[ProbeOutcome]
    PROBE_OUTCOME_REFUSED: _ClassVar[ProbeOutcome]
    PROBE_OUTCOME_UNREACHABLE: _ClassVar[ProbeOutcome]
    PROBE_OUTCOME_RESET: _ClassVar[ProbeOutcome]
    PROBE_OUTCOME_STATUS: _ClassVar[ProbeOutcome]
    PROBE_OUTCOME_ANSWER: _ClassVar[ProbeOutcome]
    PROBE_OUTCOME_TLS: _ClassVar[ProbeOutcome]
    PROBE_OUTCOME_NOT_SERVING: _ClassVar[ProbeOutcome]
    PROBE_OUTCOME_OWN_FAULT: _ClassVar[ProbeOutcome]

class EffectiveState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EFFECTIVE_STATE_UNSPECIFIED: _ClassVar[EffectiveState]
    EFFECTIVE_STATE_TAKES_NEW_FLOWS: _ClassVar[EffectiveState]
    EFFECTIVE_STATE_DRAINING: _ClassVar[EffectiveState]
    EFFECTIVE_STATE_DRAINED: _ClassVar[EffectiveState]
    EFFECTIVE_STATE_DISABLED: _ClassVar[EffectiveState]
    EFFECTIVE_STATE_NO_WEIGHT: _ClassVar[EffectiveState]
    EFFECTIVE_STATE_NO_WAY: _ClassVar[EffectiveState]
    EFFECTIVE_STATE_UNHEALTHY: _ClassVar[EffectiveState]
    EFFECTIVE_STATE_HEALTH_UNKNOWN: _ClassVar[EffectiveState]
ON_ALL_DOWN_UNSPECIFIED: OnAllDown
ON_ALL_DOWN_KEEP_LAST: OnAllDown
ON_ALL_DOWN_REJECT: OnAllDown
PROBE_TARGET_UNSPECIFIED: ProbeTarget
PROBE_TARGET_BACKEND: ProbeTarget
PROBE_TARGET_VIP: ProbeTarget
HTTP_METHOD_UNSPECIFIED: HttpMethod
HTTP_METHOD_GET: HttpMethod
HTTP_METHOD_HEAD: HttpMethod
TLS_VERIFY_UNSPECIFIED: TlsVerify
TLS_VERIFY_NONE: TlsVerify
TLS_VERIFY_SYSTEM: TlsVerify
HEALTH_STATE_UNSPECIFIED: HealthState
HEALTH_STATE_UNKNOWN: HealthState
HEALTH_STATE_UP: HealthState
HEALTH_STATE_DOWN: HealthState
PROBE_OUTCOME_UNSPECIFIED: ProbeOutcome
PROBE_OUTCOME_OK: ProbeOutcome
PROBE_OUTCOME_TIMEOUT: ProbeOutcome
PROBE_OUTCOME_REFUSED: ProbeOutcome
PROBE_OUTCOME_UNREACHABLE: ProbeOutcome
PROBE_OUTCOME_RESET: ProbeOutcome
PROBE_OUTCOME_STATUS: ProbeOutcome
PROBE_OUTCOME_ANSWER: ProbeOutcome
PROBE_OUTCOME_TLS: ProbeOutcome
PROBE_OUTCOME_NOT_SERVING: ProbeOutcome
PROBE_OUTCOME_OWN_FAULT: ProbeOutcome
EFFECTIVE_STATE_UNSPECIFIED: EffectiveState
EFFECTIVE_STATE_TAKES_NEW_FLOWS: EffectiveState
EFFECTIVE_STATE_DRAINING: EffectiveState
EFFECTIVE_STATE_DRAINED: EffectiveState
EFFECTIVE_STATE_DISABLED: EffectiveState
EFFECTIVE_STATE_NO_WEIGHT: EffectiveState
EFFECTIVE_STATE_NO_WAY: EffectiveState
EFFECTIVE_STATE_UNHEALTHY: EffectiveState
EFFECTIVE_STATE_HEALTH_UNKNOWN: EffectiveState

class TlsOptions(_message.Message):
    __slots__ = ("server_name", "verify")
    SERVER_NAME_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIELD_NUMBER: _ClassVar[int]
    server_name: str
    verify: TlsVerify
    def __init__(self, server_name: _Optional[str] = ..., verify: _Optional[_Union[TlsVerify, str]] = ...) -> None: ...

class TcpCheck(_message.Message):
    __slots__ = ("send", "expect")
    SEND_FIELD_NUMBER: _ClassVar[int]
    EXPECT_FIELD_NUMBER: _ClassVar[int]
    send: bytes
    expect: bytes
    def __init__(self, send: _Optional[bytes] = ..., expect: _Optional[bytes] = ...) -> None: ...

class StatusRange(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class HttpCheck(_message.Message):
    __slots__ = ("path", "host", "method", "statuses", "body_contains", "tls")
    PATH_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    BODY_CONTAINS_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    path: str
    host: str
    method: HttpMethod
    statuses: _containers.RepeatedCompositeFieldContainer[StatusRange]
    body_contains: bytes
    tls: TlsOptions
    def __init__(self, path: _Optional[str] = ..., host: _Optional[str] = ..., method: _Optional[_Union[HttpMethod, str]] = ..., statuses: _Optional[_Iterable[_Union[StatusRange, _Mapping]]] = ..., body_contains: _Optional[bytes] = ..., tls: _Optional[_Union[TlsOptions, _Mapping]] = ...) -> None: ...

class GrpcCheck(_message.Message):
    __slots__ = ("service", "tls")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    service: str
    tls: TlsOptions
    def __init__(self, service: _Optional[str] = ..., tls: _Optional[_Union[TlsOptions, _Mapping]] = ...) -> None: ...

class UdpCheck(_message.Message):
    __slots__ = ("send", "expect")
    SEND_FIELD_NUMBER: _ClassVar[int]
    EXPECT_FIELD_NUMBER: _ClassVar[int]
    send: bytes
    expect: bytes
    def __init__(self, send: _Optional[bytes] = ..., expect: _Optional[bytes] = ...) -> None: ...

class HealthCheck(_message.Message):
    __slots__ = ("tcp", "http", "grpc", "udp", "interval", "timeout", "rise", "fall", "port", "on_all_down", "min_up_percent", "target")
    TCP_FIELD_NUMBER: _ClassVar[int]
    HTTP_FIELD_NUMBER: _ClassVar[int]
    GRPC_FIELD_NUMBER: _ClassVar[int]
    UDP_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RISE_FIELD_NUMBER: _ClassVar[int]
    FALL_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    ON_ALL_DOWN_FIELD_NUMBER: _ClassVar[int]
    MIN_UP_PERCENT_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    tcp: TcpCheck
    http: HttpCheck
    grpc: GrpcCheck
    udp: UdpCheck
    interval: _duration_pb2.Duration
    timeout: _duration_pb2.Duration
    rise: int
    fall: int
    port: int
    on_all_down: OnAllDown
    min_up_percent: int
    target: ProbeTarget
    def __init__(self, tcp: _Optional[_Union[TcpCheck, _Mapping]] = ..., http: _Optional[_Union[HttpCheck, _Mapping]] = ..., grpc: _Optional[_Union[GrpcCheck, _Mapping]] = ..., udp: _Optional[_Union[UdpCheck, _Mapping]] = ..., interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., rise: _Optional[int] = ..., fall: _Optional[int] = ..., port: _Optional[int] = ..., on_all_down: _Optional[_Union[OnAllDown, str]] = ..., min_up_percent: _Optional[int] = ..., target: _Optional[_Union[ProbeTarget, str]] = ...) -> None: ...

class Probe(_message.Message):
    __slots__ = ("time", "latency", "outcome", "detail")
    TIME_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    latency: _duration_pb2.Duration
    outcome: ProbeOutcome
    detail: str
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., latency: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., outcome: _Optional[_Union[ProbeOutcome, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class Health(_message.Message):
    __slots__ = ("state", "change_time", "last_probe", "consecutive", "transitions", "next_probe_time", "kept_by_on_all_down", "flapping_until", "history", "target")
    STATE_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_PROBE_FIELD_NUMBER: _ClassVar[int]
    CONSECUTIVE_FIELD_NUMBER: _ClassVar[int]
    TRANSITIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PROBE_TIME_FIELD_NUMBER: _ClassVar[int]
    KEPT_BY_ON_ALL_DOWN_FIELD_NUMBER: _ClassVar[int]
    FLAPPING_UNTIL_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    state: HealthState
    change_time: _timestamp_pb2.Timestamp
    last_probe: Probe
    consecutive: int
    transitions: int
    next_probe_time: _timestamp_pb2.Timestamp
    kept_by_on_all_down: bool
    flapping_until: _timestamp_pb2.Timestamp
    history: _containers.RepeatedCompositeFieldContainer[Probe]
    target: str
    def __init__(self, state: _Optional[_Union[HealthState, str]] = ..., change_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_probe: _Optional[_Union[Probe, _Mapping]] = ..., consecutive: _Optional[int] = ..., transitions: _Optional[int] = ..., next_probe_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., kept_by_on_all_down: _Optional[bool] = ..., flapping_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., history: _Optional[_Iterable[_Union[Probe, _Mapping]]] = ..., target: _Optional[str] = ...) -> None: ...
