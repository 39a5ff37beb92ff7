"""l4lbctl against a real server: what it calls, what it prints, how it exits."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

import l4lb
from l4lb.cli import base
from l4lb.cli.main import cli
from l4lb.v1 import service_pb2, service_pb2_grpc
from l4lb_agent.api.roles import Role
from l4lb_agent.model.backend import DrainResult
from l4lb_agent.model.changes import commands
from l4lb_agent.model.doctor.finding import Finding, Severity
from l4lb_agent.model.health.effective import EffectiveState
from l4lb_agent.model.observed import Answer
from l4lb_agent.model.reasons import Reason, Verdict
from tests.api.conftest import Agent

RPCS = {method.name for method in service_pb2.DESCRIPTOR.services_by_name["LoadBalancerService"].methods}
# rpc -> method of both clients, command line
TABLE = {
    "CreateVirtualService": ("create_service", "service create web --vip 10.0.0.1 --port 80 --protocol tcp"),
    "GetVirtualService": ("get_service", "service show web"),
    "ListVirtualServices": ("list_services", "service list"),
    "UpdateVirtualService": ("update_service", "service update web --idle-timeout 5m"),
    "AddBackend": ("add_backend", "backend add web/a --address 10.1.0.1 --weight 3"),
    "GetBackend": ("get_backend", "backend show web/a"),
    "ListBackends": ("list_backends", "backend list web"),
    "UpdateBackend": ("update_backend", "backend set web/a --weight 5"),
    "CreatePrefixList": ("create_list", "list create bad --prefix 192.0.2.0/24"),
    "GetPrefixList": ("get_list", "list show bad"),
    "ListPrefixLists": ("list_lists", "list list"),
    "UpdatePrefixList": ("update_list", "list update bad --add 192.0.3.0/24"),
    "WatchBackends": ("watch", "backend watch --for 300ms"),
    "DrainBackend": ("drain", "drain web/a --timeout 1h --at-deadline reset --no-wait"),
    "UndrainBackend": ("undrain", "undrain web/a"),
    "StreamStats": ("stats", "stats"),
    "ListFlows": ("flows", "flows web"),
    "GetRing": ("ring", "ring web"),
    "Explain": ("explain", "explain tcp 192.0.2.1:4000 10.0.0.1:80"),
    "CapturePackets": ("capture", "capture --for 300ms"),
    "DumpRecord": ("dump_record", "record dump -w -"),
    "ListDumps": ("list_dumps", "record list"),
    "ReadDump": ("read_dump", "record get 20270115T080000.250Z-failed -w -"),
    "GetAgent": ("agent", "agent"),
    "GetConfig": ("config", "config"),
    "Diagnose": ("diagnose", "doctor"),
    "RemoveBackend": ("remove_backend", "backend remove web/a"),
    "DeletePrefixList": ("delete_list", "list delete bad"),
    "DeleteVirtualService": ("delete_service", "service delete web"),
}


@pytest.fixture
def run(agent: Agent) -> Callable[..., Result]:
    """Runs a command line against the agent."""

    def run(line: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["-s", agent.target, *line.split()])
        assert result.exit_code == code, f"{line}: {result.output} {result.exception!r}"
        return result

    return run


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the rpcs that clients call from here on."""
    names: list[str] = []
    original = service_pb2_grpc.LoadBalancerServiceStub

    class Recording:
        def __init__(self, channel: Any) -> None:
            self._stub = original(channel)

        def __getattr__(self, name: str) -> Any:
            names.append(name)
            return getattr(self._stub, name)

    monkeypatch.setattr(service_pb2_grpc, "LoadBalancerServiceStub", Recording)
    return names


def test_every_rpc_is_in_both_clients_and_in_the_command_line(run: Callable[..., Result], called: list[str]) -> None:
    assert set(TABLE) == RPCS
    for rpc, (method, line) in TABLE.items():
        assert callable(getattr(l4lb.Client, method))
        assert callable(getattr(l4lb.AsyncClient, method))
        called.clear()
        run(line, code=base.EXIT_WARNINGS if rpc == "Diagnose" else 0)  # the agent of the tests warns of something
        assert called == [rpc]


def test_the_tables_say_what_there_is(run: Callable[..., Result]) -> None:
    run("service create web --vip 10.0.0.1 --port 80")
    run("backend add web/a --address 10.1.0.1 --weight 3")
    assert run("service list").output.splitlines() == [
        "NAME  VIP       PORT  PROTOCOL  MODE  STATE",
        "web   10.0.0.1  80    TCP       NAT   ok",
    ]
    assert run("backend list").output.splitlines() == [
        "NAME   ADDRESS   PORT  WEIGHT  SHARE  STATE    HEALTH  DRAIN",
        "web/a  10.1.0.1  80    3       50.0%  ENABLED",
    ]
    assert "00:01:02:03:04:05" in run("backend list -o wide").output
    assert "eth0       NATIVE  00ff00ff00ff00ff  the driver has it" in run("agent").output
    assert "the VIP is this host's" in run("agent").output
    assert "web/a" in run("config").output


def test_doctor_shows_the_worst_first_and_exits_by_it(run: Callable[..., Result], agent: Agent) -> None:
    bad = Finding("LRO_ON", Severity.ERROR, "eth0", "it merges", ("ethtool -K eth0 lro off",), safe=True)
    agent.control.findings = [bad, Finding("XDP_MODE", Severity.INFO, "eth0", "as configured")]
    lines = run("doctor", code=base.EXIT_ERRORS).output.splitlines()
    assert lines == [
        "ERROR    LRO_ON  eth0", "         it merges", "         $ ethtool -K eth0 lro off   (safe)",
        "WARNING  VIP_IS_LOCAL  agent", "         the VIP is this host's",
        "INFO     XDP_MODE  eth0", "         as configured",
    ]  # fmt: skip
    found = json.loads(run("doctor --json", code=base.EXIT_ERRORS).output)
    assert json.loads(run("doctor -o json", code=base.EXIT_ERRORS).output) == found
    assert found["findings"][0] == {
        "id": "LRO_ON", "severity": "SEVERITY_ERROR", "subject": "eth0", "evidence": "it merges", "commands": ["ethtool -K eth0 lro off"],
        "safe_to_fix": True,
    }  # fmt: skip
    agent.control.findings = [Finding("VIP_IS_LOCAL", Severity.INFO, "web", "found by the doctor: the agent's warning is the same")]
    assert [line.split()[2] for line in run("doctor").output.splitlines()[::2]] == ["web"]


def test_json_and_yaml_are_the_messages_with_the_names_of_the_api(run: Callable[..., Result]) -> None:
    run("service create web --vip 10.0.0.1 --port 80 --annotate owner=net --annotate note=a=b")
    service = json.loads(run("-o json service show services/web").output)
    assert (service["vip"], service["protocol"], service["annotations"]) == ("10.0.0.1", "PROTOCOL_TCP", {"owner": "net", "note": "a=b"})
    assert yaml.safe_load(run("service show web -o yaml").output) == service
    assert json.loads(run("service list -o json").output) == {"services": [service]}
    assert json.loads(run("backend list -o json").output) == {"backends": []}
    assert json.loads(run("config -o json").output)["services"] == [service]
    assert json.loads(run("agent -o json").output)["version"] == "1.2.3"


def test_streams_in_json_are_one_object_a_line(run: Callable[..., Result]) -> None:
    run("service create web --vip 10.0.0.1 --port 80")
    run("backend add web/a --address 10.1.0.1")
    events = [json.loads(line) for line in run("backend watch web --for 300ms -o json").output.splitlines()]
    assert [event["kind"] for event in events] == ["ADDED", "SYNCED"]
    samples = [json.loads(line) for line in run("stats --watch --samples 2 --interval 100ms -o json").output.splitlines()]
    assert [sample["services"][0]["service"] for sample in samples] == ["services/web", "services/web"]


def test_watched_statistics_show_rates(run: Callable[..., Result]) -> None:
    run("service create web --vip 10.0.0.1 --port 80")
    output = run("stats --watch --samples 2 --interval 100ms").output
    assert "since the maps were made" in output
    assert "per second" in output
    assert "TO_BACKEND  TX" in output
    assert "flows: 0 of 1000" in output


def test_a_drain_is_waited_for_and_its_progress_told(agent: Agent, run: Callable[..., Result]) -> None:
    name = "services/web/backends/a"
    run("service create web --vip 10.0.0.1 --port 80")
    run("backend add web/a --address 10.1.0.1")
    agent.control.live[name] = 3

    def end() -> None:
        while not any(isinstance(command, commands.DrainBackend) for command in agent.control.commands):
            time.sleep(0.01)
        agent.run(agent.control.change(commands.EndDrain(name, DrainResult.EMPTY, 0)))

    thread = threading.Thread(target=end)
    thread.start()
    result = run("drain web/a")
    thread.join()
    assert "web/a: drained, 0 of 3 flows left" in result.stderr
    assert "EMPTY, 0 flows left" in result.stdout


def test_a_drain_whose_deadline_came_first_exits_with_4(agent: Agent, run: Callable[..., Result]) -> None:
    name = "services/web/backends/a"
    run("service create web --vip 10.0.0.1 --port 80")
    run("backend add web/a --address 10.1.0.1")

    def end() -> None:
        while not any(isinstance(command, commands.DrainBackend) for command in agent.control.commands):
            time.sleep(0.01)
        agent.run(agent.control.change(commands.EndDrain(name, DrainResult.DEADLINE_CUT, 2)))

    thread = threading.Thread(target=end)
    thread.start()
    result = run("drain web/a --timeout 1s --at-deadline cut", code=4)
    thread.join()
    assert "DEADLINE_CUT, 2 flows left" in result.stdout


def test_waiting_has_a_limit_of_its_own_and_exits_with_4(run: Callable[..., Result]) -> None:
    run("service create web --vip 10.0.0.1 --port 80")
    run("backend add web/a --address 10.1.0.1")
    assert "goes on" in run("drain web/a --wait-timeout 300ms", code=4).stderr


def test_a_refusal_names_the_field_and_exits_with_1(run: Callable[..., Result]) -> None:
    result = run("service create web --vip 224.0.0.1 --port 80", code=1)
    assert "field: service.vip" in result.stderr
    assert "reason: INVALID_ADDRESS (INVALID_ARGUMENT)" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("backend show web", "write it like web/a"),
        ("service show web/a", "write it like web"),
        ("drain web/a --timeout soon", "write it like 30s, 5m or 1h"),
        ("backend set web/a", "nothing to change"),
        ("service create web --vip 10.0.0.1 --port 80 --annotate x", "KEY=VALUE"),
        ("service create web --vip 10.0.0.1", "--port"),
    ],
)
def test_wrong_usage_says_what_is_right_and_exits_with_2(run: Callable[..., Result], line: str, hint: str) -> None:
    assert hint in run(line, code=2).stderr


def test_without_an_agent_it_says_where_it_looked_and_exits_with_3(folder: object) -> None:
    result = CliRunner().invoke(cli, ["-s", f"unix://{folder}/none.sock", "agent"])
    assert result.exit_code == 3
    assert f"unix://{folder}/none.sock" in result.stderr


def test_a_dry_run_changes_nothing(run: Callable[..., Result]) -> None:
    run("service create web --vip 10.0.0.1 --port 80 --dry-run")
    run("service show web", code=1)
    run("service create web --vip 10.0.0.1 --port 80")
    assert run("service delete web --dry-run").output == "web would be deleted\n"
    run("service show web")


def test_a_role_that_may_not_is_told_so(start_agent: Callable[..., Agent]) -> None:
    viewer = start_agent(Role.VIEWER)
    result = CliRunner().invoke(cli, ["-s", viewer.target, *["service", "create", "web", "--vip", "10.0.0.1", "--port", "80"]])
    assert result.exit_code == 1
    assert "role VIEWER" in result.stderr


def test_names_are_completed_from_the_agent(agent: Agent, run: Callable[..., Result]) -> None:
    run("service create web --vip 10.0.0.1 --port 80")
    run("backend add web/a --address 10.1.0.1")
    words = {"_L4LBCTL_COMPLETE": "bash_complete", "COMP_WORDS": f"l4lbctl -s {agent.target} backend show w", "COMP_CWORD": "5"}
    assert CliRunner().invoke(cli, [], prog_name="l4lbctl", env=words).output == "plain,web/a\n"


def test_colours_follow_no_color(agent: Agent, run: Callable[..., Result]) -> None:
    run("service create web --vip 10.0.0.1 --port 80")
    bold = "\x1b[1m"
    line = ["-s", agent.target, "service", "list"]
    assert bold in CliRunner().invoke(cli, line, color=True, env={"NO_COLOR": None}).output
    assert bold not in CliRunner().invoke(cli, line, color=True, env={"NO_COLOR": "1"}).output


def test_the_exit_codes_in_the_help_are_those_that_commands_end_with() -> None:
    text = CliRunner().invoke(cli, ["--help"]).output
    codes = {
        "done": 0,
        "refused": base.EXIT_REFUSED,
        "wrong usage": base.EXIT_USAGE,
        "no agent": base.EXIT_UNREACHABLE,
        "the time": base.EXIT_TIMEOUT,
    }
    for words, code in codes.items():
        assert f"{code} {words}" in text


def test_a_ring_is_shown_by_backend_and_slot_by_slot(run: Callable[..., Result], agent: Agent) -> None:
    run("service create web --vip 10.0.0.1 --port 80 --protocol tcp")
    run("backend add web/a --address 10.1.0.1 --weight 3")
    run("backend add web/b --address 10.1.0.2")
    shown = run("ring web").output.splitlines()
    assert shown[0].split() == ["SLOTS", "16381"]
    assert ["SETTLED", "yes"] in [line.split() for line in shown]
    assert ["web/a", "3", "50.0%", "50.0%", "500", "+100", "0"] in [line.split() for line in shown]
    view = agent.control.services["services/web"]
    agent.control.services["services/web"] = replace(view, differing_slots=7, at_risk_slots=9, settle_time=2e9)
    assert "no, 7 slots differ until 2033-05-18T03:33:20Z, 9 are at risk" in run("ring web").output
    assert run("ring web --slots").output.splitlines()[-2:] == ["    0  web/a  before web/b", "    1  web/b  before nobody"]
    assert json.loads(run("ring web -o json").output)["shares"][1]["backend"] == "services/web/backends/b"
    assert "ID" in run("ring web -o wide").output
    one = agent.control.backends["services/web/backends/b"]
    agent.control.backends["services/web/backends/b"] = replace(one, effective=EffectiveState.UNHEALTHY)
    assert [line.split()[-1] for line in run("ring web").output.splitlines()[-2:]] == ["0", "UNHEALTHY"]
    assert "does not exist" in run("ring none", code=1).output


def test_a_datapath_that_does_not_do_what_is_explained_is_said_loudly(agent: Agent, run: Callable[..., Result]) -> None:
    line = "explain tcp 192.0.2.1:4000 10.0.0.1:80"
    assert run(line).output.splitlines()[-2] == "the datapath's own program does the same"
    agent.control.program_answer = Answer(Verdict.DROP, b"", Reason.NO_SERVICE)
    said = run(line, code=base.EXIT_DISAGREED).output.splitlines()
    assert "DISAGREEMENT, a bug: the datapath's own program says DROP NO_SERVICE, and that is what happens." in said
    assert said[-1].startswith("PASS FOREIGN: ")
    assert json.loads(run(f"{line} -o json", code=base.EXIT_DISAGREED).output)["comparison"] == "COMPARISON_DISAGREED"


@pytest.mark.parametrize("line", ["tcp 192.0.2.1 10.0.0.1:80:80", "tcp 192.0.2.1:70000 10.0.0.1:80", "tcp x:1 10.0.0.1:80"])
def test_ends_that_cannot_be_are_wrong_usage(run: Callable[..., Result], line: str) -> None:
    run(f"explain {line}", code=base.EXIT_USAGE)
    run("explain tcp 192.0.2.1:1 10.0.0.1:80 --flags syn|zig", code=base.EXIT_USAGE)
    run("explain udp 192.0.2.1:1 10.0.0.1:80 --fragment 7", code=base.EXIT_USAGE)
