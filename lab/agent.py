"""The agent of a laboratory: started in the namespace `lb` with the identity that its unit gives it, killed, stopped, asked."""

import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import l4lb
from l4lb.v1.agent_pb2 import Agent as AgentInfo
from lab import install, netns
from lab.laboratory import Laboratory
from lab.remote import Remote

# An id of its own, without an account: nothing on the host belongs to it.
UID: Final = 47654
CAPABILITIES: Final = {"bpf": 39, "net_admin": 12, "perfmon": 38}  # names of setpriv(1), bits of linux/capability.h
_MASK: Final = sum(1 << bit for bit in CAPABILITIES.values())

_CONFIGURATION: Final = """\
[agent]
pin_dir = "{pin_dir}"
state_dir = "{state_dir}"
runtime_dir = "{runtime_dir}"
cache_dir = "{cache_dir}"

[datapath]
snat = [{snat}]
transmit = "{transmit}"
{more}{interfaces}"""


@dataclass(frozen=True)
class Identity:
    """Who a process is, from /proc/PID/status: its four user and group ids, supplementary groups, capability sets, no_new_privs."""

    uids: tuple[int, ...]
    gids: tuple[int, ...]
    groups: tuple[int, ...]
    capabilities: dict[str, int]
    no_new_privileges: bool

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """Of a living process. Raises FileNotFoundError."""
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())

        def numbers(name: str) -> tuple[int, ...]:
            return tuple(int(part) for part in fields[name].split())

        sets = {name: int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
        return cls(numbers("Uid"), numbers("Gid"), numbers("Groups"), sets, fields["NoNewPrivs"].strip() == "1")

    def is_unit(self) -> bool:
        """Whether it is exactly what the unit grants: not root, no groups, the three capabilities, nothing more to be had."""
        ids = set(self.uids) == {UID} and set(self.gids) == {UID} and not self.groups
        return ids and set(self.capabilities.values()) == {_MASK} and self.no_new_privileges

    def __str__(self) -> str:
        named = {bit: name for name, bit in CAPABILITIES.items()}
        sets = []
        for name, mask in self.capabilities.items():
            bits = [bit for bit in range(64) if mask >> bit & 1]
            sets.append(f"{name}={'+'.join(f'CAP_{named[bit].upper()}' if bit in named else str(bit) for bit in bits) or 'none'}")
        return f"uid {self.uids[0]}, gid {self.gids[0]}, NoNewPrivs={int(self.no_new_privileges)}, {', '.join(sets)}"


def unprivileged(argv: list[str]) -> list[str]:
    """The command that runs `argv` as the unit would."""
    plus = ",".join(["-all", *(f"+{name}" for name in CAPABILITIES)])
    ids = [f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    return ["setpriv", *ids, f"--inh-caps={plus}", f"--ambient-caps={plus}", f"--bounding-set={plus}", "--no-new-privs", "--", *argv]


class Scraper(http.client.HTTPConnection):
    """HTTP over a Unix socket, which an agent is scraped by; `seconds` without an answer are too many."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = str(path)

    def connect(self) -> None:
        """To the path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class AgentFailed(RuntimeError):
    """The agent ended, or does not become what was waited for; the message ends with its log."""


class Agent:
    """The agent of one laboratory: its folders, its configuration, its process."""

    def __init__(
        self, lab: Laboratory, *, interfaces: Sequence[str] = (), mode: str = "native", redirect: bool = False,
        remote: Remote | None = None, name: str = "agent", metrics: bool = False, ports: tuple[int, int] | None = None, more: str = "",
    ) -> None:  # fmt: skip
        """Make folders that belong to the agent's user, and the configuration. Starts nothing. Each agent of a laboratory has a name. With
        `remote` it can be reached from the controller's namespace too, with `metrics` scraped; with `ports` NAT has only these source
        ports; `more` are further tables of agent.toml. Without `interfaces` it attaches to all that are wired."""
        self._lab = lab
        self._process: subprocess.Popen[bytes] | None = None
        self._app = install.installed(install.checkout(), install.cache_folder())
        self.log_file = lab.run.path / f"{name}.log"
        self.pin_dir = lab.folder_for(f"l4lb-{name}", UID, lab.run.bpffs)
        folder = lab.folder_for(name, UID)
        self.state_dir, self.runtime_dir = (lab.folder_for(each, UID, folder) for each in ("state", "runtime"))
        self.cache_dir = install.program_cache(install.cache_folder(), UID)
        self.file = folder / "agent.toml"
        own = self._configuration(interfaces or lab.topology.interfaces(), mode, redirect, f"port_range = {list(ports)}\n" if ports else "")
        exported = f'\n[metrics]\nlisten = "{self.metrics_socket}"\n' if metrics else ""
        self.file.write_text(own + exported + more + (remote.configuration(UID) if remote else ""))

    @property
    def socket(self) -> Path:
        """Where it answers."""
        return self.runtime_dir / "admin.sock"

    @property
    def metrics_socket(self) -> Path:
        """Where it answers scrapes, when it is made with `metrics`."""
        return self.runtime_dir / "metrics.sock"

    @property
    def target(self) -> str:
        """The same for a gRPC client."""
        return f"unix://{self.socket}"

    def runs(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the running agent. Raises AgentFailed."""
        if self._process is None or not self.runs():
            raise AgentFailed(f"the agent does not run\n{self.log()}")
        return self._process.pid

    def _configuration(self, interfaces: Sequence[str], mode: str, redirect: bool, more: str) -> str:
        topology = self._lab.topology
        return _CONFIGURATION.format(
            pin_dir=self.pin_dir,
            state_dir=self.state_dir,
            runtime_dir=self.runtime_dir,
            cache_dir=self.cache_dir,
            snat=f'"{topology.snat().v4}", "{topology.snat().v6}"',
            transmit="redirect" if redirect else "tx",
            more=more,
            interfaces="".join(f'\n[[interface]]\nname = "{interface}"\nmode = "{mode}"\n' for interface in interfaces),
        )

    def command(self, *arguments: str) -> list[str]:
        """The command that runs `l4lb-agent` inside `lb` with the unit's identity."""
        argv = [sys.executable, "-m", "l4lb_agent", *arguments]
        return netns.entering(self._lab.namespace("lb"), unprivileged(argv))

    def _environment(self) -> dict[str, str]:
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(self._app), "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}

    def start(self) -> None:
        """Start it and return at once."""
        argv = self.command("--config", str(self.file))
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment(), cwd=self._app, start_new_session=True
            )

    def wait_answers(self, within: float = 60.0) -> None:
        """Return once it takes calls, READY or not. Raises AgentFailed."""
        until = time.monotonic() + within
        while not self._answers():  # asked without gRPC, which would wait a second between attempts
            self._check(until, "does not answer")

    def wait_ready(self, client: l4lb.Client, within: float = 60.0) -> AgentInfo:
        """Return what it says of itself once it is READY. Raises AgentFailed."""
        until = time.monotonic() + within
        self.wait_answers(within)
        while not (info := client.agent()).ready:
            self._check(until, f"is not ready: {info.not_ready_reason}")
        return info

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def _check(self, until: float, what: str) -> None:
        if not self.runs() or time.monotonic() > until:
            raise AgentFailed(f"the agent {what}\n{self.log()}")
        time.sleep(0.02)

    def log(self, lines: int = 40) -> str:
        """End of what it logged."""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:]) if self.log_file.exists() else ""

    def run(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
        """Run `l4lb-agent ARGUMENTS --config FILE` to its end, for instance `detach`."""
        argv = self.command(*arguments, "--config", str(self.file))
        return subprocess.run(argv, stdin=stdin, capture_output=True, text=True, env=self._environment(), cwd=self._app, check=False)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait until it is gone; SIGKILL after 10 s."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
