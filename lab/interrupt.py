"""Ends by signal: the first one ends the work, none interrupts the cleaning."""

import signal
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def once() -> None:
    """From here on the first SIGINT, SIGTERM or SIGHUP raises KeyboardInterrupt in the main thread; later ones are ignored."""
    for number in _SIGNALS:
        signal.signal(number, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
