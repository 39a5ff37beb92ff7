"""What is committed is what is generated, and proto/ keeps its shape."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BUF = Path(sys.prefix) / "bin/buf"


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "scripts" / name, *arguments], capture_output=True, text=True, timeout=300, check=False)


def buf(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BUF, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def proto(tmp_path: Path) -> Path:
    """A copy of proto/ to spoil."""
    return Path(shutil.copytree(ROOT / "proto", tmp_path / "proto"))


def spoil(proto: Path, file: str, before: str, after: str) -> None:
    path = proto / "l4lb/v1" / file
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1))


def test_the_python_clients_code_docs_api_and_the_table_of_reasons_are_what_is_generated() -> None:
    """tests/clients holds the other clients to it."""
    result = script("generate", "--check", "python")
    assert result.returncode == 0, result.stdout + result.stderr


def test_words_changed_in_their_source_alone_are_found(tmp_path: Path) -> None:
    """The check compares and does not only run: in a copy with other words it fails and shows the lines."""
    copy = tmp_path / "copy"
    for part in ("scripts", "proto", "requirements", "clients", "docs", "agent"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    spoil(copy / "proto", "backend.proto", "// What the operator asked of a backend.", "// What somebody asked of a backend.")
    meanings = copy / "agent/l4lb_agent/model/explain/meanings.py"
    meanings.write_text(meanings.read_text().replace("sent to the flow's client.", "sent to somebody."))
    result = subprocess.run([copy / "scripts/generate", "--check", "python"], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 1
    assert "> What somebody asked of a backend." in result.stdout
    assert "> | 12 | TO_CLIENT | A backend's packet, sent to somebody. | Nothing. |" in result.stdout


def test_proto_is_formatted_linted_and_compatible_with_its_baseline() -> None:
    result = script("proto-check")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("backend.proto", "optional uint32 weight = 4;", "optional uint64 weight = 4;"),
        ("backend.proto", "uint32 port = 3;", "uint32 port = 33;"),
        ("service.proto", "rpc UndrainBackend(UndrainBackendRequest) returns (UndrainBackendResponse);", ""),
        ("virtual_service.proto", "PROTOCOL_UDP = 17;", "PROTOCOL_UDP = 18;"),
    ],
)
def test_a_change_that_breaks_clients_is_found(proto: Path, file: str, before: str, after: str) -> None:
    spoil(proto, file, before, after)
    assert buf(proto, "breaking", "--against", "baseline.binpb").returncode == 100


def test_a_field_without_a_comment_is_found(proto: Path) -> None:
    spoil(proto, "agent.proto", "  // Kernel release.\n", "")
    result = buf(proto, "lint")
    assert result.returncode == 100
    assert "COMMENT_FIELD" in buf(proto, "lint", "--error-format=json").stdout


def test_a_new_field_breaks_nobody(proto: Path) -> None:
    spoil(proto, "agent.proto", "  string kernel = 15;", "  string kernel = 15;\n  // New.\n  string news = 99;")
    assert buf(proto, "breaking", "--against", "baseline.binpb").returncode == 0
