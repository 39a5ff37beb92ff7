"""Python's garbage collector, kept from stopping everything: with ten thousand backends a look at all objects takes 0.1 s and more.

What has survived one that took long is what the agent is made of, its state above all. That goes when nobody holds it any more, which needs
no collector, so it is not looked at again; what comes later is.
"""

import gc
import time

LONG_SECONDS = 0.02


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
