"""Runs pytest in several processes at once, each with every n-th test: `python -m lab.shards COUNT[/SHARES] [pytest arguments]`.

With SHARES the tests are dealt into that many shares, of which only the first COUNT are run. Tests that share a fixture of their module
with the same parameter stay together, since each process would make that fixture anew. `{share}` in an argument stands for the number of
the process. The same module is the pytest plugin that leaves a process only its share. The first process prints as it goes, the others
when they are done; every one ends with its own closing line. Exit status: 0 when all tests passed, else that of a process that failed.
"""

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Hashable, Sequence
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


def company(item: pytest.Item) -> Hashable:
    """What tests that must stay together have in common: the module and the parameters of fixtures that outlive a test."""
    call = getattr(item, "callspec", None)
    longer = call and tuple(call.indices[name] for name, scope in call._arg2scope.items() if scope.value != "function")
    return (item.path, longer) if longer else item.nodeid


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves every n-th test, or company of tests."""
    number, count = share()
    groups = [list(group) for _, group in itertools.groupby(items, company)]
    items[:] = itertools.chain.from_iterable(groups[number::count])
    config.hook.pytest_deselected(items=[item for i, group in enumerate(groups) if i % count != number for item in group])


def run(count: int, shares: int, arguments: Sequence[str]) -> int:
    """Runs the first `count` of `shares` shares, each in a process; returns the exit status."""
    with tempfile.TemporaryFile() as later:
        outputs = [None, *[later] * (count - 1)]
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "pytest", "-p", __spec__.name, *(word.replace("{share}", str(number)) for word in arguments)],
                env=os.environ | {_VARIABLE: f"{number}/{shares}"}, stdout=output, stderr=output,
            )
            for number, output in enumerate(outputs)
        ]  # fmt: skip
        statuses = {process.wait() for process in started}
        later.seek(0)
        sys.stdout.write(later.read().decode(errors="replace"))
    failed = statuses - {0, _NOTHING_COLLECTED}
    if failed:
        return max(failed)
    return 0 if 0 in statuses else _NOTHING_COLLECTED


if __name__ == "__main__":
    processes, _, dealt = sys.argv[1].partition("/")
    sys.exit(run(int(processes), int(dealt or processes), sys.argv[2:]))
