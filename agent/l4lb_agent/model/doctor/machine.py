"""Findings about the host as such: kernel, bpffs, memory, clock, certificates."""

import datetime
from collections.abc import Iterator

from l4lb_agent.model import mapspec
from l4lb_agent.model.config import DatapathConfig
from l4lb_agent.model.doctor.facts import Certificate, Facts, Kernel, Scope
from l4lb_agent.model.doctor.finding import Finding, Id, Severity

_REPLACE = (
    "without it the port of the API stays closed, unless a certificate from before serves on; the agent takes a new one without a restart"
)
TRIED = (6, 1)  # the oldest kernel that the tests run on
EXPIRING = 0.1  # of its lifetime is left: time for a new one
TIGHT = 0.8  # of what is free
STEP_SECONDS = 60.0  # that a clock may go back without being called wrong


def findings(scope: Scope, facts: Facts) -> Iterator[Finding]:
    """Everything that is not about packets."""
    yield from _kernel(facts.kernel)
    if facts.pins.missing:
        cure = (f"mount -t bpf bpf {facts.pins.mount}",) if facts.pins.mount else ()
        yield Finding(Id.BPFFS_MISSING, Severity.ERROR, facts.pins.folder, facts.pins.missing, cure, safe=bool(cure))
    yield from _memory(scope.config, facts)
    yield from _clock(scope, facts)
    for certificate in facts.certificates:
        yield from _certificate(certificate, facts.clock.now)


def _kernel(kernel: Kernel) -> Iterator[Finding]:
    for feature, met in kernel.lacks.items():
        evidence = f"this kernel ({kernel.release}) has no {feature}: {met}"
        yield Finding(Id.KERNEL_FEATURE_MISSING, Severity.ERROR, feature, evidence, ("apt install linux-image-amd64",))
    numbers = kernel.release.split(".")[:2]
    if all(part.isdigit() for part in numbers) and tuple(int(part) for part in numbers) < TRIED:
        evidence = f"kernel {kernel.release} is older than {TRIED[0]}.{TRIED[1]}, the oldest that l4lb is tested with"
        yield Finding(Id.KERNEL_UNTRIED, Severity.WARNING, kernel.release, evidence, ("apt install linux-image-amd64",))
    if kernel.jit is False:
        evidence = "the kernel interprets BPF programs instead of compiling them: each packet costs many times more"
        yield Finding(Id.JIT_OFF, Severity.WARNING, kernel.release, evidence, ("sysctl -w net.core.bpf_jit_enable=1",))
    if not kernel.compiler:
        evidence = "neither BCC nor what it has compiled before is there: the agent cannot load its program"
        yield Finding(Id.COMPILER_MISSING, Severity.ERROR, "python3-bpfcc", evidence, ("apt install python3-bpfcc",))


def map_bytes(config: DatapathConfig, cpus: int) -> int:
    """About what the kernel takes for all maps."""
    return sum(_element_bytes(spec, cpus) * spec.max_entries for spec in mapspec.specs(config.sizes))


def _element_bytes(spec: mapspec.MapSpec, cpus: int) -> int:
    value = (spec.value_size + 7) // 8 * 8
    match spec.type:
        case mapspec.MapType.PERCPU_ARRAY:
            return value * cpus
        case mapspec.MapType.LPM_TRIE:
            return value + spec.key_size + 64  # once the prefixes are there
    return value


def _memory(config: DatapathConfig, facts: Facts) -> Iterator[Finding]:
    if facts.memory.free is None:
        return
    needed, free = map_bytes(config, facts.kernel.cpus) - facts.memory.taken, facts.memory.free
    if needed <= TIGHT * free:
        return
    more = " more" if facts.memory.taken else ""
    evidence = f"[sizes] needs about {needed / 2**20:.0f} MiB{more} of kernel memory, {facts.memory.source} leaves {free / 2**20:.0f} MiB"
    severity = Severity.ERROR if needed > free else Severity.WARNING
    yield Finding(Id.MEMORY_SHORT, severity, "maps", evidence, ("systemctl show -p MemoryMax l4lb-agent", "free -m"))


def _clock(scope: Scope, facts: Facts) -> Iterator[Finding]:
    if facts.clock.synchronised is False:
        evidence = "the kernel's clock is not synchronised: certificates, deadlines of drains and log lines depend on it"
        yield Finding(Id.CLOCK_UNSYNCHRONISED, Severity.WARNING, "clock", evidence, ("timedatectl set-ntp true",))
    desired = scope.desired
    updates = [service.updated for service in desired.services.values()] + [backend.updated for backend in desired.backends.values()]
    newest = max(updates, default=0.0)
    if newest > facts.clock.now + STEP_SECONDS:
        evidence = f"the journal holds a change of {_date(newest)}, and the clock says {_date(facts.clock.now)}: one of them was wrong"
        yield Finding(Id.CLOCK_BEHIND, Severity.ERROR, "clock", evidence, ("timedatectl",))


def _certificate(certificate: Certificate, now: float) -> Iterator[Finding]:
    if certificate.problem:
        yield Finding(Id.TLS_CERTIFICATE_BAD, Severity.ERROR, certificate.path, f"{certificate.problem}; {_REPLACE}")
    elif now < certificate.begins or now > certificate.ends:
        when = f"from {_date(certificate.begins)} until {_date(certificate.ends)}"
        yield Finding(Id.TLS_CERTIFICATE_BAD, Severity.ERROR, certificate.path, f"{certificate.path} is valid {when}, and not now")
    elif expires(certificate.begins, certificate.ends, now):
        yield Finding(
            Id.TLS_CERTIFICATE_EXPIRES,
            Severity.WARNING,
            certificate.path,
            f"{certificate.path} is valid until {_date(certificate.ends)}: replace it",
        )


def expires(begins: float, ends: float, now: float) -> bool:
    """Whether it is time for another certificate."""
    return now > ends - EXPIRING * (ends - begins)


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
