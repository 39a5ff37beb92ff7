"""The doctor's judgement: every finding that the facts give."""

from collections.abc import Iterable, Iterator

from l4lb_agent.model.doctor import answers, attachment, drops, health, machine, offloads, ways
from l4lb_agent.model.doctor.facts import Facts, Scope
from l4lb_agent.model.doctor.finding import Finding, Id, Severity, in_order

MOST = 100  # of one id: ten thousand backends behind one dead link are told once


def examine(scope: Scope, facts: Facts) -> list[Finding]:
    """The worst first. Of more than MOST findings with one id the rest is only counted."""
    found = [finding for part in (attachment, offloads, ways, health, answers, drops, machine) for finding in part.findings(scope, facts)]
    found += [Finding(Id.NOT_EXAMINED, Severity.INFO, what, f"{what} could not be looked at: {why}") for what, why in facts.unseen]
    return list(_shortened(in_order(found)))


def with_warnings(findings: Iterable[Finding], warnings: Iterable[tuple[str, str]]) -> list[Finding]:
    """The findings and what the agent warns of by itself, (reason, message), unless the doctor has found the same."""
    findings = list(findings)
    known = {finding.id for finding in findings}
    more = [Finding(reason, Severity.WARNING, "agent", message) for reason, message in warnings if reason not in known]
    return in_order([*findings, *more])


def _shortened(findings: list[Finding]) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for finding in findings:
        seen[finding.id] = seen.get(finding.id, 0) + 1
        if seen[finding.id] <= MOST:
            yield finding
        elif seen[finding.id] == MOST + 1:
            total = sum(one.id == finding.id for one in findings)
            yield Finding(finding.id, finding.severity, "others", f"and {total - MOST} more of this kind")
