"""Captures in the agent: slots, leases, who gets which packet, and what is too much."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest

from l4lb_agent.control import captures
from l4lb_agent.control.captures import Captures, Names
from l4lb_agent.model.capture import layout as capture_layout
from l4lb_agent.model.capture import taken
from l4lb_agent.model.capture.taken import Captured, Filter
from l4lb_agent.model.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable
from l4lb_agent.model.mapspec import Sizes
from l4lb_agent.model.reasons import REASONS, Reason, Verdict
from tests.fakes.datapath import FakeDatapath
from tests.fakes.world import FakeClock

NAMES = Names({"services/web": 3}, {"services/web/backends/a": 9}, {"eth0": 2})
DROPS = Filter(verdicts=frozenset({Verdict.DROP}))


def packet(*slots: int, service: int = 3, backend: int = 9) -> Captured:
    return Captured(0, 2, Reason.TO_BACKEND, Verdict.TX, service, backend, frozenset(slots), 3, b"abc", 3, b"abd")


def run(test: Callable[[Captures, FakeDatapath], Awaitable[None]]) -> None:
    async def within() -> None:
        datapath = FakeDatapath(Sizes())
        async with asyncio.timeout(10):
            await test(Captures(datapath, FakeClock(), lambda: NAMES), datapath)

    asyncio.run(within())


def test_a_capture_begins_is_given_its_packets_with_names_and_ends() -> None:
    async def test(all_: Captures, datapath: FakeDatapath) -> None:
        wanted = Filter(service="services/web", interface="eth0")
        async with aclosing(all_.capture(wanted)) as batches:
            assert await anext(batches) == captures.Batch((), 0, 0)
            assert datapath.captures == {0: (wanted, datapath.now() + captures.LEASE_SECONDS, 3, 2)}
            assert datapath.switched == [wanted]
            datapath.hand_over(packet(0), packet(1), packet(0, backend=77))
            one, other = (await anext(batches)).packets
            assert (one.service, one.backend, one.interface) == ("services/web", "services/web/backends/a", "eth0")
            assert other.backend == "", "a number that no backend has any more"
        assert datapath.captures == {}
        assert datapath.switched == []

    run(test)


def test_it_is_renewed_while_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "RENEW_SECONDS", 0.05)

    async def test(all_: Captures, datapath: FakeDatapath) -> None:
        datapath.budgets[0] = (2, 0)  # of one before
        async with aclosing(all_.capture(Filter())) as batches:
            await anext(batches)
            datapath.captures.clear()
            datapath.budgets[0] = (7, 1)
            assert await anext(batches) == captures.Batch((), 5, 1)
            assert 0 in datapath.captures

    run(test)


def test_captures_share_packets_and_each_sees_only_its_own() -> None:
    async def test(all_: Captures, datapath: FakeDatapath) -> None:
        async with aclosing(all_.capture(Filter())) as first, aclosing(all_.capture(DROPS)) as second:
            await anext(first)
            await anext(second)
            datapath.hand_over(packet(0), packet(0, 1), packet(3))
            assert (len((await anext(first)).packets), len((await anext(second)).packets)) == (2, 1)

    run(test)


def test_a_reader_that_is_slow_loses_packets_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "WAITING", 10)

    async def test(all_: Captures, datapath: FakeDatapath) -> None:
        async with aclosing(all_.capture(Filter())) as batches:
            await anext(batches)
            datapath.hand_over(*[packet(0)] * 25)
            batch = await anext(batches)
            assert (len(batch.packets), batch.lost) == (10, 15)

    run(test)


def test_there_are_as_many_at_once_as_the_datapath_has_slots() -> None:
    async def test(all_: Captures, datapath: FakeDatapath) -> None:
        running = [all_.capture(Filter()) for _ in range(capture_layout.CAPTURES)]
        for one in running:
            await anext(one)
        with pytest.raises(ResourceExhausted) as refused:
            await anext(all_.capture(Filter()))
        assert refused.value.reason == "TOO_MANY_CAPTURES"
        await running[1].aclose()
        again = all_.capture(Filter())
        await anext(again)
        assert sorted(datapath.captures) == [0, 1, 2, 3]
        for one in (*running, again):
            await one.aclose()

    run(test)


def test_what_is_not_there_is_refused_and_nothing_is_written() -> None:
    async def test(all_: Captures, datapath: FakeDatapath) -> None:
        with pytest.raises(NotFound):
            await anext(all_.capture(Filter(service="services/other")))
        with pytest.raises(InvalidArgument, match="eth0"):
            await anext(all_.capture(Filter(interface="eth7")))
        datapath.refuse_captures = True
        with pytest.raises(Unavailable):
            await anext(all_.capture(Filter()))
        assert datapath.captures == {}
        assert datapath.switched == []

    run(test)


def test_budgets_are_summed_over_the_reasons_of_a_slot() -> None:
    words = [(0, (9, 9, 1, 0)), (5, (9, 9, 2, 4)), (REASONS + 1, (9, 9, 8, 0))]
    assert taken.budgets(words) == {0: (3, 4), 1: (8, 0)}


@pytest.mark.parametrize("cut", [0, 10, capture_layout.Captured.data.offset, capture_layout.Captured.data.offset + 5])
def test_a_record_that_is_shorter_than_it_says_is_refused(cut: int) -> None:
    record = bytes(capture_layout.Captured(came_bytes=4, left_bytes=2))[: capture_layout.Captured.data.offset] + b"abcdef"
    assert (taken.read(record).came, taken.read(record).left) == (b"abcd", b"ef")
    with pytest.raises(ValueError, match="captured record"):
        taken.read(record[:cut])


@pytest.mark.parametrize(
    ("filters", "flags"),
    [
        ([], 0),
        ([DROPS], capture_layout.CAPTURE_DROPS),
        ([DROPS, Filter()], capture_layout.CAPTURE_ALL),
        ([Filter(verdicts=frozenset({Verdict.DROP, Verdict.TX}))], capture_layout.CAPTURE_ALL),
    ],
)
def test_packets_are_copied_only_when_a_capture_wants_more_than_drops(filters: list[Filter], flags: int) -> None:
    assert taken.flags(filters) == flags


def test_the_capture_switch_says_what_is_asked_for_and_until_when_the_recorder_lives() -> None:
    assert taken.switch([], 0) == bytes(8)
    both = capture_layout.CaptureSwitch.from_buffer_copy(taken.switch([DROPS], 77))
    assert (both.flags, both.recorder_until) == (capture_layout.CAPTURE_DROPS | capture_layout.CAPTURE_RECORD, 77)


def test_recorded_drops_go_to_the_recorder_beside_captures_and_end_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "RECORD_SECONDS", 0.01)

    async def test(all_: Captures, datapath: FakeDatapath) -> None:
        kept: list[captures.CapturedPacket] = []
        task = asyncio.create_task(all_.record(kept.append))
        while not datapath.recorder_until:
            await asyncio.sleep(0.01)
        assert datapath.recorder_until == datapath.now() + captures.LEASE_SECONDS
        assert datapath.switched == []
        datapath.hand_over(packet(capture_layout.RECORDER), packet(0))
        while not kept:
            await asyncio.sleep(0.01)
        async with aclosing(all_.capture(Filter())) as batches:
            await anext(batches)
            assert datapath.recorder_until, "a capture that begins does not end the recorder"
            datapath.hand_over(packet(0, capture_layout.RECORDER))
            assert len((await anext(batches)).packets) == 1
        assert (len(kept), kept[1].service) == (2, "services/web")
        assert datapath.recorder_until, "nor does one that ends"
        task.cancel()
        await asyncio.wait({task})
        assert datapath.recorder_until == 0

    run(test)


def test_the_recorder_waits_for_a_kernel_that_refuses_and_is_renewed_while_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "RECORD_SECONDS", 0.01)
    monkeypatch.setattr(captures, "REFUSED_SECONDS", 0.01)

    async def test(all_: Captures, datapath: FakeDatapath) -> None:
        now = 100
        datapath.now = lambda: now  # type: ignore[method-assign]
        datapath.refuse_captures = True
        task = asyncio.create_task(all_.record(lambda _: None))
        await asyncio.sleep(0.1)
        assert not task.done()
        datapath.refuse_captures = False
        while not datapath.recorder_until:
            await asyncio.sleep(0.01)
        now = 104
        while datapath.recorder_until != 104 + captures.LEASE_SECONDS:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task})

    run(test)
