"""The single writer: what is in the journal when, who is told what."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from l4lb_agent.control import store as store_module
from l4lb_agent.control.store import Store
from l4lb_agent.model import errors, records
from l4lb_agent.model.changes import commands
from l4lb_agent.model.changes.decide import Decision, Facts
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.errors import Unavailable
from l4lb_agent.model.records import Replayed
from l4lb_agent.system.disk import JournalFile
from tests.fakes.values import SECRETS, backend, config, service
from tests.fakes.world import FakeJournal

FACTS = Facts(1000.0, "boot", config())


@contextlib.asynccontextmanager
async def writing(journal: FakeJournal | JournalFile, desired: Desired | None = None) -> AsyncIterator[Store]:
    journal.snapshot(records.snapshot(desired or Desired(), SECRETS))
    store = Store(journal, Replayed(SECRETS, desired or Desired(), ()), lambda _: FACTS)
    task = asyncio.create_task(store.run())
    try:
        yield store
    finally:
        store.stop()
        await task


def create(number: int) -> commands.CreateService:
    return commands.CreateService(service(f"s{number}", f"192.0.2.{number}"))


def replayed(journal: FakeJournal | JournalFile) -> Desired:
    found = records.replay(journal.load())
    assert found is not None
    return found.desired


async def test_what_was_answered_is_in_the_journal() -> None:
    journal = FakeJournal()
    async with writing(journal) as store:
        for number in range(1, 4):
            decision = await store.change(create(number))
            assert decision.revision == number
            assert replayed(journal) == store.desired


async def test_callers_that_wait_together_are_decided_in_order_and_written_at_once() -> None:
    journal = FakeJournal()
    async with writing(journal) as store:
        asked = [create(1), create(1), create(2)]
        answers = await asyncio.gather(*(store.change(command) for command in asked), return_exceptions=True)
        assert [type(answer).__name__ for answer in answers] == ["Decision", "AlreadyExists", "Decision"]
        assert journal.appends == 1


async def test_others_get_turns_between_decisions_on_many_and_see_all_of_them_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "PIECE", 1)
    journal = FakeJournal()
    async with writing(journal) as store:
        await store.change(create(1))
        seen: list[int] = []
        turns: list[int] = []
        decide = store_module.decide_once

        def deciding(*given: Any) -> Decision:
            turns.append(len(seen))
            return decide(*given)

        monkeypatch.setattr(store_module, "decide_once", deciding)
        added = [commands.AddBackend(backend("s1", f"b{number}", f"10.0.0.{number}", 80)) for number in range(1, 31)]
        asked = asyncio.gather(*(store.change(one, request_id=one.backend.name) for one in added))
        while not asked.done():
            seen.append(store.desired.revision)
            await asyncio.sleep(0)
        assert [decision.revision for decision in await asked] == list(range(2, 32))
        assert replayed(journal) == store.desired
    assert set(seen) <= {1, 31}
    assert sorted(set(turns)) == turns, "two decisions in one go"
    assert journal.appends == 2


async def test_when_the_journal_refuses_the_whole_batch_is_refused_and_nothing_has_happened() -> None:
    journal = FakeJournal()
    async with writing(journal) as store:
        published: list[int] = []
        store.listen(lambda before, change: published.append(change.revision))
        journal.refuse = OSError(5, "broken")
        asked = [create(1), create(1), create(2)]
        answers = await asyncio.gather(*(store.change(command) for command in asked), return_exceptions=True)
        assert {getattr(answer, "reason", "") for answer in answers} == {"JOURNAL_FAILED"}
        assert (store.desired, published) == (Desired(), [])
        journal.refuse = None
        assert (await store.change(create(1))).revision == 1


async def test_a_journal_that_somebody_removed_or_cut_is_made_anew(tmp_path: Path) -> None:
    file = JournalFile(tmp_path)
    async with writing(file) as store:
        await store.change(create(1))
        (tmp_path / "journal").unlink()
        await store.change(create(2))
        (tmp_path / "journal").write_bytes(b"")
        await store.change(create(3))
        assert not store.journal_error
        state = store.desired
    file.close()
    assert len(state.services) == 3
    again = JournalFile(tmp_path)
    assert replayed(again) == state
    again.close()


async def test_listeners_hear_every_change_once_and_in_order() -> None:
    async with writing(FakeJournal()) as store:
        heard: list[tuple[int, int]] = []
        store.listen(lambda before, change: heard.append((before.revision, change.revision)))
        await asyncio.gather(*(store.change(create(number)) for number in range(1, 6)))
        assert heard == [(number, number + 1) for number in range(5)]


async def test_a_journal_that_has_grown_becomes_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MIN_SNAPSHOT_BYTES", 500)
    journal = FakeJournal()
    async with writing(journal) as store:
        for number in range(1, 7):
            await store.change(create(number))
    assert len(journal.records) < 6
    assert replayed(journal) == store.desired


async def test_a_snapshot_that_fails_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MIN_SNAPSHOT_BYTES", 0)
    journal = FakeJournal()
    async with writing(journal) as store:
        await store.change(create(1))

        def refuse(record: dict[str, object]) -> None:
            raise OSError(28, "full")

        monkeypatch.setattr(journal, "snapshot", refuse)
        await store.change(create(2))
        await store.change(create(3))
        assert replayed(journal) == store.desired


async def test_changes_that_are_queued_are_written_before_the_writer_ends() -> None:
    journal = FakeJournal()
    async with writing(journal) as store:
        asked = [asyncio.create_task(store.change(create(number))) for number in range(1, 4)]
        await asyncio.sleep(0)
    assert [(await task).revision for task in asked] == [1, 2, 3]
    assert replayed(journal).revision == 3


async def test_whoever_asks_a_writer_that_was_cancelled_is_answered() -> None:
    journal = FakeJournal()
    store = Store(journal, Replayed(SECRETS, Desired(), ()), lambda _: FACTS)
    journal.snapshot(records.snapshot(Desired(), SECRETS))
    task = asyncio.create_task(store.run())
    await store.change(create(1))
    task.cancel()
    asked = asyncio.create_task(store.change(create(2)))
    with contextlib.suppress(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable, match="the agent stops"):
            await asked
        with pytest.raises(Unavailable, match="the agent stops"):
            await store.change(create(3))


async def test_a_mistake_in_one_decision_is_one_callers_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    decide_once = store_module.decide_once

    def mistaken(desired: Desired, command: commands.Command, *others: object) -> Decision:
        if command == create(7):
            raise ZeroDivisionError
        return decide_once(desired, command, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(store_module, "decide_once", mistaken)
    async with writing(FakeJournal()) as store:
        answers = await asyncio.gather(*(store.change(create(number)) for number in (1, 7, 2)), return_exceptions=True)
        assert [type(answer).__name__ for answer in answers] == ["Decision", "ZeroDivisionError", "Decision"]
        assert store.desired.revision == 2


async def test_nothing_is_journaled_for_a_refusal_or_a_validation() -> None:
    journal = FakeJournal()
    async with writing(journal) as store:
        with pytest.raises(errors.NotFound):
            await store.change(commands.DeleteService("services/none"))
        assert (await store.change(create(1), validate_only=True)).service is not None
        assert journal.appends == 0
        assert store.desired == Desired()
