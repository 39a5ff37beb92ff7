"""The demo keeps its promises in every mode, and leaves nothing behind, however it ends."""

import os
import signal
import subprocess
import sys

import pytest

from lab.footprint import Footprint
from lab.laboratory import Laboratory


def start_demo(until: str) -> tuple[subprocess.Popen[str], Footprint]:
    """A demo that has printed `until`, and what it has put into the machine."""
    process = subprocess.Popen([sys.executable, "-m", "lab.demo"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if until in line:
            break
    [announced] = [line for line in lines if "laboratory " in line]
    run_id = announced.split("laboratory ")[1].split(":")[0]
    footprint = Footprint(run_id)
    assert footprint.left(), "".join(lines)
    return process, footprint


@pytest.mark.parametrize("until", ["the agent starts", "without keep-alive", "is drained"])
def test_an_interrupted_demo_removes_everything(until: str) -> None:
    process, footprint = start_demo(until)
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGINT)  # an impatient user
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 130, rest
    with footprint:
        assert footprint.left() == []


def test_what_a_killed_demo_leaves_is_removed_by_the_next_run() -> None:
    process, footprint = start_demo("without keep-alive")
    process.kill()
    process.wait()
    with footprint, Laboratory():
        assert footprint.left() == []
    process.communicate(timeout=30)


@pytest.mark.parametrize("mode", ["dsr", "ipip", "gue"])
def test_where_backends_answer_directly_every_promise_holds(mode: str) -> None:
    """Those of NAT are held by the continuous integration's run of scripts/demo itself."""
    done = subprocess.run([sys.executable, "-m", "lab.demo", "--mode", mode, "--kills", "1"], capture_output=True, text=True)
    *_, held, last = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert held.endswith("promises held, 0 broken")
    assert " failed=0 " in last
    assert " direct=v4:" in last
