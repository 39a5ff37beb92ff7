"""Runs pytest in several processes at once, each test in one of them: `python -m lab.shards COUNT[/SHARES] [pytest arguments]`.

A process that is done with a test takes the next that nobody has taken, so that all end together. Tests that share a fixture of their
module with the same parameter stay together, since each process would make that fixture anew, and come first, as long as there is
something left to balance them. With SHARES the tests are dealt into that many shares, of which only the first COUNT are run, beside those
marked `always`. `{share}` in an argument stands for the number of the process. The same module is the pytest plugin that takes the tests.
The first process prints as it goes, the others when they are done; every one ends with its own closing line. Exit status: 0 when all tests
passed, else that of a process that failed.
"""

import fcntl
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Hashable, Iterator, Sequence
from typing import Final

import pytest

_VARIABLE: Final = "L4LB_SHARD"  # NUMBER/COUNT/SHARES
_CLAIMED: Final = "L4LB_SHARD_CLAIMED"  # a file with the number of the first company that nobody has taken
_NOTHING_COLLECTED: Final = 5  # pytest's exit status; right for a share of few tests


def place() -> tuple[int, int, int]:
    """Number of this process, count of processes, count of shares; (0, 1, 1) when it runs alone."""
    number, count, shares = os.environ.get(_VARIABLE, "0/1/1").split("/")
    return int(number), int(count), int(shares)


def cpu(among: set[int]) -> int:
    """The CPU of this process's own, as far as there are enough."""
    return sorted(among)[place()[0] % len(among)]


def company(item: pytest.Item) -> Hashable:
    """What tests that must stay together have in common: the module and the parameters of fixtures that outlive a test."""
    call = getattr(item, "callspec", None)
    longer = call and tuple(call.indices[name] for name, scope in call._arg2scope.items() if scope.value != "function")
    return (item.path, longer) if longer else item.nodeid


def companies(items: Sequence[pytest.Item]) -> list[list[pytest.Item]]:
    """Tests that stay together, the largest company first."""
    return sorted((list(group) for _, group in itertools.groupby(items, company)), key=len, reverse=True)


def claims(end: int) -> Iterator[int]:
    """Numbers below `end` that no other process has been given, ascending."""
    with open(os.environ[_CLAIMED], "r+b", buffering=0) as file:
        while True:
            fcntl.flock(file, fcntl.LOCK_EX)
            number = int(os.pread(file.fileno(), 20, 0) or b"0")
            os.pwrite(file.fileno(), b"%d" % (number + 1), 0)
            fcntl.flock(file, fcntl.LOCK_UN)
            if number >= end:
                return
            yield number


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the tests of the shares that are run, in the order in which they are taken."""
    _, running, shares = place()
    always = [item for item in items if item.get_closest_marker("always")]
    dealt = list(enumerate(companies([item for item in items if item not in always])))
    items[:] = [*always, *(item for number, group in dealt if number % shares < running for item in group)]
    config.hook.pytest_deselected(items=[item for number, group in dealt if number % shares >= running for item in group])


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Takes companies as long as there are any. Leaves to pytest what it does about errors of collecting, and collecting alone."""
    if session.testsfailed or session.config.option.collectonly:
        return None
    groups = companies(session.items)
    taken = (item for number in claims(len(groups)) for item in groups[number])
    item = next(taken, None)
    while item is not None:
        following = next(taken, None)  # pytest ends the fixtures that it does not need
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


def run(count: int, shares: int, arguments: Sequence[str]) -> int:
    """Runs the first `count` of `shares` shares in as many processes; returns the exit status."""
    with tempfile.TemporaryFile() as later, tempfile.NamedTemporaryFile() as claimed:
        outputs = [None, *[later] * (count - 1)]
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "pytest", "-p", __spec__.name, *(word.replace("{share}", str(number)) for word in arguments)],
                env=os.environ | {_VARIABLE: f"{number}/{count}/{shares}", _CLAIMED: claimed.name}, stdout=output, stderr=output,
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
