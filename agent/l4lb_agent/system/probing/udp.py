"""Sends a datagram and waits for one, from a port of its own: no answer to an earlier probe can be taken for this one's."""

import asyncio
import socket

from l4lb_agent.model.health.check import HealthCheck, Target
from l4lb_agent.system.probing.connection import Progress, opened
from l4lb_agent.system.probing.failure import unexpected

_LONGEST = 65535


async def udp(check: HealthCheck, target: Target, progress: Progress) -> str:
    """What was seen. Raises OSError, Failed. ICMP errors come as those of the socket."""
    loop = asyncio.get_running_loop()
    with opened(target, socket.SOCK_DGRAM, progress) as door:
        await loop.sock_connect(door, (str(target.address), target.port))
        progress.doing = "waiting for the answer"
        await loop.sock_sendall(door, check.send)
        answer = await loop.sock_recv(door, _LONGEST)
    if not answer.startswith(check.expect):
        raise unexpected(answer)
    return "answered as expected" if check.expect else f"answered {len(answer)} bytes"
