"""The doctor beside a real agent: faults are planted in the laboratory and found from there, from afar, and cured where that is safe."""

import contextlib
import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import l4lb
from l4lb.cli.main import cli
from lab import netns
from lab.agent import Agent
from lab.direct.modes import Mode
from lab.laboratory import Laboratory
from lab.offload import Peer
from lab.services import Balanced, balanced
from tests.netns.conftest import set_up
from tests.netns.test_record import dumped, files

OFTEN = {
    "XDP_MODE",
    "PACKETS_DROPPED",
    "CHECKSUM_UNSEEN",
    "CLOCK_UNSYNCHRONISED",
    "QUEUES_FEW",
    "NOT_EXAMINED",
}  # of any veth, and of a host without time
Found = dict[str, dict[str, object]]


def l4lbctl(web: Balanced) -> tuple[int, Found]:
    """What `l4lbctl doctor --json` says: exit status, findings by id. Looks that are shared are over."""
    subprocess.run(["sleep", "2.1"], check=True)
    done = CliRunner().invoke(cli, ["-s", web.agent.target, "doctor", "--json"])
    return done.exit_code, {finding["id"]: finding for finding in json.loads(done.stdout)["findings"]}


def beside(web: Balanced, *options: str) -> tuple[int, Found]:
    """The same of `l4lb-agent doctor --json`, with the rights of the unit."""
    done = web.agent.run("doctor", "--json", *options)
    return done.returncode, {finding["id"]: finding for finding in json.loads(done.stdout)["findings"]}


def test_a_sound_laboratory_has_no_errors_and_both_doctors_agree(web: Balanced) -> None:
    code, found = l4lbctl(web)
    assert (code, set(found) - OFTEN) == (5, set())
    assert "in native mode (as configured)" in str(found["XDP_MODE"]["evidence"])
    assert found["CHECKSUM_UNSEEN"]["severity"] == "SEVERITY_INFO", "the unit may not look into other namespaces"
    other_code, other = beside(web)
    found.pop("PACKETS_DROPPED", None)  # only the agent can see them
    assert other_code == code
    severities = [{id: finding["severity"] for id, finding in one.items()} for one in (other, found)]
    assert severities[0] == severities[1], "the journal tells of the services"
    assert web.client.agent().ready


def test_planted_faults_are_found_from_afar_and_forwarding_goes_on(web: Balanced) -> None:
    lab = web.lab
    topology = lab.topology
    plants = {
        "a dead backend": ("b", ["link set eth0 down"], "BACKEND_UNRESOLVED"),
        "the VIP at a backend": ("a", [f"addr add {topology.vip().v4}/32 dev eth0"], "VIP_DUPLICATE"),
        "the VIP here": ("lb", [f"addr add {topology.vip().v6}/128 dev lo nodad"], "VIP_IS_LOCAL"),
        "no room": ("lb", [f"route add {topology.host('a').v4}/32 dev eth0 mtu 1300"], "MTU_SHORT"),
    }
    for role, lines, _ in plants.values():
        netns.batch(lab.namespace(role), lines)
    netns.set_sysctls(lab.namespace("lb"), {"ipv4/conf/eth0/forwarding": "0"})
    lab.forget_neighbours("lb")
    wanted = {id for _, _, id in plants.values()} | {"FORWARDING_OFF"}
    for _ in range(5):  # a neighbour that is managed is given up after some seconds
        code, found = l4lbctl(web)
        if wanted <= set(found):
            break
    assert code == 6
    assert wanted <= set(found), found
    assert found["BACKEND_UNRESOLVED"]["subject"] in ("services/web4/backends/b", "services/web6/backends/b")
    assert lab.mac("a") in str(found["VIP_DUPLICATE"]["evidence"])
    assert found["VIP_DUPLICATE"]["subject"] == topology.vip().v4
    assert "1300" in str(found["MTU_SHORT"]["evidence"])
    assert found["FORWARDING_OFF"]["commands"] == ["/usr/lib/l4lb/forwarding on"]
    assert not found["VIP_IS_LOCAL"]["commands"]


def test_packets_that_are_dropped_while_it_looks_are_told_with_their_reason(web: Balanced) -> None:
    web.client.create_service("empty", vip=web.vips()[0], port=9999)
    load = web.lab.traffic.constant(web.vips()[:1], 30, "lost", port=9999)
    found = l4lbctl(web)[1]
    load.kill()
    assert (found["PACKETS_DROPPED"]["subject"], found["PACKETS_DROPPED"]["severity"]) == ("NO_BACKEND", "SEVERITY_WARNING")


def test_backends_that_probes_refuse_are_named_with_what_these_met_while_forwarding_goes_on(web: Balanced, tmp_path: Path) -> None:
    """Nothing listens where they are probed."""
    web.client.update_service("web4", health_check={"tcp": {}, "interval": 0.1, "timeout": 0.05, "port": 9})
    found: Found = {}
    for _ in range(5):
        code, found = l4lbctl(web)
        if "ALL_DOWN" in found:
            break
    assert (code, found["ALL_DOWN"]["subject"], found["ALL_DOWN"]["severity"]) == (6, "services/web4", "SEVERITY_ERROR")
    assert "the 2 that were UP last go on taking new flows" in str(found["ALL_DOWN"]["evidence"])
    down = found["BACKEND_DOWN"]
    assert down["subject"] in ("services/web4/backends/a", "services/web4/backends/b")
    assert "port 9: REFUSED, connecting: Connection refused" in str(down["evidence"])
    seen = web.lab.traffic.counted(web.vips(), 20, "kept")
    assert (seen["errors"], set(seen["by_backend"])) == ({}, {"backend-a", "backend-b"})
    told = dumped(web, tmp_path)
    changed = [one["fields"] for one in told["events"] if one["event"] == "health_changed"]
    assert {(one["backend"].split("/")[-1], one["before"], one["state"], one["why"]) for one in changed} == {
        ("a", "UP", "DOWN", "REFUSED"), ("b", "UP", "DOWN", "REFUSED")
    }  # fmt: skip
    assert len(files(web, "all_backends_down")) == 1, "the recorder keeps by itself what led to it"
    web.client.update_service("web4", health_check={})
    assert not {"ALL_DOWN", "BACKEND_DOWN"} & set(l4lbctl(web)[1])


def test_outer_headers_need_room_and_a_backend_that_no_client_hears_is_found() -> None:
    """Its answers would not pass here; that no ACK of a client follows does, where flows are tracked."""
    with set_up(forwarding=Mode.GUE, options={"flow_tracking": "all"}) as running:
        running.add_web()
        code, found = l4lbctl(running)
        assert (code, found["MTU_SHORT"]["severity"]) == (5, "SEVERITY_WARNING")
        assert found["MTU_SHORT"]["commands"] in (wider("web4", 1532), wider("web6", 1552))
        netns.batch(running.lab.namespace("b"), [f"route add blackhole {running.lab.topology.host('client').v4}/32"])
        load = running.lab.traffic.constant(running.vips()[:1], 30, "silent")
        for _ in range(5):  # SYNs are sent again after one second, two and four
            code, found = l4lbctl(running)
            if code == 6:
                break
        load.kill()
        assert (code, found["BACKEND_SILENT"]["subject"]) == (6, "services/web4/backends/b")
        assert "no ACK of the client" in str(found["BACKEND_SILENT"]["evidence"])


def wider(service: str, mtu: int) -> list[str]:
    return [f"ip link set dev eth0 mtu {mtu}", f"l4lbctl service update {service} --mss-clamp auto"]


@pytest.mark.parametrize(
    ("mode", "id", "severity"), [("auto", "XDP_GENERIC", "SEVERITY_WARNING"), ("native", "XDP_REFUSED", "SEVERITY_ERROR")]
)
def test_a_driver_that_refuses_is_named_with_its_words_and_the_likely_cause(mode: str, id: str, severity: str) -> None:
    """A veth takes no native program with frames that do not fit a page."""
    with Laboratory(peer=Peer.GRO) as lab:
        for role, port in (("lb", "eth0"), ("switch", "lb")):
            netns.batch(lab.namespace(role), [f"link set {port} mtu 9000"])
        agent = Agent(lab, mode=mode)
        with balanced(lab, agent, wait=False) as running:
            found: Found = {}
            for _ in range(10):
                with contextlib.suppress(json.JSONDecodeError):  # it does not answer yet
                    found = l4lbctl(running)[1]
                if id in found:
                    break
            assert found[id]["severity"] == severity, found
            assert "refused by the driver" in str(found[id]["evidence"]) or "XDP in native mode" in str(found[id]["evidence"])
            assert found["MTU_TOO_LARGE"]["commands"] == ["ip link set dev eth0 mtu 3498"]


def test_somebody_else_s_program_is_named_with_what_the_agent_met(running: Balanced) -> None:
    other = Agent(running.lab, name="other")
    other.start()
    with l4lb.Client(other.target) as client:
        for _ in range(100):
            try:
                found = {finding.id: finding for finding in client.diagnose()}
                break
            except l4lb.Error:
                subprocess.run(["sleep", "0.1"], check=True)
        other.stop()
    [interface] = running.client.agent().interfaces
    assert f"program {interface.program_id} of somebody else" in found["XDP_FOREIGN"].evidence
    assert not found["XDP_FOREIGN"].safe_to_fix


@pytest.fixture
def merging() -> Iterator[Balanced]:
    """Generic mode with GRO before it."""
    with set_up("generic") as made:
        netns.run(netns.entering(made.lab.namespace("lb"), ["ethtool", "-K", "eth0", "gro", "on"]))
        yield made


def test_fix_asks_first_runs_only_what_is_safe_and_looks_again(merging: Balanced) -> None:
    agent = merging.agent
    code, found = beside(merging)
    assert (code, found["GRO_ON"]["safe_to_fix"]) == (6, True)
    refused = agent.run("doctor", "--fix")
    assert "nobody can be asked here" in refused.stderr
    assert refused.returncode == 6
    assert at_terminal(agent, "n\n")[0] == 6
    assert "GRO_ON" in beside(merging)[1]
    code, text = at_terminal(agent, "y\n")
    assert "GRO_ON eth0: run `ethtool -K eth0 gro off`? [y/N]" in text
    assert code == 5
    left = beside(merging)[1]
    assert "GRO_ON" not in left
    assert "QUEUES_FEW" in left or os.cpu_count() == 1, "never without being safe"


def test_yes_answers_every_question(merging: Balanced) -> None:
    done = merging.agent.run("doctor", "--yes")
    assert "$ ethtool -K eth0 gro off" in done.stderr
    assert done.returncode == 5
    assert "GRO_ON" not in beside(merging)[1]


def at_terminal(agent: Agent, answer: str) -> tuple[int, str]:
    """Exit status and output of `doctor --fix` when somebody types `answer`."""
    person, terminal = pty.openpty()
    try:
        os.write(person, answer.encode())  # waits in the terminal until it is asked for
        done = agent.run("doctor", "--fix", stdin=terminal)
        return done.returncode, done.stderr
    finally:
        os.close(person)
        os.close(terminal)
