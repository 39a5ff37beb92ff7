"""What the laboratory decides without a kernel: who has which address, who the agent is, when a promise is broken."""

import ipaddress
import itertools
from pathlib import Path
from typing import Any

import pytest

from lab.agent import CAPABILITIES, UID, Identity, unprivileged
from lab.check import Checks
from lab.demo.stage import Score
from lab.topology import Topology
from lab.traffic import _pairs

EXACT = Identity((UID,) * 4, (UID,) * 4, (), dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0xC000001000), True)


WIRINGS = [Topology(), Topology(routed=True), Topology(two_sided=True)]
each_wiring = pytest.mark.parametrize("topology", WIRINGS, ids=["bridged", "routed", "two-sided"])


@each_wiring
@pytest.mark.parametrize("family", [4, 6])
def test_every_address_of_a_laboratory_is_there_once_and_written_in_its_canonical_form(topology: Topology, family: int) -> None:
    hosts = [topology.host(role) for role in ("client", "lb", "a", "b")] + [topology.spare(), topology.vip(), topology.snat()]
    addresses = [host.of(family) for host in hosts]
    assert len(set(addresses)) == len(addresses)
    assert [str(ipaddress.ip_address(address)) for address in addresses] == addresses


def test_behind_a_router_client_load_balancer_and_backends_are_on_three_networks() -> None:
    topology = Topology(routed=True)
    networks = {role: ipaddress.ip_network(f"{topology.host(role).v4}/24", strict=False) for role in ("client", "lb", "a", "b")}
    assert networks["a"] == networks["b"]
    assert len({networks[role] for role in ("client", "lb", "a")}) == 3
    assert ipaddress.ip_address(topology.vip().v4) in networks["lb"]


def test_with_two_sides_clients_and_backends_meet_at_the_load_balancer_and_at_the_router() -> None:
    topology = Topology(two_sided=True)
    networks = {role: ipaddress.ip_network(f"{topology.host(role).v4}/24", strict=False) for role in ("client", "lb", "a", "b")}
    assert (networks["client"], networks["a"]) == (networks["lb"], networks["b"])
    assert networks["client"] != networks["a"]
    assert ipaddress.ip_address(topology.vip().v4) in networks["client"]
    assert ipaddress.ip_address(topology.snat().v4) in networks["a"]
    assert [line for line in topology.host_lines("lb", "") if "dev eth1" in line and f"addr add {networks['a'][1]}/" in line]
    assert topology.routes("lb") == []
    assert len(topology.routes("client")) == len(topology.routes("a")) == 2


@each_wiring
def test_a_backend_in_a_tunnel_asks_for_segments_that_fit_with_the_largest_outer_header(topology: Topology) -> None:
    lines = topology.small_segments(topology.host("a"))
    assert len(lines) == 2 + len(topology.routes("a"))
    for line in lines:
        inner_headers = 60 if "fd77:" in line else 40
        assert int(line.split("advmss ")[1]) + inner_headers + 40 + 8 + 4 == 1500


def test_no_interface_is_ever_made_outside_the_namespaces() -> None:
    lines = [line for topology in WIRINGS for line in topology.switch_lines("l4lb-x-") if "veth" in line]
    lines += [line for line in Topology().host_lines("controller", "l4lb-x-") if "veth" in line]
    assert lines
    assert all(" netns l4lb-x-" in line for line in lines)


def test_the_unit_s_identity_is_recognised_and_nothing_else() -> None:
    assert EXACT.is_unit()
    changes: list[dict[str, Any]] = [
        {"uids": (0,) * 4},
        {"gids": (UID, UID, UID, 0)},
        {"groups": (27,)},
        {"no_new_privileges": False},
        *({"capabilities": EXACT.capabilities | {name: 0xC000201000}} for name in EXACT.capabilities),
        {"capabilities": EXACT.capabilities | {"CapAmb": 0}},
    ]
    for change in changes:
        assert not Identity(**{**vars(EXACT), **change}).is_unit(), change


def test_the_command_that_starts_the_agent_gives_three_capabilities_away_and_no_more() -> None:
    command = unprivileged(["agent"])
    assert command[-1] == "agent"
    assert "--no-new-privs" in command
    for kind in ("inh-caps", "ambient-caps", "bounding-set"):
        assert f"--{kind}=-all,+bpf,+net_admin,+perfmon" in command
    assert sorted(CAPABILITIES.values()) == [12, 38, 39]


def test_a_broken_promise_is_remembered(capsys: pytest.CaptureFixture[str]) -> None:
    checks = Checks()
    assert checks.that("the sky is up", True)
    assert not checks.equal("one is two", 1, 2)
    checks.failed(RuntimeError("no such thing"))
    assert (checks.held, checks.broken) == (1, ["one is two", "no such thing"])
    assert "FAIL  one is two: 1, not 2" in capsys.readouterr().out


def test_the_last_line_of_the_demo() -> None:
    score = Score(requests=2, failed=1, shares="v4:75.0%", drain="12.0s", kills="5/5")
    assert str(score) == "demo: requests=2 failed=1 shares=v4:75.0% drain=12.0s kills=5/5"


def test_kernel_counters_are_read_by_group_and_name(tmp_path: Path) -> None:
    file = tmp_path / "netstat"
    file.write_text("TcpExt: A TCPSynRetrans\nTcpExt: 5 7\nIpExt: A\nIpExt: 9\n")
    assert dict(itertools.islice(_pairs(file).items(), 3)) == {"TcpExt:A": 5, "TcpExt:TCPSynRetrans": 7, "IpExt:A": 9}
