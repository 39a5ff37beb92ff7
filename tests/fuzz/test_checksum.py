"""Incremental checksums (RFC 1624), every one and every change: the datapath's own header, compiled natively."""

import shutil
import subprocess
from pathlib import Path

import pytest

from l4lb_agent.dataplane import program
from lab import native

SOURCE = Path(__file__).parent / "checksum.c"
MISTAKES = {
    "the update of RFC 1141": ("return ~fold((__u16)~checksum + delta);", "return fold(checksum + (__u16)~delta);"),
    "one carry left": ("return (sum & 0xffff) + (sum >> 16);", "return sum;"),
    "a change without complement": ("(__u16)~fold(old)", "fold(old)"),
}


def said(sources: Path, folder: Path) -> str:
    made = native.compile([SOURCE], folder / "checksum", "-O2", f"-I{sources}")
    return subprocess.run([made], capture_output=True, text=True, timeout=60, check=False).stdout


def test_every_checksum_and_every_change_of_one_is_taken_by_its_receiver(tmp_path: Path) -> None:
    assert said(program.BPF_DIR, tmp_path) == "right\n"


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found(tmp_path: Path, name: str) -> None:
    right, wrong = MISTAKES[name]
    text = (program.BPF_DIR / "checksum.h").read_text()
    assert text.count(right) == 1
    folder = Path(shutil.copytree(program.BPF_DIR, tmp_path / "bpf"))
    (folder / "checksum.h").write_text(text.replace(right, wrong))
    assert " makes " in said(folder, tmp_path)
