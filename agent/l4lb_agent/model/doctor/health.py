"""Findings about backends that probes say are DOWN; only the running agent knows."""

from collections.abc import Iterator

from l4lb_agent.model.backend import AdminState, Backend
from l4lb_agent.model.doctor.facts import Down, Facts, Scope
from l4lb_agent.model.doctor.finding import Finding, Id, Severity, short
from l4lb_agent.model.health.check import By, HealthCheck, OnAllDown, target
from l4lb_agent.model.health.outcome import Why
from l4lb_agent.model.service import VirtualService

_LIKELY = {
    Why.TIMEOUT: "its host or its server hangs or is too slow, or a firewall takes what this host sends",
    Why.REFUSED: "its host is there, and nothing listens",
    Why.UNREACHABLE: "this host has no way there",
    Why.RESET: "the server, or something before it, closes connections",
    Why.STATUS: "the server is there, and says that it is not well, or does not know what it is asked for",
    Why.ANSWER: "the server is there, and something else than expected, or not well",
    Why.TLS: "its certificate, its name in the check, or no TLS at all",
    Why.NOT_SERVING: "the server is there, and says that it is not well",
}

_WITHOUT_VIP = {False: "it does not have the VIP (DSR)", True: "it does not take outer headers off, or does not have the VIP (ENCAP)"}


def findings(scope: Scope, facts: Facts) -> Iterator[Finding]:
    """Of every backend that is DOWN and that the operator has not taken out, and of services without any that is UP."""
    for name, down in facts.down.items():
        backend = scope.desired.backends.get(name)
        if backend is None or backend.admin not in (AdminState.ENABLED, AdminState.DRAINING):
            continue
        service = scope.desired.services[backend.service]
        if service.health_check is not None:
            yield _down(service, service.health_check, backend, down)
    for name, kept in facts.all_down.items():
        found = scope.desired.services.get(name)
        if found is not None and found.health_check is not None:
            yield _all_down(found, found.health_check, kept)


def _down(service: VirtualService, check: HealthCheck, backend: Backend, down: Down) -> Finding:
    by = By(backend.name, backend.address, service.mode.name)
    to, health = target(check, service.vip, backend.address, backend.port, by), down.health
    probe = health.last.outcome if health.last else None
    seen = f"{probe.why.name}, {probe.detail}" if probe else "nothing yet"
    likely = _LIKELY.get(probe.why, "") if probe else ""
    if to.by and probe and probe.why is Why.TIMEOUT:
        likely = f"{_WITHOUT_VIP[service.mode.encapsulates]}, or {likely}"
    held = ", and it is held DOWN since it changes too often" if down.flapping else ""
    then = "it takes new flows all the same, since too few backends of its service are UP" if down.kept else "it takes no new flows"
    evidence = (
        f"probes by {check.kind.name} of {to.words}: {seen}; {health.consecutive} in a row ended so, {then}"
        f"{held}{f'; likely {likely}' if likely else ''}"
    )
    cure = [f"l4lbctl health {short(backend.name)}"]
    if probe and probe.why is Why.UNREACHABLE:
        cure.append(f"ip route get {backend.address}")
    return Finding(Id.BACKEND_DOWN, Severity.WARNING, backend.name, evidence, tuple(cure))


def _all_down(service: VirtualService, check: HealthCheck, kept: int) -> Finding:
    if kept:
        then = f"the {kept} that were UP last go on taking new flows"
    elif check.on_all_down is OnAllDown.KEEP_LAST:
        then = "none was UP before, so nobody takes new flows"
    else:
        then = f"nobody takes new flows, which are answered by {service.on_empty.name}"
    evidence = (
        f"no backend that is to have new flows is UP: {then}; when several services are so at once, look at what they share first: the way "
        "from this host to the backends, a firewall, what probes ask for"
    )
    return Finding(Id.ALL_DOWN, Severity.ERROR, service.name, evidence, (f"l4lbctl backend list {short(service.name)}",))
