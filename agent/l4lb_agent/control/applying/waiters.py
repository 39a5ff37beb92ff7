"""Who waits until the kernel has a revision."""

import asyncio

from l4lb_agent.model.errors import Unavailable

_STOPS = "the agent stops"


class Waiters:
    """Each is answered once: when its revision is reached, when a write is refused, or when nobody applies any more."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._ended = False

    async def wait(self, revision: int) -> None:
        """Returns when `revision` is reached. Raises Unavailable (APPLY_PENDING) when it is put off."""
        if self._ended:
            raise pending(_STOPS)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((revision, waiter))
        await waiter

    def reached(self, revision: int) -> None:
        """The kernel has `revision`."""
        for wanted, waiter in self._waiting:
            if wanted <= revision and not waiter.done():
                waiter.set_result(None)
        self._waiting = [(wanted, waiter) for wanted, waiter in self._waiting if not waiter.done()]

    def put_off(self, why: str) -> None:
        """The kernel does not have it yet."""
        for _, waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(pending(why))
        self._waiting.clear()

    def end(self) -> None:
        """Nobody applies any more."""
        self._ended = True
        self.put_off(_STOPS)


def pending(error: str) -> Unavailable:
    """The answer to a change that is promised and not yet in the kernel."""
    return Unavailable(
        f"the change is in the journal and not yet in the kernel ({error}): the agent goes on applying it",
        reason="APPLY_PENDING",
        metadata={"error": error},
    )
