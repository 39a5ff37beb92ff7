"""The demo leaves nothing behind, however it ends."""

import os
import signal
import subprocess
import sys

import pytest

from lab.laboratory import Laboratory
from tests.netns.test_laboratory import traces


def start_demo(until: str) -> tuple[subprocess.Popen[str], str]:
    """A demo that has printed `until`, and the id of its laboratory."""
    process = subprocess.Popen([sys.executable, "-m", "lab.demo"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if until in line:
            break
    [announced] = [line for line in lines if "laboratory " in line]
    run_id = announced.split("laboratory ")[1].split(":")[0]
    assert traces(run_id), "".join(lines)
    return process, run_id


@pytest.mark.parametrize("until", ["the agent starts", "without keep-alive", "is drained"])
def test_an_interrupted_demo_removes_everything(until: str) -> None:
    process, run_id = start_demo(until)
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGINT)  # an impatient user
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 130, rest
    assert traces(run_id) == []


def test_what_a_killed_demo_leaves_is_removed_by_the_next_run() -> None:
    process, run_id = start_demo("without keep-alive")
    process.kill()
    process.wait()
    with Laboratory():
        assert traces(run_id) == []
    process.communicate(timeout=30)
