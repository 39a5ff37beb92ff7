"""Plants one fault, looks with two commands, cures it, and says what was not as it should be."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from lab.faults.planted import Fault
from lab.faults.scene import Scene, scene
from lab.traffic import LoadFailed


@dataclass(frozen=True)
class Played:
    """What was typed and answered, in order, and what was missing: nothing when the cause was found and cured."""

    transcript: tuple[str, ...]
    missing: tuple[str, ...]


def play(fault: Fault) -> Played:
    """All of one fault, in a laboratory of its own."""
    with scene(ports=fault.ports) as made:
        missing = _unserved(made, "before")
        made.start_traffic()
        fault.plant(made)
        if fault.gone and not made.eventually(lambda: made.finds(fault.gone)):
            missing.append(f"{fault.gone} is not found: {sorted(made.found())}")
        with _meanwhile(fault, made):
            first = made.l4lbctl(*fault.first.split(), target=made.remote.target if fault.elsewhere else "")
            second = made.l4lbctl(*fault.second.split())
        missing += [f"{fault.first}: {words}" for words in fault.told if words not in first]
        missing += [f"{fault.second}: {words}" for words in fault.shown if words not in second]
        fault.cure(made)
        if fault.gone and not made.eventually(lambda: not made.finds(fault.gone)):
            missing.append(f"{fault.gone} is still found: {sorted(made.found())}")
        if not made.eventually(lambda: made.client.agent().ready):
            missing.append(f"the agent is not ready: {made.client.agent().not_ready_reason}")
        missing += _unserved(made, "after")
        return Played(tuple(made.said), tuple(missing))


def _unserved(made: Scene, when: str) -> list[str]:
    """What clients complain of."""
    errors = made.requests()["errors"]
    return [f"clients {when} it: {errors}"] if errors else []


@contextlib.contextmanager
def _meanwhile(fault: Fault, made: Scene) -> Iterator[None]:
    done = threading.Event()

    def work() -> None:
        while not done.wait(0.2):
            with contextlib.suppress(LoadFailed):
                fault.meanwhile(made)

    thread = threading.Thread(target=work, name="meanwhile")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
