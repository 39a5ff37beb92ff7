"""The journal on disk survives whatever happens to its file, and says what it lost."""

import errno
import io
import json
import os
import random
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from l4lb_agent.system import frames
from l4lb_agent.system.disk import JournalFile
from l4lb_agent.system.frames import Record

RECORDS: list[Record] = [{"revision": number, "kind": "change", "name": f"services/wéb-{number}"} for number in range(20)]


@contextmanager
def journal(folder: Path) -> Iterator[JournalFile]:
    file = JournalFile(folder)
    try:
        yield file
    finally:
        file.close()


def load(folder: Path) -> tuple[list[Record], str]:
    with journal(folder) as file:
        return file.load(), file.damage


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder whose journal holds RECORDS."""
    with journal(tmp_path) as file:
        assert file.load() == []
        file.append(RECORDS[:5])
        for record in RECORDS[5:]:
            file.append([record])
    return tmp_path


def kept_aside(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.startswith("journal.corrupt-"))


def test_what_was_appended_is_loaded_in_order_and_goes_on(written: Path) -> None:
    with journal(written) as file:
        assert (file.load(), file.damage) == (RECORDS, "")
        file.append([{"revision": 20}])
    assert load(written) == ([*RECORDS, {"revision": 20}], "")
    assert stat.S_IMODE((written / "journal").stat().st_mode) == 0o600


def test_a_snapshot_replaces_everything(written: Path) -> None:
    with journal(written) as file:
        file.load()
        file.snapshot({"revision": 19, "kind": "snapshot"})
        file.append([{"revision": 20}])
    assert load(written) == ([{"revision": 19, "kind": "snapshot"}, {"revision": 20}], "")
    assert sorted(os.listdir(written)) == ["journal", "journal.lock", "journal.previous"]


@pytest.mark.parametrize("tenth", range(11))
def test_a_file_cut_anywhere_gives_its_whole_records_and_takes_new_ones(written: Path, tenth: int) -> None:
    data = (written / "journal").read_bytes()
    cut = data[: len(data) * tenth // 10]
    (written / "journal").write_bytes(cut)
    whole = cut.count(b"\n")
    torn = not cut.endswith(b"\n") and cut != b""
    with journal(written) as file:
        assert file.load() == RECORDS[:whole]
        assert bool(file.damage) == torn
        file.append([{"revision": 99}])
    assert load(written) == ([*RECORDS[:whole], {"revision": 99}], "")
    assert len(kept_aside(written)) == torn
    if torn:
        assert (written / "journal.corrupt-1").read_bytes() == cut[cut.rfind(b"\n") + 1 :]


def test_a_flipped_bit_costs_its_record_and_what_follows_and_nothing_else(written: Path) -> None:
    dice, data = random.Random(3), (written / "journal").read_bytes()
    for _ in range(100):
        position = dice.randrange(len(data))
        damaged = bytearray(data)
        damaged[position] ^= 1 << dice.randrange(8)
        (written / "journal").write_bytes(damaged)
        records, damage = load(written)
        assert records == RECORDS[: data[:position].count(b"\n")]
        assert "damaged" in damage
        assert (written / kept_aside(written)[-1]).read_bytes()
        for name in kept_aside(written):
            (written / name).unlink()


@pytest.mark.parametrize("length", [0, 1, 99, 100, 101, 250])
def test_a_long_list_encoded_piece_by_piece_is_the_same_json(length: int) -> None:
    record: dict[str, object] = {"revision": 5, "names": [f"\u00fc,[{n}]" for n in range(length)], "more": {"a": [None, 1.5, '"']}}
    line = frames.encode(record)
    assert line[35:-1] == json.dumps(record, separators=(",", ":")).encode()
    assert frames.decode(io.BytesIO(line), len(line)) == ([record], len(line))


@pytest.mark.parametrize("garbage", [b"\0" * 5000, b"hello\n", os.urandom(4096), b"[]\n", b"{}\n" * 9])
def test_garbage_is_kept_aside_and_the_journal_begins_anew(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / "journal").write_bytes(garbage)
    with journal(tmp_path) as file:
        assert file.load() == []
        assert "journal.corrupt-1" in file.damage
        file.append(RECORDS)
    assert (tmp_path / "journal.corrupt-1").read_bytes() == garbage
    assert load(tmp_path) == (RECORDS, "")


def test_a_hundred_megabytes_of_nothing_do_not_stop_the_start(written: Path) -> None:
    with (written / "journal").open("ab") as file:
        file.truncate(100 << 20)
    records, damage = load(written)
    assert records == RECORDS
    assert "damaged" in damage
    (written / "journal.corrupt-1").unlink()


@pytest.mark.parametrize("kind", ["symlink", "dangling", "directory", "fifo"])
def test_what_is_no_regular_file_is_moved_aside_and_never_followed(tmp_path: Path, kind: str) -> None:
    state, target = tmp_path / "state", tmp_path / "target"
    state.mkdir()
    if kind != "dangling":
        target.write_text("not ours")
    if kind == "directory":
        (state / "journal").mkdir()
    elif kind == "fifo":
        os.mkfifo(state / "journal")
    else:
        (state / "journal").symlink_to(target)
    with journal(state) as file:
        assert file.load() == []
        assert "no regular file" in file.damage
        file.append(RECORDS)
    assert load(state) == (RECORDS, "")
    assert kept_aside(state) == ["journal.corrupt-1"]
    assert (target.read_text() if kind != "dangling" else target.exists()) == ("not ours" if kind != "dangling" else False)


def test_a_journal_that_others_may_write_is_closed_to_them(written: Path) -> None:
    (written / "journal").chmod(0o666)
    assert load(written)[0] == RECORDS
    assert stat.S_IMODE((written / "journal").stat().st_mode) == 0o600


def test_a_record_that_goes_back_in_revision_is_damage(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(frames.encode({"revision": 5}) + frames.encode({"revision": 4}))
    records, damage = load(tmp_path)
    assert records == [{"revision": 5}]
    assert damage


@pytest.mark.parametrize("loss", ["first line", "empty", "missing"])
def test_without_a_whole_record_the_journal_before_the_snapshot_is_taken_up(written: Path, loss: str) -> None:
    path = written / "journal"
    with journal(written) as file:
        file.load()
        file.snapshot({"revision": 19, "kind": "snapshot"})
    if loss == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if loss == "empty" else b"x" + path.read_bytes()[1:])
    with journal(written) as file:
        assert file.load() == RECORDS
        assert "before its last snapshot" in file.damage
        file.append([{"revision": 20}])
    assert load(written) == ([*RECORDS, {"revision": 20}], "")


def test_a_snapshot_that_was_not_finished_never_was(written: Path) -> None:
    (written / "journal.new").write_bytes(frames.encode({"revision": 999})[:-4])
    assert load(written) == (RECORDS, "")
    assert not (written / "journal.new").exists()


def test_a_full_disk_leaves_no_half_record_and_passes(written: Path) -> None:
    """A limit on the file's size stands for the full disk: the kernel writes what fits and refuses the rest."""
    size, limits = (written / "journal").stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    with journal(written) as file:
        file.load()
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, limits[1]))
        try:
            for _ in range(3):
                with pytest.raises(OSError, match="append to .*journal: File too large"):
                    file.append([{"revision": 20, "name": "x" * 100}])
                assert (written / "journal").stat().st_size == size
            with pytest.raises(OSError, match="snapshot to .*journal: File too large"):
                file.snapshot({"revision": 20, "name": "x" * 5000})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "journal.new" not in os.listdir(written)
        file.append([{"revision": 20}])
    assert load(written) == ([*RECORDS, {"revision": 20}], "")


@pytest.mark.parametrize("call", ["fdatasync", "pwrite"])
def test_an_io_error_is_raised_and_its_record_never_seen(written: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "broken")

    with journal(written) as file:
        file.load()
        with monkeypatch.context() as patched:
            patched.setattr(os, call, broken)
            with pytest.raises(OSError, match="append to .*Input/output error"):
                file.append([{"revision": 20}])
        file.append([{"revision": 21}])
    assert load(written) == ([*RECORDS, {"revision": 21}], "")


def test_what_could_not_be_taken_back_is_taken_back_by_the_next_append(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "broken")

    with journal(written) as file:
        file.load()
        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", broken)
            patched.setattr(os, "ftruncate", broken)
            with pytest.raises(OSError, match="append to"):
                file.append([{"revision": 20}])
        file.append([{"revision": 21}])
    assert load(written) == ([*RECORDS, {"revision": 21}], "")


def test_a_journal_removed_under_the_agent_is_refused_until_a_snapshot(written: Path) -> None:
    with journal(written) as file:
        file.load()
        (written / "journal").unlink()
        with pytest.raises(OSError, match="removed or cut by somebody else"):
            file.append([{"revision": 20}])
        file.snapshot({"revision": 19, "kind": "snapshot"})
        file.append([{"revision": 20}])
    assert load(written) == ([{"revision": 19, "kind": "snapshot"}, {"revision": 20}], "")


def test_what_is_not_json_is_refused_before_anything_is_written(written: Path) -> None:
    before = (written / "journal").read_bytes()
    with journal(written) as file:
        file.load()
        for value in (b"bytes", float("nan"), {1, 2}):
            with pytest.raises((TypeError, ValueError)):
                file.append([{"revision": 20}, {"revision": 21, "value": value}])
    assert (written / "journal").read_bytes() == before


def test_a_second_agent_is_refused_naming_the_first(written: Path) -> None:
    with journal(written), pytest.raises(BlockingIOError, match=f"another l4lb-agent, pid {os.getpid()}"):
        JournalFile(written)
    assert load(written)[0] == RECORDS


WRITER = """
import sys
from pathlib import Path
from l4lb_agent.system.disk import JournalFile
journal = JournalFile(Path(sys.argv[1]))
journal.load()
for revision in range(1, 1000000):
    journal.append([{"revision": revision, "filler": "x" * (revision % 700)}])
    if revision % 50 == 0:
        journal.snapshot({"revision": revision, "kind": "snapshot"})
    print(revision, flush=True)
"""


def test_every_acknowledged_record_outlives_a_kill(tmp_path: Path) -> None:
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout
            acknowledged = [int(writer.stdout.readline()) for _ in range(120)]
            writer.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in writer.stdout.read().splitlines()]
        records, _ = load(tmp_path)
        revisions = [record["revision"] for record in records]
        assert records[0].get("kind") == "snapshot"
        assert revisions == list(range(int(str(revisions[0])), int(str(revisions[-1])) + 1)), "gapless"
        assert int(str(revisions[-1])) in (acknowledged[-1], acknowledged[-1] + 1)
        for name in ("journal", "journal.previous"):
            (tmp_path / name).unlink()
