"""`python -m lab.demo.picture FILE.svg`: `l4lbctl top` beside a laboratory with traffic, a drain and drops. Needs root."""

import asyncio
import re
import sys
from pathlib import Path

from l4lb.aio import AsyncClient
from l4lb.top.app import Top
from lab.agent import Agent
from lab.laboratory import Laboratory
from lab.services import EVEN, balanced
from lab.topology import PORT_ECHO

SIZE = (96, 28)
SECONDS = 25.0  # of traffic


async def picture(target: str, seconds: float = SECONDS) -> str:
    """SVG of the application after some seconds of looking, without the fonts that it would fetch."""
    app = Top(lambda: AsyncClient(target), "unix:///run/l4lb/admin.sock")
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("s", "s", "s", "s")
        await pilot.pause(seconds)
        return re.sub(r"@font-face \{.*?\}", "", app.export_screenshot(title="l4lbctl top"), flags=re.DOTALL)


def main(path: Path) -> None:
    """Writes the picture."""
    with Laboratory() as lab, balanced(lab, Agent(lab)) as running:
        running.add_web()
        running.add_service("echo4", 4, protocol="tcp", port=PORT_ECHO, weights=EVEN)
        for name in ("web4", "web6"):
            running.client.update_service(name, health_check={"http": {"path": "/whoami"}, "interval": 1.0})
        running.client.create_service("empty", vip=lab.topology.vip().v4, port=9999)
        loads = [lab.traffic.constant(running.vips(), 150, "load"), lab.traffic.connections(running.vips()[:1], 40)]
        loads.append(lab.traffic.constant(running.vips()[:1], 30, "lost", port=9999))  # nobody answers
        running.client.drain("echo4/a")
        path.write_text(asyncio.run(picture(running.agent.target)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
