"""Probes of the VIP itself, with real servers: who cannot serve it is DOWN however well he is, and this host's own faults move nobody."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from l4lb.v1.health_pb2 import HealthState, ProbeOutcome
from lab import netns
from lab.agent import Agent
from lab.direct.modes import Mode
from lab.services import EVEN, Balanced
from lab.topology import PORT_ECHO, Host
from tests.netns.conftest import set_up
from tests.netns.test_changes import eventually
from tests.netns.test_health import down, states, up

TIMES = {"interval": 0.3, "timeout": 0.25, "rise": 2, "fall": 3}
BACKEND = {"http": {"path": "/healthy"}, **TIMES}
VIP = {**BACKEND, "target": "vip"}
ECHO = {"udp": {"send": "ping", "expect": "ping"}, "target": "vip", **TIMES}
ELSEWHERE = Host("192.0.2.99", "2001:db8::99")
PAIR = {"l4lb-probe0", "l4lb-probe1"}
OWN_FAULT = ProbeOutcome.PROBE_OUTCOME_OWN_FAULT
# Backend-b of ENCAP is reached over IPv6, whatever the VIP's family.
MODES: dict[str, tuple[Mode, dict[str, Any]]] = {
    "dsr": (Mode.DSR, {}),
    "gue-routed-checksum": (Mode.GUE, {"over": {"a": 4, "b": 6}, "routed": True, "options": {"encap": {"outer_checksum": True}}}),
}


each_mode = pytest.mark.parametrize("probed", MODES.values(), ids=MODES.keys(), indirect=True)
one_mode = pytest.mark.parametrize("probed", [MODES["dsr"]], ids=["dsr"], indirect=True)


@pytest.fixture(scope="module")
def probed(request: pytest.FixtureRequest) -> Iterator[Balanced]:
    """`web4`, `web6` and `echo6` of two backends each, all of them UP by probes of the VIP."""
    mode, arguments = request.param
    with set_up(forwarding=mode, **arguments) as running:
        running.add_web(EVEN)
        running.add_service("echo6", 6, protocol="udp", port=PORT_ECHO, weights=EVEN)
        running.client.update_service("echo6", health_check=ECHO)
        check(running, VIP)
        yield running


def check(running: Balanced, wanted: dict[str, Any]) -> None:
    """Both web services are probed so, and all is well."""
    for name in ("web4", "web6"):
        running.client.update_service(name, health_check=wanted)
    well(running)


def well(running: Balanced) -> None:
    """Waits until every backend is UP, by a probe from now on."""
    begun = {one.name: one.health.last_probe.time.ToNanoseconds() for one in running.client.list_backends()}

    def is_well(one: Any) -> bool:
        last, state = one.health.last_probe, one.health.state
        well = (last.outcome, state) == (ProbeOutcome.PROBE_OUTCOME_OK, HealthState.HEALTH_STATE_UP)
        return well and last.time.ToNanoseconds() > begun[one.name]

    assert eventually(lambda: all(map(is_well, running.client.list_backends())), 20)


def faulty(running: Balanced, name: str, words: str) -> None:
    """Waits until a probe of a backend ends as this host's own fault, with these words in its detail."""

    def found() -> bool:
        last = running.client.get_backend(name).health.last_probe
        return last.outcome == OWN_FAULT and words in last.detail

    assert eventually(found, 20), running.client.get_backend(name).health.history


@contextlib.contextmanager
def broken(running: Balanced) -> Iterator[None]:
    """Backend b has no VIP any more; of ENCAP it takes no outer headers off."""
    backend, vip, name = running.lab.direct["b"], running.lab.topology.vip(), running.lab.namespace("b")
    if running.over:
        backend.move(ELSEWHERE)
        yield
        backend.move(running.lab.topology.host("b"))
    else:
        netns.batch(name, [f"addr del {vip.v4}/32 dev lo", f"addr del {vip.v6}/128 dev lo"])
        yield
        netns.batch(name, [f"addr add {vip.v4}/32 dev lo", f"addr add {vip.v6}/128 dev lo nodad"])


@each_mode
def test_who_cannot_serve_the_vip_is_found_by_probes_of_it_alone(probed: Balanced) -> None:
    check(probed, BACKEND)
    with broken(probed):
        well_by_address = [probed.client.get_backend(f"{name}/b").health.transitions for name in ("web4", "web6")]
        assert eventually(lambda: probed.client.get_backend("echo6/b").health.state == HealthState.HEALTH_STATE_DOWN, 20)
        assert states(probed, "b") == {HealthState.HEALTH_STATE_UP}, "its own address answers"
        assert [probed.client.get_backend(f"{name}/b").health.transitions for name in ("web4", "web6")] == well_by_address
        for name in ("web4", "web6"):
            probed.client.update_service(name, health_check=VIP)
        down(probed, "b")
        last = probed.client.get_backend("web6/b").health.last_probe
        assert last.outcome == ProbeOutcome.PROBE_OUTCOME_TIMEOUT
        up(probed, "a")
        seen = probed.lab.traffic.counted(probed.vips(), 20, "vip")
        assert (seen["errors"], set(seen["by_backend"])) == ({}, {"backend-a"})
    well(probed)


@one_mode
def test_a_backend_that_takes_no_new_flows_is_probed_all_the_same(probed: Balanced) -> None:
    probed.client.update_backend("web4/a", weight=0)
    probed.client.drain("web6/a")
    well(probed)
    probed.lab.nginx["a"].sick(sick=True)
    down(probed, "a")
    probed.lab.nginx["a"].sick(sick=False)
    up(probed, "a")
    probed.client.update_backend("web4/a", weight=1)
    probed.client.undrain("web6/a")
    well(probed)


@one_mode
def test_faults_of_this_host_are_told_from_those_of_backends(probed: Balanced) -> None:
    lb, vip = probed.lab.namespace("lb"), probed.lab.topology.vip()
    transitions = {one.name: one.health.transitions for one in probed.client.list_backends()}
    netns.batch(lb, [f"addr add {vip.v4}/32 dev lo"])
    faulty(probed, "web4/a", "the VIP is an address of this host")
    assert probed.client.get_backend("web6/a").health.last_probe.outcome == ProbeOutcome.PROBE_OUTCOME_OK, "of another VIP"
    netns.batch(lb, [f"addr del {vip.v4}/32 dev lo"])
    well(probed)
    netns.set_sysctls(lb, {"ipv4/conf/eth0/rp_filter": "1"})
    netns.batch(lb, [f"route add {vip.v4}/32 dev mgmt0"])
    faulty(probed, "web4/a", "rp_filter")
    netns.set_sysctls(lb, {"ipv4/conf/eth0/rp_filter": "0"})
    netns.batch(lb, [f"route del {vip.v4}/32 dev mgmt0"])
    well(probed)
    for taken in ("link del l4lb-probe0", "rule del pref 100", "link set l4lb-probe1 down"):
        netns.batch(lb, [taken])
        faulty(probed, "web4/a", "made anew")
        well(probed)
    assert {one.name: one.health.transitions for one in probed.client.list_backends()} == transitions


def devices(running: Balanced) -> set[str]:
    """Those of probes."""
    links = json.loads(netns.run(["ip", "-n", running.lab.namespace("lb"), "-j", "link"]))
    return {link["ifname"] for link in links if link["ifname"].startswith("l4lb")}


def rules(running: Balanced) -> int:
    """How many there are of probes, of both families."""
    shown = [netns.run(["ip", family, "-n", running.lab.namespace("lb"), "rule"]) for family in ("-4", "-6")]
    return sum(line.startswith("100:") for text in shown for line in text.splitlines())


@one_mode
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_an_agent_that_ends_leaves_nothing_that_the_next_one_does_not_make_its_own(probed: Balanced, end: str) -> None:
    assert (devices(probed), rules(probed)) == (PAIR, 2)
    endings: dict[str, Callable[[], None]] = {"kill": probed.agent.kill, "stop": probed.agent.stop}
    endings[end]()
    assert (devices(probed), rules(probed)) == ((PAIR, 2) if end == "kill" else (set(), 0))
    probed.agent.start()
    assert probed.agent.wait_ready(probed.client).map_writes == 0
    well(probed)
    assert (devices(probed), rules(probed)) == (PAIR, 2)
    assert probed.client.agent().map_writes == 0, "the pair is no change of the host's routes"


@one_mode
def test_detach_takes_the_pair_away_unless_it_is_that_of_another_agent(probed: Balanced) -> None:
    probed.agent.kill()
    assert (devices(probed), rules(probed)) == (PAIR, 2)
    other = Agent(probed.lab, name="other", interfaces=["mgmt0"])
    other.start()
    other.wait_answers()
    probed.agent.start()
    well(probed)
    other.kill()
    assert other.run("detach").returncode == 0
    assert (devices(probed), rules(probed)) == (PAIR, 2), "it is the other agent's"
    probed.agent.kill()
    assert probed.agent.run("detach").returncode == 0
    assert (devices(probed), rules(probed)) == (set(), 0)
    probed.agent.start()
    probed.agent.wait_ready(probed.client)
