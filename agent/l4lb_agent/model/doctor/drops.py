"""Findings about packets that are dropped while the doctor looks."""

from collections.abc import Iterator

from l4lb_agent.model.doctor.facts import Facts, Scope
from l4lb_agent.model.doctor.finding import Finding, Id, Severity
from l4lb_agent.model.observed import Counters
from l4lb_agent.model.reasons import Reason, Verdict

# Not what any network brings by itself, scans and late packets: somebody's packets should have been forwarded.
WANTED = frozenset({
    Reason.NO_BACKEND, Reason.BACKEND_UNRESOLVED, Reason.NO_SOURCE_PORT, Reason.NO_SNAT_ADDRESS, Reason.FLOW_TABLE_FULL,
    Reason.MTU_EXCEEDED, Reason.TAIL_CALL_FAILED, Reason.NO_HEADROOM,
})  # fmt: skip


def between(before: Counters, after: Counters) -> dict[Reason, float]:
    """Packets a second that were dropped or aborted between two readings, by reason; only those of which there were any."""
    seconds = after.at - before.at
    found: dict[Reason, float] = {}
    for (reason, verdict), (packets, _) in after.reasons.items():
        lost = packets - before.reasons.get((reason, verdict), (0, 0))[0]
        if verdict in (Verdict.DROP, Verdict.ABORTED) and lost > 0 and seconds > 0:
            found[Reason(reason)] = found.get(Reason(reason), 0.0) + lost / seconds
    return found


def findings(_: Scope, facts: Facts) -> Iterator[Finding]:
    """One for each reason."""
    for reason, rate in facts.drops.items():
        severity = Severity.WARNING if reason in WANTED else Severity.INFO
        amount = f"{rate:.0f} packets" if rate >= 2 else "about one packet"
        evidence = f"{amount} a second are dropped now for {reason.name}: docs/reasons.md says what to do"
        yield Finding(Id.PACKETS_DROPPED, severity, reason.name, evidence, ("l4lbctl stats --watch",))
