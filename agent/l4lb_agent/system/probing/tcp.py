"""Connects, and closes by RST. With `send` or `expect` it says something, and looks at how the answer begins."""

from l4lb_agent.model.health.check import HealthCheck, Target
from l4lb_agent.system.probing.connection import Connection, Progress
from l4lb_agent.system.probing.failure import too_early, unexpected


async def tcp(check: HealthCheck, target: Target, progress: Progress) -> str:
    """What was seen. Raises OSError, Failed."""
    async with Connection(target, progress) as connection:
        if check.send:
            await connection.send(check.send)
        answer = b""
        while len(answer) < len(check.expect) and check.expect.startswith(answer):
            data = await connection.receive()
            if not data:
                raise too_early()
            answer += data
        if not answer.startswith(check.expect):
            raise unexpected(answer)
    return "answered as expected" if check.expect else "connected"
