"""Why a packet ended as it did: the mirror of bpf/reasons.h."""

import enum


class Reason(enum.IntEnum):
    """One fate of a packet; the number is the datapath's, never reused."""

    UNSPECIFIED = 0
    NOT_IP = 1
    FOREIGN = 2
    LOCAL = 3
    FLOW_CREATED = 10
    TO_BACKEND = 11
    TO_CLIENT = 12
    ICMP_TO_BACKEND = 13
    ICMP_TO_CLIENT = 14
    ARP_ANSWERED = 20
    NEIGHBOUR_ANSWERED = 21
    RST_ANSWERED = 22
    DRAIN_RESET = 23
    ECHO_ANSWERED = 24
    TOO_BIG_ANSWERED = 27
    NO_BACKEND_ANSWERED = 28
    MALFORMED = 30
    IP_OPTIONS = 31
    FRAGMENT = 32
    TTL_EXCEEDED = 33
    PROTOCOL_UNSUPPORTED = 34
    ICMP_UNSUPPORTED = 35
    NO_SERVICE = 36
    NO_BACKEND = 37
    BACKEND_UNRESOLVED = 38
    RST_LIMITED = 39
    NO_FLOW = 40
    NO_SOURCE_PORT = 41
    NO_SNAT_ADDRESS = 42
    FLOW_TABLE_FULL = 43
    MTU_EXCEEDED = 44
    TAIL_CALL_FAILED = 45
    FLOW_CUT = 46
    CLOSED = 47
    ICMP_MALFORMED = 50
    ICMP_FRAGMENT = 51
    ICMP_NO_FLOW = 52
    ICMP_MTU_TOO_SMALL = 53
    ECHO_REFUSED = 54
    ECHO_LIMITED = 55
    VERSION_WRONG = 56
    LENGTH_WRONG = 57
    CHECKSUM_WRONG = 58
    TCP_OFFSET_WRONG = 59
    TCP_FLAGS_WRONG = 60
    SOURCE_MARTIAN = 61
    SOURCE_OWNED = 62
    FRAME_FOREIGN = 63
    NO_BACKEND_LIMITED = 64
    NEW_FLOWS_LIMITED = 68
    SOURCE_LIMITED = 69
    DENIED = 70
    NOT_ALLOWED = 71
    NO_HEADROOM = 72
    TOO_BIG_LIMITED = 87
    SOURCE_ROUTED = 90
    OPTIONS_WRONG = 91
    HEADER_ORDER = 92
    HEADERS_TOO_MANY = 93
    FRAGMENT_TINY = 94
    FRAGMENT_OVERLAP = 95
    FRAGMENT_WRONG = 96


class Verdict(enum.IntEnum):
    """What XDP did with the packet (enum xdp_action in linux/bpf.h)."""

    ABORTED = 0
    DROP = 1
    PASS = 2
    TX = 3
    REDIRECT = 4


REASONS = 128
VERDICTS = 8
