"""A server in a process of its own, whose memory, descriptors and log can be looked at: `python -m tests.remote.serving DOOR-AS-JSON`."""

import asyncio
import json
import sys
from pathlib import Path

from l4lb_agent.api.doors import TlsDoor
from l4lb_agent.api.server import ApiServer
from l4lb_agent.system import log
from tests.fakes.control import FakeControl
from tests.fakes.world import FakeAuditFile


async def _serve(door: TlsDoor) -> None:
    await ApiServer(FakeControl(), [door], FakeAuditFile(), version="1.2.3").start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    for name in ("cert", "key", "client_ca"):
        settings[name] = Path(settings[name])
    log.start("info")
    asyncio.run(_serve(TlsDoor(**settings)))
