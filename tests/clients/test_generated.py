"""What is committed for Go and TypeScript is what proto/ generates, with tools that are pinned."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import BUILT, ROOT, commands_of


@pytest.fixture(params=BUILT)
def language(request: pytest.FixtureRequest, built: dict[str, Path | str]) -> str:
    """A language whose toolchain is here."""
    return commands_of(request.param, built).language


def check(root: Path, language: str) -> subprocess.CompletedProcess[str]:
    argv = [root / "scripts/generate", "--check", language]
    return subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)


def test_the_committed_code_is_what_proto_generates(language: str) -> None:
    done = check(ROOT, language)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_comment_changed_in_proto_alone_is_found(language: str, tmp_path: Path) -> None:
    for part in ("scripts", "proto", "requirements", "clients"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    proto = tmp_path / "proto/l4lb/v1/backend.proto"
    text = proto.read_text()
    assert "// What the operator asked of a backend." in text
    proto.write_text(text.replace("// What the operator asked of a backend.", "// What somebody asked of a backend."))
    done = check(tmp_path, language)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^> .*What somebody asked of a backend\.", done.stdout, re.MULTILINE)


def test_packages_are_pinned_by_hash_and_not_by_where_they_were_downloaded() -> None:
    lock = ROOT / "clients/typescript/package-lock.json"
    packages = {name: package for name, package in json.loads(lock.read_text())["packages"].items() if name}
    assert packages
    assert [name for name, package in packages.items() if not package.get("integrity") or not package.get("version")] == []
    assert "://" not in lock.read_text()
    sums = [line.split() for line in (ROOT / "clients/go/go.sum").read_text().splitlines()]
    required = re.findall(r"^\t(\S+) (v\S+)", (ROOT / "clients/go/go.mod").read_text(), re.MULTILINE)
    assert required
    assert [pair for pair in required if list(pair) not in [line[:2] for line in sums]] == []
