"""Scripts that take turns (scripts/lib.sh) say for whom they wait."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
TURN = '. "$1/scripts/lib.sh"; take_turn "$2" "keeping others waiting"; echo in turn; read -r _ || true'


def started(lock: Path) -> "subprocess.Popen[str]":
    """A script that has its turn until its standard input ends."""
    command = ["bash", "-c", TURN, "script", str(ROOT), str(lock)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_whoever_waits_for_a_turn_says_for_whom_and_has_it_afterwards(tmp_path: Path) -> None:
    with started(tmp_path / "lock") as first:
        assert first.stdout
        assert first.stdout.readline() == "in turn\n"
        with started(tmp_path / "lock") as second:
            assert second.stderr
            told = second.stderr.readline()
            assert told.startswith(f"script: waiting for process {first.pid}, which has been keeping others waiting since ")
            assert first.communicate("")[1] == ""
            assert second.communicate("") == ("in turn\n", "")
            assert (tmp_path / "lock").read_text() == f"{second.pid}\n"
