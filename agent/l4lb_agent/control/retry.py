"""How often, how long and with which pauses effects that fail are tried again. Every policy of the agent is here."""

from collections.abc import Awaitable, Callable

import tenacity

Nap = Callable[[float], Awaitable[None]]
Retried = Callable[[tenacity.RetryCallState], None]

KERNEL_PAUSE = (0.05, 2.0)  # seconds, first and longest, between tries of a plan that the kernel refused
LOOKUP_PAUSE = (0.05, 2.0)  # of looking at the network
ATTACH_PAUSE = (0.2, 5.0)  # of attaching to an interface that is missing or taken


def until_done(pause: tuple[float, float], nap: Nap, retried: Retried) -> tenacity.AsyncRetrying:
    """Tries again after every OSError, for as long as the agent runs, with pauses that double from the first to the longest one.

    `nap` sleeps and may return early when something has changed; `retried` is told of every failure."""
    first, longest = pause
    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(OSError),
        wait=tenacity.wait_exponential(multiplier=first, min=first, max=longest),
        stop=tenacity.stop_never,
        sleep=nap,
        before_sleep=retried,
        reraise=True,
    )
