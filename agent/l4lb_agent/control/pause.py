"""Waiting for something to happen, for a limited time."""

import asyncio


async def heard(event: asyncio.Event, seconds: float | None) -> bool:
    """Whether `event` is set within so many seconds (None: waits for ever). It is cleared.

    Not asyncio.wait_for: before Python 3.12 that loses a cancellation which comes together with the event."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True
