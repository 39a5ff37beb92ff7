import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from l4lb.v1 import reason_pb2 as _reason_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Traffic(_message.Message):
    __slots__ = ("packets_in", "bytes_in", "packets_out", "bytes_out", "flows", "active_flows", "table_reads", "pinned", "evicted")
    PACKETS_IN_FIELD_NUMBER: _ClassVar[int]
    BYTES_IN_FIELD_NUMBER: _ClassVar[int]
    PACKETS_OUT_FIELD_NUMBER: _ClassVar[int]
    BYTES_OUT_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FLOWS_FIELD_NUMBER: _ClassVar[int]
    TABLE_READS_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int
    flows: int
    active_flows: int
    table_reads: int
    pinned: int
    evicted: int
    def __init__(self, packets_in: _Optional[int] = ..., bytes_in: _Optional[int] = ..., packets_out: _Optional[int] = ..., bytes_out: _Optional[int] = ..., flows: _Optional[int] = ..., active_flows: _Optional[int] = ..., table_reads: _Optional[int] = ..., pinned: _Optional[int] = ..., evicted: _Optional[int] = ...) -> None: ...

class ServiceStats(_message.Message):
    __slots__ = ("service", "traffic")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_FIELD_NUMBER: _ClassVar[int]
    service: str
    traffic: Traffic
    def __init__(self, service: _Optional[str] = ..., traffic: _Optional[_Union[Traffic, _Mapping]] = ...) -> None: ...

class BackendStats(_message.Message):
    __slots__ = ("backend", "traffic")
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_FIELD_NUMBER: _ClassVar[int]
    backend: str
    traffic: Traffic
    def __init__(self, backend: _Optional[str] = ..., traffic: _Optional[_Union[Traffic, _Mapping]] = ...) -> None: ...

class ReasonStats(_message.Message):
    __slots__ = ("reason", "verdict", "packets", "bytes")
    REASON_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    PACKETS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    reason: _reason_pb2.Reason
    verdict: _reason_pb2.Verdict
    packets: int
    bytes: int
    def __init__(self, reason: _Optional[_Union[_reason_pb2.Reason, str]] = ..., verdict: _Optional[_Union[_reason_pb2.Verdict, str]] = ..., packets: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class MapStats(_message.Message):
    __slots__ = ("map", "entries", "max_entries", "bytes")
    MAP_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    MAX_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    map: str
    entries: int
    max_entries: int
    bytes: int
    def __init__(self, map: _Optional[str] = ..., entries: _Optional[int] = ..., max_entries: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class Stats(_message.Message):
    __slots__ = ("sample_time", "skipped_samples", "services", "backends", "reasons", "maps")
    SAMPLE_TIME_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    MAPS_FIELD_NUMBER: _ClassVar[int]
    sample_time: _timestamp_pb2.Timestamp
    skipped_samples: int
    services: _containers.RepeatedCompositeFieldContainer[ServiceStats]
    backends: _containers.RepeatedCompositeFieldContainer[BackendStats]
    reasons: _containers.RepeatedCompositeFieldContainer[ReasonStats]
    maps: _containers.RepeatedCompositeFieldContainer[MapStats]
    def __init__(self, sample_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., skipped_samples: _Optional[int] = ..., services: _Optional[_Iterable[_Union[ServiceStats, _Mapping]]] = ..., backends: _Optional[_Iterable[_Union[BackendStats, _Mapping]]] = ..., reasons: _Optional[_Iterable[_Union[ReasonStats, _Mapping]]] = ..., maps: _Optional[_Iterable[_Union[MapStats, _Mapping]]] = ...) -> None: ...
