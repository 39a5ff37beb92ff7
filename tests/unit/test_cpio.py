"""The archives that an emulated machine boots from, read back by the format's own rules."""

import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.cpio import Archive


@dataclass(frozen=True)
class Member:
    """One member as read back."""

    name: str
    mode: int
    modified: int
    data: bytes


def members(raw: bytes) -> Iterator[Member]:
    """Everything before the end mark. Fields: magic, inode, mode, uid, gid, links, time, size, 4 x device, length of the name, check."""
    offset = 0
    while True:
        assert raw[offset : offset + 6] == b"070701"
        fields = [int(raw[offset + 6 + 8 * i : offset + 14 + 8 * i], 16) for i in range(13)]
        name_length, size = fields[11], fields[6]
        name = raw[offset + 110 : offset + 110 + name_length]
        assert name.endswith(b"\0")
        start = (offset + 110 + name_length + 3) // 4 * 4
        if name == b"TRAILER!!!\0":
            return
        yield Member(name[:-1].decode(), fields[1], fields[5], raw[start : start + size])
        offset = (start + size + 3) // 4 * 4


def written(archive: Archive, out: io.BytesIO) -> list[Member]:
    archive.close()
    return list(members(out.getvalue()))


def test_folders_come_before_what_lies_in_them_and_once() -> None:
    out = io.BytesIO()
    archive = Archive(out)
    archive.file("a/b/one", b"1")
    archive.file("a/b/two", b"22")
    assert [(m.name, m.data) for m in written(archive, out)] == [("a", b""), ("a/b", b""), ("a/b/one", b"1"), ("a/b/two", b"22")]


def test_names_and_contents_of_every_length_keep_their_bytes() -> None:
    out = io.BytesIO()
    archive = Archive(out)
    wanted = {"n" * (1 + length): bytes(range(length)) for length in range(9)}
    for name, data in wanted.items():
        archive.file(name, data)
    assert {m.name: m.data for m in written(archive, out)} == wanted


def test_a_copied_file_keeps_mode_and_time_and_a_link_its_target(tmp_path: Path) -> None:
    file = tmp_path / "tool"
    file.write_bytes(b"#!")
    file.chmod(0o750)
    os.utime(file, (1, 1_600_000_000))
    (tmp_path / "link").symlink_to("tool")
    out = io.BytesIO()
    archive = Archive(out)
    archive.copy(file, "tool")
    archive.copy(tmp_path / "link", "link")
    tool, link = written(archive, out)
    assert (tool.mode, tool.modified, tool.data) == (stat.S_IFREG | 0o750, 1_600_000_000, b"#!")
    assert (link.mode, link.data) == (stat.S_IFLNK | 0o777, b"tool")
