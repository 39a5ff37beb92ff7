"""Clients of every language as commands, and an agent for them."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.agent import Agent
from lab.laboratory import Laboratory
from lab.services import Balanced, balanced

ROOT = Path(__file__).resolve().parents[2]
BUILT = ("go", "typescript")


@dataclass(frozen=True)
class Commands:
    """The programs of one client: `scenario`, and `example` for those that are built."""

    language: str
    folder: Path | None = None

    def command(self, program: str) -> list[str]:
        """How to run it."""
        if self.folder is None:
            return [sys.executable, str(ROOT / f"clients/python/examples/{program}.py")]
        return [str(self.folder / "bin" / program)]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | str]:
    """language -> the folder with its programs, or why this machine cannot build them."""
    found: dict[str, Path | str] = {}
    for language in BUILT:
        folder = tmp_path_factory.mktemp(language)
        done = subprocess.run([ROOT / "scripts/clients", language, folder], capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode in (0, 3), done.stdout + done.stderr
        found[language] = folder if done.returncode == 0 else done.stderr.strip().removeprefix("clients: ")
    return found


def commands_of(language: str, built: dict[str, Path | str]) -> Commands:
    """Its programs. Skips the test when they cannot be built here."""
    folder = built.get(language)
    if isinstance(folder, str):
        pytest.skip(folder)
    return Commands(language, folder)


@pytest.fixture(params=["python", *BUILT])
def client(request: pytest.FixtureRequest, built: dict[str, Path | str]) -> Commands:
    """A client of every language."""
    return commands_of(request.param, built)


@pytest.fixture(params=BUILT)
def example(request: pytest.FixtureRequest, built: dict[str, Path | str]) -> Commands:
    """A client that has an example program."""
    return commands_of(request.param, built)


@pytest.fixture(scope="module")
def running() -> Iterator[Balanced]:
    """A laboratory with a READY agent, one for all tests of a file; each leaves it without services."""
    with Laboratory() as lab:
        agent = Agent(lab)
        try:
            with balanced(lab, agent) as made:
                yield made
        finally:
            print(agent.log())
