"""What the recorder is fed while the agent runs, and its files on disk."""

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from l4lb_agent.api import audit as api_audit
from l4lb_agent.control.captures import Captures, Names
from l4lb_agent.control.facade import AgentView
from l4lb_agent.control.recorder import dump, recording
from l4lb_agent.control.recorder.recorder import Recorder
from l4lb_agent.control.recorder.recording import Recording
from l4lb_agent.control.sampler import Sampler
from l4lb_agent.model.capture.kept import KeptDump
from l4lb_agent.model.capture.layout import RECORDER
from l4lb_agent.model.capture.taken import Captured
from l4lb_agent.model.errors import FailedPrecondition, NotFound, Unavailable
from l4lb_agent.model.mapspec import Sizes
from l4lb_agent.model.observed import Counters
from l4lb_agent.model.reasons import Reason, Verdict
from l4lb_agent.system import log
from l4lb_agent.system.dumps import DumpFolder
from tests.fakes.datapath import FakeDatapath
from tests.fakes.world import FakeClock

VIEW = AgentView(True, "", 5, 5, [], [], [], 1.0, 2, 0, [])


class Fed:
    """A recording over a fake kernel, and what is seen of the agent."""

    def __init__(self, *, records: bool = True) -> None:
        self.datapath, self.clock = FakeDatapath(Sizes()), FakeClock()
        self.warnings: list[tuple[str, str]] = []
        self.refused = False
        self.drops: dict[tuple[int, int], tuple[int, int]] = {}
        self.datapath.counters = lambda: Counters({}, {}, dict(self.drops), 0.0)  # type: ignore[method-assign]
        captures = Captures(self.datapath, self.clock, Names)
        self.sampler = Sampler(self.datapath, self.clock, lambda: False, dict)
        self.recorder = Recorder(self.clock, DumpFolder(Path("/nowhere"), 1), lambda _: b"", "1.2.3", 60)
        self.recording = Recording(self.recorder if records else None, captures, self.sampler, self.datapath, self.clock, self.agent)

    def agent(self) -> AgentView:
        """GetAgent's answer."""
        if self.refused:
            raise Unavailable("the maps cannot be read", reason="MAPS_UNREADABLE")
        return replace(VIEW, warnings=list(self.warnings))


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Lines since the last call."""
    lines = [record.getMessage() for record in caplog.records if record.name == recording.__name__]
    caplog.clear()
    return lines


async def test_what_was_dropped_until_now_is_in_a_dump() -> None:
    fed = Fed()
    task = asyncio.create_task(fed.recording.run())
    while not fed.datapath.recorder_until:
        await asyncio.sleep(0.01)
    fed.datapath.hand_over(Captured(0, 2, Reason.NO_FLOW, Verdict.DROP, 0, 0, frozenset({RECORDER}), 3, b"abc", 0, b""))
    fed.drops = {(Reason.NO_FLOW, Verdict.DROP): (9, 900)}
    fed.datapath.recorder_counts = {Reason.NO_FLOW: (8, 0)}
    fed.clock.ahead += 1
    made = dump.timeline(await fed.recording.dump())
    assert made["drops"] == [{"reason": "NO_FLOW", "packets": 9, "bytes": 900, "in_file": 1, "beyond_rate": 8, "lost": 0}]
    assert (made["agent"]["revision"], made["agent"]["interfaces"]) == (5, [])
    json.dumps(made)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_an_agent_that_does_not_record_says_so_and_asks_the_datapath_for_nothing() -> None:
    fed = Fed(records=False)
    await fed.recording.run()
    assert fed.datapath.recorder_until == 0
    with pytest.raises(FailedPrecondition, match="agent.toml") as refused:
        await fed.recording.dump()
    assert refused.value.reason == "RECORDER_OFF"


async def test_warnings_are_told_when_they_begin_and_when_they_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fed = Fed()
    fed.recording.warned.append(lambda: [("AUDIT_FAILED", "the disk is full")])
    fed.warnings = [("FLOW_TABLE_FILLING", "80 of 100")]
    await fed.recording.dump()
    assert told(caplog) == [
        "event=warning_began reason=AUDIT_FAILED message='the disk is full'",
        "event=warning_began reason=FLOW_TABLE_FILLING message='80 of 100'",
    ]
    fed.warnings = [("FLOW_TABLE_FILLING", "81 of 100")]
    await fed.recording.dump()
    assert told(caplog) == []
    fed.warnings, fed.recording.warned[:] = [], []
    await fed.recording.dump()
    assert told(caplog) == ["event=warning_ended reason=AUDIT_FAILED", "event=warning_ended reason=FLOW_TABLE_FILLING"]


async def test_a_flood_of_drops_is_told_once_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fed = Fed()
    total = 0

    async def look(more: int) -> list[str]:
        nonlocal total
        total += more
        fed.drops = {(Reason.NO_SERVICE, Verdict.DROP): (total, 0), (Reason.NO_FLOW, Verdict.DROP): (3, 0)}
        fed.clock.ahead += 5
        await fed.recording.dump()
        return told(caplog)

    assert await look(10_000_000) == [], "what was before the agent's start is no flood"
    assert await look(4 * recording.SURGE) == []
    [line] = await look(6 * recording.SURGE)
    assert line.startswith("event=drops_surged reason=NO_SERVICE rate=1")
    assert await look(6 * recording.SURGE) == []
    assert await look(3 * recording.SURGE) == []
    assert await look(6 * recording.SURGE) == [], "it has not ended"
    assert await look(0) == []
    assert len(await look(6 * recording.SURGE)) == 1


async def test_what_cannot_be_read_now_is_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    fed = Fed()
    await fed.recording.dump()
    before = fed.recorder.look
    fed.refused = True
    fed.clock.ahead += 9
    assert (await fed.recording.dump()).look is before


def test_so_many_files_are_kept_and_one_more_of_a_stop(tmp_path: Path) -> None:
    folder = DumpFolder(tmp_path, 3)
    for number in range(6):
        folder.write("apply_failed", 1_800_000_000 + number, b"guard %d" % number)
        last = folder.write("stopped", 1_800_000_000.5 + number, b"stop")
    kept = sorted(path.name for path in (tmp_path / "records").iterdir())
    assert kept == [
        "record-20270115T080003.000Z-apply_failed.tar.gz", "record-20270115T080004.000Z-apply_failed.tar.gz",
        "record-20270115T080005.000Z-apply_failed.tar.gz", "record-20270115T080005.500Z-stopped.tar.gz",
    ]  # fmt: skip
    assert last == str(tmp_path / "records" / kept[-1])
    assert (tmp_path / "records" / kept[0]).read_bytes() == b"guard 3"
    assert (tmp_path / "records" / kept[0]).stat().st_mode & 0o777 == 0o600


def test_a_file_that_an_agent_could_not_finish_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records/record.new").write_bytes(b"half")
    (tmp_path / "records/notes.txt").write_text("somebody's")
    DumpFolder(tmp_path, 1).write("failed", 0.0, b"whole")
    assert sorted(os.listdir(tmp_path / "records")) == ["notes.txt", "record-19700101T000000.000Z-failed.tar.gz"]


def test_files_are_listed_by_time_and_read_although_they_are_deleted_meanwhile(tmp_path: Path) -> None:
    folder = DumpFolder(tmp_path, 1)
    assert folder.kept() == []
    folder.write("stopped", 1_800_000_009.25, b"stop")
    folder.write("apply_failed", 1_800_000_001.5, b"guard")
    (tmp_path / "records/record-20269999T999999.000Z-failed.tar.gz").write_bytes(b"at no time")
    (tmp_path / "records/record.new").write_bytes(b"half")
    (tmp_path / "records/20270115T080001.500Z-failed").write_bytes(b"another name")
    assert folder.kept() == [
        KeptDump("20270115T080001.500Z-apply_failed", 1_800_000_001.5, "apply_failed", 5),
        KeptDump("20270115T080009.250Z-stopped", 1_800_000_009.25, "stopped", 4),
    ]
    with folder.open("20270115T080001.500Z-apply_failed") as file:
        folder.write("apply_failed", 1_800_000_002.5, b"newer")
        assert file.read() == b"guard"
    with pytest.raises(FileNotFoundError):
        folder.open("20270115T080001.500Z-apply_failed")


@pytest.mark.parametrize("dump_id", ["", "../journal", "20270115T080001.500Z-x/../../secret"])
def test_nothing_but_a_dump_is_opened(tmp_path: Path, dump_id: str) -> None:
    folder = DumpFolder(tmp_path, 1)
    folder.write("failed", 0.0, b"whole")
    (tmp_path / "secret").write_text("the journal")
    (tmp_path / "records/record-20270115T080001.500Z-x.tar.gz").symlink_to(tmp_path / "secret")
    with pytest.raises(FileNotFoundError):
        folder.open(dump_id)
    with pytest.raises(OSError, match="symbolic links"):
        folder.open("20270115T080001.500Z-x")
    assert [one.cause for one in folder.kept()] == ["failed"]


async def test_files_of_a_disk_that_fails_or_of_no_recorder_are_refused_in_words(tmp_path: Path) -> None:
    fed = Fed()
    (tmp_path / "records").write_text("no folder")
    fed.recorder.folder = DumpFolder(tmp_path, 1)
    for ask in (fed.recording.kept(), fed.recording.open("20270115T080001.500Z-failed")):
        with pytest.raises(Unavailable, match="cannot be read: .*Not a directory"):
            await ask
    fed.recorder.folder = DumpFolder(tmp_path / "nowhere", 1)
    assert await fed.recording.kept() == []
    with pytest.raises(NotFound, match="dumps/20270115T080001.500Z-failed does not exist"):
        await fed.recording.open("20270115T080001.500Z-failed")
    without = Fed(records=False).recording
    for ask in (without.kept(), without.open("20270115T080001.500Z-failed")):
        with pytest.raises(FailedPrecondition, match="enabled"):
            await ask


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def test_the_recorder_hears_more_than_the_log_takes(root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    lines = log.start("warning")
    heard: list[dict[str, str]] = []
    end = log.listen(lambda line: heard.append(line.named))
    ours, audit = logging.getLogger("l4lb_agent.control.monitor"), logging.getLogger(api_audit.__name__)
    assert audit.level == logging.INFO, "the audit has a level of its own"
    ours.info("event=attached interface=%s", "eth0")
    audit.info("event=audit who=%s", "me")
    ours.debug("event=hidden")
    log.set_level("error")
    ours.warning("event=mode_changed mode=%s", "generic")
    end()
    ours.warning("event=after")
    lines.drain(20)
    assert [line["event"] for line in heard] == ["attached", "audit", "mode_changed"]
    assert heard[0] == {"part": "control.monitor", "event": "attached", "interface": "eth0"}
    assert [line.split("event=")[1] for line in capsys.readouterr().err.splitlines()] == ["audit who=me"]


def test_a_listener_that_fails_fails_nobody(root_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.start("info")
    end = log.listen(lambda _: 1 / 0)  # type: ignore[arg-type, return-value]
    logging.getLogger("l4lb_agent").warning("event=x")
    end()
