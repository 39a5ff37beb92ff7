"""The recorder's files on disk: STATE_DIR/records/record-TIME-WHY.tar.gz, whole or not there, and only so many of them."""

import os
import time
from pathlib import Path
from typing import Final

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
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(when)) + f".{int(when * 1000) % 1000:03d}Z"
        path, new = self._folder / f"record-{stamp}-{why}.tar.gz", self._folder / "record.new"
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

    def _delete(self) -> None:
        files = sorted(self._folder.glob("record-*.tar.gz"), reverse=True)  # their names begin with the time
        stopped = [path for path in files if path.name.endswith(f"-{STOPPED}.tar.gz")]
        others = [path for path in files if path not in stopped]
        for path in (*stopped[1:], *others[self._most :]):
            path.unlink(missing_ok=True)
