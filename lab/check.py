"""Promises and whether they held, printed as they are checked."""

import sys
import time


class Checks:
    """Collects what was promised; a demo or test ends well only if all of it held."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self.held = 0
        self._began = time.monotonic()

    def step(self, title: str) -> None:
        """Begin a step; prints it with the seconds since the beginning."""
        print(f"\n[{time.monotonic() - self._began:5.1f} s] {title}", flush=True)

    def that(self, promise: str, held: bool, seen: object = "") -> bool:
        """Record and print whether `promise` held, with what was seen. Returns `held`."""
        if held:
            self.held += 1
        else:
            self.broken.append(promise)
        print(f"  {'ok  ' if held else 'FAIL'}  {promise}{f': {seen}' if seen != '' else ''}", flush=True)
        return held

    def equal(self, promise: str, seen: object, expected: object) -> bool:
        """Record whether `seen` is `expected`; both are printed when it is not."""
        return self.that(promise, seen == expected, seen if seen == expected else f"{seen}, not {expected}")

    def note(self, text: str) -> None:
        """Print something that is not a promise."""
        print(f"        {text}", flush=True)

    def failed(self, failure: BaseException) -> None:
        """Record that a step could not be finished."""
        self.broken.append(str(failure) or type(failure).__name__)
        print(f"  FAIL  {type(failure).__name__}: {failure}", file=sys.stdout, flush=True)
