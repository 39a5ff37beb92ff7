"""Clients of every language as commands, and an agent for them."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import netns
from lab.agent import Agent
from lab.laboratory import Laboratory
from lab.remote import Remote
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


def files(remote: Remote, role: str = "admin") -> list[str]:
    """Arguments that name the certificates of a controller with that role."""
    shown = remote.certificate(role)
    return ["--ca", str(remote.authority.ca), "--cert", str(shown.cert), "--key", str(shown.key)]


@dataclass
class Reached(Balanced):
    """A laboratory whose agent is reached from the controller's namespace, over TCP with certificates. The test's own `client` is local."""

    remote: Remote

    def from_controller(self, argv: list[str], *words: str, role: str = "admin") -> list[str]:
        """The command `argv` with the arguments of the connection, then `words`."""
        connection = ["--target", self.remote.target, *files(self.remote, role)]
        return netns.entering(self.lab.namespace("controller"), [*argv, *connection, *words])


@pytest.fixture(scope="module")
def running() -> Iterator[Reached]:
    """A laboratory with a READY agent, one for all tests of a file; each leaves it without services."""
    with Laboratory() as lab:
        remote = Remote(lab)
        agent = Agent(lab, remote=remote)
        try:
            with balanced(lab, agent) as made:
                yield Reached(made.lab, made.agent, made.client, remote)
        finally:
            print(agent.log())
