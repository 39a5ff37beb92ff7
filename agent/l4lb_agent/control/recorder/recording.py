"""Feeds the recorder while the agent runs: dropped packets, and every few seconds how the agent is, from which come warnings and floods."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, BinaryIO, Final

from l4lb_agent.control.captures import Captures
from l4lb_agent.control.facade import AgentView
from l4lb_agent.control.ports import Clock, Datapath
from l4lb_agent.control.recorder.dump import Dump, Look
from l4lb_agent.control.recorder.recorder import Recorder
from l4lb_agent.control.sampler import Sampler
from l4lb_agent.model.capture.kept import PREFIX, KeptDump
from l4lb_agent.model.errors import FailedPrecondition, NotFound, Refused, Unavailable
from l4lb_agent.model.reasons import Reason, Verdict

LOOK_SECONDS: Final = 5.0
SHOWN: Final = (
    "ready", "not_ready_reason", "revision", "applied_revision", "started", "map_writes", "reconcile_retries", "layout_version", "kernel",
)  # fmt: skip
SURGE: Final = 10_000  # packets a second that are dropped for one reason: a flood begins, and ends below half of it

_log = logging.getLogger(__name__)


class Recording:
    """Of one agent, or of one without a recorder. `warned` are more warnings than those of `agent`."""

    def __init__(
        self, recorder: Recorder | None, captures: Captures, sampler: Sampler, datapath: Datapath, clock: Clock,
        agent: Callable[[], AgentView],
    ) -> None:  # fmt: skip
        self.warned: list[Callable[[], Sequence[tuple[str, str]]]] = []
        self._recorder, self._captures, self._sampler, self._datapath = recorder, captures, sampler, datapath
        self._clock, self._agent = clock, agent
        self._warnings: set[str] = set()
        self._drops: tuple[float, dict[int, int]] | None = None  # monotonic, packets by reason
        self._surging: set[int] = set()

    async def run(self) -> None:
        """Feeds until cancelled; returns when there is no recorder."""
        if self._recorder is not None:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._captures.record(self._recorder.dropped))
                group.create_task(self._follow())

    async def dump(self) -> Dump:
        """Everything that is remembered, now. Raises FailedPrecondition when there is no recorder."""
        recorder = self._switched_on()
        self._captures.look()
        await self._look(recorder)
        return recorder.dump("asked")

    async def kept(self) -> Sequence[KeptDump]:
        """The files that were written by themselves, the oldest first. Raises FailedPrecondition when there is no recorder, Unavailable
        when the disk does not give them."""
        folder = self._switched_on().folder
        try:
            return await asyncio.to_thread(folder.kept)
        except OSError as error:
            raise _unreadable(error) from error

    async def open(self, dump_id: str) -> BinaryIO:
        """One of them, to be closed by the caller. Raises NotFound when it is not there, and as kept()."""
        folder = self._switched_on().folder
        try:
            return await asyncio.to_thread(folder.open, dump_id)
        except FileNotFoundError:
            name = f"{PREFIX}{dump_id}"
            message = f"{name} does not exist: newer ones may have taken its place"
            raise NotFound(message, reason="NOT_FOUND", field="name", metadata={"name": name}) from None
        except OSError as error:
            raise _unreadable(error) from error

    def _switched_on(self) -> Recorder:
        if self._recorder is None:
            message = "this agent does not record: [recorder] enabled in agent.toml switches it on"
            raise FailedPrecondition(message, reason="RECORDER_OFF")
        return self._recorder

    async def _follow(self) -> None:
        assert self._recorder is not None
        while True:
            await self._look(self._recorder)
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, recorder: Recorder) -> None:
        try:
            counters, budgets, view = await self._sampler.counted(), self._datapath.recorder_budgets(), self._agent()
        except (OSError, Refused) as error:  # what is wrong is told by others; the look before stays
            _log.debug("event=look_failed error=%r", str(error))
            return
        warnings = [*view.warnings, *(warning for source in self.warned for warning in source())]
        limited, lost = ({reason: counts[n] for reason, counts in budgets.items()} for n in (0, 1))
        recorder.look = Look(self._clock.time(), _shown(view, warnings), counters.reasons, limited, lost)
        self._tell_warnings(dict(warnings))
        self._tell_floods({reason: packets for (reason, verdict), (packets, _) in counters.reasons.items() if verdict == Verdict.DROP})

    def _tell_warnings(self, warnings: dict[str, str]) -> None:
        """Their beginnings and ends. The words change with the numbers in them, the reason stays."""
        for reason in sorted(warnings.keys() - self._warnings):
            _log.warning("event=warning_began reason=%s message=%r", reason, warnings[reason])
        for reason in sorted(self._warnings - warnings.keys()):
            _log.info("event=warning_ended reason=%s", reason)
        self._warnings = set(warnings)

    def _tell_floods(self, now: dict[int, int]) -> None:
        time = self._clock.monotonic()
        before, self._drops = self._drops, (time, now)
        if before is None or time <= before[0]:
            return
        for reason, packets in now.items():
            rate = (packets - before[1].get(reason, 0)) / (time - before[0])
            if rate >= SURGE and reason not in self._surging:
                self._surging.add(reason)
                _log.warning("event=drops_surged reason=%s rate=%d", Reason(reason).name, rate)
            elif rate < SURGE / 2:
                self._surging.discard(reason)


def _unreadable(error: OSError) -> Unavailable:
    return Unavailable(f"the recorder's files cannot be read: {error}", reason="DUMPS_UNREADABLE")


def _shown(view: AgentView, warnings: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {
        **{name: getattr(view, name) for name in SHOWN}, "interfaces": [asdict(one) for one in view.interfaces],
        "warnings": [{"reason": reason, "message": message} for reason, message in warnings],
        "maps": [{"map": state.name, "entries": used, "size": state.max_entries} for state, used in view.maps],
    }  # fmt: skip
