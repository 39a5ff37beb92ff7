"""How long the event loop stood still: what fails meanwhile may have failed here."""

import asyncio

_BEAT_SECONDS = 0.02
_LEAST_SECONDS = 0.01  # a beat that is later than this was kept from coming


class Pulse:
    """Beats while somebody listens."""

    def __init__(self) -> None:
        self._listeners = 0
        self._total = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> float:
        """What stood_still() wants to know it from."""
        self._listeners += 1
        if not self._timer:
            self._next()
        return self.total()

    def end(self, begun: float) -> float:
        """Seconds that the loop stood still since `begin` returned `begun`; nobody listens there any more."""
        self._listeners -= 1
        return self.total() - begun

    def total(self) -> float:
        """Seconds that it stood still, ever; with the beat that is overdue now."""
        late = asyncio.get_running_loop().time() - self._due
        return self._total + (late if late > _LEAST_SECONDS else 0.0)

    def _next(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + _BEAT_SECONDS
        self._timer = loop.call_at(self._due, self._beat)

    def _beat(self) -> None:
        self._total = self.total()
        self._timer = None
        if self._listeners:
            self._next()
