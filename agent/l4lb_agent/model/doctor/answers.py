"""Findings about what backends answer, and about the source ports that flows towards them need. Only NAT sees answers; of tracked flows of
DSR and ENCAP it is seen whether their clients acknowledge any."""

from collections import Counter
from collections.abc import Iterator

from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import AdminState, Backend
from l4lb_agent.model.doctor.facts import Facts, Scope
from l4lb_agent.model.doctor.finding import Finding, Id, Severity, short
from l4lb_agent.model.observed import Answers
from l4lb_agent.model.service import Protocol, VirtualService

FEW = 3  # flows that go wrong may be their clients' fault
SHARE = 0.01  # of a backend's flows, likewise
MOST = 0.5  # of the flows that are not over: others may be too young to be judged
MOST_SYNS = 0.25  # of tracked flows: at any time half of the SYNs that nobody answers have been sent again a moment ago
SHORT, SPENT = 0.75, 0.95  # of the ports

Ends = tuple[Address, int, Protocol]  # that a source port must be free towards


def findings(scope: Scope, facts: Facts) -> Iterator[Finding]:
    """Of every backend that has flows."""
    for name, seen in facts.answers.items():
        backend = scope.desired.backends.get(name)
        if backend is None or backend.admin not in (AdminState.ENABLED, AdminState.DRAINING):
            continue
        service = scope.desired.services[backend.service]
        if service.mode.translates:
            yield from _answers(scope, service, backend, seen)
        else:
            yield from _acknowledged(scope, facts, backend, seen)
    yield from _ports(scope, facts)


def _answers(scope: Scope, service: VirtualService, backend: Backend, seen: Answers) -> Iterator[Finding]:
    look, drain = f"l4lbctl flows {short(backend.name)}", f"l4lbctl drain {short(backend.name)}"
    place, backs = f"{backend.address} port {backend.port}", " or ".join(map(str, scope.config.snat_of(backend.address.family)))
    if seen.refused >= max(FEW, SHARE * seen.records):
        evidence = (
            f"it has answered {seen.refused} new flows of the last seconds by RST: its host is there, and nothing listens at {place}; "
            "start the server there, or drain the backend meanwhile"
        )
        yield Finding(
            Id.BACKEND_REFUSES, Severity.ERROR, backend.name, evidence, (f"l4lbctl capture --prefix {backend.address} --count 4", drain)
        )
    if seen.unanswered < max(FEW, SHARE * seen.live):
        return
    evidence = (
        f"{place} has answered nothing to {seen.unanswered} of {seen.live} flows for more than a second: packets are sent there and "
        f"none comes back; a firewall there, no route back from there to {backs}, a server that hangs, or checksums (`l4lbctl capture` "
        "says when they are wrong)"
    )
    if service.protocol is Protocol.UDP:
        evidence += "; or the protocol has no answers"
        yield Finding(Id.BACKEND_SILENT, Severity.INFO, backend.name, evidence, (look, drain))
    else:
        severity = Severity.ERROR if seen.unanswered >= MOST * seen.live else Severity.WARNING
        yield Finding(Id.BACKEND_SILENT, severity, backend.name, evidence, (look, drain))


def _acknowledged(scope: Scope, facts: Facts, backend: Backend, seen: Answers) -> Iterator[Finding]:
    """Clients that are silent may be forged ones; but those choose no backend."""
    if seen.unanswered < max(FEW, SHARE * seen.live):
        return
    others = [facts.answers[name] for name in scope.desired.by_service[backend.service] if name != backend.name and name in facts.answers]
    alone = seen.unanswered >= MOST_SYNS * seen.live and any(one.live and one.unanswered < MOST_SYNS * one.live for one in others)
    why = "those of other backends do: " if alone else "a flood of forged SYNs, or "
    evidence = (
        f"after {seen.unanswered} of {seen.live} SYNs of flows to {backend.address} that are tracked no ACK of the client has come for two "
        f"seconds: {why}the backend's answers do not reach clients; the VIP is not on it, its server listens elsewhere or hangs, "
        "a firewall, no route back"
    )
    severity = Severity.ERROR if alone else Severity.WARNING
    cure = (f"l4lbctl flows {short(backend.name)}", f"l4lbctl drain {short(backend.name)}")
    yield Finding(Id.BACKEND_SILENT, severity, backend.name, evidence, cure)


def _ports(scope: Scope, facts: Facts) -> Iterator[Finding]:
    """Services may share a backend's address and port, and then its source ports."""
    used: Counter[Ends] = Counter()
    users: dict[Ends, tuple[int, str]] = {}  # the backend with the most of them
    for name, seen in facts.answers.items():
        backend = scope.desired.backends.get(name)
        if backend is None:
            continue
        ends = (backend.address, backend.port, scope.desired.services[backend.service].protocol)
        used[ends] += seen.records
        users[ends] = max(users.get(ends, (0, "")), (seen.records, name))
    config = scope.config
    for ends, count in used.items():
        addresses, name = len(config.snat_of(ends[0].family)), users[ends][1]
        room = addresses * (config.port_high - config.port_low + 1)
        if not room or count < SHORT * room:
            continue
        evidence = (
            f"flows to {ends[0]} port {ends[1]} use {count} of {room} source ports ({addresses} SNAT address{'es'[: 2 * (addresses > 1)]}, "
            f"ports {config.port_low} to {config.port_high}): without a free one new flows are dropped (NO_SOURCE_PORT); give `snat` in "
            "agent.toml more addresses, or `port_range` more ports, and restart the agent: forwarding goes on meanwhile"
        )
        severity = Severity.ERROR if count >= SPENT * room else Severity.WARNING
        yield Finding(Id.SNAT_PORTS_SHORT, severity, name, evidence, (f"l4lbctl flows {short(name)}", "systemctl restart l4lb-agent"))
