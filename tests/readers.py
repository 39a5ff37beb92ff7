"""What others make of capture files: tshark and tcpdump, as scripts/setup unpacks them."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab import install

FOLDER = install.cache_folder() / "readers"
_DIRECTIONS = {1: "Inbound", 2: "Outbound"}


@dataclass(frozen=True)
class Frame:
    """One frame as tshark tells it."""

    bytes: int  # of the whole frame
    captured: bytes
    interface: str
    direction: str  # "Inbound" or "Outbound"
    comment: str
    protocols: str  # eth:ethertype:ip:tcp
    time: float  # Unix seconds


def run(tool: str, *arguments: str) -> str:
    """Standard output. Fails the test when the tool complains."""
    done = subprocess.run([FOLDER / tool, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{tool}: {done.stderr}"
    return done.stdout


def tshark(path: Path) -> list[Frame]:
    """Every frame of the file."""
    fields = ("len", "interface_name", "packet_flags_direction", "comment", "protocols", "time_epoch")
    lines = run(
        "tshark", "-n", "-r", str(path), "-T", "fields", *(word for name in fields for word in ("-e", f"frame.{name}"))
    ).splitlines()
    raw = json.loads(run("tshark", "-n", "-r", str(path), "-T", "json", "-x", "--no-duplicate-keys"))
    found = []
    for line, one in zip(lines, raw, strict=True):
        whole, interface, direction, comment, protocols, time = line.split("\t")
        captured = bytes.fromhex(one["_source"]["layers"]["frame_raw"][0])
        found.append(Frame(int(whole), captured, interface, _DIRECTIONS[int(direction, 0)], comment, protocols, float(time)))
    return found


def tcpdump(path: Path) -> list[str]:
    """A line for each frame."""
    return run("tcpdump", "-Z", "root", "-n", "-t", "-r", str(path)).splitlines()
