"""The laboratory's side of the load generators: starts them inside a namespace, waits until they are under way, takes their results."""

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import netns
from lab.topology import PORT_ECHO, PORT_HTTP


class LoadFailed(RuntimeError):
    """A load generator ended without a result."""


class Load:
    """One generator under way."""

    def __init__(self, namespace: str, order: dict[str, Any]) -> None:
        """Start it."""
        argv = netns.entering(namespace, [sys.executable, "-m", "lab.load", json.dumps(order)])
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self._kind = order["kind"]
        self.backend = ""  # who answers a download

    def wait_ready(self) -> "Load":
        """Return when it is under way. Raises LoadFailed."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith('{"ready": true'):
            # Without ever being ready it may still have a result, which says what failed.
            raise self._failure(line + self._process.stdout.read())
        self.backend = json.loads(line).get("backend", "")
        return self

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def result(self, within: float = 60.0) -> dict[str, Any]:
        """Tell it to stop (those that end by themselves take no notice) and return what it has to say; it is killed after `within` seconds.
        Raises LoadFailed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        guard = threading.Timer(within, self._process.kill)
        guard.start()
        self._process.stdin.close()
        # Not communicate(), which would miss what was read together with the line before.
        output = self._process.stdout.read()
        guard.cancel()
        if self._process.wait() != 0 or not output.strip():
            raise self._failure(output)
        result: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
        self.kill()
        return result

    def _failure(self, output: str) -> LoadFailed:
        self.kill()
        return LoadFailed(f"{self._kind} ended with {self._process.returncode}: {output.strip()[-2000:]}")

    def kill(self) -> None:
        """End it at once, if it has not ended, and let go of it."""
        if self.running():
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()


class Traffic:
    """Starts generators in one namespace and remembers them for cleaning up."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._loads: list[Load] = []
        self._lock = threading.Lock()

    def _start(self, **order: Any) -> Load:
        load = Load(self._namespace, order)
        with self._lock:
            self._loads.append(load)
        return load.wait_ready()

    def counted(
        self,
        addresses: Sequence[str],
        count: int,
        marker: str,
        *,
        port: int = PORT_HTTP,
        concurrency: int = 16,
        ports: Sequence[int] = (),
        patience: float = 5.0,
    ) -> dict[str, Any]:
        """`count` requests to each address; returns requests, failed, errors, by_backend, milliseconds. A step of a request
        that takes longer than `patience` seconds has failed."""
        order = {"addresses": addresses, "port": port, "path": "/whoami", "marker": marker}
        return self._start(kind="counted", **order, count=count, concurrency=concurrency, ports=list(ports), patience=patience).result()

    def constant(self, addresses: Sequence[str], rate: float, marker: str, *, port: int = PORT_HTTP) -> Load:
        """New connections at a constant rate until its result is asked for; `answered` are the times of CLOCK_MONOTONIC."""
        return self._start(kind="constant", addresses=addresses, port=port, path="/whoami", marker=marker, rate=rate)

    def download(self, address: str, path: str, marker: str, *, port: int = PORT_HTTP) -> Load:
        """One download, ready when the reply has begun, from `backend`; the result has sha256, bytes, seconds, ended, failed."""
        return self._start(kind="download", addresses=[address], port=port, path=path, marker=marker)

    def upload(self, address: str, path: str, size: int, marker: str, *, port: int = PORT_HTTP) -> dict[str, Any]:
        """One upload of `size` bytes; the result has sha256, seconds, failed."""
        return self._start(kind="upload", addresses=[address], port=port, path=path, marker=marker, bytes=size).result()

    def connections(self, addresses: Sequence[str], count: int, *, port: int = PORT_ECHO, interval: float = 0.2) -> Load:
        """Long-lived echoing TCP connections; the result has requests, open, failed."""
        return self._start(kind="connections", addresses=addresses, port=port, count=count, interval=interval)

    def datagrams(self, addresses: Sequence[str], count: int, *, port: int = PORT_ECHO, interval: float = 0.1) -> Load:
        """Echoing UDP probes; the result has requests and failed."""
        return self._start(kind="datagrams", addresses=addresses, port=port, count=count, interval=interval)

    def kill(self) -> None:
        """End all of them."""
        with self._lock:
            for load in self._loads:
                load.kill()
            self._loads.clear()

    def tcp_counters(self) -> "TcpCounters":
        """What the namespace's TCP counts."""
        return netns.inside(self._namespace, TcpCounters.read)


@dataclass(frozen=True)
class TcpCounters:
    """Retransmissions of one namespace since it was made."""

    syn_retransmissions: int
    retransmitted_segments: int

    @classmethod
    def read(cls) -> "TcpCounters":
        """Of the calling thread's namespace. SYNs: TcpExt TCPSynRetrans; all segments: Tcp RetransSegs."""
        # /proc/net is the main thread's.
        values = {**_pairs(Path("/proc/thread-self/net/netstat")), **_pairs(Path("/proc/thread-self/net/snmp"))}
        return cls(values["TcpExt:TCPSynRetrans"], values["Tcp:RetransSegs"])


def _pairs(path: Path) -> dict[str, int]:
    lines = path.read_text().splitlines()
    pairs = {}
    for names, values in zip(lines[::2], lines[1::2]):
        group, *keys = names.split()
        pairs.update({group + key: int(value) for key, value in zip(keys, values.split()[1:])})
    return pairs
