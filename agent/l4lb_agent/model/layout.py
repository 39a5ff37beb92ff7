"""The mirror of bpf/types.h and its kin: sizes, offsets and constants of every structure that the kernel maps hold.

Structures are ctypes in host byte order; fields that the C file calls network order are assigned with `socket.htons` or raw bytes by
`model/tables.py`. tests/law compiles both and compares every size and offset with this file.
"""

import ctypes
from typing import Final

LAYOUT_VERSION: Final = 2

U8, U16, U32, U64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64
Address = U8 * 16  # network order; IPv4 as ::ffff:a.b.c.d


class Config(ctypes.Structure):
    """config[0]."""

    _fields_ = [
        ("slot_secret", U64 * 2), ("index_secret", U64 * 2), ("layout", U32), ("second_multiplier", U32),
        ("route_generation", U32), ("index_mask", U32), ("port_low", U16), ("port_high", U16), ("snat_v4", U16),
        ("snat_v6", U16), ("flags", U32), ("rst_rate", U32), ("rst_burst", U32), ("timeout", U16 * 12),
        ("quarantine_long", U16), ("quarantine_short", U16), ("flow_mask", U32), ("icmp_rate", U32), ("icmp_burst", U32),
        ("spread_v4", U32), ("spread_v4_mask", U32), ("spread_v6", Address), ("tracked_syn", U16), ("tracked_fin", U16),
        ("tracked_rst", U16), ("reserved_half", U16), ("owned_filter", U32 * 8), ("affinity_mask", U32), ("flow_index_mask", U32),
        ("unanswered_mask", U32), ("spare_mask", U32), ("flow_ids", U32), ("kept_mask", U32), ("kept_filter", U32 * 8),
        ("reserved", U32 * 7),
    ]  # fmt: skip


CONFIG_TRANSMIT_REDIRECT: Final = 1
CONFIG_VLANS: Final = 2
CONFIG_KEEP: Final = 4
SNAT_V6_BASE: Final = 128
SNAT_SLOTS: Final = 256
PLACES: Final = 8


class Bucket(ctypes.Structure):
    """index[bucket], kept[bucket]; an entry is tag << 32 | kind << 16 | id."""

    _fields_ = [("entry", U64 * PLACES)]


INDEX_ADDRESS: Final = 1
INDEX_SERVICE: Final = 2
INDEX_BACKEND: Final = 3


class OwnedAddress(ctypes.Structure):
    """addresses[id]."""

    _fields_ = [
        ("address", Address), ("flags", U32), ("service", U32), ("ranges_tcp", U16), ("ranges_udp", U16), ("reserved", U32),
    ]  # fmt: skip


ADDRESS_VIP: Final = 1
ADDRESS_SNAT: Final = 2
ADDRESS_LOCAL: Final = 4
ADDRESS_ECHO: Final = 8
ADDRESS_FOREIGN: Final = 16


class Service(ctypes.Structure):
    """services[id]; word is now << 48 | before << 32 | flags."""

    _fields_ = [
        ("word", U64), ("vip", Address), ("port", U16), ("protocol", U8), ("family", U8), ("idle_seconds", U32),
        ("encap_port", U16), ("mss", U16), ("port_end", U16), ("reserved_half", U16),
        ("affinity_mask", U64 * 2), ("affinity_seconds", U32), ("reserved", U32),
    ]  # fmt: skip


SERVICE_RING_CLASS: Final = 3
SERVICE_PRESENT: Final = 4
SERVICE_MODE_SHIFT: Final = 3
SERVICE_MODE: Final = 56
SERVICE_TRACK_ALL: Final = 64
SERVICE_SPREAD: Final = 128
SERVICE_OUTER_CHECKSUM: Final = 256
SERVICE_HASH_SHIFT: Final = 9
SERVICE_HASH: Final = 0x600
SERVICE_ON_EMPTY_SHIFT: Final = 11
SERVICE_ON_EMPTY: Final = 0x1800
SERVICE_AFFINITY: Final = 0x2000
SERVICE_LIMITED: Final = 0x1000000
MSS_AUTO: Final = 0xFFFF
SERVICE_LISTED: Final = 0x2000000
HASH_TUPLE: Final = 0
HASH_SOURCE: Final = 1
HASH_SOURCE_DESTINATION: Final = 2
EMPTY_DROP: Final = 0
EMPTY_RESET: Final = 1
EMPTY_UNREACHABLE: Final = 2
EMPTY_PROHIBITED: Final = 3
MODE_NAT: Final = 0
MODE_KEEP: Final = 1
MODE_DSR: Final = 2
MODE_IPIP: Final = 3
MODE_GUE: Final = 4
MODE_FOU: Final = 5
RING_SIZES: Final = (1021, 4093, 16381, 65537)  # by ring class
SLOT_AT_RISK: Final = 0x8000
SLOT_BACKEND: Final = 0x7FFF


class Policy(ctypes.Structure):
    """policies[service]; intervals and tolerances are in 2^-40 seconds."""

    _fields_ = [
        ("service_interval", U64), ("service_tolerance", U64), ("source_interval", U64), ("source_tolerance", U64),
        ("source_mask", U64 * 2), ("allow_list", U32), ("deny_list", U32), ("reserved", U64),
    ]  # fmt: skip


class ListKey(ctypes.Structure):
    """Key of lists."""

    _fields_ = [("bits", U32), ("list", U32), ("address", Address)]


class LimitLine(ctypes.Structure):
    """service_limits[service] and source_limits[hash]."""

    _fields_ = [("word", U64 * 8)]


SOURCE_LIMIT_LINES: Final = 8192


def ring_slots(size: int) -> int:
    """Slots of one ring element with its padding, for the ring size in slots."""
    return (size + 7) // 4 * 4


class Backend(ctypes.Structure):
    """backends[id]."""

    _fields_ = [
        ("address", Address), ("port", U16), ("flags", U16), ("ifindex", U32), ("source_mac", U8 * 6),
        ("destination_mac", U8 * 6), ("service", U16), ("mtu", U16), ("outer_source", Address), ("vlan", U16),
        ("reserved_half", U16), ("reserved", U32),
    ]  # fmt: skip


BACKEND_KEEP: Final = 1
BACKEND_RESET: Final = 2
BACKEND_ELIGIBLE: Final = 4
BACKEND_HERE: Final = 8
BACKEND_LISTED: Final = 64
BACKEND_ID_MAX: Final = 32767


class FlowEntry(ctypes.Structure):
    """One way of a tracked flow; word is tag << 16 | backend."""

    _fields_ = [("word", U64), ("sequence", U32), ("stamp", U16), ("state", U8), ("rank", U8)]


class FlowBucket(ctypes.Structure):
    """flow_table[bucket]."""

    _fields_ = [("entry", FlowEntry * 4)]


RANK_LAST: Final = 2
TRACKED_SYN: Final = 1
TRACKED_LIVE: Final = 2
TRACKED_FIN: Final = 3
TRACKED_RST: Final = 4
TRACKED_UDP: Final = 5
TRACKED_PINNED: Final = 6
TRACKED_LASTING: Final = 7


class Flow(ctypes.Structure):
    """flows[id]: a NAT flow; word is version << 24 | place << 20 | state << 16 | flags << 8 | protocol."""

    _fields_ = [
        ("seen", U32), ("word", U32), ("client_port", U16), ("vip_port", U16), ("backend_port", U16), ("snat_port", U16),
        ("backend", U16), ("service", U16), ("sequence", U32), ("last_sequence", U32), ("ifindex", U32), ("mtu", U16),
        ("route_generation", U16), ("source_mac", U8 * 6), ("destination_mac", U8 * 6), ("client", U32), ("vip", U32),
        ("backend_address", U32), ("snat", U32),
    ]  # fmt: skip


FLOW_VERSION_SHIFT: Final = 24
FLOW_PLACE_SHIFT: Final = 20
FLOW_STATE_SHIFT: Final = 16
FLOW_FLAGS_SHIFT: Final = 8


class FlowV6(ctypes.Structure):
    """flows_v6[id]: the addresses of an IPv6 flow."""

    _fields_ = [("client", Address), ("vip", Address), ("backend", Address), ("snat", Address)]


FLOW_SYN: Final = 1
FLOW_ANSWERED: Final = 2
FLOW_ESTABLISHED: Final = 3
FLOW_CLOSING: Final = 4
FLOW_CLOSED: Final = 5
FLOW_UDP: Final = 6
FLOW_UDP_ANSWERED: Final = 7
FLOW_CLIENT_FIN: Final = 1
FLOW_BACKEND_FIN: Final = 2
FLOW_BACKEND_FIN_FIRST: Final = 4
FLOW_RESET: Final = 8
FLOW_LEFT: Final = 16
FLOW_DISPLACED: Final = 32
FLOW_HEARD: Final = 64
FLOW_HELD: Final = 128


class Interface(ctypes.Structure):
    """interfaces[ifindex % INTERFACE_PLACES]: the interface's own MAC."""

    _fields_ = [("ifindex", U32), ("mac", U8 * 6), ("reserved", U8 * 6)]


INTERFACE_PLACES: Final = 1024


class FragmentEntry(ctypes.Structure):
    """A datagram whose first fragment was forwarded; word is tag << 16 | backend."""

    _fields_ = [
        ("word", U64), ("stamp", U32), ("source_port", U16), ("destination_port", U16), ("identification", U16), ("first", U16),
        ("protocol", U8), ("reserved", U8 * 11),
    ]  # fmt: skip


class FragmentBucket(ctypes.Structure):
    """fragments[bucket]."""

    _fields_ = [("entry", FragmentEntry * 4)]


FRAGMENT_BUCKETS: Final = 4096


class Vlan(ctypes.Structure):
    """vlans[place]: what a VLAN device and its lower device are to each other."""

    _fields_ = [("ifindex", U32), ("key", U16), ("tag", U16), ("other", U32), ("inner", U16), ("mtu", U16)]


TAG_BYTES: Final = 4
VLAN_SERVICE: Final = 0x1000
VLAN_DEVICE: Final = 0xFFFF
VLAN_PLACES: Final = 4096
VLAN_TRIES: Final = 16
VLAN_MIX: Final = 0x9E3779B1
OUT_VLAN_SHIFT: Final = 20
OUT_DEVICE: Final = 0xFFF
PORT_FULL_PLACES: Final = 4096


class Traffic(ctypes.Structure):
    """service_counters[service], one per CPU."""

    _fields_ = [
        ("packets_in", U64), ("bytes_in", U64), ("packets_out", U64), ("bytes_out", U64), ("flows", U64),
        ("table_reads", U64), ("pinned", U64), ("evicted", U64),
    ]  # fmt: skip


class BackendIn(ctypes.Structure):
    """backend_in[backend], one per CPU."""

    _fields_ = [("packets", U64), ("bytes", U64), ("flows", U64)]


class Count(ctypes.Structure):
    """reason_counters[reason * VERDICTS + verdict] and backend_out[backend], one per CPU."""

    _fields_ = [("packets", U64), ("bytes", U64)]


class Budget(ctypes.Structure):
    """budgets[], one per CPU: what it may send of one kind."""

    _fields_ = [("stamp", U64), ("tokens", U64)]


BUDGET_RST: Final = 0
BUDGET_ICMP: Final = 1
BUDGET_TOO_BIG: Final = 2
BUDGETS: Final = 3
TAIL_ICMP: Final = 0
TAIL_ODD: Final = 1
TAIL_NAT_NEW: Final = 2
TAIL_ANSWER: Final = 3
TAIL_CAPTURE: Final = 4
TAIL_LATER: Final = 5
TAIL_NAT_PORT: Final = 6
TAIL_TAGS: Final = 7
TAILS: Final = 8
