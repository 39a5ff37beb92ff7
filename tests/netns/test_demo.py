"""The demo leaves nothing behind when it is interrupted."""

import os
import signal
import subprocess
import sys

from tests.netns.test_laboratory import traces


def test_an_interrupted_demo_removes_everything() -> None:
    process = subprocess.Popen([sys.executable, "-m", "lab.demo"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "without keep-alive" in line:
            break
    [announced] = [line for line in lines if "laboratory " in line]
    run_id = announced.split("laboratory ")[1].split(":")[0]
    assert traces(run_id), "".join(lines)
    os.kill(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 130, rest
    assert traces(run_id) == []
