"""The flight recorder: what it remembers, within which bounds, and when it writes by itself."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from l4lb_agent.control.captures import CapturedPacket
from l4lb_agent.control.recorder import dump, guards, recorder, timeline
from l4lb_agent.control.recorder.dump import Dump, Look
from l4lb_agent.control.recorder.recorder import Recorder
from l4lb_agent.control.recorder.timeline import Event, Timeline
from l4lb_agent.model.capture.layout import RECORDER, RECORDER_BYTES
from l4lb_agent.model.capture.taken import Captured
from l4lb_agent.model.reasons import Reason, Verdict
from l4lb_agent.system.clock import SystemClock
from tests.law.python_rules import ROOT, python_files


def event(number: int, name: str = "audit", text: str = "x") -> Event:
    return Event(float(number), "info", "api", name, {"text": text})


def packet(number: int, reason: Reason = Reason.NO_SERVICE, came: bytes = b"frame") -> CapturedPacket:
    raw = Captured(number, 2, reason, Verdict.DROP, 0, 0, frozenset({RECORDER}), len(came), came, 0, b"")
    return CapturedPacket(raw, float(number), "eth0", "", "")


class Folder:
    """control.ports.DumpFolder in memory."""

    def __init__(self) -> None:
        self.written: list[tuple[str, bytes]] = []
        self.full = False

    def write(self, why: str, when: float, data: bytes) -> str:
        """Remembered, unless the disk is full."""
        if self.full:
            raise OSError(28, "No space left on device")
        self.written.append((why, data))
        return why


def encode(one: Dump) -> bytes:
    return repr([(event.name, dict(event.fields)) for event in one.events] + list(one.stacks)).encode()


Make = Callable[..., Recorder]


@pytest.fixture
def folder() -> Folder:
    return Folder()


@pytest.fixture
def make(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Recorders that settle in a moment, which hear what is logged."""
    monkeypatch.setattr(recorder, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(recorder, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(logging.getLogger("l4lb_agent"), "level", logging.INFO)
    listening: list[logging.Handler] = []

    def make(stall_seconds: float = 60.0) -> Recorder:
        made = Recorder(SystemClock(), folder, encode, "1.2.3", stall_seconds)

        class Hears(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                name = record.getMessage().split()[0].removeprefix("event=")
                made.heard(Event(record.created, "info", record.name, name, {"line": record.getMessage()}))

        listening.append(Hears())
        logging.getLogger("l4lb_agent").addHandler(listening[-1])
        return made

    yield make
    for handler in listening:
        logging.getLogger("l4lb_agent").removeHandler(handler)


def wait(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.005)


def test_many_events_of_one_kind_do_not_push_out_the_others() -> None:
    line = Timeline()
    line.add(event(0, "attached"))
    for number in range(1, 10_000):
        line.add(event(number, "refused"))
    found = line.events()
    assert [one.name for one in found] == ["attached"] + ["refused"] * timeline.KEPT
    assert found[-1].time == 9_999
    assert line.forgotten == 9_999 - timeline.KEPT


def test_events_take_so_much_memory_however_long_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MOST", 50_000)
    line = Timeline()
    line.add(event(0, "attached"))
    for number in range(1, 500):
        line.add(event(number, f"kind{number % 7}", "head" + "y" * 100_000 + "tail"))
    found = line.events()
    assert sum(one.characters for one in found) <= 50_000
    assert found[0].name == "attached", "the largest kinds give way"
    assert {one.name for one in found} == {"attached", *(f"kind{n}" for n in range(7))}
    assert all(one.fields["text"].startswith("head") and one.fields["text"].endswith("tail") for one in found[1:])
    assert line.forgotten + len(found) == 500


def test_the_last_packets_of_each_reason_are_kept_and_their_headers_alone(make: Make) -> None:
    made = make()
    reasons = [Reason.NO_SERVICE, Reason.NO_FLOW, Reason.MALFORMED]
    for number in range(3000):
        made.dropped(packet(number, reasons[number % 3], bytes(2000)))
    kept = made.dump("asked").packets
    assert [one.time for one in kept] == [float(n) for n in range(3000 - 3 * recorder.PACKETS, 3000)]
    assert {len(one.packet.came) for one in kept} == {RECORDER_BYTES}
    assert {one.packet.came_bytes for one in kept} == {2000}


def test_a_guard_writes_one_file_with_what_follows_and_not_again_for_a_while(make: Make, folder: Folder) -> None:
    with make() as made:
        made.heard(event(1, "attached"))
        made.heard(event(2, "apply_failed"))
        made.heard(event(3, "journal_failed"))
        wait(lambda: folder.written)
        for _ in range(50):
            made.heard(event(4, "apply_failed"))
        time.sleep(0.2)
        assert [why for why, _ in folder.written] == ["apply_failed"]
        assert b"journal_failed" in folder.written[0][1], "what follows at once is in the same file"
    assert [why for why, _ in folder.written] == ["apply_failed", "stopped"]


def test_what_is_no_guard_writes_nothing(make: Make, folder: Folder) -> None:
    with make() as made:
        for name in ("audit", "refused", "attached", "warning_began", "next_hop_lost", "record_failed"):
            made.heard(event(1, name))
        time.sleep(0.2)
        assert folder.written == []


def test_pauses_are_of_each_guard_alone() -> None:
    pace = guards.Pace()
    assert pace.due("apply_failed", 5.0)
    assert not pace.due("apply_failed", 5.0 + guards.PAUSE_SECONDS - 1)
    assert pace.due("journal_failed", 6.0)
    assert not pace.due("audit", 7.0)
    assert pace.due("apply_failed", 5.0 + guards.PAUSE_SECONDS)


def test_a_full_disk_costs_the_file_and_nothing_else(make: Make, folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    folder.full = True
    with make() as made:
        made.heard(event(1, "apply_failed"))
        wait(lambda: "event=record_failed why=apply_failed" in caplog.text)
        folder.full = False
        made.heard(event(2, "sweep_failed"))
        wait(lambda: folder.written)
    assert [why for why, _ in folder.written] == ["sweep_failed", "stopped"]


def test_an_encoder_that_fails_costs_the_file_and_nothing_else(make: Make, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    with make() as made:
        monkeypatch.setattr(made, "_encode", lambda _: 1 / 0)
        made.heard(event(1, "apply_failed"))
        time.sleep(0.2)
        monkeypatch.undo()
    assert [why for why, _ in folder.written] == ["stopped"]


def test_an_agent_that_stands_still_is_told_of_once_with_what_its_threads_do(make: Make, folder: Folder) -> None:
    stands, released = threading.Event(), threading.Event()

    def stand_still() -> None:
        stands.set()
        released.wait(30)

    thread = threading.Thread(target=stand_still, name="stuck")
    thread.start()
    stands.wait(20)
    with make(stall_seconds=0.3) as made:
        time.sleep(0.5)
        assert folder.written == [], "before it has begun it cannot stand still"
        made.alive()
        wait(lambda: folder.written)
        time.sleep(0.6)
        assert [why for why, _ in folder.written] == ["stalled"]
        assert b"event=stalled seconds=0." in folder.written[0][1]
        assert b"stuck\\n" in folder.written[0][1]
        assert b"stand_still" in folder.written[0][1]
    assert folder.written[1][1].count(b"event=stalled") == 1
    released.set()
    thread.join()


def test_a_loop_that_is_held_up_is_told_of_while_it_is(make: Make, folder: Folder) -> None:
    """Nothing of asyncio gets on meanwhile: the file must not need it."""

    async def lives(made: Recorder) -> list[str]:
        for _ in range(5):
            made.alive()
            await asyncio.sleep(0.02)
        hold_up()
        return [why for why, _ in folder.written]

    def hold_up() -> None:
        end = time.monotonic() + 20
        while not folder.written and time.monotonic() < end:
            time.sleep(0.05)

    with make(stall_seconds=0.3) as made:
        assert asyncio.run(lives(made)) == ["stalled"]
    assert b"MainThread\\n" in folder.written[0][1]
    assert b"hold_up" in folder.written[0][1]


def test_an_agent_that_gets_on_is_not_taken_for_one_that_stands_still(make: Make, folder: Folder) -> None:
    with make(stall_seconds=0.5) as made:
        for _ in range(20):
            made.alive()
            time.sleep(0.05)
        assert folder.written == []


def test_an_error_that_ends_the_agent_is_in_the_last_file(make: Make, folder: Folder) -> None:
    with pytest.raises(ZeroDivisionError), make():
        raise ZeroDivisionError("why")
    [(why, data)] = folder.written
    assert why == "crashed"
    assert b"ZeroDivisionError('why')" in data


def test_the_timeline_has_what_was_dropped_by_reason() -> None:
    look = Look(9.0, {"ready": True}, {(36, Verdict.DROP): (7, 700), (11, Verdict.TX): (5, 500)}, {36: 3}, {36: 1})
    made = Dump("asked", 10.0, "1.2.3", [packet(1), packet(2), packet(3, Reason.NO_FLOW)], [event(4, text="t")], 2, look)
    told = dump.timeline(made)
    assert (told["format"], told["why"], told["time"], told["version"], told["events_forgotten"]) == (1, "asked", 10.0, "1.2.3", 2)
    assert told["agent"] == {"seen": 9.0, "ready": True}
    assert told["drops"] == [
        {"reason": "NO_SERVICE", "packets": 7, "bytes": 700, "in_file": 2, "beyond_rate": 3, "lost": 1},
        {"reason": "NO_FLOW", "packets": 0, "bytes": 0, "in_file": 1, "beyond_rate": 0, "lost": 0},
    ]
    assert told["events"] == [{"time": 4.0, "level": "info", "part": "api", "event": "audit", "fields": {"text": "t"}}]
    assert dump.timeline(Dump("stalled", 1.0, "", [], []))["agent"] is None


def test_every_guard_is_an_event_that_there_is_and_the_page_on_operations_has_it() -> None:
    sources = "".join(path.read_text() for path in python_files("agent/l4lb_agent"))
    page = (ROOT / "docs/operations.md").read_text().partition("## The flight recorder")[2].partition("\n## ")[0]
    for name, meaning in guards.GUARDS.items():
        assert f"event={name}" in sources, name
        assert f"| `{name}` | {meaning[0].upper()}{meaning[1:]}" in page, name
