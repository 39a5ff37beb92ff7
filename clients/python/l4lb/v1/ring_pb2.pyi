import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from l4lb.v1 import health_pb2 as _health_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Ring(_message.Message):
    __slots__ = ("service", "size", "digest", "before_digest", "empty_slots", "differing_slots", "at_risk_slots", "settle_time", "shares", "slots", "before_slots")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    BEFORE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    EMPTY_SLOTS_FIELD_NUMBER: _ClassVar[int]
    DIFFERING_SLOTS_FIELD_NUMBER: _ClassVar[int]
    AT_RISK_SLOTS_FIELD_NUMBER: _ClassVar[int]
    SETTLE_TIME_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    BEFORE_SLOTS_FIELD_NUMBER: _ClassVar[int]
    service: str
    size: int
    digest: str
    before_digest: str
    empty_slots: int
    differing_slots: int
    at_risk_slots: int
    settle_time: _timestamp_pb2.Timestamp
    shares: _containers.RepeatedCompositeFieldContainer[RingShare]
    slots: _containers.RepeatedScalarFieldContainer[int]
    before_slots: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, service: _Optional[str] = ..., size: _Optional[int] = ..., digest: _Optional[str] = ..., before_digest: _Optional[str] = ..., empty_slots: _Optional[int] = ..., differing_slots: _Optional[int] = ..., at_risk_slots: _Optional[int] = ..., settle_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., shares: _Optional[_Iterable[_Union[RingShare, _Mapping]]] = ..., slots: _Optional[_Iterable[int]] = ..., before_slots: _Optional[_Iterable[int]] = ...) -> None: ...

class RingShare(_message.Message):
    __slots__ = ("backend", "datapath_id", "weight", "wanted_share", "slot_share", "slots", "before_slots", "arriving_slots", "leaving_slots", "active_flows", "reconciling_reason", "effective_state")
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    DATAPATH_ID_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    WANTED_SHARE_FIELD_NUMBER: _ClassVar[int]
    SLOT_SHARE_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    BEFORE_SLOTS_FIELD_NUMBER: _ClassVar[int]
    ARRIVING_SLOTS_FIELD_NUMBER: _ClassVar[int]
    LEAVING_SLOTS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FLOWS_FIELD_NUMBER: _ClassVar[int]
    RECONCILING_REASON_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_STATE_FIELD_NUMBER: _ClassVar[int]
    backend: str
    datapath_id: int
    weight: int
    wanted_share: float
    slot_share: float
    slots: int
    before_slots: int
    arriving_slots: int
    leaving_slots: int
    active_flows: int
    reconciling_reason: str
    effective_state: _health_pb2.EffectiveState
    def __init__(self, backend: _Optional[str] = ..., datapath_id: _Optional[int] = ..., weight: _Optional[int] = ..., wanted_share: _Optional[float] = ..., slot_share: _Optional[float] = ..., slots: _Optional[int] = ..., before_slots: _Optional[int] = ..., arriving_slots: _Optional[int] = ..., leaving_slots: _Optional[int] = ..., active_flows: _Optional[int] = ..., reconciling_reason: _Optional[str] = ..., effective_state: _Optional[_Union[_health_pb2.EffectiveState, str]] = ...) -> None: ...
