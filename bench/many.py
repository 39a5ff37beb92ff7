"""What an agent with many backends takes beside the same agent with few: nothing may stall it while it is scraped and streams."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import l4lb
from bench.agent import Agent
from bench.figures import AgentFigures, AgentsFigures, Spread
from bench.network import network
from bench.probing import answering, probing
from lab import state

EVERY_SECONDS = 1.0  # between scrapes, and between samples of StreamStats
STEADY, LOOKS = 0.8, 12


@dataclass(frozen=True)
class Many:
    """How many backends, beside how many; for how long each is looked at, how often each call is timed."""

    backends: int
    few: int
    seconds: float
    calls: int


def many(wanted: Many, cache: Path) -> AgentsFigures:
    """The yardstick, and what is measured beside it. Raises Void, OSError, CommandFailed."""
    return AgentsFigures(*(_agent(backends, wanted, cache) for backends in (wanted.few, wanted.backends)))


def _agent(backends: int, wanted: Many, cache: Path) -> AgentFigures:
    run = state.claim()
    try:
        run.mount_bpffs()
        with network() as (lb, far), answering(far), Agent(run.path / "agent", run.bpffs, cache, lb, backends) as agent:
            return _measure(agent, backends, wanted)
    finally:
        run.remove()


def _measure(agent: Agent, backends: int, wanted: Many) -> AgentFigures:
    rest = _rest(agent, wanted.seconds)
    scrapes: list[float] = []
    with _busy(agent, scrapes):
        agent.life.begin()
        with agent.watched() as gaps:
            time.sleep(wanted.seconds)
        life = agent.life.longest
        firsts = [agent.first_stats() for _ in range(wanted.calls)]
        with agent.watched() as changing, l4lb.Client(agent.target, timeout=60) as client:
            adds = [agent.add_backend(client, backends + number) for number in range(wanted.calls)]
        scraped, resident = Spread.of(scrapes), agent.resident()  # without what probes add
        probed = probing(agent, wanted.seconds)
    return AgentFigures(
        backends, Spread.of(gaps), Spread.of(changing), life, scraped, Spread.of(firsts), Spread.of(adds), resident, rest, *probed
    )


def _rest(agent: Agent, seconds: float) -> float:
    """Share of a CPU that it takes when what a start has to do is done: once it does not fall any more."""
    shares = [math.inf]
    while len(shares) < LOOKS:
        began = agent.cpu()
        time.sleep(seconds)
        shares.append((agent.cpu() - began) / seconds)
        if shares[-1] > STEADY * shares[-2]:
            break
    return min(shares)


@contextmanager
def _busy(agent: Agent, scrapes: list[float]) -> Iterator[None]:
    """Scraped each second, and StreamStats streams. Raises what a scrape raises."""
    over = threading.Event()
    failures: list[BaseException] = []

    def scrape() -> None:
        try:
            while not over.is_set():
                scrapes.append(agent.scrape())
                over.wait(EVERY_SECONDS)
        except BaseException as failure:  # noqa: BLE001 (handed to the caller)
            failures.append(failure)

    with l4lb.Client(agent.target) as client:

        def stream() -> None:
            for _ in client.stats(interval=EVERY_SECONDS):
                if over.is_set():
                    return

        threads = [threading.Thread(target=work) for work in (scrape, stream)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()
    if failures:
        raise failures[0]
