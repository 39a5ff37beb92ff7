"""Sweeps and counters: how often, shared by whom."""

import asyncio
import time

from l4lb_agent.control import sampler as sampler_module
from l4lb_agent.control.applying.windows import Asked
from l4lb_agent.control.sampler import Sampler, Sweep
from l4lb_agent.model.observed import FlowCounts
from tests.fakes.datapath import FakeDatapath
from tests.fakes.values import small_sizes
from tests.fakes.world import FakeClock


def make(draining: bool = False) -> tuple[Sampler, FakeDatapath]:
    datapath = FakeDatapath(small_sizes())
    return Sampler(datapath, FakeClock(), lambda: draining, dict), datapath


async def test_callers_that_wait_together_share_sweeps() -> None:
    sampler, datapath = make()
    sweeps = await asyncio.gather(*(sampler.fresh() for _ in range(20)))
    assert datapath.sweeps <= 2
    assert all(sweep.counts == sweeps[-1].counts for sweep in sweeps[1:])


async def test_a_fresh_sweep_began_after_it_was_asked_for() -> None:
    sampler, _ = make()
    for _ in range(3):
        asked = asyncio.get_running_loop().time()
        assert (await sampler.fresh()).began >= asked


async def test_a_small_table_is_swept_every_second() -> None:
    sampler, _ = make()
    await sampler.fresh()
    assert sampler.pause() == sampler_module.SHORTEST


async def test_a_sweep_that_waits_for_a_busy_host_is_not_taken_for_one_of_a_large_table() -> None:
    sampler, datapath = make()

    def sweep(_: Asked) -> FlowCounts:
        time.sleep(0.1)
        return FlowCounts()

    datapath.sweep = sweep  # type: ignore[method-assign]
    await sampler.fresh()
    assert sampler.pause() == sampler_module.SHORTEST


async def test_a_large_table_is_swept_less_often_and_more_often_during_a_drain() -> None:
    pauses = []
    for draining in (False, True):
        sampler, _ = make(draining)
        sampler.last = Sweep(FlowCounts(), 0.0, 0.5)
        pauses.append(sampler.pause())
    assert pauses[0] > pauses[1] > sampler_module.SHORTEST
    assert pauses[0] <= sampler_module.LONGEST


async def test_a_sweep_that_fails_is_made_again() -> None:
    sampler, datapath = make()
    failures = iter([OSError(5, "broken")])

    def sweep(_: Asked) -> FlowCounts:
        for error in failures:
            raise error
        datapath.sweeps += 1
        return FlowCounts(at=1.0)

    datapath.sweep = sweep  # type: ignore[method-assign]
    task = asyncio.create_task(sampler.run())
    sampler.hurry()
    async with asyncio.timeout(20):
        while sampler.last is None:
            await asyncio.sleep(0.01)
    task.cancel()
    assert sampler.counts.at == 1.0
