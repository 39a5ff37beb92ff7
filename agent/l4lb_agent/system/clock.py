"""The host's clocks."""

import time


class SystemClock:
    """The control.ports.Clock of a real host."""

    def time(self) -> float:
        """Unix seconds; steps when the host's time is set."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never step, from an arbitrary origin."""
        return time.monotonic()

    def worked(self) -> float:
        """CPU seconds of the calling thread."""
        return time.thread_time()
