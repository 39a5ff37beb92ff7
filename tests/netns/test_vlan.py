"""A real agent beside VLAN devices of the kernel: clients are in one VLAN of its wire, backends in another."""

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest

from l4lb.v1.doctor_pb2 import Finding, Severity
from lab import netns
from lab.agent import Agent
from lab.direct.backend import Direct
from lab.direct.modes import Mode
from lab.laboratory import Laboratory
from lab.services import Balanced, balanced
from lab.topology import BACKENDS, FAMILIES, PORT_HTTP, VLANS, Host, address_lines
from tests.netns.test_changes import eventually

SECONDS = 900  # for what takes one: the machine may be emulated
OFFLOAD = "VLAN_OFFLOAD_ON"
OTHER, PROVIDER = 11, 100  # the VLAN that backends move into, and that of 802.1ad around it
INSIDE = Host("10.77.1.1", "fd77:0:0:1::1")  # of the load balancer, towards backends
NEAR, FAR = Host("10.77.2.1", "fd77:0:0:2::1"), Host("10.77.2.10", "fd77:0:0:2::10")  # load balancer and client without tags


@pytest.fixture(scope="module", params=["trunk"])  # with a parameter all tests that share it run in one process
def tagged() -> Iterator[Balanced]:
    """Backends of every mode, tags left in frames, READY; no service."""
    command = "ip link add link lo name l4lbprobe type vlan id 1"  # lo carries none: it is refused in any case
    if "Unknown device type" in subprocess.run(command.split(), capture_output=True, text=True, check=False).stderr:
        pytest.skip("this kernel has no VLAN devices")
    with Laboratory(two_sided=True, tagged=True, direct=Direct.TUNNEL) as lab:
        made = Agent(lab)
        try:
            with balanced(lab, made, patience=SECONDS) as running:
                cure(running, found(running)[OFFLOAD].commands)
                yield running
        finally:
            print(made.log())


def found(running: Balanced) -> dict[str, Finding]:
    """Findings of the doctor by id."""
    return {finding.id: finding for finding in running.client.diagnose()}


def cure(running: Balanced, commands: Iterable[str]) -> None:
    """Run on the load balancer what the doctor says."""
    for command in commands:
        netns.run(netns.entering(running.lab.namespace("lb"), command.split()))


@contextmanager
def web(running: Balanced, mode: Mode = Mode.NAT) -> Iterator[None]:
    """`web4` and `web6` in a mode."""
    topology = running.lab.topology
    for family in FAMILIES:
        running.client.create_service(f"web{family}", vip=topology.vip().of(family), port=PORT_HTTP, **mode.service())
        for name in BACKENDS:
            running.client.add_backend(f"web{family}/{name}", address=topology.host(name).of(family))
    assert eventually(lambda: not any(one.reconciling for one in running.client.list_backends()), SECONDS)
    assert ways(running) == {(f"eth0.{VLANS[1]}", 0, VLANS[1])}
    try:
        yield
    finally:
        for family in FAMILIES:
            running.client.delete_service(f"web{family}", force=True)


def every_request_is_answered(running: Balanced) -> None:
    seen = running.lab.traffic.counted(running.vips(), 12, "vlan", concurrency=4, patience=60)
    assert (seen["failed"], seen["errors"], len(seen["by_backend"])) == (0, {}, len(BACKENDS))


def ways(running: Balanced) -> set[tuple[str, int, int]]:
    """Interface, outer VLAN and VLAN of every backend's way."""
    return {(one.next_hop.interface, one.next_hop.outer_vlan, one.next_hop.vlan) for one in running.client.list_backends()}


@pytest.mark.always
@pytest.mark.parametrize("mode", [Mode.NAT, Mode.DSR, Mode.IPIP])
def test_a_client_in_one_vlan_is_answered_by_backends_in_another(tagged: Balanced, mode: Mode) -> None:
    with web(tagged, mode):
        every_request_is_answered(tagged)


def test_a_client_without_tag_is_answered_by_the_same_backends(tagged: Balanced) -> None:
    lab = tagged.lab
    switch, client, lb = (lab.namespace(role) for role in ("switch", "client", "lb"))
    port = f"link add name plain type veth peer name eth1 netns {client}"
    netns.batch(switch, ["link add br2 type bridge forward_delay 0", "link set br2 up", "link set dev lb master br2", port])
    netns.batch(switch, ["link set dev plain master br2 up"])
    netns.batch(lb, address_lines("eth0", NEAR))
    routes = [f"route add {vip} via {NEAR.of(family)} dev eth1 src {FAR.of(family)}" for family, vip in zip(FAMILIES, tagged.vips())]
    netns.batch(client, ["link set eth1 up", *address_lines("eth1", FAR), *routes])
    with web(tagged):
        every_request_is_answered(tagged)
    netns.batch(client, ["link del eth1"])
    netns.batch(lb, address_lines("eth0", NEAR, "del"))
    netns.batch(switch, ["link del br2"])


def test_the_doctor_finds_tags_that_are_taken_off_and_knows_the_cure(tagged: Balanced) -> None:
    assert OFFLOAD not in found(tagged)
    cure(tagged, ["ethtool -K eth0 rxvlan on txvlan on"])
    with web(tagged):
        finding = found(tagged)[OFFLOAD]
        assert (finding.severity, finding.subject, finding.safe_to_fix) == (Severity.SEVERITY_ERROR, "eth0", True)
        cure(tagged, finding.commands)
        assert OFFLOAD not in found(tagged)


@contextmanager
def moved(running: Balanced) -> Iterator[None]:
    """Backends in OTHER inside PROVIDER, the load balancer in neither yet; both are where they were in the end."""
    switch, lb = running.lab.namespace("switch"), running.lab.namespace("lb")
    netns.batch(switch, [f"link del lb.{VLANS[1]}", *inside("lb"), "link set dev moved master br1 up"])
    netns.batch(lb, [f"link del eth0.{VLANS[1]}"])
    try:
        yield
    finally:
        netns.batch(switch, ["link del outer", *running.lab.topology.member(1, VLANS[1])])
        end = f"eth0.{VLANS[1]}"
        again = [f"link add link eth0 name {end} type vlan id {VLANS[1]}", f"link set {end} up", *address_lines(end, INSIDE)]
        netns.batch(lb, ["link del outer", *again])


def inside(lower: str) -> list[str]:
    """What makes `moved`, OTHER inside PROVIDER on an interface."""
    outer = f"link add link {lower} name outer type vlan proto 802.1ad id {PROVIDER}"
    return [outer, "link set outer up", f"link add link outer name moved type vlan id {OTHER}", "link set moved up"]


@pytest.mark.always
def test_backends_that_move_into_a_vlan_inside_a_provider_s_are_followed(tagged: Balanced) -> None:
    with web(tagged), moved(tagged):
        assert eventually(lambda: all(one.reconciling for one in tagged.client.list_backends()), SECONDS)
        netns.batch(tagged.lab.namespace("lb"), [*inside("eth0"), *address_lines("moved", INSIDE)])
        assert eventually(lambda: ways(tagged) == {("moved", PROVIDER, OTHER)}, SECONDS)
        assert eventually(lambda: not any(one.reconciling for one in tagged.client.list_backends()), SECONDS)
        every_request_is_answered(tagged)
