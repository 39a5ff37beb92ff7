import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from l4lb.v1 import reason_pb2 as _reason_pb2
from l4lb.v1 import virtual_service_pb2 as _virtual_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CaptureFilter(_message.Message):
    __slots__ = ("reasons", "verdicts", "service", "prefix", "port", "protocol", "interface")
    REASONS_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    reasons: _containers.RepeatedScalarFieldContainer[_reason_pb2.Reason]
    verdicts: _containers.RepeatedScalarFieldContainer[_reason_pb2.Verdict]
    service: str
    prefix: str
    port: int
    protocol: _virtual_service_pb2.Protocol
    interface: str
    def __init__(self, reasons: _Optional[_Iterable[_Union[_reason_pb2.Reason, str]]] = ..., verdicts: _Optional[_Iterable[_Union[_reason_pb2.Verdict, str]]] = ..., service: _Optional[str] = ..., prefix: _Optional[str] = ..., port: _Optional[int] = ..., protocol: _Optional[_Union[_virtual_service_pb2.Protocol, str]] = ..., interface: _Optional[str] = ...) -> None: ...

class CapturedPacket(_message.Message):
    __slots__ = ("time", "interface", "reason", "verdict", "service", "backend", "received_bytes", "received", "sent_bytes", "sent")
    TIME_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    interface: str
    reason: _reason_pb2.Reason
    verdict: _reason_pb2.Verdict
    service: str
    backend: str
    received_bytes: int
    received: bytes
    sent_bytes: int
    sent: bytes
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., interface: _Optional[str] = ..., reason: _Optional[_Union[_reason_pb2.Reason, str]] = ..., verdict: _Optional[_Union[_reason_pb2.Verdict, str]] = ..., service: _Optional[str] = ..., backend: _Optional[str] = ..., received_bytes: _Optional[int] = ..., received: _Optional[bytes] = ..., sent_bytes: _Optional[int] = ..., sent: _Optional[bytes] = ...) -> None: ...
