import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from l4lb.v1 import agent_pb2 as _agent_pb2
from l4lb.v1 import backend_pb2 as _backend_pb2
from l4lb.v1 import capture_pb2 as _capture_pb2
from l4lb.v1 import doctor_pb2 as _doctor_pb2
from l4lb.v1 import dump_pb2 as _dump_pb2
from l4lb.v1 import explain_pb2 as _explain_pb2
from l4lb.v1 import flow_pb2 as _flow_pb2
from l4lb.v1 import prefix_list_pb2 as _prefix_list_pb2
from l4lb.v1 import ring_pb2 as _ring_pb2
from l4lb.v1 import stats_pb2 as _stats_pb2
from l4lb.v1 import virtual_service_pb2 as _virtual_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateVirtualServiceRequest(_message.Message):
    __slots__ = ("service_id", "service", "request_id", "validate_only")
    SERVICE_ID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    service_id: str
    service: _virtual_service_pb2.VirtualService
    request_id: str
    validate_only: bool
    def __init__(self, service_id: _Optional[str] = ..., service: _Optional[_Union[_virtual_service_pb2.VirtualService, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class CreateVirtualServiceResponse(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: _virtual_service_pb2.VirtualService
    def __init__(self, service: _Optional[_Union[_virtual_service_pb2.VirtualService, _Mapping]] = ...) -> None: ...

class GetVirtualServiceRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetVirtualServiceResponse(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: _virtual_service_pb2.VirtualService
    def __init__(self, service: _Optional[_Union[_virtual_service_pb2.VirtualService, _Mapping]] = ...) -> None: ...

class ListVirtualServicesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListVirtualServicesResponse(_message.Message):
    __slots__ = ("services", "next_page_token", "revision")
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[_virtual_service_pb2.VirtualService]
    next_page_token: str
    revision: int
    def __init__(self, services: _Optional[_Iterable[_Union[_virtual_service_pb2.VirtualService, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class UpdateVirtualServiceRequest(_message.Message):
    __slots__ = ("service", "update_mask", "allow_missing", "request_id", "validate_only")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    service: _virtual_service_pb2.VirtualService
    update_mask: _field_mask_pb2.FieldMask
    allow_missing: bool
    request_id: str
    validate_only: bool
    def __init__(self, service: _Optional[_Union[_virtual_service_pb2.VirtualService, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., allow_missing: _Optional[bool] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class UpdateVirtualServiceResponse(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: _virtual_service_pb2.VirtualService
    def __init__(self, service: _Optional[_Union[_virtual_service_pb2.VirtualService, _Mapping]] = ...) -> None: ...

class DeleteVirtualServiceRequest(_message.Message):
    __slots__ = ("name", "etag", "force", "allow_missing", "request_id", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    force: bool
    allow_missing: bool
    request_id: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., force: _Optional[bool] = ..., allow_missing: _Optional[bool] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class DeleteVirtualServiceResponse(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...

class AddBackendRequest(_message.Message):
    __slots__ = ("parent", "backend_id", "backend", "request_id", "validate_only")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    BACKEND_ID_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    backend_id: str
    backend: _backend_pb2.Backend
    request_id: str
    validate_only: bool
    def __init__(self, parent: _Optional[str] = ..., backend_id: _Optional[str] = ..., backend: _Optional[_Union[_backend_pb2.Backend, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class AddBackendResponse(_message.Message):
    __slots__ = ("backend",)
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    backend: _backend_pb2.Backend
    def __init__(self, backend: _Optional[_Union[_backend_pb2.Backend, _Mapping]] = ...) -> None: ...

class GetBackendRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetBackendResponse(_message.Message):
    __slots__ = ("backend",)
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    backend: _backend_pb2.Backend
    def __init__(self, backend: _Optional[_Union[_backend_pb2.Backend, _Mapping]] = ...) -> None: ...

class ListBackendsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListBackendsResponse(_message.Message):
    __slots__ = ("backends", "next_page_token", "revision")
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    backends: _containers.RepeatedCompositeFieldContainer[_backend_pb2.Backend]
    next_page_token: str
    revision: int
    def __init__(self, backends: _Optional[_Iterable[_Union[_backend_pb2.Backend, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class UpdateBackendRequest(_message.Message):
    __slots__ = ("backend", "update_mask", "allow_missing", "request_id", "validate_only")
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    backend: _backend_pb2.Backend
    update_mask: _field_mask_pb2.FieldMask
    allow_missing: bool
    request_id: str
    validate_only: bool
    def __init__(self, backend: _Optional[_Union[_backend_pb2.Backend, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., allow_missing: _Optional[bool] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class UpdateBackendResponse(_message.Message):
    __slots__ = ("backend",)
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    backend: _backend_pb2.Backend
    def __init__(self, backend: _Optional[_Union[_backend_pb2.Backend, _Mapping]] = ...) -> None: ...

class RemoveBackendRequest(_message.Message):
    __slots__ = ("name", "etag", "force", "allow_missing", "request_id", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    force: bool
    allow_missing: bool
    request_id: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., force: _Optional[bool] = ..., allow_missing: _Optional[bool] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class RemoveBackendResponse(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...

class DrainBackendRequest(_message.Message):
    __slots__ = ("name", "policy", "etag", "allow_empty", "request_id", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    ALLOW_EMPTY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    policy: _backend_pb2.DrainPolicy
    etag: str
    allow_empty: bool
    request_id: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., policy: _Optional[_Union[_backend_pb2.DrainPolicy, _Mapping]] = ..., etag: _Optional[str] = ..., allow_empty: _Optional[bool] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class DrainBackendResponse(_message.Message):
    __slots__ = ("backend",)
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    backend: _backend_pb2.Backend
    def __init__(self, backend: _Optional[_Union[_backend_pb2.Backend, _Mapping]] = ...) -> None: ...

class UndrainBackendRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class UndrainBackendResponse(_message.Message):
    __slots__ = ("backend",)
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    backend: _backend_pb2.Backend
    def __init__(self, backend: _Optional[_Union[_backend_pb2.Backend, _Mapping]] = ...) -> None: ...

class WatchBackendsRequest(_message.Message):
    __slots__ = ("parent", "resume_revision")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    RESUME_REVISION_FIELD_NUMBER: _ClassVar[int]
    parent: str
    resume_revision: int
    def __init__(self, parent: _Optional[str] = ..., resume_revision: _Optional[int] = ...) -> None: ...

class WatchBackendsResponse(_message.Message):
    __slots__ = ("event", "backend", "revision")
    class Event(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        EVENT_UNSPECIFIED: _ClassVar[WatchBackendsResponse.Event]
        EVENT_ADDED: _ClassVar[WatchBackendsResponse.Event]
        EVENT_MODIFIED: _ClassVar[WatchBackendsResponse.Event]
        EVENT_DELETED: _ClassVar[WatchBackendsResponse.Event]
        EVENT_SYNCED: _ClassVar[WatchBackendsResponse.Event]
        EVENT_BOOKMARK: _ClassVar[WatchBackendsResponse.Event]
    EVENT_UNSPECIFIED: WatchBackendsResponse.Event
    EVENT_ADDED: WatchBackendsResponse.Event
    EVENT_MODIFIED: WatchBackendsResponse.Event
    EVENT_DELETED: WatchBackendsResponse.Event
    EVENT_SYNCED: WatchBackendsResponse.Event
    EVENT_BOOKMARK: WatchBackendsResponse.Event
    EVENT_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    event: WatchBackendsResponse.Event
    backend: _backend_pb2.Backend
    revision: int
    def __init__(self, event: _Optional[_Union[WatchBackendsResponse.Event, str]] = ..., backend: _Optional[_Union[_backend_pb2.Backend, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class StreamStatsRequest(_message.Message):
    __slots__ = ("interval", "services", "omit_backends", "samples")
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    OMIT_BACKENDS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    interval: _duration_pb2.Duration
    services: _containers.RepeatedScalarFieldContainer[str]
    omit_backends: bool
    samples: int
    def __init__(self, interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., services: _Optional[_Iterable[str]] = ..., omit_backends: _Optional[bool] = ..., samples: _Optional[int] = ...) -> None: ...

class StreamStatsResponse(_message.Message):
    __slots__ = ("stats",)
    STATS_FIELD_NUMBER: _ClassVar[int]
    stats: _stats_pb2.Stats
    def __init__(self, stats: _Optional[_Union[_stats_pb2.Stats, _Mapping]] = ...) -> None: ...

class ListFlowsRequest(_message.Message):
    __slots__ = ("parent", "client", "limit", "omit_flows", "top")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    OMIT_FLOWS_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    parent: str
    client: str
    limit: int
    omit_flows: bool
    top: int
    def __init__(self, parent: _Optional[str] = ..., client: _Optional[str] = ..., limit: _Optional[int] = ..., omit_flows: _Optional[bool] = ..., top: _Optional[int] = ...) -> None: ...

class ListFlowsResponse(_message.Message):
    __slots__ = ("flows", "summary")
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    flows: _containers.RepeatedCompositeFieldContainer[_flow_pb2.Flow]
    summary: _flow_pb2.FlowSummary
    def __init__(self, flows: _Optional[_Iterable[_Union[_flow_pb2.Flow, _Mapping]]] = ..., summary: _Optional[_Union[_flow_pb2.FlowSummary, _Mapping]] = ...) -> None: ...

class GetRingRequest(_message.Message):
    __slots__ = ("name", "include_slots")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SLOTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    include_slots: bool
    def __init__(self, name: _Optional[str] = ..., include_slots: _Optional[bool] = ...) -> None: ...

class GetRingResponse(_message.Message):
    __slots__ = ("ring",)
    RING_FIELD_NUMBER: _ClassVar[int]
    ring: _ring_pb2.Ring
    def __init__(self, ring: _Optional[_Union[_ring_pb2.Ring, _Mapping]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("packet",)
    PACKET_FIELD_NUMBER: _ClassVar[int]
    packet: _explain_pb2.AskedPacket
    def __init__(self, packet: _Optional[_Union[_explain_pb2.AskedPacket, _Mapping]] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("explanation",)
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    explanation: _explain_pb2.Explanation
    def __init__(self, explanation: _Optional[_Union[_explain_pb2.Explanation, _Mapping]] = ...) -> None: ...

class CreatePrefixListRequest(_message.Message):
    __slots__ = ("list_id", "list", "request_id", "validate_only")
    LIST_ID_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    list_id: str
    list: _prefix_list_pb2.PrefixList
    request_id: str
    validate_only: bool
    def __init__(self, list_id: _Optional[str] = ..., list: _Optional[_Union[_prefix_list_pb2.PrefixList, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class CreatePrefixListResponse(_message.Message):
    __slots__ = ("list",)
    LIST_FIELD_NUMBER: _ClassVar[int]
    list: _prefix_list_pb2.PrefixList
    def __init__(self, list: _Optional[_Union[_prefix_list_pb2.PrefixList, _Mapping]] = ...) -> None: ...

class GetPrefixListRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetPrefixListResponse(_message.Message):
    __slots__ = ("list",)
    LIST_FIELD_NUMBER: _ClassVar[int]
    list: _prefix_list_pb2.PrefixList
    def __init__(self, list: _Optional[_Union[_prefix_list_pb2.PrefixList, _Mapping]] = ...) -> None: ...

class ListPrefixListsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPrefixListsResponse(_message.Message):
    __slots__ = ("lists", "next_page_token", "revision")
    LISTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    lists: _containers.RepeatedCompositeFieldContainer[_prefix_list_pb2.PrefixList]
    next_page_token: str
    revision: int
    def __init__(self, lists: _Optional[_Iterable[_Union[_prefix_list_pb2.PrefixList, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class UpdatePrefixListRequest(_message.Message):
    __slots__ = ("list", "update_mask", "add_prefixes", "remove_prefixes", "allow_missing", "request_id", "validate_only")
    LIST_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    ADD_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    REMOVE_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    list: _prefix_list_pb2.PrefixList
    update_mask: _field_mask_pb2.FieldMask
    add_prefixes: _containers.RepeatedScalarFieldContainer[str]
    remove_prefixes: _containers.RepeatedScalarFieldContainer[str]
    allow_missing: bool
    request_id: str
    validate_only: bool
    def __init__(self, list: _Optional[_Union[_prefix_list_pb2.PrefixList, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., add_prefixes: _Optional[_Iterable[str]] = ..., remove_prefixes: _Optional[_Iterable[str]] = ..., allow_missing: _Optional[bool] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class UpdatePrefixListResponse(_message.Message):
    __slots__ = ("list",)
    LIST_FIELD_NUMBER: _ClassVar[int]
    list: _prefix_list_pb2.PrefixList
    def __init__(self, list: _Optional[_Union[_prefix_list_pb2.PrefixList, _Mapping]] = ...) -> None: ...

class DeletePrefixListRequest(_message.Message):
    __slots__ = ("name", "etag", "allow_missing", "request_id", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    allow_missing: bool
    request_id: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., allow_missing: _Optional[bool] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class DeletePrefixListResponse(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...

class GetAgentRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetAgentResponse(_message.Message):
    __slots__ = ("agent",)
    AGENT_FIELD_NUMBER: _ClassVar[int]
    agent: _agent_pb2.Agent
    def __init__(self, agent: _Optional[_Union[_agent_pb2.Agent, _Mapping]] = ...) -> None: ...

class GetConfigRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetConfigResponse(_message.Message):
    __slots__ = ("config",)
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    config: _agent_pb2.Config
    def __init__(self, config: _Optional[_Union[_agent_pb2.Config, _Mapping]] = ...) -> None: ...

class DiagnoseRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DiagnoseResponse(_message.Message):
    __slots__ = ("findings",)
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    findings: _containers.RepeatedCompositeFieldContainer[_doctor_pb2.Finding]
    def __init__(self, findings: _Optional[_Iterable[_Union[_doctor_pb2.Finding, _Mapping]]] = ...) -> None: ...

class CapturePacketsRequest(_message.Message):
    __slots__ = ("filter", "snap_bytes", "rate", "packets")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    SNAP_BYTES_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    PACKETS_FIELD_NUMBER: _ClassVar[int]
    filter: _capture_pb2.CaptureFilter
    snap_bytes: int
    rate: int
    packets: int
    def __init__(self, filter: _Optional[_Union[_capture_pb2.CaptureFilter, _Mapping]] = ..., snap_bytes: _Optional[int] = ..., rate: _Optional[int] = ..., packets: _Optional[int] = ...) -> None: ...

class CapturePacketsResponse(_message.Message):
    __slots__ = ("packets", "limited_packets", "lost_packets")
    PACKETS_FIELD_NUMBER: _ClassVar[int]
    LIMITED_PACKETS_FIELD_NUMBER: _ClassVar[int]
    LOST_PACKETS_FIELD_NUMBER: _ClassVar[int]
    packets: _containers.RepeatedCompositeFieldContainer[_capture_pb2.CapturedPacket]
    limited_packets: int
    lost_packets: int
    def __init__(self, packets: _Optional[_Iterable[_Union[_capture_pb2.CapturedPacket, _Mapping]]] = ..., limited_packets: _Optional[int] = ..., lost_packets: _Optional[int] = ...) -> None: ...

class DumpRecordRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DumpRecordResponse(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    def __init__(self, chunk: _Optional[bytes] = ...) -> None: ...

class ListDumpsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDumpsResponse(_message.Message):
    __slots__ = ("dumps", "next_page_token")
    DUMPS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    dumps: _containers.RepeatedCompositeFieldContainer[_dump_pb2.Dump]
    next_page_token: str
    def __init__(self, dumps: _Optional[_Iterable[_Union[_dump_pb2.Dump, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ReadDumpRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ReadDumpResponse(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    def __init__(self, chunk: _Optional[bytes] = ...) -> None: ...
