"""Ends by signal: the first one ends the work, none interrupts the cleaning."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def once() -> None:
    """From here on the first SIGINT, SIGTERM or SIGHUP raises KeyboardInterrupt in the main thread; later ones are ignored."""
    for number in _SIGNALS:
        signal.signal(number, _raise)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Signals wait until the end of the `with`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _raise(number: int, frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
