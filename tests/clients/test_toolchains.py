"""Without the toolchain of a language nothing fails but what needs it, and that says what is missing."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import ROOT

[GO] = re.findall(r"^go (\S+)$", (ROOT / "clients/go/go.mod").read_text(), re.MULTILINE)


def machine(folder: Path, **versions: str) -> dict[str, str]:
    """An environment whose commands of these names say these versions, and nothing else."""
    for name, version in versions.items():
        (folder / name).write_text(f"#!/bin/sh\necho {version}\n")
        (folder / name).chmod(0o755)
    for name in ("bash", "cut", "dirname", "sed", "sha256sum", "sort", "basename"):
        (folder / name).symlink_to(f"/usr/bin/{name}")
    return os.environ | {"PATH": str(folder)}


@pytest.mark.parametrize(
    ("language", "versions", "message"),
    [
        ("go", {}, f"clients: go needs go {GO} or newer\n"),
        ("go", {"go": "go1.19.8"}, f"clients: go needs go {GO} or newer, here is 1.19.8\n"),
        ("typescript", {}, "clients: typescript needs node 20 or newer with npm\n"),
        ("typescript", {"node": "v18.20.4", "npm": "9.2.0"}, "clients: typescript needs node 20 or newer with npm, here is node 18\n"),
        ("typescript", {"node": "v20.1.0"}, "clients: typescript needs node 20 or newer with npm, here is node 20\n"),
    ],
)
def test_what_is_missing_is_said(language: str, versions: dict[str, str], message: str, tmp_path: Path) -> None:
    environment = machine(tmp_path, **versions)
    argv = ["/bin/bash", str(ROOT / "scripts/clients"), language, str(tmp_path / "out")]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (3, message)
    assert not (tmp_path / "out").exists()
