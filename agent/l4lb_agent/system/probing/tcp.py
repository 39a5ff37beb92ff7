"""Connects, and closes by RST. With `send` or `expect` it says something, and looks at how the answer begins."""

from l4lb_agent.model.health.check import HealthCheck, Target
from l4lb_agent.model.health.outcome import Why
from l4lb_agent.system.probing.connection import Connection, Progress
from l4lb_agent.system.probing.failure import Failed, printable


async def tcp(check: HealthCheck, target: Target, progress: Progress) -> str:
    """What was seen. Raises OSError, Failed."""
    async with Connection(target, progress) as connection:
        if check.send:
            await connection.send(check.send)
        answer = b""
        while len(answer) < len(check.expect) and check.expect.startswith(answer):
            data = await connection.receive()
            if not data:
                raise Failed(Why.RESET, "closed before the answer was whole")
            answer += data
        if not answer.startswith(check.expect):
            raise Failed(Why.ANSWER, f"answered {printable(answer[:80])!r}")
    return "answered as expected" if check.expect else "connected"
