"""Room for so many probes at once, of which few begin in one turn of the event loop: thousands that are due hold up nobody else."""

import asyncio
from collections import deque


class Room:
    """`async with room:` waits for a place, first come, first served. asyncio's semaphore looks at everybody who waits, again and again."""

    def __init__(self, places: int, a_turn: int) -> None:
        self._free, self._a_turn = places, a_turn
        self._left = a_turn  # that may begin in this turn
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._turning = False

    async def __aenter__(self) -> None:
        if not self._waiting and self._admitted():
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        self._free += 1
        self._turn_soon()

    def _admitted(self) -> bool:
        if not self._free or not self._left:
            return False
        self._free -= 1
        self._left -= 1
        self._turn_soon()
        return True

    def _turn_soon(self) -> None:
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turning, self._left = False, self._a_turn
        while self._waiting:
            if self._waiting[0].done():  # given up
                self._waiting.popleft()
            elif self._admitted():
                self._waiting.popleft().set_result(None)
            else:
                return
