from l4lb.v1 import reason_pb2 as _reason_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PacketKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PACKET_KIND_UNSPECIFIED: _ClassVar[PacketKind]
    PACKET_KIND_TCP: _ClassVar[PacketKind]
    PACKET_KIND_UDP: _ClassVar[PacketKind]
    PACKET_KIND_ECHO_REQUEST: _ClassVar[PacketKind]
    PACKET_KIND_ICMP: _ClassVar[PacketKind]
    PACKET_KIND_IP: _ClassVar[PacketKind]
    PACKET_KIND_NEIGHBOUR_REQUEST: _ClassVar[PacketKind]
    PACKET_KIND_ETHERNET: _ClassVar[PacketKind]

class TcpFlag(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TCP_FLAG_UNSPECIFIED: _ClassVar[TcpFlag]
    TCP_FLAG_FIN: _ClassVar[TcpFlag]
    TCP_FLAG_SYN: _ClassVar[TcpFlag]
    TCP_FLAG_RST: _ClassVar[TcpFlag]
    TCP_FLAG_PSH: _ClassVar[TcpFlag]
    TCP_FLAG_ACK: _ClassVar[TcpFlag]
    TCP_FLAG_URG: _ClassVar[TcpFlag]
    TCP_FLAG_NONE: _ClassVar[TcpFlag]
    TCP_FLAG_ECE: _ClassVar[TcpFlag]
    TCP_FLAG_CWR: _ClassVar[TcpFlag]

class AskedChecksum(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ASKED_CHECKSUM_UNSPECIFIED: _ClassVar[AskedChecksum]
    ASKED_CHECKSUM_WRONG: _ClassVar[AskedChecksum]
    ASKED_CHECKSUM_NONE: _ClassVar[AskedChecksum]

class Comparison(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPARISON_UNSPECIFIED: _ClassVar[Comparison]
    COMPARISON_NOT_ASKED: _ClassVar[Comparison]
    COMPARISON_AGREED: _ClassVar[Comparison]
    COMPARISON_DISAGREED: _ClassVar[Comparison]
    COMPARISON_UNSTEADY: _ClassVar[Comparison]
PACKET_KIND_UNSPECIFIED: PacketKind
PACKET_KIND_TCP: PacketKind
PACKET_KIND_UDP: PacketKind
PACKET_KIND_ECHO_REQUEST: PacketKind
PACKET_KIND_ICMP: PacketKind
PACKET_KIND_IP: PacketKind
PACKET_KIND_NEIGHBOUR_REQUEST: PacketKind
PACKET_KIND_ETHERNET: PacketKind
TCP_FLAG_UNSPECIFIED: TcpFlag
TCP_FLAG_FIN: TcpFlag
TCP_FLAG_SYN: TcpFlag
TCP_FLAG_RST: TcpFlag
TCP_FLAG_PSH: TcpFlag
TCP_FLAG_ACK: TcpFlag
TCP_FLAG_URG: TcpFlag
TCP_FLAG_NONE: TcpFlag
TCP_FLAG_ECE: TcpFlag
TCP_FLAG_CWR: TcpFlag
ASKED_CHECKSUM_UNSPECIFIED: AskedChecksum
ASKED_CHECKSUM_WRONG: AskedChecksum
ASKED_CHECKSUM_NONE: AskedChecksum
COMPARISON_UNSPECIFIED: Comparison
COMPARISON_NOT_ASKED: Comparison
COMPARISON_AGREED: Comparison
COMPARISON_DISAGREED: Comparison
COMPARISON_UNSTEADY: Comparison

class AskedIcmp(_message.Message):
    __slots__ = ("type", "code", "mtu", "quoted", "quoted_bytes")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    QUOTED_FIELD_NUMBER: _ClassVar[int]
    QUOTED_BYTES_FIELD_NUMBER: _ClassVar[int]
    type: int
    code: int
    mtu: int
    quoted: AskedPacket
    quoted_bytes: int
    def __init__(self, type: _Optional[int] = ..., code: _Optional[int] = ..., mtu: _Optional[int] = ..., quoted: _Optional[_Union[AskedPacket, _Mapping]] = ..., quoted_bytes: _Optional[int] = ...) -> None: ...

class AskedExtensionHeader(_message.Message):
    __slots__ = ("kind", "data")
    KIND_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    kind: int
    data: bytes
    def __init__(self, kind: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class AskedPacket(_message.Message):
    __slots__ = ("kind", "source", "source_port", "destination", "destination_port", "tcp_flags", "sequence", "acknowledgement", "payload_bytes", "hops", "may_fragment", "fragment_offset", "more_fragments", "identification", "vlan", "interface", "icmp", "ip_protocol", "ether_type", "ipv4_options", "extension_headers", "vlan_priority", "service_vlan", "frame_bytes", "source_mac", "destination_mac", "ip_checksum_wrong", "checksum", "mss", "tcp_options", "service_vlan_type")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_PORT_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_PORT_FIELD_NUMBER: _ClassVar[int]
    TCP_FLAGS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGEMENT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    HOPS_FIELD_NUMBER: _ClassVar[int]
    MAY_FRAGMENT_FIELD_NUMBER: _ClassVar[int]
    FRAGMENT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    MORE_FRAGMENTS_FIELD_NUMBER: _ClassVar[int]
    IDENTIFICATION_FIELD_NUMBER: _ClassVar[int]
    VLAN_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    ICMP_FIELD_NUMBER: _ClassVar[int]
    IP_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    ETHER_TYPE_FIELD_NUMBER: _ClassVar[int]
    IPV4_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    EXTENSION_HEADERS_FIELD_NUMBER: _ClassVar[int]
    VLAN_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SERVICE_VLAN_FIELD_NUMBER: _ClassVar[int]
    FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_MAC_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_MAC_FIELD_NUMBER: _ClassVar[int]
    IP_CHECKSUM_WRONG_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    MSS_FIELD_NUMBER: _ClassVar[int]
    TCP_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_VLAN_TYPE_FIELD_NUMBER: _ClassVar[int]
    kind: PacketKind
    source: str
    source_port: int
    destination: str
    destination_port: int
    tcp_flags: _containers.RepeatedScalarFieldContainer[TcpFlag]
    sequence: int
    acknowledgement: int
    payload_bytes: int
    hops: int
    may_fragment: bool
    fragment_offset: int
    more_fragments: bool
    identification: int
    vlan: int
    interface: str
    icmp: AskedIcmp
    ip_protocol: int
    ether_type: int
    ipv4_options: bytes
    extension_headers: _containers.RepeatedCompositeFieldContainer[AskedExtensionHeader]
    vlan_priority: int
    service_vlan: int
    frame_bytes: int
    source_mac: str
    destination_mac: str
    ip_checksum_wrong: bool
    checksum: AskedChecksum
    mss: int
    tcp_options: bytes
    service_vlan_type: int
    def __init__(self, kind: _Optional[_Union[PacketKind, str]] = ..., source: _Optional[str] = ..., source_port: _Optional[int] = ..., destination: _Optional[str] = ..., destination_port: _Optional[int] = ..., tcp_flags: _Optional[_Iterable[_Union[TcpFlag, str]]] = ..., sequence: _Optional[int] = ..., acknowledgement: _Optional[int] = ..., payload_bytes: _Optional[int] = ..., hops: _Optional[int] = ..., may_fragment: _Optional[bool] = ..., fragment_offset: _Optional[int] = ..., more_fragments: _Optional[bool] = ..., identification: _Optional[int] = ..., vlan: _Optional[int] = ..., interface: _Optional[str] = ..., icmp: _Optional[_Union[AskedIcmp, _Mapping]] = ..., ip_protocol: _Optional[int] = ..., ether_type: _Optional[int] = ..., ipv4_options: _Optional[bytes] = ..., extension_headers: _Optional[_Iterable[_Union[AskedExtensionHeader, _Mapping]]] = ..., vlan_priority: _Optional[int] = ..., service_vlan: _Optional[int] = ..., frame_bytes: _Optional[int] = ..., source_mac: _Optional[str] = ..., destination_mac: _Optional[str] = ..., ip_checksum_wrong: _Optional[bool] = ..., checksum: _Optional[_Union[AskedChecksum, str]] = ..., mss: _Optional[int] = ..., tcp_options: _Optional[bytes] = ..., service_vlan_type: _Optional[int] = ...) -> None: ...

class ExplainStep(_message.Message):
    __slots__ = ("name", "finding", "evidence")
    class EvidenceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    FINDING_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    finding: str
    evidence: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., finding: _Optional[str] = ..., evidence: _Optional[_Mapping[str, str]] = ...) -> None: ...

class FrameSummary(_message.Message):
    __slots__ = ("frame", "interface", "vlan", "source_mac", "destination_mac", "outer_source", "outer_destination", "outer_source_port", "outer_destination_port", "source", "destination", "protocol", "source_port", "destination_port", "ether_type", "service_vlan", "service_vlan_type")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    VLAN_FIELD_NUMBER: _ClassVar[int]
    SOURCE_MAC_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_MAC_FIELD_NUMBER: _ClassVar[int]
    OUTER_SOURCE_FIELD_NUMBER: _ClassVar[int]
    OUTER_DESTINATION_FIELD_NUMBER: _ClassVar[int]
    OUTER_SOURCE_PORT_FIELD_NUMBER: _ClassVar[int]
    OUTER_DESTINATION_PORT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_PORT_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_PORT_FIELD_NUMBER: _ClassVar[int]
    ETHER_TYPE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_VLAN_FIELD_NUMBER: _ClassVar[int]
    SERVICE_VLAN_TYPE_FIELD_NUMBER: _ClassVar[int]
    frame: bytes
    interface: str
    vlan: int
    source_mac: str
    destination_mac: str
    outer_source: str
    outer_destination: str
    outer_source_port: int
    outer_destination_port: int
    source: str
    destination: str
    protocol: int
    source_port: int
    destination_port: int
    ether_type: int
    service_vlan: int
    service_vlan_type: int
    def __init__(self, frame: _Optional[bytes] = ..., interface: _Optional[str] = ..., vlan: _Optional[int] = ..., source_mac: _Optional[str] = ..., destination_mac: _Optional[str] = ..., outer_source: _Optional[str] = ..., outer_destination: _Optional[str] = ..., outer_source_port: _Optional[int] = ..., outer_destination_port: _Optional[int] = ..., source: _Optional[str] = ..., destination: _Optional[str] = ..., protocol: _Optional[int] = ..., source_port: _Optional[int] = ..., destination_port: _Optional[int] = ..., ether_type: _Optional[int] = ..., service_vlan: _Optional[int] = ..., service_vlan_type: _Optional[int] = ...) -> None: ...

class ProgramAnswer(_message.Message):
    __slots__ = ("verdict", "reason", "frame", "interface")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    verdict: _reason_pb2.Verdict
    reason: _reason_pb2.Reason
    frame: bytes
    interface: str
    def __init__(self, verdict: _Optional[_Union[_reason_pb2.Verdict, str]] = ..., reason: _Optional[_Union[_reason_pb2.Reason, str]] = ..., frame: _Optional[bytes] = ..., interface: _Optional[str] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("received", "steps", "verdict", "reason", "meaning", "advice", "service", "backend", "sent", "program", "comparison", "differences")
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MEANING_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    received: FrameSummary
    steps: _containers.RepeatedCompositeFieldContainer[ExplainStep]
    verdict: _reason_pb2.Verdict
    reason: _reason_pb2.Reason
    meaning: str
    advice: str
    service: str
    backend: str
    sent: FrameSummary
    program: ProgramAnswer
    comparison: Comparison
    differences: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, received: _Optional[_Union[FrameSummary, _Mapping]] = ..., steps: _Optional[_Iterable[_Union[ExplainStep, _Mapping]]] = ..., verdict: _Optional[_Union[_reason_pb2.Verdict, str]] = ..., reason: _Optional[_Union[_reason_pb2.Reason, str]] = ..., meaning: _Optional[str] = ..., advice: _Optional[str] = ..., service: _Optional[str] = ..., backend: _Optional[str] = ..., sent: _Optional[_Union[FrameSummary, _Mapping]] = ..., program: _Optional[_Union[ProgramAnswer, _Mapping]] = ..., comparison: _Optional[_Union[Comparison, str]] = ..., differences: _Optional[_Iterable[str]] = ...) -> None: ...
