"""What Python's garbage collector and threads are kept from."""

import gc
import sys
from collections.abc import Iterator

import pytest

from l4lb_agent.system import interpreter


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before, turn = list(gc.callbacks), sys.getswitchinterval()
    interpreter.spare()
    yield
    sys.setswitchinterval(turn)
    gc.callbacks[:] = before
    gc.unfreeze()


class Node:
    """Points at itself."""

    alive = 0

    def __init__(self) -> None:
        self.me = self
        Node.alive += 1

    def __del__(self) -> None:
        Node.alive -= 1


def test_what_outlived_a_long_look_is_not_looked_at_again_and_what_comes_later_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "LONG_SECONDS", 0.0)
    kept = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    gc.collect()
    assert gc.get_freeze_count() >= len(kept)
    Node()
    gc.collect()
    assert Node.alive == 0


def test_a_short_look_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "LONG_SECONDS", 1000.0)
    before = gc.get_freeze_count()
    gc.collect()
    assert gc.get_freeze_count() == before


def test_threads_take_shorter_turns_than_python_lets_them() -> None:
    assert sys.getswitchinterval() == pytest.approx(interpreter.TURN_SECONDS)
    assert interpreter.TURN_SECONDS < 0.005
