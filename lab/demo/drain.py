"""Step 4: a drain under running downloads."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from l4lb import DrainProgress
from l4lb.v1.backend_pb2 import AdminState, Backend, DrainResult
from lab.demo.stage import Stage
from lab.nginx import SLOW_BYTES
from lab.services import WEIGHTS
from lab.topology import FAMILIES
from lab.traffic import Load, LoadFailed

_PORTS = range(20000, 20050)  # used before the drain and again during it
_NEW = 150  # further new connections of each family
_TRIES = 30  # to get a download from backend-a, which three in four are


@dataclass
class Waiter:
    """Waits for the end of one drain in a thread; remembers what was reported when (CLOCK_MONOTONIC)."""

    stage: Stage
    name: str
    reports: list[tuple[float, DrainProgress]] = field(default_factory=list)
    ended: float = 0.0
    backend: Backend | None = None
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        try:
            self.backend = self.stage.client.wait_drained(self.name, timeout=60, on_progress=self._report)
            self.ended = time.monotonic()
        except Exception as failure:  # noqa: BLE001 (told by join)
            self.failure = failure

    def _report(self, progress: DrainProgress) -> None:
        self.reports.append((time.monotonic(), progress))

    def join(self) -> None:
        """Return at its end. Raises what went wrong."""
        self._thread.join(70)
        if self.failure:
            raise self.failure


def drain(stage: Stage) -> None:
    """Drain backend-a of both families, new connections and downloads going on."""
    checks, traffic = stage.checks, stage.lab.traffic
    checks.step("backend-a is drained under a running download of each family")
    warm = traffic.counted(stage.vips(), len(_PORTS), "warm", ports=_PORTS)
    stage.count(warm, "requests from ports that will be used again")
    downloads = {family: _download_from_a(stage, family) for family in FAMILIES}
    began = time.monotonic()
    for family in FAMILIES:
        stage.client.drain(f"web{family}/a")
    waiters = {family: Waiter(stage, f"web{family}/a") for family in FAMILIES}
    reused = stage.count(traffic.counted(stage.vips(), len(_PORTS), "reused", ports=_PORTS), "new connections from reused ports")
    fresh = stage.count(traffic.counted(stage.vips(), _NEW, "fresh"), "new connections meanwhile")
    during = all(download.running() for download in downloads.values())
    checks.that("the downloads run all the while", during, f"{time.monotonic() - began:.1f} s after the drain began")
    new = reused["requests"] + fresh["requests"]
    astray = sum(len(stage.lab.nginx["a"].logged(marker)) for marker in ("reused", "fresh"))
    checks.that("at least 300 new connections, none in backend-a's log", new >= 300 and astray == 0, f"{new} new, {astray} there")
    for family in FAMILIES:
        _finish(stage, family, downloads[family], waiters[family])
    ended = max(waiter.ended for waiter in waiters.values())
    stage.score.drain = f"{ended - began:.1f}s/{new}new/{astray}astray"
    _remove(stage)


def _download_from_a(stage: Stage, family: int) -> Load:
    """A download that backend-a serves: others are given up as soon as they name their backend."""
    for number in range(_TRIES):
        load = stage.lab.traffic.download(stage.lab.topology.vip().of(family), "/slow/slow.bin", f"slow{family}-{number}")
        if load.backend == "backend-a":
            return load
        load.kill()
    raise LoadFailed(f"none of {_TRIES} downloads over IPv{family} reached backend-a")


def _finish(stage: Stage, family: int, download: Load, waiter: Waiter) -> None:
    checks, name = stage.checks, f"web{family}/a"
    result = stage.count(download.result(), f"download of {SLOW_BYTES} bytes over IPv{family}")
    waiter.join()
    checks.that(f"IPv{family}: it took 10 s or more", result["seconds"] >= 10, f"{result['seconds']:.1f} s")
    checks.that(f"IPv{family}: sha256 of the download", result["sha256"] == stage.lab.digests["slow.bin"], result["sha256"][:16])
    reports = waiter.reports
    if stage.lab.direct:  # flows are known from their first packet after the drain began: until then the count rises
        reports = reports[reports.index(max(reports, key=lambda report: report[1].remaining)) :]
    remaining = [progress.remaining for _, progress in reports]
    while_running = [p.remaining for at, p in reports if at < result["ended"] and not p.done]
    falling = remaining == sorted(remaining, reverse=True) and bool(while_running) and min(while_running) >= 1 and remaining[-1] == 0
    checks.that(f"{name}: remaining flows reported down to DRAINED", falling, " ".join(map(str, remaining)))
    late = waiter.ended - result["ended"]
    checks.that(f"{name}: DRAINED not before the last FIN", late >= 0, f"{late:.2f} s after it")
    backend = waiter.backend
    state = backend is not None and backend.admin_state == AdminState.ADMIN_STATE_DRAINED
    empty = backend is not None and backend.drain.result == DrainResult.DRAIN_RESULT_EMPTY
    checks.that(f"{name}: DRAINED, empty", state and empty)


def _remove(stage: Stage) -> None:
    for family in FAMILIES:
        stage.client.remove_backend(f"web{family}/a")
    left: dict[str, Any] = stage.count(stage.lab.traffic.counted(stage.vips(), 25, "alone"), "requests after backend-a was removed")
    stage.checks.equal("backend-b serves alone", left["by_backend"], {"backend-b": 50})
    for family in FAMILIES:
        stage.add_backend(f"web{family}/a", family, WEIGHTS["a"])
