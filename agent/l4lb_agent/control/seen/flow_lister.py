"""Lists flows: one page at a time, read and counted in a thread when the caller has taken the one before."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping

from l4lb_agent.control.facade import FlowPage, FlowsWanted
from l4lb_agent.control.ports import Datapath
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.errors import ResourceExhausted, Unavailable
from l4lb_agent.model.flows.record import FlowFilter, FlowRecord
from l4lb_agent.model.flows.tally import Tally
from l4lb_agent.model.ids import Ids, backend_keys

MOST = 16  # lists at the same time: each holds one chunk while its reader does not read
READING = 2  # of them at a time: each keeps a thread busy
PAGE = 500  # flows that are told at once
PAUSE_SECONDS = 0.001  # between two chunks, for everything else that the agent does


class FlowLister:
    """Lists what `datapath` has."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._running = 0
        self._reading = asyncio.Semaphore(READING)

    async def pages(self, desired: Desired, ids: Ids, wanted: FlowsWanted) -> AsyncGenerator[FlowPage, None]:
        """See facade.Control.flows."""
        if self._running >= MOST:
            raise ResourceExhausted(
                f"{MOST} lists of flows are being made, as many as this agent makes at a time: wait for one to end",
                reason="TOO_MANY_LISTS", metadata={"maximum": str(MOST)},
            )  # fmt: skip
        self._running += 1
        try:
            async for page in self._pages(desired, ids, wanted):
                yield page
        except OSError as error:
            raise Unavailable(f"the flows cannot be read: {error}", reason="FLOWS_UNREADABLE") from error
        finally:
            self._running -= 1

    async def _pages(self, desired: Desired, ids: Ids, wanted: FlowsWanted) -> AsyncGenerator[FlowPage, None]:
        numbers = {name: number for name, key in backend_keys(desired).items() if (number := ids.backends.get(key))}
        names = {number: name for name, number in numbers.items()}
        protocols = {number: int(desired.services[name.split("/backends/")[0]].protocol) for name, number in numbers.items()}
        tally, left = Tally(wanted.top), wanted.limit
        chunks = await asyncio.to_thread(self._datapath.flows, FlowFilter(_ids(numbers, wanted), wanted.client, wanted.bits))
        while (records := await self._chunk(chunks, tally)) is not None:
            told = records if left is None else records[:left]
            left = None if left is None else left - len(told)
            for start in range(0, len(told), PAGE):
                yield FlowPage(told[start : start + PAGE], names, protocols)
            await asyncio.sleep(PAUSE_SECONDS)
        yield FlowPage((), names, protocols, tally)

    async def _chunk(self, chunks: Iterator[list[FlowRecord]], tally: Tally) -> list[FlowRecord] | None:
        async with self._reading:
            return await asyncio.to_thread(_next, chunks, tally)


def _ids(numbers: Mapping[str, int], wanted: FlowsWanted) -> frozenset[int]:
    """Of the backends whose flows are wanted. Flows of removed ones are nobody's: they are cut."""
    if wanted.backend:
        return frozenset(number for name, number in numbers.items() if name == wanted.backend)
    return frozenset(number for name, number in numbers.items() if not wanted.service or name.split("/backends/")[0] == wanted.service)


def _next(chunks: Iterator[list[FlowRecord]], tally: Tally) -> list[FlowRecord] | None:
    """The next chunk, counted; None at the end."""
    records = next(chunks, None)
    if records is not None:
        tally.add(records)
    return records
