"""The unit, as scripts/install puts it in place, on a real systemd, driven over its socket, with traffic through it."""

import contextlib
import io
import json
import os
import re
import signal
import tarfile
import time
import uuid
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from l4lb.v1 import doctor_pb2
from l4lb.v1.health_pb2 import ProbeOutcome
from lab.services import identities
from lab.topology import PORT_ECHO, PORT_HTTP
from tests.systemd.held import Held
from tests.systemd.machine import wait
from tests.systemd.unit import UNIT, Unit

pytestmark = pytest.mark.timeout(1800)

THREE = 1 << 12 | 1 << 38 | 1 << 39  # CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF
RATE = 100  # new connections a second


def proc(unit: Unit, name: str) -> str:
    """A file of the main process in proc(5)."""
    return Path(f"/proc/{unit.pid}/{name}").read_text()


def test_the_unit_is_verified_and_exposed_at_most_1_7(unit: Unit) -> None:
    complaints = unit.machine.run("sh", "-c", "systemd-analyze verify --man=no /usr/lib/systemd/system/l4lb-agent.service 2>&1")
    assert complaints == ""
    answer = unit.machine.run("systemd-analyze", "security", "--no-pager", "--threshold=17", "l4lb-agent.service")
    level = re.search(r"Overall exposure level for l4lb-agent.service: ([0-9.]+)", answer)
    assert level
    assert float(level[1]) <= 1.7


def test_the_agent_is_not_root_and_has_three_capabilities(started: Unit) -> None:
    status = dict(line.split(":\t", 1) for line in proc(started, "status").splitlines() if ":\t" in line)
    user = int(started.machine.run("id", "-u", "l4lb"))
    group = int(started.machine.run("id", "-g", "l4lb"))
    assert 0 < user < 1000
    assert status["Uid"].split() == [str(user)] * 4
    assert status["Gid"].split() == [str(group)] * 4
    assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb", "CapInh")} == {f"{THREE:016x}"}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert started.show("MemoryDenyWriteExecute") == "yes"
    assert started.show("Type") == "notify"


@pytest.mark.parametrize("role", ["admin", "operator", "viewer"])
def test_only_its_group_may_open_a_socket(started: Unit, role: str) -> None:
    path, group = f"/run/l4lb/{role}.sock", f"l4lb-{role}"
    assert started.machine.run("stat", "-c", "%U %G %a", path).split() == ["l4lb", group, "660"]
    asked = ["l4lbctl", "-s", f"unix://{path}", "--call-timeout", "2s", "agent"]
    number = started.machine.run("sh", "-c", f"getent group {group}").split(":")[2]
    started.machine.run("setpriv", "--reuid=65534", f"--regid={number}", "--clear-groups", *asked)
    with pytest.raises(AssertionError):
        started.machine.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *asked)


def test_a_change_is_audited_in_the_file_and_in_the_journal_in_one_line_each(started: Unit) -> None:
    request_id = str(uuid.uuid4())
    with started.client() as client:
        client.create_service(
            "audited", vip="192.0.2.99", port=99, annotations={"note": "a\nevent=audit who=forged"}, request_id=request_id
        )
        client.delete_service("audited")
    path = started.machine.path("/var/lib/l4lb/audit.jsonl")
    assert path.stat().st_mode & 0o777 == 0o600
    [entry] = [found for found in map(json.loads, path.read_text().splitlines()) if found.get("request_id") == request_id]
    assert (entry["who"], entry["role"], entry["outcome"]) == ("admin.sock", "admin", "OK")
    assert entry["revision"] > 0
    assert entry["diff"][0]["resource"] == "services/audited"
    [line] = [line for line in started.journal().splitlines() if request_id in line]
    assert "event=audit who=admin.sock role=admin rpc=CreateVirtualService resource=services/audited" in line
    assert "forged" not in line or "\\n" in line
    assert not [line for line in started.journal().splitlines() if line.startswith("event=audit who=forged")]


def test_the_journal_has_fields_to_look_for(started: Unit) -> None:
    with started.client() as client:
        client.create_service("fields", vip="192.0.2.98", port=98)
        client.delete_service("fields")

    def found(*matches: str) -> list[dict[str, str]]:
        lines = started.machine.run("journalctl", "--no-pager", "-o", "json", "-u", UNIT, *matches).splitlines()
        return [json.loads(line) for line in lines]

    audited = found("L4LB_EVENT=audit", "L4LB_SERVICE=fields")
    assert [line["L4LB_RPC"] for line in audited] == ["CreateVirtualService", "DeleteVirtualService"]
    assert {(line["PRIORITY"], line["SYSLOG_IDENTIFIER"], line["L4LB_OUTCOME"]) for line in audited} == {("6", "l4lb-agent", "OK")}
    assert found("L4LB_EVENT=attached")[-1]["L4LB_INTERFACE"] == "eth0"
    assert all("time=" not in line["MESSAGE"] for line in found())


def test_metrics_come_from_inside_the_unit_on_a_socket_of_the_viewers_and_on_loopback(unit: Unit) -> None:
    unit.systemctl("stop")
    scrape = "import socket, sys; s = socket.socket({family}); s.connect({place}); s.sendall(b'GET /metrics HTTP/1.1\\r\\n\\r\\n'); "
    scrape += "print(b''.join(iter(lambda: s.recv(65536), b'')).decode())"
    places = {"/run/l4lb/metrics.sock": ("socket.AF_UNIX", "'/run/l4lb/metrics.sock'"), "127.0.0.1:9476": ("2", "('127.0.0.1', 9476)")}
    for listen, (family, place) in places.items():
        unit.configure(more=f'\n[metrics]\nlisten = "{listen}"\n')
        unit.systemctl("restart")
        unit.wait_ready()
        asked = ["/usr/bin/python3", "-c", scrape.format(family=family, place=place)]
        answer = unit.machine.run(*asked)
        assert answer.startswith("HTTP/1.1 200 OK")
        assert "\nl4lb_agent_ready 1\n" in answer
        if listen.startswith("/"):
            assert unit.machine.run("stat", "-c", "%U %G %a", listen).split() == ["l4lb", "l4lb-viewer", "660"]
            with pytest.raises(AssertionError):
                unit.machine.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *asked)
    unit.systemctl("stop")
    unit.configure()


def test_probes_of_every_kind_work_from_inside_the_unit(started: Unit) -> None:
    """Each of its own way through sockets and libraries: what the restrictions take away would be OWN_FAULT."""
    topology = started.lab.topology
    checks = {
        "tcp": ({"tcp": {}}, PORT_HTTP, "OK", "connected"),
        "http": ({"http": {"path": "/whoami", "body_contains": "backend-a"}}, PORT_HTTP, "OK", "200 OK"),
        "udp": ({"udp": {"send": "are you there"}}, PORT_ECHO, "OK", "answered"),
        "https": ({"http": {"tls": {"verify": "system"}}}, PORT_HTTP, "TLS", "in the TLS handshake: wrong version number"),
        "grpc": ({"grpc": {}}, PORT_HTTP, "ANSWER", "answered 'HTTP/1.1 400 Bad Request"),
        "closed": ({"tcp": {}}, 9, "REFUSED", "connecting: Connection refused"),
        "vip": ({"tcp": {}, "target": "vip", "timeout": 0.5}, PORT_HTTP, "TIMEOUT", "connecting: nothing within 0.5 s"),  # nobody has it
    }
    seen = {}
    with started.client() as client:
        for number, (name, (check, port, _, _)) in enumerate(checks.items()):
            mode = "dsr" if "target" in check else "nat"
            given = {"forwarding_mode": mode, "health_check": {**check, "port": port}}
            client.create_service(name, vip=topology.vip().v4, port=7000 + number, **given)
            client.add_backend(f"{name}/a", address=topology.host("a").v4)
        for name in checks:
            wait(lambda name=name: client.get_backend(f"{name}/a").health.HasField("last_probe"), f"{name}: no probe ends")
            probe = client.get_backend(f"{name}/a").health.last_probe
            seen[name] = (ProbeOutcome.Name(probe.outcome).removeprefix("PROBE_OUTCOME_"), probe.detail)
            client.delete_service(name, force=True)
    assert {name: (how, detail.startswith(checks[name][3])) for name, (how, detail) in seen.items()} == {
        name: (how, True) for name, (_, _, how, _) in checks.items()
    }, seen


def test_the_agent_knows_the_boot_although_proc_sys_is_hidden(started: Unit) -> None:
    environment = proc(started, "environ").split("\0")
    boot = started.machine.run("cat", "/proc/sys/kernel/random/boot_id").strip().replace("-", "")
    assert f"L4LB_BOOT_ID={boot}" in environment
    assert started.show("ProcSubset") == "pid"


def test_the_doctor_looks_from_inside_the_unit_and_says_what_is_hidden_there(started: Unit) -> None:
    with started.client() as client:
        found = {finding.id: finding for finding in client.diagnose()}
    assert [id for id, finding in found.items() if finding.severity == doctor_pb2.SEVERITY_ERROR] == []
    assert found["XDP_MODE"].evidence.startswith("eth0 runs the program in native mode")
    assert any(why in found["XDP_MODE"].evidence for why in ("taken by the driver", "adopted as it was")), "by what an earlier test left"
    assert "adjtimex(2) is refused" in found["NOT_EXAMINED"].evidence


def test_the_doctor_s_cure_for_forwarding_is_there_and_safe(started: Unit) -> None:
    settings = [f"/proc/sys/net/{family}/conf/eth0/forwarding" for family in ("ipv4", "ipv6")]
    for setting in settings:
        started.machine.run("sh", "-c", f"echo 0 > {setting}")
    asked = started.machine.run("sh", "-c", "l4lb-agent doctor --json; echo $?")
    found = {finding["id"]: finding for finding in json.loads(asked.splitlines()[0])["findings"]}
    assert (asked.splitlines()[1], found["FORWARDING_OFF"]["safe_to_fix"]) == ("6", True)
    started.machine.run("sh", "-c", "echo y | l4lb-agent doctor --fix; test $? = 6")  # which is nobody at a terminal
    assert started.machine.run("cat", *settings).split() == ["0", "0"]
    started.machine.run("sh", "-c", "l4lb-agent doctor --yes || test $? = 5")
    assert started.machine.run("cat", *settings).split() == ["1", "1"]


def test_a_start_waits_for_an_interface_and_says_so(unit: Unit) -> None:
    unit.systemctl("stop")
    with unit.drop_in("TimeoutStartSec=3s"):
        unit.configure(interfaces=("eth0", "late0"))
        unit.systemctl("start", "--no-block")
        wait(lambda: "late0" in unit.show("StatusText"), "the status does not name the interface")
        time.sleep(6)  # twice what a start may take without asking for more
        assert unit.show("ActiveState") == "activating"
        assert unit.show("StatusText") == "not ready: interface late0: does not exist"
        with unit.client() as client:
            answer = client.agent()
            assert not answer.ready
            assert "late0" in answer.not_ready_reason
        assert health(unit) == health_pb2.HealthCheckResponse.NOT_SERVING
        unit.machine.run("ip", "link", "add", "late0", "type", "veth", "peer", "name", "late1")
        unit.machine.run("ip", "link", "set", "late0", "up")
        wait(lambda: unit.show("ActiveState") == "active", "it does not become active")
        assert unit.show("NRestarts") == "0"
        assert health(unit) == health_pb2.HealthCheckResponse.SERVING
        unit.systemctl("stop")
        unit.machine.run("ip", "link", "del", "late0")


def health(unit: Unit) -> int:
    with grpc.insecure_channel(f"unix://{unit.machine.path('/run/l4lb/admin.sock')}") as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    return int(answer.status)


def test_a_mistake_in_the_configuration_is_named_and_not_tried_again(unit: Unit) -> None:
    unit.systemctl("stop")
    unit.machine.path("/etc/l4lb/agent.toml").write_text('[[interface]]\nname = "eth0"\nmood = "native"\n')
    with pytest.raises(AssertionError):
        unit.systemctl("start")
    time.sleep(2)  # longer than RestartSec
    assert (unit.show("ActiveState"), unit.show("NRestarts"), unit.show("ExecMainStatus")) == ("failed", "0", "2")
    assert "interface[0].mood: no such setting" in unit.journal()


def test_an_agent_that_keeps_dying_is_started_again_each_time(started: Unit) -> None:
    restarts = int(started.show("NRestarts"))
    for died in range(1, 8):  # more often than systemd takes by default
        os.kill(started.pid, signal.SIGKILL)
        wait(lambda died=died: int(started.show("NRestarts")) >= restarts + died, "it is not started again")
        wait(lambda: started.show("ActiveState") == "active", "it does not become active")


def stalled(unit: Unit) -> list[str]:
    """Names of the dumps that were written because the loop stood still."""
    with unit.client() as client:
        return [dump.name for dump in client.list_dumps() if dump.cause == "stalled"]


def test_an_agent_that_stands_still_under_load_is_started_again_and_nothing_is_lost(started: Unit) -> None:
    """The thread of its event loop alone, as in a call that never returns: then the recorder says where. Then all of it, as if frozen."""
    with started.drop_in("WatchdogSec=6s"):
        started.systemctl("restart")
        with started.client() as client:
            vips = started.balanced(client).vips()
            known, before = identities(client.agent()), started.lab.traffic.tcp_counters()
        dumps, told, restarts = stalled(started), started.journal().count("Watchdog timeout"), int(started.show("NRestarts"))
        load, gaps = started.lab.traffic.constant(vips, RATE, "still"), []
        for died in (1, 2):
            pid, still = started.pid, time.monotonic()
            with Held(pid) if died == 1 else contextlib.nullcontext():
                if died == 2:
                    os.kill(pid, signal.SIGSTOP)
                wait(lambda died=died: int(started.show("NRestarts")) == restarts + died, "it is not started again")
            wait(lambda: started.show("ActiveState") == "active", "it does not become active")
            gaps.append((still, time.monotonic()))
            info = started.wait_ready()
            assert started.pid != pid
            assert (identities(info), info.map_writes) == (known, 0)
        result = load.result()
        assert started.journal().count("Watchdog timeout") == told + 2
        assert (result["failed"], result["errors"]) == (0, {})
        for still, again in gaps:
            assert sum(1 for at in result["answered"] if still < at < again) > RATE
        assert started.lab.traffic.tcp_counters().syn_retransmissions == before.syn_retransmissions
    [new] = [name for name in stalled(started) if name not in dumps]  # what is frozen writes nothing
    with started.client() as client, tarfile.open(fileobj=io.BytesIO(b"".join(client.read_dump(new)))) as archive:
        timeline = json.load(archive.extractfile("timeline.json"))  # type: ignore[arg-type]
    [main] = [stack for stack in timeline["stacks"] if stack.startswith("MainThread\n")]
    assert "selectors.py" in main.splitlines()[-2], "where it was held: waiting for events"
    assert "stalled" in {event["event"] for event in timeline["events"]}


def test_a_reload_takes_over_what_may_change_and_names_the_rest(started: Unit) -> None:
    with started.client() as client:
        vips, before = started.balanced(client).vips(), client.agent()
        pid = started.pid
        load = started.lab.traffic.constant(vips, RATE, "reload")
        started.configure(more='rst_rate = 77\nport_range = [2000, 3000]\n[datapath.timeouts]\nsyn = 4\n[agent]\nlog_level = "debug"\n')
        started.systemctl("reload")
        wait(lambda: "restart to take over datapath.port_range" in started.show("StatusText"), "it does not say what needs a restart")
        assert started.show("StatusText") == "forwarding as asked; restart to take over datapath.port_range"
        wait(lambda: client.agent().map_writes == before.map_writes + 1, "the datapath's settings are not written")
        started.machine.path("/etc/l4lb/agent.toml").write_text("nonsense")
        started.systemctl("reload")
        wait(lambda: "reload refused, nothing changed: not TOML" in started.show("StatusText"), "it does not say what is wrong")
        started.configure()
        started.systemctl("reload")
        wait(lambda: started.show("StatusText") == "forwarding as asked", "it does not take the first configuration back")
        wait(lambda: client.agent().map_writes == before.map_writes + 2, "the datapath's settings are not written back")
        after = client.agent()
    result = load.result()
    assert (result["failed"], result["errors"]) == (0, {})
    assert (started.pid, started.show("ActiveState")) == (pid, "active")
    assert identities(after) == identities(before)


def test_stop_leaves_forwarding_and_the_next_start_has_nothing_to_write(started: Unit) -> None:
    with started.client() as client:
        vips, known = started.balanced(client).vips(), identities(client.agent())
    started.systemctl("stop")
    assert started.show("ActiveState") == "inactive"
    assert not started.machine.path("/run/l4lb/admin.sock").exists()
    assert started.lab.traffic.counted(vips, 20, "stopped")["failed"] == 0
    started.systemctl("start")
    info = started.wait_ready()
    assert identities(info) == known
    assert info.map_writes == 0
    assert started.lab.traffic.counted(vips, 20, "adopted")["failed"] == 0


def test_a_host_that_does_not_forward_is_degraded_until_the_named_command_has_run(started: Unit) -> None:
    setting = "/proc/sys/net/ipv4/conf/eth0/forwarding"
    started.machine.run("/usr/lib/l4lb/forwarding", "off")
    started.machine.run("sh", "-c", f"echo 0 > {setting}")
    wait(lambda: "degraded" in started.show("StatusText"), "the status does not say so")
    with started.client() as client:
        [warning] = [w for w in client.agent().warnings if w.reason == "FORWARDING_OFF"]
        assert client.agent().ready
    command = re.search(r"run (/\S+ on)$", warning.message)
    assert command, warning.message
    started.machine.run(*command[1].split())
    wait(lambda: started.show("StatusText") == "forwarding as asked", "it does not notice")
    started.machine.run("/usr/lib/l4lb/forwarding", "off")
    assert started.machine.run("cat", setting).strip() == "0"
    assert not started.machine.path("/etc/sysctl.d/60-l4lb.conf").exists()
    other = "/proc/sys/net/ipv4/conf/mgmt0/forwarding"
    assert started.machine.run("cat", other).strip() == "0", "an interface that is not configured was changed"
