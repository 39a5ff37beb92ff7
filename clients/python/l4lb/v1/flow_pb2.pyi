import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from l4lb.v1 import virtual_service_pb2 as _virtual_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FlowState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FLOW_STATE_UNSPECIFIED: _ClassVar[FlowState]
    FLOW_STATE_SYN: _ClassVar[FlowState]
    FLOW_STATE_ANSWERED: _ClassVar[FlowState]
    FLOW_STATE_ESTABLISHED: _ClassVar[FlowState]
    FLOW_STATE_CLOSING: _ClassVar[FlowState]
    FLOW_STATE_CLOSED: _ClassVar[FlowState]
    FLOW_STATE_UDP: _ClassVar[FlowState]
    FLOW_STATE_UDP_ANSWERED: _ClassVar[FlowState]
    FLOW_STATE_PINNED: _ClassVar[FlowState]
FLOW_STATE_UNSPECIFIED: FlowState
FLOW_STATE_SYN: FlowState
FLOW_STATE_ANSWERED: FlowState
FLOW_STATE_ESTABLISHED: FlowState
FLOW_STATE_CLOSING: FlowState
FLOW_STATE_CLOSED: FlowState
FLOW_STATE_UDP: FlowState
FLOW_STATE_UDP_ANSWERED: FlowState
FLOW_STATE_PINNED: FlowState

class Flow(_message.Message):
    __slots__ = ("service", "backend", "protocol", "client", "client_port", "vip_port", "source", "source_port", "state", "idle")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    CLIENT_PORT_FIELD_NUMBER: _ClassVar[int]
    VIP_PORT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_PORT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    service: str
    backend: str
    protocol: _virtual_service_pb2.Protocol
    client: str
    client_port: int
    vip_port: int
    source: str
    source_port: int
    state: FlowState
    idle: _duration_pb2.Duration
    def __init__(self, service: _Optional[str] = ..., backend: _Optional[str] = ..., protocol: _Optional[_Union[_virtual_service_pb2.Protocol, str]] = ..., client: _Optional[str] = ..., client_port: _Optional[int] = ..., vip_port: _Optional[int] = ..., source: _Optional[str] = ..., source_port: _Optional[int] = ..., state: _Optional[_Union[FlowState, str]] = ..., idle: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class FlowCount(_message.Message):
    __slots__ = ("name", "flows", "uncertain")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    UNCERTAIN_FIELD_NUMBER: _ClassVar[int]
    name: str
    flows: int
    uncertain: int
    def __init__(self, name: _Optional[str] = ..., flows: _Optional[int] = ..., uncertain: _Optional[int] = ...) -> None: ...

class FlowSummary(_message.Message):
    __slots__ = ("flows", "without_client", "backends", "states", "clients", "oldest")
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_CLIENT_FIELD_NUMBER: _ClassVar[int]
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    flows: int
    without_client: int
    backends: _containers.RepeatedCompositeFieldContainer[FlowCount]
    states: _containers.RepeatedCompositeFieldContainer[FlowCount]
    clients: _containers.RepeatedCompositeFieldContainer[FlowCount]
    oldest: _containers.RepeatedCompositeFieldContainer[Flow]
    def __init__(self, flows: _Optional[int] = ..., without_client: _Optional[int] = ..., backends: _Optional[_Iterable[_Union[FlowCount, _Mapping]]] = ..., states: _Optional[_Iterable[_Union[FlowCount, _Mapping]]] = ..., clients: _Optional[_Iterable[_Union[FlowCount, _Mapping]]] = ..., oldest: _Optional[_Iterable[_Union[Flow, _Mapping]]] = ...) -> None: ...
