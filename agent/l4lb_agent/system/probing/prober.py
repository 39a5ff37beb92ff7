"""The door to probes: one at a time is one coroutine, MOST_AT_ONCE run beside each other, none raises."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from l4lb_agent.model.health.check import HealthCheck, Kind, Target
from l4lb_agent.model.health.outcome import Outcome, Why
from l4lb_agent.model.health.passing import Place
from l4lb_agent.system.probing.connection import Progress
from l4lb_agent.system.probing.failure import Failed, of_error
from l4lb_agent.system.probing.passage import Passage, Passing, is_here
from l4lb_agent.system.probing.pulse import Pulse
from l4lb_agent.system.probing.room import Room

MOST_AT_ONCE: Final = 200  # sockets
MOST_A_TURN: Final = 10  # begin in one turn of the event loop: a millisecond or two
# Of the timeout: when the event loop stood still for longer, a failure says nothing of the backend.
_TOO_LATE: Final = 0.5

_log = logging.getLogger("l4lb_agent.probing")

Seen = Callable[[HealthCheck, Target, Progress], Awaitable[str]]


class Prober:
    """Probes of all kinds; those of VIPs by `passage`."""

    def __init__(self, passage: Passage | None = None) -> None:
        self._passage = passage
        self._pulse = Pulse()
        self._room = Room(MOST_AT_ONCE, MOST_A_TURN)

    async def probe(self, check: HealthCheck, target: Target, place: Callable[[], Place | None] = lambda: None) -> Outcome:
        """What came of one attempt; `place` says where the datapath has the backend by which a VIP is probed. Waiting for room is part of
        neither latency nor timeout. Cancelled, it leaves no socket."""
        async with self._room:
            loop = asyncio.get_running_loop()
            pulse, start = self._pulse.begin(), loop.time()
            try:
                why, detail = await self._attempt(check, target, place)
            finally:
                still = self._pulse.end(pulse)
            if why is not Why.OK and still > check.timeout_seconds * _TOO_LATE:
                why, detail = Why.OWN_FAULT, f"the agent stood still for {still:.1f} s: {detail}"
            return Outcome(why, loop.time() - start, detail)

    async def _attempt(self, check: HealthCheck, target: Target, place: Callable[[], Place | None]) -> tuple[Why, str]:
        # Of a backend that is this host (DSR) the VIP is asked as by any process here: the datapath would pass its packets up.
        if target.by is None or is_here(target.by.address):
            return await _attempt(check, target, None)
        if self._passage is None:
            return Why.OWN_FAULT, "nothing here probes VIPs"
        try:
            await self._passage.ready()
        except Failed as failure:
            return failure.why, failure.detail
        passing = Passing(self._passage, target, target.by, place)
        try:
            return await passing.judged(*await _attempt(check, target, passing))
        finally:
            passing.close()


async def _attempt(check: HealthCheck, target: Target, passing: Passing | None) -> tuple[Why, str]:
    progress = Progress()
    try:
        async with asyncio.timeout(check.timeout_seconds):
            if passing:
                progress.prepare = passing.prepare
                await passing.wait()
            return Why.OK, await _kind(check.kind)(check, target, progress)
    except Failed as failure:
        return failure.why, failure.detail
    except OSError as error:
        if isinstance(error, TimeoutError) and not error.errno:  # not of the socket
            return Why.TIMEOUT, f"{progress.doing}: nothing within {check.timeout_seconds:g} s"
        of_socket = of_error(error)
        return of_socket.why, f"{progress.doing}: {of_socket.detail}"
    except Exception as error:
        _log.exception("event=probe_broke kind=%s address=%s port=%d", check.kind.name, target.address, target.port)
        return Why.OWN_FAULT, f"{progress.doing}: {type(error).__name__}"


def _kind(kind: Kind) -> Seen:
    """Libraries of a kind are loaded with its first probe: most agents need few of them."""
    match kind:
        case Kind.TCP:
            from l4lb_agent.system.probing.tcp import tcp as seen
        case Kind.HTTP:
            from l4lb_agent.system.probing.http import http as seen
        case Kind.GRPC:
            from l4lb_agent.system.probing.grpc_health import grpc_health as seen
        case Kind.UDP:
            from l4lb_agent.system.probing.udp import udp as seen
    return seen
