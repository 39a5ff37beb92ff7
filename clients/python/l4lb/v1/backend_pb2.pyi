import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from l4lb.v1 import health_pb2 as _health_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AdminState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ADMIN_STATE_UNSPECIFIED: _ClassVar[AdminState]
    ADMIN_STATE_ENABLED: _ClassVar[AdminState]
    ADMIN_STATE_DRAINING: _ClassVar[AdminState]
    ADMIN_STATE_DRAINED: _ClassVar[AdminState]
    ADMIN_STATE_DISABLED: _ClassVar[AdminState]

class DeadlineAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEADLINE_ACTION_UNSPECIFIED: _ClassVar[DeadlineAction]
    DEADLINE_ACTION_KEEP: _ClassVar[DeadlineAction]
    DEADLINE_ACTION_CUT: _ClassVar[DeadlineAction]
    DEADLINE_ACTION_RESET: _ClassVar[DeadlineAction]

class DrainResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DRAIN_RESULT_UNSPECIFIED: _ClassVar[DrainResult]
    DRAIN_RESULT_EMPTY: _ClassVar[DrainResult]
    DRAIN_RESULT_DEADLINE_KEPT: _ClassVar[DrainResult]
    DRAIN_RESULT_DEADLINE_CUT: _ClassVar[DrainResult]
    DRAIN_RESULT_LOST_STATE: _ClassVar[DrainResult]
ADMIN_STATE_UNSPECIFIED: AdminState
ADMIN_STATE_ENABLED: AdminState
ADMIN_STATE_DRAINING: AdminState
ADMIN_STATE_DRAINED: AdminState
ADMIN_STATE_DISABLED: AdminState
DEADLINE_ACTION_UNSPECIFIED: DeadlineAction
DEADLINE_ACTION_KEEP: DeadlineAction
DEADLINE_ACTION_CUT: DeadlineAction
DEADLINE_ACTION_RESET: DeadlineAction
DRAIN_RESULT_UNSPECIFIED: DrainResult
DRAIN_RESULT_EMPTY: DrainResult
DRAIN_RESULT_DEADLINE_KEPT: DrainResult
DRAIN_RESULT_DEADLINE_CUT: DrainResult
DRAIN_RESULT_LOST_STATE: DrainResult

class Drain(_message.Message):
    __slots__ = ("start_time", "deadline", "deadline_action", "remaining_flows", "initial_flows", "counted_time", "end_time", "result", "earliest_empty_time")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_ACTION_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FLOWS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_FLOWS_FIELD_NUMBER: _ClassVar[int]
    COUNTED_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    EARLIEST_EMPTY_TIME_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    deadline: _timestamp_pb2.Timestamp
    deadline_action: DeadlineAction
    remaining_flows: int
    initial_flows: int
    counted_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    result: DrainResult
    earliest_empty_time: _timestamp_pb2.Timestamp
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deadline: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deadline_action: _Optional[_Union[DeadlineAction, str]] = ..., remaining_flows: _Optional[int] = ..., initial_flows: _Optional[int] = ..., counted_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., result: _Optional[_Union[DrainResult, str]] = ..., earliest_empty_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Backend(_message.Message):
    __slots__ = ("name", "address", "port", "weight", "admin_state", "annotations", "mtu", "drain", "etag", "reconciling", "reconciling_reason", "revision", "create_time", "update_time", "wanted_share", "slot_share", "datapath_id", "next_hop", "health", "effective_state")
    class AnnotationsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    ADMIN_STATE_FIELD_NUMBER: _ClassVar[int]
    ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    RECONCILING_FIELD_NUMBER: _ClassVar[int]
    RECONCILING_REASON_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    WANTED_SHARE_FIELD_NUMBER: _ClassVar[int]
    SLOT_SHARE_FIELD_NUMBER: _ClassVar[int]
    DATAPATH_ID_FIELD_NUMBER: _ClassVar[int]
    NEXT_HOP_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_STATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    port: int
    weight: int
    admin_state: AdminState
    annotations: _containers.ScalarMap[str, str]
    mtu: int
    drain: Drain
    etag: str
    reconciling: bool
    reconciling_reason: str
    revision: int
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    wanted_share: float
    slot_share: float
    datapath_id: int
    next_hop: NextHop
    health: _health_pb2.Health
    effective_state: _health_pb2.EffectiveState
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., port: _Optional[int] = ..., weight: _Optional[int] = ..., admin_state: _Optional[_Union[AdminState, str]] = ..., annotations: _Optional[_Mapping[str, str]] = ..., mtu: _Optional[int] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., etag: _Optional[str] = ..., reconciling: _Optional[bool] = ..., reconciling_reason: _Optional[str] = ..., revision: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., wanted_share: _Optional[float] = ..., slot_share: _Optional[float] = ..., datapath_id: _Optional[int] = ..., next_hop: _Optional[_Union[NextHop, _Mapping]] = ..., health: _Optional[_Union[_health_pb2.Health, _Mapping]] = ..., effective_state: _Optional[_Union[_health_pb2.EffectiveState, str]] = ...) -> None: ...

class NextHop(_message.Message):
    __slots__ = ("interface", "gateway", "mac", "mtu", "vlan", "outer_vlan")
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    VLAN_FIELD_NUMBER: _ClassVar[int]
    OUTER_VLAN_FIELD_NUMBER: _ClassVar[int]
    interface: str
    gateway: str
    mac: str
    mtu: int
    vlan: int
    outer_vlan: int
    def __init__(self, interface: _Optional[str] = ..., gateway: _Optional[str] = ..., mac: _Optional[str] = ..., mtu: _Optional[int] = ..., vlan: _Optional[int] = ..., outer_vlan: _Optional[int] = ...) -> None: ...

class DrainPolicy(_message.Message):
    __slots__ = ("timeout", "deadline_action")
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_ACTION_FIELD_NUMBER: _ClassVar[int]
    timeout: _duration_pb2.Duration
    deadline_action: DeadlineAction
    def __init__(self, timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., deadline_action: _Optional[_Union[DeadlineAction, str]] = ...) -> None: ...
