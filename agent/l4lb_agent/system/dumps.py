"""The recorder's files on disk: STATE_DIR/records/record-TIME-WHY.tar.gz, whole or not there, and only so many of them."""

import calendar
import contextlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from l4lb_agent.model.capture.kept import KeptDump

NAME: Final = "records"
STOPPED: Final = "stopped"  # one that was written because the agent was told to stop, of which one is kept beside the others
_ID: Final = re.compile(r"(\d{8}T\d{6})\.(\d{3})Z-([a-z_]+)")


class DumpFolder:
    """The control.ports.DumpFolder of a real disk. `most` files are kept, the newest."""

    def __init__(self, state_dir: Path, most: int) -> None:
        self._folder, self._most = state_dir / NAME, most

    def write(self, why: str, when: float, data: bytes) -> str:
        """Write one whole file, of Unix time `when`, and delete those that are too many; its path. Raises OSError: then there is no new
        file, and none was deleted."""
        self._folder.mkdir(mode=0o750, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(when)) + f".{int(when * 1000) % 1000:03d}Z"
        path, new = self._path(f"{stamp}-{why}"), self._folder / "record.new"
        new.unlink(missing_ok=True)
        try:
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.rename(path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        self._delete()
        return str(path)

    def kept(self) -> Sequence[KeptDump]:
        """Every file, the oldest first. Raises OSError."""
        return sorted(self._found(), key=lambda one: one.id)

    def open(self, dump_id: str) -> BinaryIO:
        """The file of that id, to be closed by the caller; it can be read to its end although it is deleted meanwhile. Raises
        FileNotFoundError when there is none, and other OSErrors."""
        if not _ID.fullmatch(dump_id):
            raise FileNotFoundError(dump_id)
        return open(os.open(self._path(dump_id), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")

    def _found(self) -> Iterator[KeptDump]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                dump_id = entry.name.removeprefix("record-").removesuffix(".tar.gz")
                matched = _ID.fullmatch(dump_id)
                if not matched or entry.path != str(self._path(dump_id)) or not entry.is_file(follow_symlinks=False):
                    continue
                with contextlib.suppress(FileNotFoundError, ValueError):  # deleted meanwhile; a name that is no time
                    seconds = calendar.timegm(time.strptime(matched[1], "%Y%m%dT%H%M%S"))
                    yield KeptDump(dump_id, seconds + int(matched[2]) / 1000, matched[3], entry.stat(follow_symlinks=False).st_size)

    def _path(self, dump_id: str) -> Path:
        return self._folder / f"record-{dump_id}.tar.gz"

    def _delete(self) -> None:
        files = sorted(self._folder.glob("record-*.tar.gz"), reverse=True)  # their names begin with the time
        stopped = [path for path in files if path.name.endswith(f"-{STOPPED}.tar.gz")]
        others = [path for path in files if path not in stopped]
        for path in (*stopped[1:], *others[self._most :]):
            path.unlink(missing_ok=True)
