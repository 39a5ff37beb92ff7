"""A watch that comes back after the agent has forgotten its revision begins anew, and says so."""

import asyncio
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import l4lb
from l4lb_agent.model.changes import commands
from tests.api.conftest import Agent
from tests.clients.conftest import Commands
from tests.clients.program import Program
from tests.fakes.control import HISTORY


@pytest.fixture
def agent() -> Iterator[Agent]:
    """A real API on a Unix socket with a control in memory, which remembers HISTORY revisions."""
    folder = Path(tempfile.mkdtemp(prefix="l4lb-api-"))
    made = Agent(folder)
    yield made
    made.close()
    shutil.rmtree(folder)


async def change_often(agent: Agent) -> None:
    """More changes than are remembered."""
    for weight in range(HISTORY + 5):
        await agent.control.change(commands.UpdateBackend("services/web/backends/a", weight=weight))
        await asyncio.sleep(0)


def test_everything_comes_again_up_to_synced_then_changes(example: Commands, agent: Agent) -> None:
    with l4lb.Client(agent.target) as client:
        client.create_service("web", vip="10.0.0.1", port=80)
        client.add_backend("web/a", address="10.1.0.1")
        program = Program([*example.command("example"), "--target", agent.target, "watch", "web", "0"])
        try:
            assert re.match(r"(EVENT_)?ADDED services/web/backends/a at", program.until("SYNCED")[0])
            agent.stop()
            agent.run(change_often(agent))
            agent.start()
            again = program.until("SYNCED")
            assert len(again) == 2
            assert re.match(rf"(EVENT_)?ADDED services/web/backends/a at revision {agent.control.revision}$", again[0])
            changed = client.update_backend("web/a", weight=3)
            program.until(rf"MODIFIED services/web/backends/a at revision {changed.revision}$")
        finally:
            program.end()
