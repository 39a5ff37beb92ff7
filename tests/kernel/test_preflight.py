"""Preflight says what a machine lacks, each lack provoked for real."""

import os
import subprocess
from pathlib import Path

import pytest

PREFLIGHT = Path(__file__).resolve().parents[2] / "scripts/preflight"


def preflight(*prefix: str) -> subprocess.CompletedProcess[str]:
    """Runs the script's text (its file may be unreadable for the user it runs as) behind `prefix`."""
    command = [*prefix, "bash", "-c", PREFLIGHT.read_text(), "preflight"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, cwd="/")


def test_this_machine_passes_in_silence() -> None:
    result = preflight()
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_an_unprivileged_user_is_told_to_be_root() -> None:
    result = preflight("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert result.returncode == 2
    assert "root (this is uid 65534)" in result.stderr
    assert "run as root" in result.stderr


@pytest.mark.parametrize("capability", ["net_admin", "bpf", "perfmon", "sys_admin"])
def test_a_plain_container_is_told_which_capability_it_lacks(capability: str) -> None:
    result = preflight("setpriv", f"--bounding-set=-{capability}", "--inh-caps=-all")
    assert result.returncode == 2
    assert f"capability CAP_{capability.upper()}" in result.stderr
    assert "--privileged" in result.stderr


@pytest.mark.parametrize(
    ("tool", "answers", "expected"),
    [
        ("uname", {"-r": "5.10.0-30-amd64", "-m": "x86_64"}, "kernel 5.10.0-30-amd64"),
        ("uname", {"-r": "6.1.0-18-amd64", "-m": "riscv64"}, "architecture riscv64"),
    ],
)
def test_an_old_kernel_and_another_architecture_are_named(tmp_path: Path, tool: str, answers: dict[str, str], expected: str) -> None:
    stand_in = tmp_path / tool
    cases = "".join(f"{flag}) echo {text};;" for flag, text in answers.items())
    stand_in.write_text(f"#!/bin/sh\ncase $1 in {cases} esac\n")
    stand_in.chmod(0o755)
    result = preflight("env", f"PATH={tmp_path}:{os.environ['PATH']}")
    assert result.returncode == 2
    assert expected in result.stderr


def test_several_lacks_are_named_at_once() -> None:
    result = preflight("setpriv", "--bounding-set=-bpf,-perfmon", "--inh-caps=-all")
    assert "CAP_BPF" in result.stderr
    assert "CAP_PERFMON" in result.stderr
