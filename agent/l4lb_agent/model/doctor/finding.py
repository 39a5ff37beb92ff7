"""One finding of the doctor, and the list of all there are; docs/operations.md says of each what it means and what to do."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Severity(enum.IntEnum):
    """How bad it is; numbers as in the API."""

    INFO = 1  # how it is, nothing to do
    WARNING = 2  # works, and will not in some case, or works worse than it could
    ERROR = 3  # packets are lost, or the agent cannot do what it is configured for


class Id(enum.StrEnum):
    """What may be found."""

    INTERFACE_MISSING = "INTERFACE_MISSING"
    INTERFACE_DOWN = "INTERFACE_DOWN"
    XDP_MODE = "XDP_MODE"
    XDP_GENERIC = "XDP_GENERIC"
    XDP_REFUSED = "XDP_REFUSED"
    XDP_FOREIGN = "XDP_FOREIGN"
    LRO_ON = "LRO_ON"
    GRO_HW_ON = "GRO_HW_ON"
    GRO_ON = "GRO_ON"
    CHECKSUM_UNFINISHED = "CHECKSUM_UNFINISHED"
    CHECKSUM_UNSEEN = "CHECKSUM_UNSEEN"
    VLAN_OFFLOAD_ON = "VLAN_OFFLOAD_ON"
    QUEUES_FEW = "QUEUES_FEW"
    MTU_TOO_LARGE = "MTU_TOO_LARGE"
    MTU_SHORT = "MTU_SHORT"
    FORWARDING_OFF = "FORWARDING_OFF"
    RP_FILTER_STRICT = "RP_FILTER_STRICT"
    BACKEND_NO_ROUTE = "BACKEND_NO_ROUTE"
    BACKEND_UNRESOLVED = "BACKEND_UNRESOLVED"
    BACKEND_BEHIND_ROUTER = "BACKEND_BEHIND_ROUTER"
    BACKEND_WAY_UNUSABLE = "BACKEND_WAY_UNUSABLE"
    ANSWERS_UNSEEN = "ANSWERS_UNSEEN"
    BACKEND_DOWN = "BACKEND_DOWN"
    ALL_DOWN = "ALL_DOWN"
    BACKEND_REFUSES = "BACKEND_REFUSES"
    BACKEND_SILENT = "BACKEND_SILENT"
    SNAT_PORTS_SHORT = "SNAT_PORTS_SHORT"
    VIP_DUPLICATE = "VIP_DUPLICATE"
    VIP_IS_LOCAL = "VIP_IS_LOCAL"
    PACKETS_DROPPED = "PACKETS_DROPPED"
    KERNEL_FEATURE_MISSING = "KERNEL_FEATURE_MISSING"
    KERNEL_UNTRIED = "KERNEL_UNTRIED"
    JIT_OFF = "JIT_OFF"
    COMPILER_MISSING = "COMPILER_MISSING"
    BPFFS_MISSING = "BPFFS_MISSING"
    MEMORY_SHORT = "MEMORY_SHORT"
    CLOCK_UNSYNCHRONISED = "CLOCK_UNSYNCHRONISED"
    CLOCK_BEHIND = "CLOCK_BEHIND"
    TLS_CERTIFICATE_BAD = "TLS_CERTIFICATE_BAD"
    TLS_CERTIFICATE_EXPIRES = "TLS_CERTIFICATE_EXPIRES"
    NOT_EXAMINED = "NOT_EXAMINED"


@dataclass(frozen=True)
class Finding:
    """`subject` is an interface, a resource name, an address or a file; `evidence` what was seen and what comes of it, in words. `cure` are
    commands for a root shell of the host, without quotes to be resolved; `safe` means that they may be run without thinking: they
    interrupt nothing and can be taken back. `id` is one of Id, or the reason of a warning of the agent."""

    id: str
    severity: Severity
    subject: str
    evidence: str
    cure: tuple[str, ...] = ()
    safe: bool = False


def short(name: str) -> str:
    """A resource name as l4lbctl takes it: web, web/a, and bad for a list."""
    return name.removeprefix("services/").removeprefix("lists/").replace("/backends/", "/")


def worst(findings: Iterable[Finding]) -> Severity:
    """The greatest severity, INFO when nothing was found."""
    return max((finding.severity for finding in findings), default=Severity.INFO)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first, then by id and subject; each once."""
    return sorted(dict.fromkeys(findings), key=lambda one: (-one.severity, one.id, one.subject, one.evidence))
