"""l4lbctl events against a real server."""

import json
import threading
from typing import Any

from click.testing import CliRunner, Result

import l4lb
from l4lb.cli.main import cli
from tests.api.conftest import Agent


def told(agent: Agent, line: str, meanwhile: Any) -> Result:
    """What the command prints when `meanwhile` is done after it has begun."""
    later = threading.Timer(1.5, meanwhile)
    later.start()
    result = CliRunner().invoke(cli, ["-s", agent.target, *line.split()])
    later.join()
    assert result.exit_code == 0, result.output
    return result


def test_changes_are_told_as_they_happen_and_what_was_there_is_not(agent: Agent) -> None:
    with l4lb.Client(agent.target) as lb:
        lb.create_service("old", vip="192.0.2.1", port=80)
        lb.add_backend("old/a", address="10.0.0.1")

        def change() -> None:
            lb.create_service("web", vip="192.0.2.2", port=80)
            lb.add_backend("web/a", address="10.0.0.2", weight=2)
            lb.drain("web/a")
            lb.remove_backend("old/a")

        lines = told(agent, "events --for 4s -o json", change).output.splitlines()
    found = [(event["kind"], event["subject"], event["text"]) for event in map(json.loads, lines)]
    assert ("service", "web", "created at 192.0.2.2 port 80") in found
    assert ("backend", "web/a", "added at 10.0.0.2 port 80, weight 2") in found
    assert ("backend", "web/a", "DRAINING, 0 flows") in found
    assert ("backend", "old/a", "removed") in found
    assert not [text for _, subject, text in found if subject.startswith("old") and "added" in text]


def test_without_an_agent_it_says_so_and_ends() -> None:
    result = CliRunner().invoke(cli, ["-s", "unix:///nowhere/l4lb.sock", "events", "--for", "20s"])
    assert result.exit_code == 3
    assert "no agent answers" in result.output
