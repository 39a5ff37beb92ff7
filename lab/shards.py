"""Runs pytest in several processes at once, each with every n-th test: `python -m lab.shards COUNT [pytest arguments]`.

The same module is the pytest plugin that leaves a process only its share. The first process prints as it goes, the others when they are
done; every one ends with its own closing line. Exit status: 0 when all tests passed, else that of a process that failed.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Final

import pytest

_VARIABLE: Final = "L4LB_SHARD"  # NUMBER/COUNT
_NOTHING_COLLECTED: Final = 5  # pytest's exit status; right for a share of few tests


def share() -> tuple[int, int]:
    """Number of this process and count of all; (0, 1) when it runs alone."""
    number, count = os.environ.get(_VARIABLE, "0/1").split("/")
    return int(number), int(count)


def cpu(among: set[int]) -> int:
    """The CPU of this process's own, as far as there are enough."""
    return sorted(among)[share()[0] % len(among)]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves every n-th test."""
    number, count = share()
    mine = items[number::count]
    config.hook.pytest_deselected(items=[item for i, item in enumerate(items) if i % count != number])
    items[:] = mine


def run(count: int, arguments: Sequence[str]) -> int:
    """Runs all processes; returns the exit status."""
    command = [sys.executable, "-m", "pytest", "-p", __spec__.name, *arguments]
    with tempfile.TemporaryFile() as later:
        outputs = [None, *[later] * (count - 1)]
        started = [
            subprocess.Popen(command, env=os.environ | {_VARIABLE: f"{number}/{count}"}, stdout=output, stderr=output)
            for number, output in enumerate(outputs)
        ]
        statuses = {process.wait() for process in started}
        later.seek(0)
        sys.stdout.write(later.read().decode(errors="replace"))
    failed = statuses - {0, _NOTHING_COLLECTED}
    if failed:
        return max(failed)
    return 0 if 0 in statuses else _NOTHING_COLLECTED


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), sys.argv[2:]))
