"""Room for probes: who begins when, without a socket."""

import asyncio
import contextlib

import pytest

from l4lb_agent.system.probing.room import Room


class Inside:
    """Counts who is inside, who has begun, and how many began in each turn of the event loop."""

    def __init__(self, room: Room) -> None:
        self.room, self.inside, self.most, self.began = room, 0, 0, list[int]()
        self.leave = asyncio.Event()

    async def visit(self, number: int) -> None:
        """Stays until all may leave."""
        async with self.room:
            self.began.append(number)
            self.inside += 1
            self.most = max(self.most, self.inside)
            await self.leave.wait()
            self.inside -= 1


async def settle() -> None:
    """Lets the loop turn until nothing is left to do."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_no_more_than_there_is_room_for_in_the_order_in_which_they_came() -> None:
    seen = Inside(Room(3, 100))
    tasks = [asyncio.create_task(seen.visit(number)) for number in range(10)]
    await settle()
    assert (seen.inside, seen.began) == (3, [0, 1, 2])
    seen.leave.set()
    await asyncio.gather(*tasks)
    assert (seen.most, seen.began) == (3, list(range(10)))


async def test_few_begin_in_one_turn_of_the_event_loop() -> None:
    seen = Inside(Room(100, 2))
    seen.leave.set()
    tasks = [asyncio.create_task(seen.visit(number)) for number in range(20)]
    turns = []
    while len(seen.began) < 20:
        before = len(seen.began)
        await asyncio.sleep(0)
        turns.append(len(seen.began) - before)
    assert max(turns) <= 2
    assert seen.began == list(range(20))
    await asyncio.gather(*tasks)


async def test_who_gives_up_takes_nobodys_place() -> None:
    seen = Inside(Room(1, 1))
    tasks = [asyncio.create_task(seen.visit(number)) for number in range(4)]
    await settle()
    tasks[1].cancel()  # while it waits
    tasks[0].cancel()  # while it is inside
    await settle()
    assert seen.began == [0, 2]
    tasks[2].cancel()
    await asyncio.sleep(0)  # the place is 3's already
    tasks[3].cancel()
    await settle()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    seen.leave.set()
    await asyncio.wait_for(seen.visit(9), 5)
    assert seen.began[-1] == 9


async def test_who_is_cancelled_with_a_place_just_given_hands_it_on() -> None:
    room = Room(1, 5)
    await room.__aenter__()
    waiting = asyncio.create_task(room.__aenter__())
    await settle()
    await room.__aexit__()
    await asyncio.sleep(0)  # its place is given, and it has not run yet
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(5), room:
        pass
