"""A real agent with so many backends, as a process of its own: started, filled, asked how it does."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

import l4lb
from bench.rig import Void
from bench.traffic import SERVICE_PORT, V4
from l4lb_agent.model import records
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.config import Secrets
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.service import Mode, Protocol, Tracking, VirtualService
from l4lb_agent.system.disk import JournalFile
from lab import netns
from lab.agent import Scraper

SERVICES: Final = 10  # every second NAT, the others IPIP
RING_SIZE: Final = 65537
BACKENDS: Final = "198.19.0.0/16"  # in which each has an address
START_SECONDS: Final = 240.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_CONFIGURATION: Final = """\
[agent]
pin_dir = "{bpffs}/l4lb"
state_dir = "{folder}/state"
runtime_dir = "{folder}/run"
cache_dir = "{cache}"

[datapath]
snat = ["{snat}"]

[sizes]
backends = 16384

[metrics]
listen = "{folder}/metrics.sock"

[[interface]]
name = "eth0"
mode = "native"
"""


def backend_name(number: int) -> str:
    """As clients say it."""
    return f"s{number % SERVICES}/b{number}"


def desired(backends: int) -> Desired:
    """What the agent is to find in its journal."""
    services = {
        f"services/s{number}": VirtualService(
            f"services/s{number}", Address.parse(V4.host(50, number + 1), "vip"), SERVICE_PORT, Protocol.TCP, ring_size=RING_SIZE,
            mode=Mode.NAT if number % 2 else Mode.IPIP, tracking=Tracking.NONE if number % 2 else Tracking.CHANGES, revision=1, created=1.0,
        )
        for number in range(SERVICES)
    }  # fmt: skip
    names = ("services/{}/backends/{}".format(*backend_name(number).split("/")) for number in range(backends))
    made = {name: Backend(name, Address.parse(address(number), "address"), SERVICE_PORT, revision=1) for number, name in enumerate(names)}
    return Desired(1, services, made)


class Life:
    """The signs of life that a service manager would get: the longest time between two, in seconds."""

    def __init__(self, path: Path) -> None:
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._door.bind(str(path))
        self.longest = 0.0
        self.ready = threading.Event()
        self._last: float | None = None
        threading.Thread(target=self._hear, daemon=True).start()

    def begin(self) -> None:
        """Forgets what was."""
        self.longest = 0.0

    def _hear(self) -> None:
        while message := self._door.recv(4096):
            now = time.monotonic()
            if message == b"READY=1":
                self.ready.set()
            if message == b"WATCHDOG=1":
                self.longest = max(self.longest, now - (self._last or now))
                self._last = now


class Agent:
    """`with Agent(...)`: it runs in the namespace `lb`, READY, and forwards to every backend. Raises Void when it does not come to that."""

    def __init__(self, folder: Path, bpffs: Path, cache: Path, lb: str, backends: int) -> None:
        folder.mkdir()
        self._folder, self._backends = folder, backends
        self._until = time.monotonic() + START_SECONDS
        (folder / "state").mkdir()
        journal = JournalFile(folder / "state")
        journal.snapshot(records.snapshot(desired(backends), Secrets(bytes(range(16)), bytes(16))))
        journal.close()
        self._file, self._log = folder / "agent.toml", folder / "log"
        self._file.write_text(_CONFIGURATION.format(bpffs=bpffs, folder=folder, cache=cache, snat=V4.snats[0]))
        self.life = Life(folder / "notify.sock")
        argv = netns.entering(lb, [sys.executable, "-m", "bench.watched", "--config", str(self._file)])
        environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify.sock"), "WATCHDOG_USEC": "30000000"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment)

    def __enter__(self) -> "Agent":
        try:
            while not self.life.ready.wait(0.1):
                self._check("it does not become ready")
            self._wait_forwarding()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends it."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def target(self) -> str:
        """For clients."""
        return f"unix://{self._folder}/run/admin.sock"

    def _wait_forwarding(self) -> None:
        with l4lb.Client(self.target, timeout=60) as client:
            while waits := [backend.name for backend in client.list_backends() if backend.reconciling]:
                self._check(f"{len(waits)} backends are not in the kernel, {waits[0]} among them")
                time.sleep(0.5)

    def _check(self, what: str) -> None:
        if self._process.poll() is not None or time.monotonic() > self._until:
            raise Void(f"the agent: {what}: {self._log.read_text(errors='replace')[-2000:]}")

    @contextmanager
    def watched(self) -> Iterator[list[float]]:
        """Appends, at the end, the longest gap of the event loop in each second meanwhile, in seconds."""
        gaps: list[float] = []
        self._toggle()
        yield gaps
        self._toggle()
        assert self._process.stdout is not None
        gaps += json.loads(self._process.stdout.readline())

    def _toggle(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def scrape(self) -> float:
        """Seconds that a scrape took. Raises Void."""
        began = time.monotonic()
        text = self._scraped()
        took = time.monotonic() - began
        if text.count("l4lb_backend_weight{") < self._backends:
            raise Void(f"a scrape does not tell of every backend: {text[:200]!r}")
        return took

    def probes(self) -> dict[str, float]:
        """Probes that have ended, by outcome, of all services."""
        found: dict[str, float] = {}
        for line in self._scraped().splitlines():
            if line.startswith("l4lb_service_probes_total{"):
                labels, _, value = line.rpartition(" ")
                outcome = labels.partition('outcome="')[2].partition('"')[0]
                found[outcome] = found.get(outcome, 0.0) + float(value)
        return found

    def _scraped(self) -> str:
        door = Scraper(self._folder / "metrics.sock", 60)
        door.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        answer = door.getresponse()
        text = answer.read().decode()
        door.close()
        if answer.status != 200:
            raise Void(f"a scrape is answered by {answer.status}: {text[:200]!r}")
        return text

    def first_stats(self) -> float:
        """Seconds until the first message of StreamStats, on a connection that is there already."""
        with l4lb.Client(self.target) as client:
            client.agent()
            began = time.monotonic()
            [sample] = client.stats(samples=1)
            took = time.monotonic() - began
        if len(sample.backends) < self._backends:
            raise Void(f"StreamStats tells of {len(sample.backends)} backends")
        return took

    def add_backend(self, client: l4lb.Client, number: int) -> float:
        """Seconds that it took to add one more."""
        began = time.monotonic()
        client.add_backend(backend_name(number), address=address(number))
        return time.monotonic() - began

    def cpu(self) -> float:
        """Seconds of a CPU that it has taken."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident(self) -> int:
        """Bytes of its memory that are resident."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def address(number: int) -> str:
    """Of a backend: behind the gateway, each another one."""
    return f"198.19.{number // 250}.{1 + number % 250}"
