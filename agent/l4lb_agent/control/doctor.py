"""The doctor while the agent runs: looks when it is asked, at most once in a few seconds, since looking asks the neighbours too."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from l4lb_agent.control.health.checker import Looked
from l4lb_agent.control.host import Host
from l4lb_agent.control.monitor import Monitor
from l4lb_agent.control.ports import Doors
from l4lb_agent.control.surroundings import Surroundings
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.doctor import drops
from l4lb_agent.model.doctor.examine import examine
from l4lb_agent.model.doctor.facts import Down, Facts, Scope
from l4lb_agent.model.doctor.finding import Finding
from l4lb_agent.model.health.state import State
from l4lb_agent.model.observed import Answers

SHARED_SECONDS = 2.0
LEAST_SECONDS = 0.3  # in which packets are counted


class Doctor:
    """Looks at what is configured and asked for at that moment."""

    def __init__(
        self, doors: Doors, host: Callable[[], Host], monitor: Monitor, surroundings: Surroundings, desired: Callable[[], Desired],
        answers: Callable[[Desired], Awaitable[Mapping[str, Answers]]], health: Callable[[], Looked],
    ) -> None:  # fmt: skip
        """`health` is what probes say. `answers` counts what backends have answered, by name; it raises OSError when the kernel does not
        tell."""
        self._doors, self._host, self._monitor, self._surroundings, self._desired = doors, host, monitor, surroundings, desired
        self._answers, self._health = answers, health
        self._lock = asyncio.Lock()
        self._found: tuple[float, Sequence[Finding]] | None = None

    async def diagnose(self) -> Sequence[Finding]:
        """The worst first. Callers that come at the same time share one look."""
        async with self._lock:
            now = self._doors.clock.monotonic()
            if self._found is None or now - self._found[0] > SHARED_SECONDS:
                scope = self._scope()
                facts = _with_health(await self._facts(scope), self._health())
                self._found = (now, await asyncio.to_thread(examine, scope, facts))
            return self._found[1]

    async def _facts(self, scope: Scope) -> Facts:
        """With the packets that were dropped while everything else was looked at."""
        try:
            before = await asyncio.to_thread(self._doors.datapath.counters)
            facts = await self._doors.examiner.facts(scope)
            await asyncio.sleep(LEAST_SECONDS)
            after = await asyncio.to_thread(self._doors.datapath.counters)
            answers = await self._answers(self._desired())
        except OSError as error:
            facts = await self._doors.examiner.facts(scope)
            return replace(facts, unseen=(*facts.unseen, ("dropped packets, answers of backends", error.strerror or str(error))))
        return replace(facts, drops=drops.between(before, after), answers=answers)

    def _scope(self) -> Scope:
        host = self._host()
        why = {name: state.reason for name, state in self._monitor.states.items()}
        modes = {one.name: one.mode for one in host.interfaces}
        return Scope(modes, host.config, self._desired(), why, running=True, next_hops=dict(self._surroundings.next_hops))


def _with_health(facts: Facts, looked: Looked) -> Facts:
    kept = {name for stands in looked.standings.values() for name in stands.kept}
    down = {
        name: Down(one.health, name in kept, one.health.flapping(looked.time))
        for name, one in looked.watched.items()
        if one.health.state is State.DOWN
    }
    return replace(facts, down=down, all_down={name: len(stands.kept) for name, stands in looked.standings.items() if stands.all_down})
