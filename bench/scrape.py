"""What scraping its metrics costs an agent with many backends: how long calls take while it is left alone, and while it is scraped every
second, in turns."""

import ctypes
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import l4lb
from bench.figures import ScrapeFigures, Spread
from l4lb_agent.dataplane import pins, syscall
from l4lb_agent.dataplane.maps import cpus
from l4lb_agent.model import layout, records
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.config import Secrets
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.service import Protocol, VirtualService
from l4lb_agent.model.tables import array_key
from l4lb_agent.system.disk import JournalFile
from lab.agent import UID, Agent
from lab.laboratory import Laboratory

EACH: Final = 1000  # backends of a service
PAUSE: Final = 0.005  # between two calls
INTERVAL: Final = 1.0  # between two scrapes: more often the agent gives the same text again
READY_SECONDS: Final = 60.0
CALLED: Final = "services/s0/backends/b0"


def scrape(backends: int, rounds: int, seconds: float) -> ScrapeFigures:
    """`rounds` of `seconds` for each half. Raises CommandFailed, AgentFailed, OSError."""
    with Laboratory() as lab:
        sizes = {"backends": backends + 2, "services": max(16, backends // EACH + 2)}
        agent = Agent(lab, metrics=True, sizes=sizes)
        _journal(agent.state_dir, lab.topology.vip().v4, lab.addresses("a"), backends)
        agent.start()
        try:
            with l4lb.Client(agent.target) as client:
                agent.wait_ready(client, READY_SECONDS)
                _count(agent.pin_dir, backends)
                return _measured(client, agent.metrics_socket, backends, rounds, seconds)
        finally:
            agent.kill()


def _journal(folder: Path, vip: str, addresses: list[str], backends: int) -> None:
    """As if somebody had asked for so many: one address with a port for each."""
    [address] = [Address.parse(one.split("/")[0], "backend") for one in addresses if ":" not in one]
    services = [VirtualService(f"services/s{n}", Address.parse(vip, "vip"), 1 + n, Protocol.TCP) for n in range(-(-backends // EACH))]
    made = [Backend(f"services/s{n // EACH}/backends/b{n % EACH}", address, 1 + n) for n in range(backends)]
    desired = Desired(1, {one.name: one for one in services}, {one.name: one for one in made})
    journal = JournalFile(folder)
    journal.snapshot(records.snapshot(desired, Secrets(os.urandom(16), os.urandom(16))))
    journal.close()
    for path in folder.iterdir():
        os.chown(path, UID, UID)


def _count(pin_dir: Path, backends: int) -> None:
    """As if each of them had traffic on every CPU: elements that are zero cost nothing."""
    fd = pins.open_pin(pin_dir / "maps" / "backend_counters")
    if fd is None:
        raise FileNotFoundError(2, "no backend_counters are pinned")
    traffic = layout.Traffic(*(1_000_000_007 + n for n in range(ctypes.sizeof(layout.Traffic) // 8)))
    for number in range(1, backends + 1):
        syscall.map_update(fd.fileno(), array_key(number), bytes(traffic) * cpus())
    fd.close()


def _measured(client: l4lb.Client, metrics: Path, backends: int, rounds: int, seconds: float) -> ScrapeFigures:
    quiet: list[tuple[float, float]] = []
    scraped: list[tuple[float, float]] = []
    scrapes: list[float] = []
    size = 0
    for _ in range(rounds):
        quiet.append(_tail(_calls(client, seconds)))
        argv = [sys.executable, "-m", "bench.scrape", str(metrics), str(seconds)]
        scraper = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        scraped.append(_tail(_calls(client, seconds)))
        lines = scraper.communicate(timeout=60)[0].splitlines()
        for line in lines:
            size, took = int(line.split()[0]), float(line.split()[1])
            scrapes.append(1000 * took)
    return ScrapeFigures(backends, Spread.of(scrapes), size, _medians(quiet), _medians(scraped))


def _calls(client: l4lb.Client, seconds: float) -> list[float]:
    """Milliseconds of calls, one after the other."""
    found = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        client.get_backend(CALLED)
        found.append(1000 * (time.monotonic() - began))
        time.sleep(PAUSE)
    return found


def _tail(samples: list[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    return statistics.median(samples), statistics.quantiles(samples, n=100)[98]


def _medians(rounds: list[tuple[float, float]]) -> tuple[float, float]:
    """Of each over the rounds: whatever else the machine does for a while must not decide."""
    return statistics.median(round_[0] for round_ in rounds), statistics.median(round_[1] for round_ in rounds)


def scrape_for(path: Path, seconds: float) -> None:
    """Scrapes every second, and prints bytes and seconds of each."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n")
            size = 0
            while piece := connection.recv(1 << 20):
                size += len(piece)
        print(size, time.monotonic() - began, flush=True)
        time.sleep(max(0.0, min(end, began + INTERVAL) - time.monotonic()))


if __name__ == "__main__":
    scrape_for(Path(sys.argv[1]), float(sys.argv[2]))
