"""`scripts/fuzz SECONDS`: the native fuzzer for as long as one likes. See scripts/fuzz."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from l4lb_agent.dataplane import program
from lab.install import checkout
from tests.fuzz import build

FOLDER = checkout() / "build/fuzz"
MOST_BYTES = 1500  # of an input of the corpus


def merge(fuzzer: Path, worlds: dict[str, str], found: Path, merged: Path) -> subprocess.CompletedProcess[str]:
    """The corpus becomes the smallest set that reaches as much as all small inputs together; what has a name of its own stays."""
    small = merged.with_name("small")
    for folder in (merged, small):
        folder.mkdir()
    for path in (*build.CORPUS.iterdir(), *found.iterdir()):
        if path.stat().st_size <= MOST_BYTES:
            shutil.copy(path, small)
    done = build.run(fuzzer, worlds, "-set_cover_merge=1", merged, small)
    if done.returncode == 0:
        for path in build.CORPUS.iterdir():
            if re.fullmatch("[0-9a-f]{40}", path.name):
                path.unlink()
        room = build.MOST_CORPUS_BYTES - sum(path.stat().st_size for path in build.CORPUS.iterdir())
        for path in sorted(merged.iterdir(), key=lambda path: path.stat().st_size):  # the largest are left out, if any must be
            room -= path.stat().st_size
            if room >= 0:
                shutil.copy(path, build.CORPUS)
    return done


def main() -> int:
    """Exit status 1 when something was found."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Runs mutated packets through the natively compiled datapath.")
    parser.add_argument("seconds", type=int, help="how long")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations; another one each time by default")
    parser.add_argument("--merge", action="store_true", help="afterwards make tests/fuzz/corpus anew, of it and of what was found")
    options = parser.parse_args()
    found = FOLDER / "found"
    found.mkdir(parents=True, exist_ok=True)
    fuzzer = build.fuzzer(program.BPF_DIR, FOLDER)
    with tempfile.TemporaryDirectory() as folder:
        objects = program.compile_or_cached(program.BPF_DIR, FOLDER / "bytecode")
        worlds = build.worlds(objects, Path(folder))
        arguments = (f"-max_total_time={options.seconds}", f"-seed={options.seed}", "-print_final_stats=1", found, build.CORPUS)
        done = build.run(fuzzer, worlds, *arguments, within=options.seconds + 120)
        print("\n".join(line for line in done.stderr.splitlines() if not line.startswith("#")))
        if done.returncode == 0 and options.merge:
            done = merge(fuzzer, worlds, found, Path(folder) / "merged")
    if done.returncode != 0:
        print(f"The input is in {FOLDER}. Once the mistake is mended it belongs into {build.CORPUS}, under a name of its own.")
    return 1 if done.returncode else 0


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("the worlds are made by the kernel: run as root")
    sys.exit(main())
