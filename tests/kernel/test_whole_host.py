"""What the doctor finds about things of the whole host, or of drivers and devices that not every kernel has: provoked where the host is
ours, in the emulated machine, whose kernel is Debian's."""

import asyncio
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from l4lb_agent.dataplane import probe
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.doctor.examine import examine
from l4lb_agent.model.doctor.facts import Device, Facts, Kernel, Scope, Way
from l4lb_agent.model.doctor.finding import Finding, Id, Severity
from l4lb_agent.model.service import Protocol, VirtualService
from l4lb_agent.system import devices, limits
from l4lb_agent.system.netlink import Netlink
from l4lb_agent.system.network import KernelNetwork
from l4lb_agent.system.ways import Ways
from tests.fakes.values import address
from tests.kernel.conftest import run

JOB = Path("/guest/job.json")  # what the emulated machine was booted for
pytestmark = [pytest.mark.always, pytest.mark.skipif(not JOB.exists(), reason="needs a host of its own")]


def found(facts: Facts, scope: Scope | None = None) -> dict[str, Finding]:
    """What is found, by id."""
    return {finding.id: finding for finding in examine(scope or Scope({}), facts)}


def test_programs_that_are_interpreted() -> None:
    def looked() -> dict[str, Finding]:
        return found(Facts(kernel=Kernel("6.1", jit=probe.is_compiled())))

    assert Id.JIT_OFF not in looked()
    Path("/proc/sys/net/core/bpf_jit_enable").write_text("0")
    off = looked()[Id.JIT_OFF]
    assert off.severity is Severity.WARNING
    name, value = off.cure[0].removeprefix("sysctl -w ").split("=")  # there is no sysctl(8) in the machine
    Path("/proc/sys", *name.split(".")).write_text(value)
    assert Id.JIT_OFF not in looked()


def test_a_clock_that_nobody_sets() -> None:
    """As every kernel begins."""
    assert found(Facts(clock=limits.clock()))[Id.CLOCK_UNSYNCHRONISED].severity is Severity.WARNING


def seen(name: str) -> Device:
    async def look() -> Device:
        netlink = Netlink()
        try:
            return (await devices.devices(netlink, [name]))[0][name]
        finally:
            netlink.close()

    return asyncio.run(look())


@contextmanager
def linked(*lines: str) -> Iterator[None]:
    """With devices that ip(8) makes in one go, of which the first is called l4lb0; emulated, each process takes a while."""
    ip(*lines)
    try:
        yield
    finally:
        ip("link delete l4lb0")


def ip(*lines: str, within: str = "") -> None:
    command = ["ip", *(["-n", within] if within else []), "-batch", "-"]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


PAIR = "link add l4lb0 up type veth peer name l4lb1"


def found_of(name: str) -> dict[str, Finding]:
    return found(Facts(devices={name: seen(name)}), Scope({name: "auto"}))


def test_packets_that_a_driver_merges() -> None:
    """Several cards as one, which merges when they do."""
    with linked("link add l4lb0 type team"):
        run("ethtool", "-K", "l4lb0", "lro", "on")
        merged = found_of("l4lb0")[Id.LRO_ON]
        assert (merged.severity, merged.safe) == (Severity.ERROR, True)
        run(*merged.cure[0].split())
        assert Id.LRO_ON not in found_of("l4lb0")


def test_packets_that_a_card_merges() -> None:
    """The machine's own, which nothing is sent to."""
    merged = found_of("eth0")[Id.GRO_HW_ON]
    assert (merged.severity, merged.safe) == (Severity.WARNING, True)
    run(*merged.cure[0].split())
    assert Id.GRO_HW_ON not in found_of("eth0")


def test_vlan_devices_need_their_tags_left_in_the_packets() -> None:
    with linked(PAIR, "link add link l4lb0 name l4lb0.7 type vlan id 7"):
        tagged = found_of("l4lb0")[Id.VLAN_OFFLOAD_ON]
        assert (tagged.severity, tagged.safe) == (Severity.WARNING, True)
        assert "l4lb0.7" in tagged.evidence
        run(*tagged.cure[0].split())
        assert Id.VLAN_OFFLOAD_ON not in found_of("l4lb0")


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"l4lb-far-{uuid.uuid4().hex[:6]}"
    run("ip", "netns", "add", name)
    yield name
    run("ip", "netns", "delete", name)


def test_no_room_beside_two_tags_on_the_way_out() -> None:
    """Each VLAN device says 1500, as the interface does, which leaves room for one tag of them."""
    one = address("198.51.100.2")

    def looked() -> dict[str, Finding]:
        facts = Facts(devices={"l4lb0": seen("l4lb0")}, ways=ways_to(one))
        return found(facts, Scope({"l4lb0": "auto"}, desired=towards(one)))

    stacked = (
        "link add link l4lb0 name l4lb.out up type vlan proto 802.1ad id 100", "link add link l4lb.out name l4lb.in up type vlan id 7",
        "link set l4lb1 up", "address add 198.51.100.1/24 dev l4lb.in", f"neigh replace {one} lladdr 02:00:00:00:00:07 dev l4lb.in",
    )  # fmt: skip
    with linked(PAIR, *stacked):
        short = looked()[Id.MTU_SHORT]
        assert short.evidence.startswith("1496 fit on the way over l4lb.in, with two tags on l4lb0, to ")
        run(*short.cure[0].split())
        assert Id.MTU_SHORT not in looked()


def towards(backend: Address) -> Desired:
    """A service with one backend."""
    service = VirtualService("services/web", address("192.0.2.10"), 80, Protocol.TCP)
    return Desired(1, {service.name: service}, {"services/web/backends/a": Backend("services/web/backends/a", backend, 80)})


def ways_to(backend: Address) -> dict[Address, Way | None]:
    async def ways() -> dict[Address, Way | None]:
        netlink, network = Netlink(), KernelNetwork()
        try:
            return await Ways(netlink, network).ways([backend])
        finally:
            network.close()
            netlink.close()

    return asyncio.run(ways())


def test_a_way_that_the_kernel_has_and_the_datapath_cannot_use(namespace: str) -> None:
    """A VLAN of an interface that is in another network namespace: what is sent over it cannot be sent over that."""
    one = address("198.51.100.2")
    ip(PAIR, "link set l4lb1 up", "link add link l4lb0 name l4lb.7 type vlan id 7", "link set l4lb.7 netns 1", within=namespace)
    ip("link set l4lb.7 up", "address add 198.51.100.1/24 dev l4lb.7", f"neigh replace {one} lladdr 02:00:00:00:00:07 dev l4lb.7")
    unusable = found(Facts(ways=ways_to(one)), Scope({}, desired=towards(one)))[Id.BACKEND_WAY_UNUSABLE]
    assert (unusable.severity, unusable.subject) == (Severity.ERROR, "services/web/backends/a")
    assert "l4lb.7, over which it is reached, is on an interface of another network namespace" in unusable.evidence
