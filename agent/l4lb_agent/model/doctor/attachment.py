"""Findings about interfaces and the XDP program on them."""

from collections.abc import Iterator

from l4lb_agent.model.doctor.facts import Device, Facts, Scope
from l4lb_agent.model.doctor.finding import Finding, Id, Severity

NATIVE_MTU = 3498  # the largest that drivers with 4 KiB a frame take: 4096 - 256 headroom - 320 for the kernel - 22 Ethernet and VLAN


def findings(scope: Scope, facts: Facts) -> Iterator[Finding]:
    """Of every configured interface."""
    for name, mode in scope.interfaces.items():
        device = facts.devices.get(name)
        if device is None:
            evidence = f"agent.toml names the interface {name}, which does not exist in this network namespace"
            yield Finding(Id.INTERFACE_MISSING, Severity.ERROR, name, evidence, ("ip link show",))
            continue
        if not device.up:
            evidence = f"{name} is down or has no carrier: it receives nothing"
            yield Finding(Id.INTERFACE_DOWN, Severity.ERROR, name, evidence, (f"ip link set dev {name} up",))
        yield _program(scope, device, mode)
        if device.mtu > NATIVE_MTU and mode != "generic" and not _runs(device, "native"):
            evidence = f"MTU {device.mtu} of {name}: most drivers take native XDP up to an MTU of {NATIVE_MTU} only"
            yield Finding(Id.MTU_TOO_LARGE, Severity.WARNING, name, evidence, (f"ip link set dev {name} mtu {NATIVE_MTU}",))


def runs_generic(scope: Scope, device: Device) -> bool:
    """Whether packets meet the program in the generic hook, now or once the agent is started."""
    if device.program is not None:
        return device.program.mode == "generic"
    return scope.interfaces.get(device.name) == "generic" or device.native is False


def _runs(device: Device, mode: str) -> bool:
    return device.program is not None and device.program.ours and device.program.mode == mode


def _program(scope: Scope, device: Device, mode: str) -> Finding:
    """One finding about the program on one interface."""
    name, why, program = device.name, scope.why.get(device.name, ""), device.program
    reason = f" ({why})" if why else ""
    if program is not None and not program.ours:
        evidence = (
            f"XDP program {program.id} of somebody else runs on {name} in {program.mode} mode: the agent cannot attach its own{reason}"
        )
        show, holders = f"bpftool prog show id {program.id}", "bpftool link show"  # who holds it by a link must be ended there
        cure = (show, f"ip link set dev {name} xdp off", holders)
        return Finding(Id.XDP_FOREIGN, Severity.ERROR, name, evidence, cure)
    if program is not None:
        return _attached(name, program.mode, mode, reason)
    if scope.running:
        evidence = f"{name} runs no XDP program{reason}: packets pass the load balancer by"
        return Finding(Id.XDP_REFUSED, Severity.ERROR, name, evidence, ("systemctl status l4lb-agent", f"ethtool -i {name}"))
    return _expected(device, mode)


def _attached(name: str, mode: str, wanted: str, reason: str) -> Finding:
    evidence = f"{name} runs the program in {mode} mode{reason}"
    if mode == "native" or wanted == "generic":
        return Finding(Id.XDP_MODE, Severity.INFO, name, evidence)
    evidence += ": each packet costs the kernel a socket buffer first, several times the cost of native mode"
    return Finding(Id.XDP_GENERIC, Severity.WARNING, name, evidence, (f"ethtool -i {name}",))


def _expected(device: Device, mode: str) -> Finding:
    """What will happen when the agent is started, as far as the driver tells."""
    name = device.name
    if device.native is not False or mode == "generic":
        told = {
            True: "its driver takes native XDP",
            False: "its driver takes no native XDP",
            None: "this kernel does not tell what its driver takes",
        }
        evidence = f"{name} runs no program yet, mode {mode} is configured, {told[device.native]}"
        return Finding(Id.XDP_MODE, Severity.INFO, name, evidence)
    evidence = f"the driver of {name} ({device.kind or 'see ethtool -i'}) takes no native XDP: "
    if mode == "native":
        evidence += "the agent will refuse to attach, since native mode is configured"
        return Finding(Id.XDP_REFUSED, Severity.ERROR, name, evidence, (f"ethtool -i {name}",))
    return Finding(Id.XDP_GENERIC, Severity.WARNING, name, evidence + "the agent will attach in generic mode", (f"ethtool -i {name}",))
