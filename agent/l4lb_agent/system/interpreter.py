"""Python itself, kept from holding the event loop up while threads work for ten thousand backends.

The garbage collector's look at all objects takes 0.1 s and more. What has survived one that took long is what the agent is made of, its
state above all. That goes when nobody holds it any more, which needs no collector, so it is not looked at again; what comes later is.

A thread that has the interpreter keeps it for a while although another one waits, 5 ms as Python comes. The event loop waits for so long,
and for each thread that works, every few lines.
"""

import gc
import sys
import time

LONG_SECONDS = 0.01
TURN_SECONDS = 0.001


class _Spare:
    def __init__(self) -> None:
        self._began = 0.0

    def __call__(self, phase: str, information: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
        elif information["generation"] == 2 and time.thread_time() - self._began > LONG_SECONDS:
            gc.freeze()


def spare() -> None:
    """From now on, in this process."""
    gc.callbacks.append(_Spare())
    sys.setswitchinterval(TURN_SECONDS)
