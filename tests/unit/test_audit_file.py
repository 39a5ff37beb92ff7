"""The audit on a real disk: it only grows, survives rotation, and says when it cannot be written."""

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from l4lb_agent.system.audit import MOST_READ, NAME, AuditFile


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[AuditFile]:
    made = AuditFile(tmp_path)
    yield made
    made.close()


def content(folder: Path) -> bytes:
    return (folder / NAME).read_bytes()


def test_lines_are_appended_to_what_is_there_and_only_the_owner_may_read(audit: AuditFile, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"before\n")
    audit.append([b"one\n", b"two\n"])
    audit.append([b"three\n"])
    assert content(tmp_path) == b"before\none\ntwo\nthree\n"
    (tmp_path / NAME).unlink()
    audit.append([b"four\n"])
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_append_returns_after_fdatasync(audit: AuditFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    real = os.fdatasync

    def fdatasync(fd: int) -> None:
        real(fd)
        synced.append(content(tmp_path))

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    audit.append([b"one\n", b"two\n"])
    assert synced == [b"one\ntwo\n"]


def test_after_a_rotation_lines_go_to_a_new_file(audit: AuditFile, tmp_path: Path) -> None:
    audit.append([b"one\n"])
    (tmp_path / NAME).rename(tmp_path / "audit.jsonl.1")
    audit.append([b"two\n"])
    assert (tmp_path / "audit.jsonl.1").read_bytes() == b"one\n"
    assert content(tmp_path) == b"two\n"


def test_somebody_elses_lines_are_never_written_over(audit: AuditFile, tmp_path: Path) -> None:
    audit.append([b"one\n"])
    with (tmp_path / NAME).open("ab") as other:
        other.write(b"other\n")
    audit.append([b"two\n"])
    assert content(tmp_path) == b"one\nother\ntwo\n"


def test_a_line_that_a_crash_cut_short_stays_a_line_of_its_own(audit: AuditFile, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b'{"whole":1}\n{"to')
    audit.append([b"one\n"])
    assert content(tmp_path) == b'{"whole":1}\n{"to\none\n'


def test_a_symbolic_link_a_fifo_or_a_folder_in_its_place_is_refused(audit: AuditFile, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"kept")
    path = tmp_path / NAME
    path.symlink_to(precious)
    with pytest.raises(OSError, match=NAME):
        audit.append([b"one\n"])
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match="no regular file"):
        audit.append([b"one\n"])
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match=NAME):
        audit.append([b"one\n"])
    path.rmdir()
    audit.append([b"two\n"])
    assert (content(tmp_path), precious.read_bytes()) == (b"two\n", b"kept")


def test_a_full_disk_is_an_error_and_the_next_line_is_whole(audit: AuditFile, tmp_path: Path) -> None:
    audit.append([b"one\n"])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))  # SIGXFSZ is ignored by Python: a write past it fails with EFBIG, or is short
    try:
        with pytest.raises(OSError, match=NAME) as failure:
            audit.append([b"cut short\n"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert failure.value.errno in (errno.ENOSPC, errno.EFBIG)
    audit.append([b"two\n"])
    assert content(tmp_path) == b"one\ncut \ntwo\n"


def test_the_revisions_that_the_last_lines_tell_of_are_found_among_others(audit: AuditFile, tmp_path: Path) -> None:
    assert audit.told() == set(), "there is no file yet"
    lines = [b'{"revision":7,"diff":[{}]}\n', b'{"revision":6,"diff":[{}]}\n', b'{"revision":9,"diff":[]}\n', b'{"outcome":"NOT_FOUND"}\n']
    audit.append([b'{"revision":1,"diff":[{}]}\n', b"x" * MOST_READ + b"\n", *lines, b"[]\n", b'{"torn'])
    assert audit.told() == {6, 7}
    (tmp_path / NAME).unlink()
    os.mkfifo(tmp_path / NAME)
    assert audit.told() == set()
