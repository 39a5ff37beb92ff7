import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from l4lb.v1 import backend_pb2 as _backend_pb2
from l4lb.v1 import prefix_list_pb2 as _prefix_list_pb2
from l4lb.v1 import stats_pb2 as _stats_pb2
from l4lb.v1 import virtual_service_pb2 as _virtual_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class XdpMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    XDP_MODE_UNSPECIFIED: _ClassVar[XdpMode]
    XDP_MODE_NATIVE: _ClassVar[XdpMode]
    XDP_MODE_GENERIC: _ClassVar[XdpMode]
XDP_MODE_UNSPECIFIED: XdpMode
XDP_MODE_NATIVE: XdpMode
XDP_MODE_GENERIC: XdpMode

class Interface(_message.Message):
    __slots__ = ("name", "ifindex", "mode", "mode_reason", "link_id", "program_id", "program_tag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IFINDEX_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MODE_REASON_FIELD_NUMBER: _ClassVar[int]
    LINK_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_TAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    ifindex: int
    mode: XdpMode
    mode_reason: str
    link_id: int
    program_id: int
    program_tag: str
    def __init__(self, name: _Optional[str] = ..., ifindex: _Optional[int] = ..., mode: _Optional[_Union[XdpMode, str]] = ..., mode_reason: _Optional[str] = ..., link_id: _Optional[int] = ..., program_id: _Optional[int] = ..., program_tag: _Optional[str] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class MapInfo(_message.Message):
    __slots__ = ("stats", "map_id")
    STATS_FIELD_NUMBER: _ClassVar[int]
    MAP_ID_FIELD_NUMBER: _ClassVar[int]
    stats: _stats_pb2.MapStats
    map_id: int
    def __init__(self, stats: _Optional[_Union[_stats_pb2.MapStats, _Mapping]] = ..., map_id: _Optional[int] = ...) -> None: ...

class Agent(_message.Message):
    __slots__ = ("version", "ready", "not_ready_reason", "revision", "applied_revision", "interfaces", "capabilities", "maps", "map_bytes", "warnings", "start_time", "map_writes", "snat_addresses", "layout_version", "kernel", "reconcile_retries")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    NOT_READY_REASON_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_REVISION_FIELD_NUMBER: _ClassVar[int]
    INTERFACES_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    MAPS_FIELD_NUMBER: _ClassVar[int]
    MAP_BYTES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    MAP_WRITES_FIELD_NUMBER: _ClassVar[int]
    SNAT_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_VERSION_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    RECONCILE_RETRIES_FIELD_NUMBER: _ClassVar[int]
    version: str
    ready: bool
    not_ready_reason: str
    revision: int
    applied_revision: int
    interfaces: _containers.RepeatedCompositeFieldContainer[Interface]
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    maps: _containers.RepeatedCompositeFieldContainer[MapInfo]
    map_bytes: int
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    start_time: _timestamp_pb2.Timestamp
    map_writes: int
    snat_addresses: _containers.RepeatedScalarFieldContainer[str]
    layout_version: int
    kernel: str
    reconcile_retries: int
    def __init__(self, version: _Optional[str] = ..., ready: _Optional[bool] = ..., not_ready_reason: _Optional[str] = ..., revision: _Optional[int] = ..., applied_revision: _Optional[int] = ..., interfaces: _Optional[_Iterable[_Union[Interface, _Mapping]]] = ..., capabilities: _Optional[_Iterable[str]] = ..., maps: _Optional[_Iterable[_Union[MapInfo, _Mapping]]] = ..., map_bytes: _Optional[int] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., map_writes: _Optional[int] = ..., snat_addresses: _Optional[_Iterable[str]] = ..., layout_version: _Optional[int] = ..., kernel: _Optional[str] = ..., reconcile_retries: _Optional[int] = ...) -> None: ...

class Config(_message.Message):
    __slots__ = ("revision", "services", "backends", "lists")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    LISTS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    services: _containers.RepeatedCompositeFieldContainer[_virtual_service_pb2.VirtualService]
    backends: _containers.RepeatedCompositeFieldContainer[_backend_pb2.Backend]
    lists: _containers.RepeatedCompositeFieldContainer[_prefix_list_pb2.PrefixList]
    def __init__(self, revision: _Optional[int] = ..., services: _Optional[_Iterable[_Union[_virtual_service_pb2.VirtualService, _Mapping]]] = ..., backends: _Optional[_Iterable[_Union[_backend_pb2.Backend, _Mapping]]] = ..., lists: _Optional[_Iterable[_Union[_prefix_list_pb2.PrefixList, _Mapping]]] = ...) -> None: ...
