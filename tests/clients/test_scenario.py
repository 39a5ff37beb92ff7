"""One scenario, run by the client of every language, in which every rpc of the API appears."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from l4lb.v1 import service_pb2
from lab.services import Balanced
from tests.clients.conftest import ROOT, Commands

SCENARIO = ROOT / "clients/scenario.json"
RPCS = {method.name for method in service_pb2.DESCRIPTOR.services_by_name["LoadBalancerService"].methods}


def run(client: Commands, running: Balanced, scenario: Path) -> subprocess.CompletedProcess[str]:
    topology = running.lab.topology
    variables = {"vip": topology.vip().v4, "a": topology.host("a").v4, "b": topology.host("b").v4, "request_id": str(uuid.uuid4())}
    pairs = [word for name, value in variables.items() for word in ("--set", f"{name}={value}")]
    argv = [*client.command("scenario"), "--target", running.agent.target, *pairs, str(scenario)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def steps(value: Any) -> Iterator[dict[str, Any]]:
    """Every step, those inside streams included."""
    for step in value:
        yield step
        yield from steps([item["step"] for item in step.get("stream", []) if "step" in item])


def test_every_rpc_appears_in_the_scenario() -> None:
    assert {step["rpc"] for step in steps(json.loads(SCENARIO.read_text())["steps"])} == RPCS


def test_every_client_runs_the_scenario_to_its_end(client: Commands, running: Balanced) -> None:
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
    step: dict[str, Any], difference: str, client: Commands, running: Balanced, tmp_path: Path
) -> None:
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps({"steps": [{"fact": "the fact that fails", **step}]}))
    done = run(client, running, scenario)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the fact that fails" in done.stderr
    assert difference in done.stderr
