"""What health checks cost an agent: every backend is probed by TCP and answers."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import l4lb
from bench import traffic
from bench.agent import BACKENDS, SERVICES, Agent
from bench.figures import Probing, Spread
from bench.rig import Void
from bench.traffic import SERVICE_PORT, V4
from lab import netns

USUAL_SECONDS: Final = 5.0  # from one probe of a backend to the next
FLOOD_SECONDS: Final = 0.5
_WELL: Final = 0.9  # of the probes must have ended so


@contextmanager
def answering(far: str) -> Iterator[None]:
    """The namespace `far` has every backend's address, and takes connections."""
    lines = [f"route add local {BACKENDS} dev lo", f"route add {V4.own}/32 dev eth0"]
    netns.batch(far, [*lines, f"neigh add {V4.own} lladdr {traffic.OWN_MAC.hex(':')} dev eth0 nud permanent"])
    argv = netns.entering(far, [sys.executable, "-m", "bench.answering", str(SERVICE_PORT)])
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            if process.stdout is None or process.stdout.readline() != b"ready\n":
                raise Void("nobody answers probes")
            yield
        finally:
            process.kill()


def probing(agent: Agent, seconds: float) -> tuple[Probing, Probing]:
    """With a check as it is by default, and with one that asks for more probes than there is time for."""
    return _with(agent, USUAL_SECONDS, seconds), _with(agent, FLOOD_SECONDS, seconds)


def _with(agent: Agent, interval: float, seconds: float) -> Probing:
    with l4lb.Client(agent.target, timeout=60) as client:
        for number in range(SERVICES):
            client.update_service(f"s{number}", health_check={"tcp": {}, "interval": interval})
        time.sleep(min(1.0, interval))
        before, began, worked = agent.probes(), time.monotonic(), agent.cpu()
        with agent.watched() as gaps:
            time.sleep(seconds)
        worked, past, after = agent.cpu() - worked, time.monotonic() - began, agent.probes()
        for number in range(SERVICES):
            client.update_service(f"s{number}", health_check={})
    ended = {outcome: count - before.get(outcome, 0.0) for outcome, count in after.items()}
    total = sum(ended.values())
    if ended.get("ok", 0.0) < _WELL * total:
        raise Void(f"probes of servers that answer fail: {ended}")
    return Probing(Spread.of(gaps), total / past, worked / past)
