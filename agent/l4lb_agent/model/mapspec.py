"""Which maps there are: name, type, sizes. bpf/l4lb.c declares the same names with one element each."""

import ctypes
import enum
from dataclasses import dataclass

from l4lb_agent.model import layout
from l4lb_agent.model.capture import layout as capture_layout
from l4lb_agent.model.choice import layout as choice_layout
from l4lb_agent.model.flows import layout as record_layout
from l4lb_agent.model.reasons import REASONS, VERDICTS


class MapType(enum.IntEnum):
    """enum bpf_map_type in linux/bpf.h."""

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LPM_TRIE = 11
    RINGBUF = 27


NO_PREALLOC = 1  # BPF_F_NO_PREALLOC, without which there are no tries: what is not there takes no memory
MMAPABLE = 1 << 10  # BPF_F_MMAPABLE: elements begin at a page, not behind the map's own fields, where each would lie on two cache lines
LINE = 64  # bytes of a cache line
CAPTURED_BYTES = 1 << 20  # of captured packets that the agent has not read yet


@dataclass(frozen=True)
class Sizes:
    """Elements of each map that can be sized, from [sizes] in agent.toml. Defaults are for 64 services, each of which may hold two rings
    (changes/capacity.py), and for ten with the largest."""

    services: int = 128
    backends: int = 4096
    addresses: int = 256
    port_ranges: int = 128  # of a VIP and protocol that has services with more than one port
    flows: int = 131072
    tracked_flows: int = 262144  # of DSR and ENCAP services
    prefixes: int = 65536  # of all lists
    affinities: int = 131072  # clients, or prefixes of them, of services with source affinity
    rings_1021: int = 160
    rings_4093: int = 160
    rings_16381: int = 160
    rings_65537: int = 24


@dataclass(frozen=True)
class MapSpec:
    """One map as it must be in the kernel."""

    name: str
    type: MapType
    key_size: int
    value_size: int
    max_entries: int
    control: bool  # written by the agent's plan; else by the datapath
    flags: int = 0  # BPF_F_*


def index_buckets(sizes: Sizes) -> int:
    """Buckets in `index`: a power of two, at least two for each service or address (eight places each)."""
    return max(64, 1 << (2 * (sizes.services + sizes.addresses) - 1).bit_length())


def kept_buckets(sizes: Sizes) -> int:
    """Buckets in `kept`: a power of two, at least one for each backend (eight places each): with a quarter of that both buckets of some
    backend in thousands are full."""
    return max(8, 1 << (sizes.backends - 1).bit_length())


def flow_buckets(sizes: Sizes) -> int:
    """Buckets in `flow_table`: a power of two, four entries each."""
    return max(64, 1 << (-(-sizes.tracked_flows // 4) - 1).bit_length())


def affinity_buckets(sizes: Sizes) -> int:
    """Buckets in `affinity`: a power of two, eight entries each."""
    return max(16, 1 << (-(-sizes.affinities // 8) - 1).bit_length())


def flow_index_buckets(sizes: Sizes) -> int:
    """Buckets in `flow_index`: a power of two, eight entries each, so that the two of each flow fill a quarter at most: a pair of buckets
    then is full for one flow in millions."""
    return max(8, 1 << (sizes.flows - 1).bit_length())


def unanswered_buckets(sizes: Sizes) -> int:
    """Buckets in `unanswered`: a power of two, sixteen slots each, for about half of all flows."""
    return 1 << max(0, (sizes.flows // 32 - 1).bit_length())


def spare_elements(sizes: Sizes) -> int:
    """Elements in `spare`: a power of two, room for every id."""
    return 1 << (sizes.flows - 1).bit_length()


def specs(sizes: Sizes) -> tuple[MapSpec, ...]:
    """Every pinned map, in the order in which they are created. `tails` is not among them: each program generation has its own."""
    size = ctypes.sizeof
    rings = tuple(_array(f"rings_{n}", 2 * layout.ring_slots(n), getattr(sizes, f"rings_{n}")) for n in layout.RING_SIZES)
    return (
        _array("config", size(layout.Config), 1),
        _array("snat", 16, layout.SNAT_SLOTS),
        _array("index", size(layout.Bucket), index_buckets(sizes)),
        _array("kept", size(layout.Bucket), kept_buckets(sizes)),
        # While lists change both their old and their new prefixes are there
        MapSpec("lists", MapType.LPM_TRIE, size(layout.ListKey), 4, 2 * sizes.prefixes, True, NO_PREALLOC),
        _array("addresses", size(layout.OwnedAddress), sizes.addresses),
        _array("port_ranges", size(choice_layout.PortRanges), sizes.port_ranges),
        _array("services", size(layout.Service), sizes.services),
        _array("policies", size(layout.Policy), sizes.services),
        *rings,
        _array("backends", size(layout.Backend), sizes.backends),
        _array("flows", size(layout.Flow), sizes.flows, control=False),
        _array("flows_v6", size(layout.FlowV6), sizes.flows, control=False),
        _array("flow_index", size(layout.Bucket), flow_index_buckets(sizes), control=False),
        _array("unanswered", size(record_layout.Unanswered), unanswered_buckets(sizes), control=False),
        _array("spare", 4, spare_elements(sizes), control=False),
        _array("pool", size(record_layout.Pool), 1, control=False),
        _array("sweep_state", size(record_layout.Sweep), 1, control=False),
        _array("flow_counts", size(record_layout.FlowCount), sizes.backends, control=False),
        _array("port_full", 4, layout.PORT_FULL_PLACES, control=False),
        _array("flow_table", size(layout.FlowBucket), flow_buckets(sizes), control=False),
        _array("fragments", size(layout.FragmentBucket), layout.FRAGMENT_BUCKETS, control=False),
        _array("affinity", size(choice_layout.AffinityBucket), affinity_buckets(sizes), control=False),
        _array("interfaces", size(layout.Interface), layout.INTERFACE_PLACES, control=False),
        _array("vlans", size(layout.Vlan), layout.VLAN_PLACES),
        _array("service_limits", size(layout.LimitLine), sizes.services, control=False),
        _array("source_limits", size(layout.LimitLine), layout.SOURCE_LIMIT_LINES, control=False),
        _counters("service_counters", layout.Traffic, sizes.services),
        _counters("backend_in", layout.BackendIn, sizes.backends),
        _counters("backend_out", layout.Count, sizes.backends),
        _counters("reason_counters", layout.Count, REASONS * VERDICTS),
        _counters("budgets", layout.Budget, layout.BUDGETS),
        _array("capture_switch", size(capture_layout.CaptureSwitch), 1, control=False),
        _array("captures", size(capture_layout.Capture), capture_layout.CAPTURES, control=False),
        _counters("capture_budgets", capture_layout.CaptureBudget, capture_layout.CAPTURES * REASONS),
        _counters("recorder_budgets", capture_layout.CaptureBudget, REASONS),
        MapSpec("captured", MapType.RINGBUF, 0, 0, CAPTURED_BYTES, False),
    )


def _array(name: str, value: int, entries: int, control: bool = True) -> MapSpec:
    return MapSpec(name, MapType.ARRAY, 4, value, entries, control, 0 if value % LINE else MMAPABLE)


def _counters(name: str, value: type[ctypes.Structure], entries: int) -> MapSpec:
    return MapSpec(name, MapType.PERCPU_ARRAY, 4, ctypes.sizeof(value), entries, False)
