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

class Protocol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROTOCOL_UNSPECIFIED: _ClassVar[Protocol]
    PROTOCOL_TCP: _ClassVar[Protocol]
    PROTOCOL_UDP: _ClassVar[Protocol]

class ForwardingMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FORWARDING_MODE_UNSPECIFIED: _ClassVar[ForwardingMode]
    FORWARDING_MODE_NAT: _ClassVar[ForwardingMode]
    FORWARDING_MODE_DSR: _ClassVar[ForwardingMode]
    FORWARDING_MODE_ENCAP: _ClassVar[ForwardingMode]

class ClientAddress(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLIENT_ADDRESS_UNSPECIFIED: _ClassVar[ClientAddress]
    CLIENT_ADDRESS_TRANSLATE: _ClassVar[ClientAddress]
    CLIENT_ADDRESS_KEEP: _ClassVar[ClientAddress]

class Encapsulation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENCAPSULATION_UNSPECIFIED: _ClassVar[Encapsulation]
    ENCAPSULATION_IPIP: _ClassVar[Encapsulation]
    ENCAPSULATION_GUE: _ClassVar[Encapsulation]
    ENCAPSULATION_GUE_VARIANT_1: _ClassVar[Encapsulation]

class OuterSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTER_SOURCE_UNSPECIFIED: _ClassVar[OuterSource]
    OUTER_SOURCE_REAL: _ClassVar[OuterSource]
    OUTER_SOURCE_SPREAD: _ClassVar[OuterSource]

class FlowTracking(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FLOW_TRACKING_UNSPECIFIED: _ClassVar[FlowTracking]
    FLOW_TRACKING_CHANGES: _ClassVar[FlowTracking]
    FLOW_TRACKING_ALL: _ClassVar[FlowTracking]

class Hash(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HASH_UNSPECIFIED: _ClassVar[Hash]
    HASH_TUPLE: _ClassVar[Hash]
    HASH_SOURCE: _ClassVar[Hash]
    HASH_SOURCE_DESTINATION: _ClassVar[Hash]

class MssClamp(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MSS_CLAMP_UNSPECIFIED: _ClassVar[MssClamp]
    MSS_CLAMP_OFF: _ClassVar[MssClamp]
    MSS_CLAMP_AUTO: _ClassVar[MssClamp]
    MSS_CLAMP_FIXED: _ClassVar[MssClamp]

class OnEmpty(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_EMPTY_UNSPECIFIED: _ClassVar[OnEmpty]
    ON_EMPTY_DROP: _ClassVar[OnEmpty]
    ON_EMPTY_RESET: _ClassVar[OnEmpty]
    ON_EMPTY_UNREACHABLE: _ClassVar[OnEmpty]
    ON_EMPTY_PROHIBITED: _ClassVar[OnEmpty]
PROTOCOL_UNSPECIFIED: Protocol
PROTOCOL_TCP: Protocol
PROTOCOL_UDP: Protocol
FORWARDING_MODE_UNSPECIFIED: ForwardingMode
FORWARDING_MODE_NAT: ForwardingMode
FORWARDING_MODE_DSR: ForwardingMode
FORWARDING_MODE_ENCAP: ForwardingMode
CLIENT_ADDRESS_UNSPECIFIED: ClientAddress
CLIENT_ADDRESS_TRANSLATE: ClientAddress
CLIENT_ADDRESS_KEEP: ClientAddress
ENCAPSULATION_UNSPECIFIED: Encapsulation
ENCAPSULATION_IPIP: Encapsulation
ENCAPSULATION_GUE: Encapsulation
ENCAPSULATION_GUE_VARIANT_1: Encapsulation
OUTER_SOURCE_UNSPECIFIED: OuterSource
OUTER_SOURCE_REAL: OuterSource
OUTER_SOURCE_SPREAD: OuterSource
FLOW_TRACKING_UNSPECIFIED: FlowTracking
FLOW_TRACKING_CHANGES: FlowTracking
FLOW_TRACKING_ALL: FlowTracking
HASH_UNSPECIFIED: Hash
HASH_TUPLE: Hash
HASH_SOURCE: Hash
HASH_SOURCE_DESTINATION: Hash
MSS_CLAMP_UNSPECIFIED: MssClamp
MSS_CLAMP_OFF: MssClamp
MSS_CLAMP_AUTO: MssClamp
MSS_CLAMP_FIXED: MssClamp
ON_EMPTY_UNSPECIFIED: OnEmpty
ON_EMPTY_DROP: OnEmpty
ON_EMPTY_RESET: OnEmpty
ON_EMPTY_UNREACHABLE: OnEmpty
ON_EMPTY_PROHIBITED: OnEmpty

class Encap(_message.Message):
    __slots__ = ("encapsulation", "port", "outer_source", "outer_checksum")
    ENCAPSULATION_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    OUTER_SOURCE_FIELD_NUMBER: _ClassVar[int]
    OUTER_CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    encapsulation: Encapsulation
    port: int
    outer_source: OuterSource
    outer_checksum: bool
    def __init__(self, encapsulation: _Optional[_Union[Encapsulation, str]] = ..., port: _Optional[int] = ..., outer_source: _Optional[_Union[OuterSource, str]] = ..., outer_checksum: _Optional[bool] = ...) -> None: ...

class FlowRate(_message.Message):
    __slots__ = ("flows_per_second", "burst")
    FLOWS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BURST_FIELD_NUMBER: _ClassVar[int]
    flows_per_second: int
    burst: int
    def __init__(self, flows_per_second: _Optional[int] = ..., burst: _Optional[int] = ...) -> None: ...

class NewFlowLimit(_message.Message):
    __slots__ = ("per_service", "per_source", "prefix_v4", "prefix_v6")
    PER_SERVICE_FIELD_NUMBER: _ClassVar[int]
    PER_SOURCE_FIELD_NUMBER: _ClassVar[int]
    PREFIX_V4_FIELD_NUMBER: _ClassVar[int]
    PREFIX_V6_FIELD_NUMBER: _ClassVar[int]
    per_service: FlowRate
    per_source: FlowRate
    prefix_v4: int
    prefix_v6: int
    def __init__(self, per_service: _Optional[_Union[FlowRate, _Mapping]] = ..., per_source: _Optional[_Union[FlowRate, _Mapping]] = ..., prefix_v4: _Optional[int] = ..., prefix_v6: _Optional[int] = ...) -> None: ...

class Affinity(_message.Message):
    __slots__ = ("timeout", "prefix_length")
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    PREFIX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    timeout: _duration_pb2.Duration
    prefix_length: int
    def __init__(self, timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., prefix_length: _Optional[int] = ...) -> None: ...

class VirtualService(_message.Message):
    __slots__ = ("name", "vip", "port", "protocol", "forwarding_mode", "ring_size", "client_address", "idle_timeout", "annotations", "encap", "flow_tracking", "change_window", "down_grace", "on_empty", "port_end", "hash", "any_port", "affinity", "mss_clamp", "mss", "new_flow_limit", "allow_list", "deny_list", "health_check", "etag", "reconciling", "reconciling_reason", "revision", "create_time", "update_time", "ring_digest", "before_ring_digest", "differing_slots", "at_risk_slots", "settle_time")
    class AnnotationsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    VIP_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    FORWARDING_MODE_FIELD_NUMBER: _ClassVar[int]
    RING_SIZE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    ENCAP_FIELD_NUMBER: _ClassVar[int]
    FLOW_TRACKING_FIELD_NUMBER: _ClassVar[int]
    CHANGE_WINDOW_FIELD_NUMBER: _ClassVar[int]
    DOWN_GRACE_FIELD_NUMBER: _ClassVar[int]
    ON_EMPTY_FIELD_NUMBER: _ClassVar[int]
    PORT_END_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    ANY_PORT_FIELD_NUMBER: _ClassVar[int]
    AFFINITY_FIELD_NUMBER: _ClassVar[int]
    MSS_CLAMP_FIELD_NUMBER: _ClassVar[int]
    MSS_FIELD_NUMBER: _ClassVar[int]
    NEW_FLOW_LIMIT_FIELD_NUMBER: _ClassVar[int]
    ALLOW_LIST_FIELD_NUMBER: _ClassVar[int]
    DENY_LIST_FIELD_NUMBER: _ClassVar[int]
    HEALTH_CHECK_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    RECONCILING_FIELD_NUMBER: _ClassVar[int]
    RECONCILING_REASON_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    RING_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BEFORE_RING_DIGEST_FIELD_NUMBER: _ClassVar[int]
    DIFFERING_SLOTS_FIELD_NUMBER: _ClassVar[int]
    AT_RISK_SLOTS_FIELD_NUMBER: _ClassVar[int]
    SETTLE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    vip: str
    port: int
    protocol: Protocol
    forwarding_mode: ForwardingMode
    ring_size: int
    client_address: ClientAddress
    idle_timeout: _duration_pb2.Duration
    annotations: _containers.ScalarMap[str, str]
    encap: Encap
    flow_tracking: FlowTracking
    change_window: _duration_pb2.Duration
    down_grace: _duration_pb2.Duration
    on_empty: OnEmpty
    port_end: int
    hash: Hash
    any_port: bool
    affinity: Affinity
    mss_clamp: MssClamp
    mss: int
    new_flow_limit: NewFlowLimit
    allow_list: str
    deny_list: str
    health_check: _health_pb2.HealthCheck
    etag: str
    reconciling: bool
    reconciling_reason: str
    revision: int
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    ring_digest: str
    before_ring_digest: str
    differing_slots: int
    at_risk_slots: int
    settle_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., vip: _Optional[str] = ..., port: _Optional[int] = ..., protocol: _Optional[_Union[Protocol, str]] = ..., forwarding_mode: _Optional[_Union[ForwardingMode, str]] = ..., ring_size: _Optional[int] = ..., client_address: _Optional[_Union[ClientAddress, str]] = ..., idle_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., annotations: _Optional[_Mapping[str, str]] = ..., encap: _Optional[_Union[Encap, _Mapping]] = ..., flow_tracking: _Optional[_Union[FlowTracking, str]] = ..., change_window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., down_grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., on_empty: _Optional[_Union[OnEmpty, str]] = ..., port_end: _Optional[int] = ..., hash: _Optional[_Union[Hash, str]] = ..., any_port: _Optional[bool] = ..., affinity: _Optional[_Union[Affinity, _Mapping]] = ..., mss_clamp: _Optional[_Union[MssClamp, str]] = ..., mss: _Optional[int] = ..., new_flow_limit: _Optional[_Union[NewFlowLimit, _Mapping]] = ..., allow_list: _Optional[str] = ..., deny_list: _Optional[str] = ..., health_check: _Optional[_Union[_health_pb2.HealthCheck, _Mapping]] = ..., etag: _Optional[str] = ..., reconciling: _Optional[bool] = ..., reconciling_reason: _Optional[str] = ..., revision: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ring_digest: _Optional[str] = ..., before_ring_digest: _Optional[str] = ..., differing_slots: _Optional[int] = ..., at_risk_slots: _Optional[int] = ..., settle_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
