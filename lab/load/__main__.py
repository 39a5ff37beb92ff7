"""One load generator: reads what to do from its argument, see lab/traffic.py for the other side."""

import asyncio
import json
import random
import sys
from typing import Any

from lab.load import echo, http


def _targets(order: dict[str, Any]) -> list[http.Target]:
    return [http.Target(address, order["port"], order["path"], order["marker"]) for address in order["addresses"]]


async def _input_ends() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def _ready(**facts: str) -> None:
    print(json.dumps({"ready": True, **facts}), flush=True)


async def _work(order: dict[str, Any]) -> dict[str, Any]:
    match order["kind"]:
        case "counted":
            details = (order["count"], order["concurrency"], order["ports"], order["patience"])
            return await http.counted(_targets(order), *details, _ready)
        case "constant":
            return await http.constant(_targets(order), order["rate"], _input_ends(), _ready)
        case "download":
            return await http.download(_targets(order)[0], _ready)
        case "upload":
            _ready()
            return await http.upload(_targets(order)[0], random.Random(order["marker"]).randbytes(order["bytes"]))
        case "connections" | "datagrams" as kind:
            function = echo.connections if kind == "connections" else echo.datagrams
            addresses = [(address, order["port"]) for address in order["addresses"]]
            return await function(addresses, order["count"], order["interval"], _input_ends(), _ready)
        case kind:
            raise ValueError(f"no load of kind {kind}")


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_work(json.loads(sys.argv[1])))), flush=True)
