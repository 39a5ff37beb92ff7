"""`python -m bench.watched ARGUMENTS`: the agent, whose event loop is watched when asked.

A line on standard input begins to watch, the next one ends it and prints, as JSON, the longest gap of each second: for how long the loop
had something due and did not come to it, whatever held it up: its own work, or a thread's that had the interpreter.
"""

import asyncio
import json
import sys
import threading
from typing import Final

from l4lb_agent.__main__ import main

TICK_SECONDS: Final = 0.002


class Watch:
    """Of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._on = False
        self._began = 0.0
        self._longest: dict[int, float] = {}  # by second

    def toggle(self) -> None:
        """Begins, or ends and tells."""
        self._on = not self._on
        if self._on:
            self._longest, self._began = {}, self._loop.time()
            self._tick(self._began)
        else:
            print(json.dumps(list(self._longest.values())), flush=True)

    def _tick(self, due: float) -> None:
        if not self._on:
            return
        now = self._loop.time()
        second = int(due - self._began)
        self._longest[second] = max(self._longest.get(second, 0.0), now - due)
        self._loop.call_at(now + TICK_SECONDS, self._tick, now + TICK_SECONDS)


class Policy(asyncio.DefaultEventLoopPolicy):
    """Each loop of this process, the agent's is the only one, is watched."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """See asyncio."""
        loop = super().new_event_loop()
        threading.Thread(target=_listen, args=(loop,), daemon=True).start()
        return loop


def _listen(loop: asyncio.AbstractEventLoop) -> None:
    watch = Watch(loop)
    for _ in sys.stdin:
        loop.call_soon_threadsafe(watch.toggle)


if __name__ == "__main__":
    asyncio.set_event_loop_policy(Policy())
    sys.exit(main())
