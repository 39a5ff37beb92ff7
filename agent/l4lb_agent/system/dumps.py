"""The recorder's files on disk: STATE_DIR/records/record-TIME-WHY.tar.gz, whole or not there, and only so many of them."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from l4lb_agent.model.capture import kept
from l4lb_agent.model.capture.kept import KeptDump

NAME: Final = "records"
STOPPED: Final = "stopped"  # one that was written because the agent was told to stop, of which one is kept beside the others


class DumpFolder:
    """The control.ports.DumpFolder of a real disk. `most` files are kept, the newest."""

    def __init__(self, state_dir: Path, most: int) -> None:
        self._folder, self._most = state_dir / NAME, most

    def write(self, why: str, when: float, data: bytes) -> str:
        """Write one whole file, of Unix time `when`, and delete those that are too many; its path. Raises OSError: then there is no new
        file, and none was deleted."""
        self._folder.mkdir(mode=0o750, exist_ok=True)
        path, new = self._path(kept.id_of(when, why)), self._folder / "record.new"
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
        if not kept.ID.fullmatch(dump_id):
            raise FileNotFoundError(dump_id)
        return open(os.open(self._path(dump_id), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")

    def _found(self) -> Iterator[KeptDump]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                dump_id = entry.name.removeprefix("record-").removesuffix(".tar.gz")
                if entry.path != str(self._path(dump_id)) or not entry.is_file(follow_symlinks=False):
                    continue
                with contextlib.suppress(FileNotFoundError, ValueError):  # deleted meanwhile; a name that is no time
                    yield kept.named(dump_id, entry.stat(follow_symlinks=False).st_size)

    def _path(self, dump_id: str) -> Path:
        return self._folder / f"record-{dump_id}.tar.gz"

    def _delete(self) -> None:
        files = sorted(self._folder.glob("record-*.tar.gz"), reverse=True)  # their names begin with the time
        stopped = [path for path in files if path.name.endswith(f"-{STOPPED}.tar.gz")]
        others = [path for path in files if path not in stopped]
        for path in (*stopped[1:], *others[self._most :]):
            path.unlink(missing_ok=True)
