"""Steps 1 to 3: the agent comes up, a service is made, its shares are right, a backend moves, and packets take the promised path."""

import math
import threading
from typing import Any

from l4lb.v1.agent_pb2 import XdpMode
from l4lb.v1.stats_pb2 import Stats
from lab.agent import Identity
from lab.demo.stage import Stage
from lab.nginx import Nginx
from lab.services import WEIGHTS, programs
from lab.topology import BACKENDS, FAMILIES

REQUESTS = 1000
MOVED_MAC = "02:00:00:00:4b:17"
_MOVED_REQUESTS = 100


def start(stage: Stage) -> None:
    """Step 1: the agent with the identity of its unit."""
    checks = stage.checks
    checks.step("the agent starts without root")
    checks.note(stage.lab.offload)
    for name, backend in stage.lab.direct.items():
        checks.note(f"backend-{name}: {backend.words}")
    stage.agent.start()
    info = stage.agent.wait_ready(stage.client)
    identity = Identity.of(stage.agent.pid)
    checks.that("the agent has the identity of its unit and no more", identity.is_unit(), identity)
    for interface in info.interfaces:
        native = interface.mode == XdpMode.XDP_MODE_NATIVE
        checks.that(f"native XDP on {interface.name}", native, f"program {interface.program_id}, {interface.mode_reason}")
    checks.that("maps are counted", info.map_bytes > 0, f"{info.map_bytes / 2**20:.0f} MiB in {len(info.maps)} maps")


def refused_before(stage: Stage) -> None:
    """Step 2, first half: without a service there is nothing."""
    stage.checks.step("before the service exists")
    before = stage.lab.traffic.counted(stage.vips(), 4, "before", patience=2.0)
    stage.checks.equal("requests to the VIP fail", before["failed"], before["requests"])


class StatsWatcher:
    """Takes samples in a thread of its own while something else happens."""

    def __init__(self, stage: Stage) -> None:
        self.samples: list[Stats] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._take, args=(stage.client.stats(interval=0.2),), daemon=True)
        self._thread.start()

    def _take(self, stream: Any) -> None:
        for sample in stream:
            self.samples.append(sample)
            if self._done.is_set():
                break
        stream.close()

    def stop(self) -> list[Stats]:
        """All samples; the last one was taken after this was called."""
        self._done.set()
        self._thread.join(10)
        return self.samples


def shares(stage: Stage) -> None:
    """Step 2: weights 3:1 in slots, in requests, in access logs, in statistics."""
    checks = stage.checks
    checks.step(f"two backends with weights 3:1, {REQUESTS} new connections per family without keep-alive")
    stage.add_web()
    watcher = StatsWatcher(stage)
    seen = {}
    for family in FAMILIES:
        marker = f"shares{family}"
        seen[family] = stage.lab.traffic.counted([stage.lab.topology.vip().of(family)], REQUESTS, marker)
        stage.count(seen[family], f"requests over IPv{family}")
        _family(stage, family, seen[family]["by_backend"], marker)
    samples = watcher.stop()
    totals = [sum(s.traffic.flows for s in sample.services) for sample in samples]
    growing = len(set(totals)) >= 3 and totals == sorted(totals)
    checks.that("statistics stream meanwhile", growing, f"{len(samples)} samples, {totals[0]} to {totals[-1]} flows")
    counted = {s.backend: s.traffic.flows for s in samples[-1].backends}
    for family in FAMILIES:
        for name in BACKENDS:
            expected = seen[family]["by_backend"].get(f"backend-{name}", 0)
            checks.equal(f"flows counted for web{family}/{name}", counted.get(f"services/web{family}/backends/{name}", 0), expected)
    stage.score.shares = ",".join(f"v{f}:{100 * seen[f]['by_backend'].get('backend-a', 0) / REQUESTS:.1f}%" for f in FAMILIES)


def _family(stage: Stage, family: int, by_backend: dict[str, int], marker: str) -> None:
    checks, total = stage.checks, sum(WEIGHTS.values())
    for name, weight in WEIGHTS.items():
        wanted = weight / total
        got = by_backend.get(f"backend-{name}", 0)
        margin = 4 * math.sqrt(wanted * (1 - wanted) / REQUESTS)
        words = f"{100 * got / REQUESTS:.1f} % of {100 * wanted:.0f} +- {100 * margin:.1f}"
        checks.that(f"IPv{family}: share of {name} within 4 standard errors", abs(got / REQUESTS - wanted) <= margin, words)
        slots = stage.client.get_backend(f"web{family}/{name}").slot_share
        checks.that(f"IPv{family}: slots of {name} within 0.3 points", abs(slots - wanted) <= 0.003, f"{100 * slots:.2f} %")
        checks.equal(f"IPv{family}: access log of {name} agrees", len(stage.lab.nginx[name].logged(marker)), got)


def move(stage: Stage) -> None:
    """Step 2, last: a backend with another address and MAC, the same program."""
    checks, lab = stage.checks, stage.lab
    checks.step("backend-b moves to another address and another MAC")
    before = programs(stage.client.agent())
    lab.move("b", lab.topology.spare(), MOVED_MAC)
    for family in FAMILIES:
        address = lab.topology.spare().of(family)
        moved = stage.client.update_backend(f"web{family}/b", address=address)
        checks.equal(f"the kernel's next hop of web{family}/b", moved.next_hop.mac, MOVED_MAC)
    seen = stage.count(lab.traffic.counted(stage.vips(), _MOVED_REQUESTS, "moved"), "requests after the move")
    _logs(stage, seen, "moved", lab.nginx)
    after = programs(stage.client.agent())
    checks.that("the same program serves it: nothing is compiled in", before == after, ", ".join(f"id {i} tag {t}" for i, t in after))


def _logs(stage: Stage, seen: dict[str, Any], marker: str, nginx: dict[str, Nginx]) -> None:
    got = {server.name: len(server.logged(marker)) for server in nginx.values()}
    stage.checks.that("both backends answer, as their logs say", got == seen["by_backend"] and len(got) == len(nginx), got)
