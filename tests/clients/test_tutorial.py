"""docs/tutorial.md, typed in as it is written, shows what it says."""

import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.clients.conftest import ROOT
from tests.clients.program import Program

PAGE = (ROOT / "docs/tutorial.md").read_text()
# What is typed, and what it shows if the page says that.
BLOCKS = re.findall(r"^```sh\n(.*?)^```\n(?:\s*^```text\n(.*?)^```\n)?", PAGE, re.MULTILINE | re.DOTALL)
END = "end of block"


def shows(line: str) -> re.Pattern[str]:
    """What a printed line must be like: the same words, other numbers, names of programs and widths of columns."""
    words = []
    for word in line.split():
        number = re.fullmatch(r"[0-9.]+%?,?", word) or re.fullmatch(r"[0-9a-f]{16}", word)
        words.append(r"[0-9a-f.]+%?,?" if number else re.escape(word))
    return re.compile(r"\s*" + r"\s+".join(words) + r"\s*")


@pytest.fixture
def shell() -> Iterator[subprocess.Popen[str]]:
    """A shell of a laboratory without services; both end with the test."""
    lab = Program([str(ROOT / "scripts/lab"), "--empty"])
    shell = None
    try:
        source = lab.until(r"^    \. /run/.*/shell$", within=60)[-1]
        shell = subprocess.Popen(
            ["/bin/bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
        )
        assert shell.stdin is not None
        shell.stdin.write(f"{source}\n")
        yield shell
    finally:
        if shell is not None:
            shell.communicate(timeout=30)
        lab.signal(signal.SIGINT)
        lab.until("laboratory removed", within=60)
        assert lab.wait() == 0
        lab.end()


def typed(shell: subprocess.Popen[str], commands: str) -> list[str]:
    """What the shell shows of a block."""
    assert shell.stdin is not None
    assert shell.stdout is not None
    shell.stdin.write(f"{commands}echo '{END}'\n")
    shell.stdin.flush()
    lines: list[str] = []
    while (line := shell.stdout.readline()) and line.rstrip("\n") != END:
        lines.append(line.rstrip("\n"))
    return lines


def test_the_page_has_something_to_type_and_says_what_it_shows() -> None:
    assert len(BLOCKS) == PAGE.count("\n```sh\n") > 5
    assert sum(bool(shown) for _, shown in BLOCKS) == PAGE.count("\n```text\n") > 5


@pytest.mark.timeout(240)
def test_every_block_of_the_tutorial_shows_what_the_page_says(shell: subprocess.Popen[str]) -> None:
    for commands, shown in BLOCKS:
        lines = iter(printed := typed(shell, commands))
        for line in shown.splitlines():
            assert any(shows(line).fullmatch(found) for found in lines), f"{commands}does not show {line!r} but {printed}"
