"""A command that runs while a test goes on."""

import queue
import re
import subprocess
import threading
from collections.abc import Sequence


class Program:
    """Its lines, of both outputs, are taken as they come; `lines` are all that have come."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._lines.put(self.lines[-1])
        self._lines.put(None)

    def until(self, pattern: str, within: float = 20.0) -> list[str]:
        """The lines that came until one matches, with it."""
        taken: list[str] = []
        while not taken or not re.search(pattern, taken[-1]):
            try:
                line = self._lines.get(timeout=within)
            except queue.Empty:
                line = None
            assert line is not None, f"no line is like {pattern}: {taken}"
            taken.append(line)
        return taken

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    def wait(self, within: float = 20.0) -> int:
        """Exit code."""
        return self._process.wait(within)

    def end(self) -> None:
        """SIGKILL, unless it has ended."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        if self._process.stdout:
            self._process.stdout.close()
