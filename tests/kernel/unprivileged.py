"""The agent's doors used by a process with the rights of its unit; run by test_unprivileged.py, prints what it saw as JSON.

Usage: unprivileged.py PIN_DIR CACHE, a folder that holds the compiled program
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from l4lb_agent.dataplane.kernel import KernelDatapath, detach_all
from l4lb_agent.dataplane.program import BPF_DIR, compile_or_cached
from l4lb_agent.model import layout, mapspec
from l4lb_agent.model.address import Address
from l4lb_agent.model.tables import Grace, Write, array_key
from l4lb_agent.system.network import KernelNetwork
from tests.kernel.trivial import PASS, TX, Trivial

SIZES = mapspec.Sizes(services=4, backends=8, addresses=8, flows=1024, rings_1021=2, rings_4093=1, rings_16381=1, rings_65537=1)

TWO_TAGS = bytes(12) + bytes.fromhex("8100000581000006") + bytes(40)


def status() -> dict[str, str]:
    """What /proc says of this process's rights."""
    lines = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return {name: lines[name] for name in ("Uid", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")}


async def next_hop(text: str) -> str:
    """The MAC behind an address, as the network door resolves it."""
    network = KernelNetwork()
    deadline = time.monotonic() + 10
    try:
        while time.monotonic() < deadline:
            hop = await network.next_hop(Address.parse(text, "test"))
            if hop is not None:
                await network.forget(Address.parse(text, "test"))
                return hop.destination_mac.hex(":")
            await asyncio.sleep(0.05)
        return ""
    finally:
        network.close()


def main(pin_dir: Path, cache: Path) -> dict[str, object]:
    """Every method of the datapath, and the network's."""
    first = KernelDatapath(pin_dir, SIZES, Trivial(PASS))
    attached = first.attach("eth0", "auto")
    config = layout.Config(layout=layout.LAYOUT_VERSION, second_multiplier=first.second_multiplier)
    first.execute(Write("config", array_key(0), bytes(config), "test"))
    first.execute(Grace())
    first.announce(Address.parse("192.0.2.99", "test"), ["eth0"])
    first.announce(Address.parse("2001:db8::99", "test"), ["eth0"])
    first.withdraw(Address.parse("2001:db8::99", "test"), ["eth0"])
    first.clear_backend_counters(1)
    flows, counters, now = first.sweep({}), first.counters(), first.now()
    macs = [asyncio.run(next_hop(text)) for text in ("192.0.2.2", "2001:db8::2")]
    first.close()
    second = KernelDatapath(pin_dir, SIZES, Trivial(TX))
    moved = second.attach("eth0", "native")
    seen = {
        "status": status(), "adopted": second.adopted, "same_link": moved.link_id == attached.link_id, "mode": moved.mode,
        "swapped": moved.program_id != attached.program_id, "flows": flows.flows, "counted": len(counters.reasons), "now": now,
        "bytes": sum(state.bytes for state in second.maps()), "config": len(second.read_tables().get("config")),
        "macs": macs,
    }  # fmt: skip
    second.close()
    third = KernelDatapath(pin_dir, SIZES, compile_or_cached(BPF_DIR, cache))
    answer = third.ask(moved.ifindex, TWO_TAGS)
    third.close()
    return seen | {"asked": [answer.reason.name, answer.verdict.name], "detached": detach_all(pin_dir)}


if __name__ == "__main__":
    print(json.dumps(main(*map(Path, sys.argv[1:]))))
