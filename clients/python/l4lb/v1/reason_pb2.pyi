from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_UNSPECIFIED: _ClassVar[Reason]
    REASON_NOT_IP: _ClassVar[Reason]
    REASON_FOREIGN: _ClassVar[Reason]
    REASON_LOCAL: _ClassVar[Reason]
    REASON_FLOW_CREATED: _ClassVar[Reason]
    REASON_TO_BACKEND: _ClassVar[Reason]
    REASON_TO_CLIENT: _ClassVar[Reason]
    REASON_ICMP_TO_BACKEND: _ClassVar[Reason]
    REASON_ICMP_TO_CLIENT: _ClassVar[Reason]
    REASON_ARP_ANSWERED: _ClassVar[Reason]
    REASON_NEIGHBOUR_ANSWERED: _ClassVar[Reason]
    REASON_RST_ANSWERED: _ClassVar[Reason]
    REASON_DRAIN_RESET: _ClassVar[Reason]
    REASON_ECHO_ANSWERED: _ClassVar[Reason]
    REASON_TOO_BIG_ANSWERED: _ClassVar[Reason]
    REASON_MALFORMED: _ClassVar[Reason]
    REASON_IP_OPTIONS: _ClassVar[Reason]
    REASON_FRAGMENT: _ClassVar[Reason]
    REASON_TTL_EXCEEDED: _ClassVar[Reason]
    REASON_PROTOCOL_UNSUPPORTED: _ClassVar[Reason]
    REASON_ICMP_UNSUPPORTED: _ClassVar[Reason]
    REASON_NO_SERVICE: _ClassVar[Reason]
    REASON_NO_BACKEND: _ClassVar[Reason]
    REASON_BACKEND_UNRESOLVED: _ClassVar[Reason]
    REASON_RST_LIMITED: _ClassVar[Reason]
    REASON_NO_FLOW: _ClassVar[Reason]
    REASON_NO_SOURCE_PORT: _ClassVar[Reason]
    REASON_NO_SNAT_ADDRESS: _ClassVar[Reason]
    REASON_FLOW_TABLE_FULL: _ClassVar[Reason]
    REASON_MTU_EXCEEDED: _ClassVar[Reason]
    REASON_TAIL_CALL_FAILED: _ClassVar[Reason]
    REASON_FLOW_CUT: _ClassVar[Reason]
    REASON_CLOSED: _ClassVar[Reason]
    REASON_ICMP_MALFORMED: _ClassVar[Reason]
    REASON_ICMP_FRAGMENT: _ClassVar[Reason]
    REASON_ICMP_NO_FLOW: _ClassVar[Reason]
    REASON_ICMP_MTU_TOO_SMALL: _ClassVar[Reason]
    REASON_ECHO_REFUSED: _ClassVar[Reason]
    REASON_ECHO_LIMITED: _ClassVar[Reason]
    REASON_NO_HEADROOM: _ClassVar[Reason]
    REASON_TOO_BIG_LIMITED: _ClassVar[Reason]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_DROP: _ClassVar[Verdict]
    VERDICT_PASS: _ClassVar[Verdict]
    VERDICT_TX: _ClassVar[Verdict]
    VERDICT_REDIRECT: _ClassVar[Verdict]
REASON_UNSPECIFIED: Reason
REASON_NOT_IP: Reason
REASON_FOREIGN: Reason
REASON_LOCAL: Reason
REASON_FLOW_CREATED: Reason
REASON_TO_BACKEND: Reason
REASON_TO_CLIENT: Reason
REASON_ICMP_TO_BACKEND: Reason
REASON_ICMP_TO_CLIENT: Reason
REASON_ARP_ANSWERED: Reason
REASON_NEIGHBOUR_ANSWERED: Reason
REASON_RST_ANSWERED: Reason
REASON_DRAIN_RESET: Reason
REASON_ECHO_ANSWERED: Reason
REASON_TOO_BIG_ANSWERED: Reason
REASON_MALFORMED: Reason
REASON_IP_OPTIONS: Reason
REASON_FRAGMENT: Reason
REASON_TTL_EXCEEDED: Reason
REASON_PROTOCOL_UNSUPPORTED: Reason
REASON_ICMP_UNSUPPORTED: Reason
REASON_NO_SERVICE: Reason
REASON_NO_BACKEND: Reason
REASON_BACKEND_UNRESOLVED: Reason
REASON_RST_LIMITED: Reason
REASON_NO_FLOW: Reason
REASON_NO_SOURCE_PORT: Reason
REASON_NO_SNAT_ADDRESS: Reason
REASON_FLOW_TABLE_FULL: Reason
REASON_MTU_EXCEEDED: Reason
REASON_TAIL_CALL_FAILED: Reason
REASON_FLOW_CUT: Reason
REASON_CLOSED: Reason
REASON_ICMP_MALFORMED: Reason
REASON_ICMP_FRAGMENT: Reason
REASON_ICMP_NO_FLOW: Reason
REASON_ICMP_MTU_TOO_SMALL: Reason
REASON_ECHO_REFUSED: Reason
REASON_ECHO_LIMITED: Reason
REASON_NO_HEADROOM: Reason
REASON_TOO_BIG_LIMITED: Reason
VERDICT_UNSPECIFIED: Verdict
VERDICT_DROP: Verdict
VERDICT_PASS: Verdict
VERDICT_TX: Verdict
VERDICT_REDIRECT: Verdict
