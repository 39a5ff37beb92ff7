"""Every family of series that the agent exports: name, kind, labels, meaning. docs/operations.md lists the same ones.

Names begin with l4lb_ and end with their unit; the text formats add _total to counters and _info to infos. Counters of packets, bytes and
flows are the kernel's: they go on when the agent starts anew. Those of the agent's own work begin at zero with each process.
"""

from dataclasses import dataclass

UNITS = ("seconds", "bytes", "ratio")


@dataclass(frozen=True)
class Family:
    """One of them. `kind` is counter, gauge, info or histogram."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """The last part of the name, when that is one."""
        last = self.name.rpartition("_")[2]
        return last if last in UNITS else ""

    @property
    def sample(self) -> str:
        """Name of its samples; those of a histogram add more."""
        return self.name + {"counter": "_total", "info": "_info"}.get(self.kind, "")


_SERVICE, _BACKEND = ("service",), ("service", "backend")
_DIRECTED = ("direction",)
_OUT = "direction is in (from clients to backends) or, with NAT, out"

BUILD = Family(
    "l4lb_build", "info", "The agent that answers, and the program that is attached.", ("version", "program_tag", "layout", "kernel")
)
READY = Family("l4lb_agent_ready", "gauge", "1 when every interface is attached and the kernel forwards as asked.")
STARTED = Family("l4lb_agent_start_time_seconds", "gauge", "When this process started, in Unix seconds.")
HEARTBEATS = Family("l4lb_agent_heartbeats", "counter", "Turns of the loop that keeps the kernel as asked: at least one a second.")
WARNINGS = Family("l4lb_agent_warnings", "gauge", "Warnings that GetAgent gives now, by reason.", ("reason",))
REVISION = Family("l4lb_agent_revision", "gauge", "Revision of the desired state.")
APPLIED = Family("l4lb_agent_applied_revision", "gauge", "Newest revision that the kernel forwards according to.")
MAP_WRITES = Family("l4lb_agent_map_writes", "counter", "Writes to the maps by this process.")
RETRIES = Family("l4lb_agent_reconcile_retries", "counter", "Writes, attachments and look-ups that failed and were tried again.")
APPLY = Family("l4lb_apply_duration_seconds", "histogram", "From when a change came until the kernel forwarded accordingly.")
RPCS = Family("l4lb_rpcs", "counter", "Calls of the API that have ended, by the status that their callers were told.", ("method", "code"))
DISAGREEMENTS = Family(
    "l4lb_explain_disagreements", "counter", "Explained packets of which the datapath's own program said something else: a bug."
)  # fmt: skip
SWEPT = Family("l4lb_sweep_timestamp_seconds", "gauge", "When the flow tables were counted last, in Unix seconds.")
SWEEP = Family("l4lb_sweep_duration_seconds", "gauge", "How long that took.")
ATTACHED = Family("l4lb_interface_attached", "gauge", "1 for the mode in which the program runs on an interface.", ("interface", "mode"))

PACKETS = Family("l4lb_datapath_packets", "counter", "Packets by how they ended: docs/reasons.md.", ("reason", "verdict"))
BYTES = Family("l4lb_datapath_bytes", "counter", "Bytes of those packets, whole frames.", ("reason", "verdict"))
MAP_ENTRIES = Family("l4lb_map_entries", "gauge", "Elements of a map that are in use, by the last sweep or by what was written.", ("map",))
MAP_MAX = Family("l4lb_map_max_entries", "gauge", "Elements that a map has room for.", ("map",))
MAP_BYTES = Family("l4lb_map_memory_bytes", "gauge", "Locked kernel memory of a map.", ("map",))
MAP_DRIFT = Family(
    "l4lb_map_drift_elements", "counter", "Elements of a map that somebody else had changed, and this process has put right.", ("map",)
)  # fmt: skip

SERVICE = Family("l4lb_service", "info", "A virtual service.", ("service", "vip", "port", "protocol", "mode"))
SERVICE_PACKETS = Family("l4lb_service_packets", "counter", f"Packets of a service; {_OUT}.", _SERVICE + _DIRECTED)
SERVICE_BYTES = Family("l4lb_service_bytes", "counter", f"Bytes of a service, whole frames; {_OUT}.", _SERVICE + _DIRECTED)
SERVICE_FLOWS = Family("l4lb_service_flows", "counter", "Flows that a service's backends were given.", _SERVICE)
SERVICE_ACTIVE = Family("l4lb_service_active_flows", "gauge", "Flows that have an entry and have not ended, by the last sweep.", _SERVICE)
SERVICE_READS = Family("l4lb_service_flow_table_reads", "counter", "DSR and ENCAP: packets that looked into the flow table.", _SERVICE)
SERVICE_ENTRIES = Family("l4lb_service_flow_entries", "counter", "DSR and ENCAP: entries that were made in the flow table.", _SERVICE)
SERVICE_EVICTIONS = Family(
    "l4lb_service_flow_evictions", "counter",
    "Flows, of any service, that lost something to those of this one. DSR, ENCAP: their entries. NAT: unanswered, their records or ports.",
    _SERVICE,
)  # fmt: skip
SERVICE_BACKENDS = Family(
    "l4lb_service_backends", "gauge", "Backends of a service by admin state: enabled, draining, drained, disabled.", (*_SERVICE, "state")
)
SERVICE_ELIGIBLE = Family("l4lb_service_eligible_backends", "gauge", "Backends of a service that have slots for new flows.", _SERVICE)
SERVICE_UNREACHABLE = Family(
    "l4lb_service_unreachable_backends", "gauge", "Backends of a service whose next hop is not resolved.", _SERVICE
)  # fmt: skip
SERVICE_DIFFERING = Family("l4lb_service_differing_slots", "gauge", "Slots in which a change has not settled yet.", _SERVICE)
SERVICE_AT_RISK = Family("l4lb_service_at_risk_slots", "gauge", "Slots in which packets look into the flow table.", _SERVICE)
SERVICE_DIGEST = Family(
    "l4lb_service_ring_digest", "gauge", "First 48 bits of the digest of the ring for new flows: equal on load balancers that agree.",
    _SERVICE,
)  # fmt: skip
SERVICE_HEALTH = Family(
    "l4lb_service_health_backends", "gauge", "Backends of a service with a health check by what probes say: unknown, up, down.",
    (*_SERVICE, "state"),
)  # fmt: skip
SERVICE_TARGET = Family(
    "l4lb_service_health_target", "gauge", "1 for what a service's probes are sent to: backend, vip.", (*_SERVICE, "target")
)
SERVICE_ALL_DOWN = Family("l4lb_service_all_down", "gauge", "1 when no backend of a service that is to have new flows is UP.", _SERVICE)
SERVICE_KEPT = Family(
    "l4lb_service_kept_backends", "gauge", "Backends that take new flows although they are DOWN, because none is UP, or too few.", _SERVICE
)  # fmt: skip
SERVICE_FLAPPING = Family(
    "l4lb_service_flapping_backends", "gauge", "Backends that are held DOWN because their health changes too often.", _SERVICE
)  # fmt: skip
SERVICE_TRANSITIONS = Family(
    "l4lb_service_health_transitions", "counter", "How often backends of a service went from UP to DOWN or back.", _SERVICE
)  # fmt: skip
SERVICE_PROBES = Family(
    "l4lb_service_probes", "counter", "Probes of a service's backends that have ended, by how; own_fault is this host's.",
    (*_SERVICE, "outcome"),
)  # fmt: skip

BACKEND_PACKETS = Family("l4lb_backend_packets", "counter", f"Packets of a backend; {_OUT}.", _BACKEND + _DIRECTED)
BACKEND_BYTES = Family("l4lb_backend_bytes", "counter", f"Bytes of a backend, whole frames; {_OUT}.", _BACKEND + _DIRECTED)
BACKEND_FLOWS = Family("l4lb_backend_flows", "counter", "Flows that a backend was given.", _BACKEND)
BACKEND_ACTIVE = Family("l4lb_backend_active_flows", "gauge", "Flows that have an entry and have not ended, by the last sweep.", _BACKEND)
BACKEND_WEIGHT = Family("l4lb_backend_weight", "gauge", "Weight as asked for.", _BACKEND)
BACKEND_WANTED = Family("l4lb_backend_wanted_share_ratio", "gauge", "Share of the ring's slots that the weights ask for.", _BACKEND)
BACKEND_SHARE = Family("l4lb_backend_slot_share_ratio", "gauge", "Share of the ring's slots that a backend has.", _BACKEND)
BACKEND_REACHABLE = Family("l4lb_backend_reachable", "gauge", "1 when the next hop of a backend is resolved.", _BACKEND)
BACKEND_HEALTH = Family("l4lb_backend_health", "gauge", "1 for what probes say of a backend: unknown, up, down.", (*_BACKEND, "state"))
BACKEND_PROBE = Family("l4lb_backend_probe_duration_seconds", "gauge", "How long the newest probe of a backend took.", _BACKEND)

DRAIN_STARTED = Family("l4lb_drain_start_time_seconds", "gauge", "When a drain that runs began, in Unix seconds.", _BACKEND)
DRAIN_DEADLINE = Family("l4lb_drain_deadline_timestamp_seconds", "gauge", "When it ends at the latest; absent without deadline.", _BACKEND)
DRAIN_INITIAL = Family("l4lb_drain_initial_flows", "gauge", "Flows there were when it began.", _BACKEND)
DRAIN_REMAINING = Family("l4lb_drain_remaining_flows", "gauge", "Flows that are left, by the last sweep.", _BACKEND)

AGENT = (
    BUILD, READY, STARTED, HEARTBEATS, WARNINGS, REVISION, APPLIED, MAP_WRITES, RETRIES, APPLY, RPCS, DISAGREEMENTS, SWEPT, SWEEP,
    ATTACHED,
)  # fmt: skip
DATAPATH = (PACKETS, BYTES, MAP_ENTRIES, MAP_MAX, MAP_BYTES, MAP_DRIFT)
SERVICES = (
    SERVICE, SERVICE_PACKETS, SERVICE_BYTES, SERVICE_FLOWS, SERVICE_ACTIVE, SERVICE_READS, SERVICE_ENTRIES, SERVICE_EVICTIONS,
    SERVICE_BACKENDS, SERVICE_ELIGIBLE, SERVICE_UNREACHABLE, SERVICE_DIFFERING, SERVICE_AT_RISK, SERVICE_DIGEST,
    SERVICE_HEALTH, SERVICE_TARGET, SERVICE_ALL_DOWN, SERVICE_KEPT, SERVICE_FLAPPING, SERVICE_TRANSITIONS, SERVICE_PROBES,
)  # fmt: skip
BACKENDS = (
    BACKEND_PACKETS, BACKEND_BYTES, BACKEND_FLOWS, BACKEND_ACTIVE, BACKEND_WEIGHT, BACKEND_WANTED, BACKEND_SHARE, BACKEND_REACHABLE,
    BACKEND_HEALTH, BACKEND_PROBE,
)  # fmt: skip
DRAINS = (DRAIN_STARTED, DRAIN_DEADLINE, DRAIN_INITIAL, DRAIN_REMAINING)
EVERY = (*AGENT, *DATAPATH, *SERVICES, *DRAINS, *BACKENDS)  # in the order in which they are written
