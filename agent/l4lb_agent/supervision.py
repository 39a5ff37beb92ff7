"""Between the agent and whoever watches it, the service manager and health checks: READY, what is missing, signs of life, reloads."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from l4lb_agent import config
from l4lb_agent.api.server import ApiServer
from l4lb_agent.config import Config, ConfigError
from l4lb_agent.control.agent import Agent
from l4lb_agent.system import log
from l4lb_agent.system.notify import Notifier

LOOK_SECONDS = 1.0  # between looks at whether the loop that does the work got on
EXTEND_SECONDS = 30.0  # more for a start that waits and gets on

_log = logging.getLogger(__name__)


class Supervision:
    """Everything that is told about one agent. `settings` are those that it was started with, from the file `path`. `alive` is called as
    often as the service manager is given a sign of life."""

    def __init__(
        self, agent: Agent, server: ApiServer, notifier: Notifier, settings: Config, path: Path, alive: Callable[[], None] = lambda: None
    ) -> None:  # fmt: skip
        self.changed = asyncio.Event()  # to be set when something may have to be told
        self.asked = asyncio.Event()  # to be set when the configuration is to be read again
        self._agent, self._server, self._notifier, self._settings, self._path = agent, server, notifier, settings, path
        self._alive = alive
        self._was_ready = False
        self._note = ""  # what the last reload left undone

    async def run(self) -> None:
        """Tells until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell())
            group.create_task(self._live())
            group.create_task(self._reload())

    async def _tell(self) -> None:
        """Tells when the agent becomes ready, or is not any more."""
        ready = False
        while True:
            self._notifier.status(self.status())
            await self.changed.wait()
            self.changed.clear()
            if self._agent.ready == ready:
                continue
            ready = self._agent.ready
            await self._server.serving(ready)
            if ready:
                _log.info("event=ready")
                self._notifier.status(self.status())
                self._notifier.ready()
                self._was_ready = True
            else:
                _log.warning("event=not_ready reason=%r", self._agent.not_ready_reason)

    def status(self) -> str:
        """How it stands, in one line."""
        if not self._agent.ready:
            words = f"not ready: {self._agent.not_ready_reason}"
        elif self._agent.forwarding.missing:
            words = f"forwarding, degraded: {'; '.join(self._agent.forwarding.missing)}"
        else:
            words = "forwarding as asked"
        return f"{words}; {self._note}" if self._note else words

    async def _live(self) -> None:
        """A sign of life only when the loop that does the work got on since the last one: that this task runs proves nothing of it.
        A start that waits, for instance for an interface, gets more time in the same way."""
        turns, seconds = -1, LOOK_SECONDS
        if self._notifier.watchdog_seconds:
            seconds = min(seconds, self._notifier.watchdog_seconds / 4)
        while True:
            if self._agent.turns != turns:
                turns = self._agent.turns
                self._notifier.watchdog()
                self._alive()
                if not self._was_ready:
                    self._notifier.extend(EXTEND_SECONDS)
            await asyncio.sleep(seconds)

    async def _reload(self) -> None:
        while True:
            await self.asked.wait()
            self.asked.clear()
            self._notifier.reloading()
            self._note = await self.reload()
            self._notifier.status(self.status())
            if self._was_ready:
                self._notifier.ready()

    async def reload(self) -> str:
        """Takes over from the file what may change while the agent runs; returns what was not taken over, in words. Threads read files:
        a slow disk holds nothing else up."""
        try:
            new = await asyncio.to_thread(config.load, self._path)
        except ConfigError as error:
            _log.error("event=reload_refused errors=%r", error.errors)
            return f"reload refused, nothing changed: {'; '.join(error.errors)}"
        log.set_level(new.log_level)
        self._agent.configure(new.datapath)
        await asyncio.to_thread(self._server.reload)
        left = self._settings.needing_restart(new)
        _log.info("event=reloaded needs_restart=%s", ",".join(left) or "none")
        return f"restart to take over {', '.join(left)}" if left else ""
