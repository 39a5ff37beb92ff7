"""`scripts/bench`: measures, writes the JSON file, prints the table. Exit status 1 when a run is void or cannot be made."""

import argparse
import contextlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import direct
from bench.figures import CaseFigures, LiveFigures, Report, Spread
from bench.live import live
from bench.many import Many, many
from bench.measure import establish, measure
from bench.network import network, next_hop
from bench.programs import Programs
from bench.rig import Rig, Void
from bench.traffic import cases, few_of
from l4lb_agent.dataplane.program import CompileError
from lab import netns

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Effort:
    """How much is measured. `groups` are flow counts that share one table; its size is a power of two."""

    groups: tuple[tuple[int, ...], ...]
    chunk: int
    rounds: int
    seconds: float  # for the rounds of one group
    frames: int
    live_rounds: int
    crowds: tuple[int, ...]  # ring sizes of a thousand services
    fresh: int  # among so many flows are new ones of DSR and ENCAP chosen
    many: Many


FULL = Effort(((1, 1024, 131072), (1, 1048576)), 50_000, 41, 75, 500_000, 7, (1021, 65537), direct.FRESH, Many(10_000, 10, 10.0, 9))
QUICK = Effort(((1, 1024, 131072),), 50_000, 9, 20, 200_000, 3, (1021,), direct.FRESH, Many(10_000, 10, 5.0, 3))
TINY = Effort(((1, 64),), 500, 3, 5, 2_000, 1, (1021,), direct.FRESH, Many(20, 10, 1.2, 1))


def commit() -> str:
    """Short name of the checkout's commit, with a + when files differ from it; "unknown" without git."""
    if shutil.which("git") is None:
        return "unknown"
    git = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT)]
    found = subprocess.run([*git, "describe", "--always", "--dirty=+", "--exclude=*"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def machine() -> str:
    """CPUs that this process may use, and their model."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} x {models[0] if models else platform.machine()}"


def table_size(flows: tuple[int, ...], chunk: int) -> int:
    """Records for the established flows of all cases and a run of new ones, a quarter free; half of them may be unanswered, and a run of
    new flows is to fill half of those."""
    return max((max(flows) + 2 * max(few_of(flows)) + chunk) * 4 // 3, 4 * chunk)


@contextlib.contextmanager
def one_cpu() -> Iterator[None]:
    """Everything on the last CPU that this process may use: a test run stays where it begins."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run(effort: Effort, cache: Path, nft: list[str]) -> Report:
    """Everything. Raises Void, OSError, CompileError, CommandFailed."""
    yardstick: list[float] = []
    figures: list[CaseFigures] = []
    rows: list[LiveFigures] = []
    say(f"an agent with {effort.many.few:,} backends, and one with {effort.many.backends:,}")
    agents = many(effort.many, cache)
    code = Programs(cache)
    with network() as (lb, far), one_cpu():
        netns.enter(lb)
        for number, flows in enumerate(effort.groups):
            wanted = (*cases(flows, effort.chunk), *direct.cases(flows, effort.fresh))
            if number:  # the larger table costs memory and time; only what depends on it is measured again
                wanted = tuple(case for case in wanted if case.flows == max(flows))
            rig = Rig(code, table_size(flows, effort.chunk), max(flows), next_hop())
            try:
                say(f"{len(wanted)} cases, table with {max(flows):,} flows")
                establish(rig, wanted)
                samples, found = measure(rig, wanted, effort.chunk, effort.rounds, effort.seconds, max(flows))
                yardstick += samples
                figures += found
                if effort.live_rounds and not number:
                    say("live frames")
                    rows = live(rig, lb, far, flows, effort.frames, effort.live_rounds, nft)
            finally:
                rig.close()
        for size in effort.crowds:
            say(f"{direct.CROWD:,} services with rings of {size:,} slots")
            rig = Rig(code, 64, 1, next_hop(), size)
            try:
                figures += measure(rig, direct.crowd_cases(size), effort.chunk, effort.rounds, effort.seconds / 5)[1]
            finally:
                rig.close()
    return Report(commit(), machine(), platform.release(), Spread.of(yardstick), tuple(figures), code.statistics(), tuple(rows), agents)


def say(text: str) -> None:
    """Progress on stderr, with seconds since the start."""
    print(f"bench: {time.monotonic() - STARTED:5.1f} s  {text}", file=sys.stderr, flush=True)


STARTED = time.monotonic()


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Nanoseconds a packet costs, beside a bare program that sends back.")
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument("--quick", action="store_const", dest="effort", const=QUICK, help="about a minute; tables up to 131,072 flows")
    effort.add_argument("--tiny", action="store_const", dest="effort", const=TINY, help="seconds; proves verdicts, measures nothing")
    parser.add_argument("--output", type=Path, default=ROOT / "build/bench.json")
    parser.add_argument("--cache", type=Path, default=ROOT / "build/bytecode", help="folder for the datapath's bytecode")
    parser.add_argument("--nft", type=shlex.split, default=[], help="command of nftables; without it that row is left out")
    options = parser.parse_args()
    try:
        report = run(options.effort or FULL, options.cache, options.nft)
    except Void as void:
        print(f"bench: void: {void}", file=sys.stderr)
        return 1
    except (netns.CommandFailed, CompileError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report.to_json(), indent=1) + "\n")
    print(report.table(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
