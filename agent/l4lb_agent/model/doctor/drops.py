"""Findings about packets that are dropped while the doctor looks."""

from collections.abc import Iterator

from l4lb_agent.model.doctor.facts import Facts, Scope
from l4lb_agent.model.doctor.finding import Finding, Id, Severity, short
from l4lb_agent.model.observed import Counters
from l4lb_agent.model.reasons import Reason, Verdict

# Not what any network brings by itself, scans and late packets: somebody's packets should have been forwarded.
WANTED = frozenset({
    Reason.NO_BACKEND, Reason.BACKEND_UNRESOLVED, Reason.NO_SOURCE_PORT, Reason.NO_SNAT_ADDRESS, Reason.FLOW_TABLE_FULL,
    Reason.MTU_EXCEEDED, Reason.TAIL_CALL_FAILED, Reason.NO_HEADROOM, Reason.CLIENT_PORT_TAKEN, Reason.CLIENT_IS_BACKEND,
})  # fmt: skip

# What docs/reasons.md advises, in short, for those that somebody's settings, or their absence, bring about.
ADVICE = {
    Reason.NO_SERVICE: "no virtual service has that address, port and protocol: create it, or mind the port",
    Reason.NO_BACKEND: "add or enable a backend, give one weight, or mend one whose health is DOWN",
    Reason.BACKEND_UNRESOLVED: "the backend's next hop does not answer",
    Reason.NO_SOURCE_PORT: "more SNAT addresses, or a larger port_range, in agent.toml",
    Reason.NO_SNAT_ADDRESS: "an address of that family in `snat` of agent.toml",
    Reason.FLOW_TABLE_FULL: "raise `flows` under [sizes] in agent.toml, or find the flood",
    Reason.MTU_EXCEEDED: "a larger MTU on the way out, or `l4lbctl service update NAME --mss-clamp auto`",
    Reason.NEW_FLOWS_LIMITED: "the service's new_flow_limit; a flood, or too low",
    Reason.SOURCE_LIMITED: "the service's new_flow_limit for each source; a flood, or too low",
    Reason.DENIED: "the client is in the deny list of its service; `l4lbctl list update NAME --remove PREFIX` lets it in",
    Reason.NOT_ALLOWED: "the client is not in the allow list of its service; `l4lbctl list update NAME --add PREFIX` lets it in",
}


def between(before: Counters, after: Counters) -> dict[Reason, float]:
    """Packets a second that were dropped or aborted between two readings, by reason; only those of which there were any."""
    seconds = after.at - before.at
    found: dict[Reason, float] = {}
    for (reason, verdict), (packets, _) in after.reasons.items():
        lost = packets - before.reasons.get((reason, verdict), (0, 0))[0]
        if verdict in (Verdict.DROP, Verdict.ABORTED) and lost > 0 and seconds > 0:
            found[Reason(reason)] = found.get(Reason(reason), 0.0) + lost / seconds
    return found


def findings(scope: Scope, facts: Facts) -> Iterator[Finding]:
    """One for each reason."""
    for reason, rate in facts.drops.items():
        severity = Severity.WARNING if reason in WANTED else Severity.INFO
        amount = f"{rate:.0f} packets" if rate >= 2 else "about one packet"
        evidence = f"{amount} a second are dropped now for {reason.name}: {ADVICE.get(reason, 'docs/reasons.md says what to do')}"
        if lists := _lists(scope, reason):
            evidence += f" ({lists})"
        look = f"l4lbctl capture --verdict drop --reason {reason.name.lower().replace('_', '-')} --count 3"
        yield Finding(Id.PACKETS_DROPPED, severity, reason.name, evidence, ("l4lbctl stats --watch", look))


def _lists(scope: Scope, reason: Reason) -> str:
    """Which lists it may be, and of which services."""
    field = {Reason.DENIED: "deny_list", Reason.NOT_ALLOWED: "allow_list"}.get(reason)
    named = ((getattr(service, field), service.name) for service in scope.desired.services.values()) if field else ()
    return ", ".join(f"{short(name)} of {short(service)}" for name, service in named if name)
