"""What a client's own tests say of calls and streams while its agent is killed again and again."""

import subprocess
from pathlib import Path

from tests.clients.conftest import ROOT, commands_of


def test_streams_of_the_go_client_end_or_begin(built: dict[str, Path | str]) -> None:
    commands_of("go", built)
    done = subprocess.run(["go", "test", "./..."], cwd=ROOT / "clients/go", capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_calls_of_the_typescript_client_end_and_its_streams_go_on(built: dict[str, Path | str]) -> None:
    folder = commands_of("typescript", built).folder
    assert folder
    done = subprocess.run(["node", "dist/test/restarts.js"], cwd=folder, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
