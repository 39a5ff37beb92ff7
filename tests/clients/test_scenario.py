"""One scenario, run by the client of every language, in which every rpc of the API appears."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from l4lb.v1 import service_pb2
from lab.certificates import Authority
from tests.clients.conftest import ROOT, Commands, Reached

SCENARIO = ROOT / "clients/scenario.json"
RPCS = {method.name for method in service_pb2.DESCRIPTOR.services_by_name["LoadBalancerService"].methods}


def run(client: Commands, running: Reached, scenario: Path, role: str = "admin") -> subprocess.CompletedProcess[str]:
    topology = running.lab.topology
    variables = {"vip": topology.vip().v4, "a": topology.host("a").v4, "b": topology.host("b").v4, "request_id": str(uuid.uuid4())}
    pairs = [word for name, value in variables.items() for word in ("--set", f"{name}={value}")]
    argv = running.from_controller(client.command("scenario"), *pairs, str(scenario), role=role)
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def steps(value: Any) -> Iterator[dict[str, Any]]:
    """Every step, those inside streams included."""
    for step in value:
        yield step
        yield from steps([item["step"] for item in step.get("stream", []) if "step" in item])


def test_every_rpc_appears_in_the_scenario() -> None:
    assert {step["rpc"] for step in steps(json.loads(SCENARIO.read_text())["steps"])} == RPCS


def test_every_client_runs_the_scenario_to_its_end(client: Commands, running: Reached) -> None:
    facts = [step["fact"] for step in steps(json.loads(SCENARIO.read_text())["steps"])]
    done = run(client, running, SCENARIO)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert sorted(lines[:-1]) == sorted(f"ok: {fact}" for fact in facts)
    assert lines[-1] == f"{client.language}: {len(facts)} steps, {len(RPCS)} rpcs"
    assert list(running.client.list_services()) == []


@pytest.mark.parametrize(
    ("step", "difference"),
    [
        ({"rpc": "GetAgent", "answer": {"agent": {"ready": False}}}, "answer.agent.ready"),
        ({"rpc": "GetAgent", "answer": {"agent": {"notReadyReason": "*"}}}, "answer.agent.notReadyReason"),
        ({"rpc": "GetAgent", "answer": {"agent": {"interfaces": [{"name": "eth0"}, {}]}}}, "answer.agent.interfaces"),
        ({"rpc": "GetAgent", "answer": {"agent": {"version": None}}}, "answer.agent.version"),
        ({"rpc": "GetAgent", "error": {"code": "NOT_FOUND"}}, "expected an error"),
        ({"rpc": "GetBackend", "request": {"name": "services/x/backends/y"}}, "services/x/backends/y"),
        ({"rpc": "GetBackend", "request": {"name": "services/x/backends/y"}, "error": {"code": "ABORTED"}}, "error.code"),
        ({"rpc": "GetBackend", "request": {"title": "x"}}, "title"),
        ({"rpc": "WatchBackends", "request": {"parent": "services/-"}, "stream": [{"next": {"event": "EVENT_ADDED"}}]}, "message.event"),
        ({"rpc": "StreamStats", "stream": [{"next": {}}, {"next": {}}], "complete": True}, "expected the end of the stream"),
        ({"rpc": "StreamStats", "request": {"samples": 1}, "stream": [{"next": {}}, {"next": {}}]}, ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_goes_otherwise_ends_the_scenario(
    step: dict[str, Any], difference: str, client: Commands, running: Reached, tmp_path: Path
) -> None:
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps({"steps": [{"fact": "the fact that fails", **step}]}))
    done = run(client, running, scenario)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the fact that fails" in done.stderr
    assert difference in done.stderr


def test_what_a_role_may_not_do_is_an_error_like_any_other(client: Commands, running: Reached, tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.json"
    denied = {"code": "PERMISSION_DENIED", "reason": "ROLE_NOT_ALLOWED"}
    step = {"fact": "a viewer changes nothing", "rpc": "DeleteVirtualService", "request": {"name": "services/x"}, "error": denied}
    scenario.write_text(json.dumps({"steps": [step]}))
    done = run(client, running, scenario, role="viewer")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_certificate_of_another_authority_is_refused(client: Commands, running: Reached, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "somebody else").controller("admin")
    argv = running.from_controller(client.command("scenario"), str(SCENARIO))
    argv[argv.index("--cert") + 1], argv[argv.index("--key") + 1] = str(stranger.cert), str(stranger.key)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "ok:" not in done.stdout


def test_an_agent_of_another_authority_is_not_trusted(client: Commands, running: Reached, tmp_path: Path) -> None:
    argv = running.from_controller(client.command("scenario"), str(SCENARIO))
    argv[argv.index("--ca") + 1] = str(Authority(tmp_path, "somebody else").ca)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "ok:" not in done.stdout
