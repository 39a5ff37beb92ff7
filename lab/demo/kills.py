"""Step 5: the agent is killed under load, five times unless told otherwise, and nobody notices."""

import time
from collections.abc import Sequence
from typing import Any

from lab.demo.stage import Stage
from lab.services import identities

KILLS = 5
DOWN_SECONDS = 3.0
RATE = 200  # new connections a second
ECHOES = 50
DATAGRAMS = 10
_SETTLED_SECONDS = 20.0  # at most


def kills(stage: Stage, times: int) -> None:
    """Kill it, let it be gone for 3 s, start it, compare; so many times."""
    checks, traffic = stage.checks, stage.lab.traffic
    checks.step(f"SIGKILL, {times} times, {DOWN_SECONDS:.0f} s each, under {RATE} new connections/s, {ECHOES} echoing connections and UDP")
    stage.add_echoes()
    if stage.lab.direct:
        _settled(stage)
    before = traffic.tcp_counters()
    constant = traffic.constant(stage.vips(), RATE, "kills")
    echoes = traffic.connections(stage.vips(), ECHOES)
    datagrams = traffic.datagrams(stage.vips(), DATAGRAMS)
    gaps, same, writes = [], 0, []
    for _ in range(times):
        gap, kept, written = _once(stage)
        gaps.append(gap)
        same += kept
        writes.append(written)
    results = [constant.result(), echoes.result(), datagrams.result()]
    after = traffic.tcp_counters()
    for result, what in zip(results, ("new connections", "messages on long-lived connections", "UDP probes")):
        stage.count(result, what)
    held = len(checks.broken)
    rate = results[0]["requests"] / results[0]["seconds"]
    checks.that(f"{RATE} new connections a second", rate >= 0.95 * RATE, f"{rate:.0f} a second for {results[0]['seconds']:.0f} s")
    checks.equal("long-lived connections that lasted", results[1]["open"], ECHOES)
    answered = _answered(results[0], gaps)
    checks.that("requests were answered each time it was down", min(answered) > 0, " ".join(map(str, answered)))
    checks.equal("SYN retransmissions", after.syn_retransmissions - before.syn_retransmissions, 0)
    checks.equal("starts that found the same links, maps and programs", same, times)
    checks.note(_objects(stage))
    checks.equal("map writes after each adoption", writes, [0] * times)
    checks.that(f"down {DOWN_SECONDS:.0f} s or more each", min(end - start for start, end in gaps) >= DOWN_SECONDS, _seconds(gaps))
    fine = len(checks.broken) == held and not any(result["failed"] for result in results)
    stage.score.kills = f"{times if fine else 'BROKEN'}/{times}"


def _settled(stage: Stage) -> None:
    """Wait until every change made so far has settled: until then it is the agent's work to write, also when it has just started."""
    began = time.monotonic()
    while (at_risk := sum(s.at_risk_slots for s in stage.client.list_services())) and time.monotonic() < began + _SETTLED_SECONDS:
        time.sleep(0.2)
    took = f"after {time.monotonic() - began:.1f} s, {at_risk} slots"
    stage.checks.that("changes have settled: no slot is at risk", at_risk == 0, took)


def _once(stage: Stage) -> tuple[tuple[float, float], bool, int]:
    """One kill: when it was down (CLOCK_MONOTONIC), whether everything in the kernel is the same, how many map writes there were."""
    known = identities(stage.client.agent())
    killed = time.monotonic()
    stage.agent.kill()
    time.sleep(DOWN_SECONDS)
    back = time.monotonic()
    stage.agent.start()
    info = stage.agent.wait_ready(stage.client)
    return (killed, back), identities(info) == known, info.map_writes


def _objects(stage: Stage) -> str:
    info = stage.client.agent()
    links = ", ".join(f"{i.name}: link {i.link_id}, program {i.program_id} tag {i.program_tag}" for i in info.interfaces)
    return f"{links}; maps {' '.join(str(m.map_id) for m in info.maps)}"


def _answered(result: dict[str, Any], gaps: Sequence[tuple[float, float]]) -> list[int]:
    return [sum(1 for at in result["answered"] if start < at < end) for start, end in gaps]


def _seconds(gaps: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{end - start:.1f}" for start, end in gaps)


def detach(stage: Stage) -> None:
    """After `l4lb-agent detach` there is no load balancer any more."""
    checks = stage.checks
    checks.step("l4lb-agent detach")
    stage.agent.stop()
    working = stage.count(stage.lab.traffic.counted(stage.vips(), 10, "stopped"), "requests while the agent is stopped")
    checks.that("a stopped agent leaves the datapath forwarding", working["failed"] == 0)
    done = stage.agent.run("detach")
    checks.that("detach succeeds", done.returncode == 0, (done.stdout + done.stderr).strip().replace("\n", "; "))
    after = stage.lab.traffic.counted(stage.vips(), 4, "detached", patience=2.0)
    checks.equal("requests to the VIP fail again", after["failed"], after["requests"])
