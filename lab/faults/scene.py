"""A laboratory with a balanced service in which something goes wrong, and the commands of someone who looks for it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import l4lb
from lab import install, netns
from lab.agent import Agent
from lab.laboratory import Laboratory
from lab.remote import Remote
from lab.services import Balanced, balanced
from lab.topology import PORT_HTTP

SEEN_SECONDS: Final = 60.0  # until what was planted is found, and what was cured no longer
RATE: Final = 20  # new connections a second
PAUSE_SECONDS: Final = 2.1  # the doctor's answers are shared for so long


@dataclass
class Scene(Balanced):
    """One laboratory: `web4` with backends `a` and `b`, whom a client asks all the time."""

    remote: Remote
    said: list[str] = field(default_factory=list)  # every command with what it answered

    def start_traffic(self) -> None:
        """A client that opens connections until the scene is over; some seconds later there is something to be seen."""
        self.lab.traffic.constant([self.lab.topology.vip().v4], RATE, "fault")
        time.sleep(4)

    def requests(self) -> dict[str, Any]:
        """Whether clients are served: a few requests."""
        return self.lab.traffic.counted([self.lab.topology.vip().v4], 10, "served", patience=2.0)

    def l4lbctl(self, *arguments: str, target: str = "") -> str:
        """Run the real command and remember it; its output with standard error, and the exit status at the end."""
        shown = " ".join(["l4lbctl", *(["-s", target, *self._identity(short=True)] if target else []), *arguments])
        argv = [sys.executable, "-m", "l4lb.cli.main", *self._access(target), *arguments]
        if target:
            argv = netns.entering(self.lab.namespace("controller"), argv)
        done = subprocess.run(argv, capture_output=True, text=True, env=_environment(), timeout=60, check=False)
        text = done.stdout + done.stderr
        self.said.append(f"$ {shown}\n{text}(exit status {done.returncode})")
        return text

    def shell(self, role: str, command: str) -> str:
        """Run a command that was printed, in a root shell of a host, and remember it."""
        done = netns.run(netns.entering(self.lab.namespace(role), ["sh", "-c", command]))
        self.said.append(f"{role}# {command}\n{done}".rstrip())
        return done

    def note(self, text: str) -> None:
        """Something that was done and is no command here."""
        self.said.append(f"({text})")

    def found(self) -> set[str]:
        """`ID subject` of what the doctor finds now, without remembering it."""
        return {f"{finding.id} {finding.subject}" for finding in self.client.diagnose()}

    def finds(self, what: str) -> bool:
        """Whether the doctor finds something of which `ID subject` begins so."""
        return any(one.startswith(what) for one in self.found())

    def eventually(self, condition: Callable[[], object]) -> bool:
        """Whether it holds before long."""
        until = time.monotonic() + SEEN_SECONDS
        while not condition():
            if time.monotonic() > until:
                return False
            time.sleep(PAUSE_SECONDS)
        return True

    def _access(self, target: str) -> list[str]:
        return ["-s", target, *self._identity()] if target else ["-s", self.agent.target]

    def _identity(self, *, short: bool = False) -> list[str]:
        shown = self.remote.certificate("operator")
        files = (self.remote.authority.ca, shown.cert, shown.key)
        return [part for option, file in zip(("--ca", "--cert", "--key"), files) for part in (option, file.name if short else str(file))]


def _environment() -> dict[str, str]:
    path = install.checkout() / "clients/python"
    return {**os.environ, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}


@contextmanager
def scene(*, ports: tuple[int, int] | None = None) -> Iterator[Scene]:
    """A running one; nothing is left of it. With `ports` NAT has only these source ports."""
    with Laboratory() as lab:
        remote = Remote(lab)
        agent = Agent(lab, remote=remote, ports=ports)
        with balanced(lab, agent) as running:
            made = Scene(lab, agent, running.client, remote)
            made.add_service("web4", 4, protocol="tcp", port=PORT_HTTP, weights={"a": 1, "b": 1})
            yield made


def restart(made: Scene) -> None:
    """The agent, as systemctl would."""
    made.agent.stop()
    made.agent.start()


def wait_answers(made: Scene) -> None:
    """Until a restarted agent answers."""
    until = time.monotonic() + 60

    def answers() -> bool:
        try:
            made.client.agent()
        except l4lb.Error:
            return time.monotonic() > until
        return True

    while not answers():
        time.sleep(0.1)


def pinned(made: Scene, name: str) -> Path:
    """Where a map of the agent is pinned."""
    return made.agent.pin_dir / "maps" / name
