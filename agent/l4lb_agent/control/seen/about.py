"""What the agent says of itself, but for its warnings."""

from collections.abc import Sequence

from l4lb_agent.control.applying.reconciler import Reconciler
from l4lb_agent.control.facade import AgentView
from l4lb_agent.control.host import Host
from l4lb_agent.control.monitor import Monitor
from l4lb_agent.control.surroundings import Surroundings
from l4lb_agent.model import layout
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.observed import MapState

CAPABILITIES = (
    "NAT", "DSR", "ENCAP", "FLOW_TRACKING", "IPV4", "IPV6", "TCP", "UDP", "DRAIN", "WATCH", "STATS", "REQUEST_ID", "VALIDATE_ONLY",
    "CAPTURE", "NEW_FLOW_LIMITS", "PREFIX_LISTS", "EXPLAIN",
)  # fmt: skip


def view(
    desired: Desired, of: Reconciler, monitor: Monitor, near: Surroundings, host: Host, maps: Sequence[tuple[MapState, int]],
    not_ready_reason: str, started: float,
) -> AgentView:  # fmt: skip
    """All of it as it is now."""
    return AgentView(
        ready=not not_ready_reason, not_ready_reason=not_ready_reason, revision=desired.revision, applied_revision=of.applied_revision,
        interfaces=list(monitor.states.values()), maps=maps, warnings=(), started=started, map_writes=of.map_writes,
        reconcile_retries=of.retries + monitor.retries + near.lookup_errors,
        snat_addresses=[str(address) for address in host.config.snat], capabilities=CAPABILITIES,
        layout_version=layout.LAYOUT_VERSION, kernel=host.kernel,
    )  # fmt: skip
