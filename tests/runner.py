"""Runs every kind of test, each in a pytest of its own, and says honestly what ran.

Beyond pytest's own verdict a run fails when a kind that was asked for executed no test at all, and when a test skipped without a line in
tests/allowed_skips that expects it. Closing line: `N passed, N failed, N skipped`.
"""

import argparse
import fnmatch
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# In the order of how soon they tell something.
KINDS = {
    "law": "rules of this repository",
    "unit": "pure decisions, no root",
    "api": "real gRPC, fake datapath",
    "metrics": "what Prometheus is given and what is made of it, fake datapath",
    "remote": "the API over TCP: certificates, roles, limits, loopback only",
    "packet": "the real program, bytes in and bytes out",
    "fuzz": "mutated packets by the million, in the kernel and under sanitizers",
    "kernel": "maps, pins, links and netlink of the real kernel",
    "netns": "real agent, real nginx, network namespaces",
    "flood": "floods from spoofed sources while backends come and go",
    "systemd": "installed, packaged and run by a real systemd",
    "clients": "the clients of all languages, real agents",
    "bench": "the benchmark's own checks, no speed",
}


# Kinds whose tests are shared between this many processes.
PROCESSES = {"packet": 2, "netns": 4}
# Kinds that run beside each other when all are run, lane by lane: they wait more than they compute, and no test of theirs looks at how
# long packets take.
BESIDE = (
    ("fuzz", "clients"),
    ("systemd", "kernel"),
    ("unit", "api", "metrics", "remote", "bench"),
)
_output = threading.Lock()


@dataclass(frozen=True)
class Result:
    """Counts of one kind; `refused_skips` are those that tests/allowed_skips does not expect, `computed` seconds of all CPUs."""

    kind: str
    passed: int
    failed: int
    skipped: int
    refused_skips: tuple[str, ...]
    seconds: float
    computed: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether this kind may be called green."""
        return not self.failed and not self.refused_skips and self.passed > 0


def allowed_skips() -> list[tuple[str, str]]:
    """(test name pattern, reason regular expression) from tests/allowed_skips: two columns, # comments."""
    lines = (line.split("#")[0].strip() for line in (ROOT / "tests/allowed_skips").read_text().splitlines())
    return [(name, reason.strip()) for name, reason in (line.split(None, 1) for line in lines if line)]


def read_reports(kind: str, reports: Iterable[Path], seconds: float, code: int) -> Result:
    """What pytest's JUnit reports say. A pytest that failed without a failing test (collection, crash) counts as one failure."""
    passed = failed = skipped = 0
    refused = []
    rules = allowed_skips()
    for case in (case for report in reports for case in ElementTree.parse(report).iter("testcase")):
        name = f"{case.get('classname', '')}.{case.get('name', '')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif skip is not None:
            skipped += 1
            reason = skip.get("message") or ""
            if not any(fnmatch.fnmatch(name, pattern) and re.search(text, reason) for pattern, text in rules):
                refused.append(f"{name}: {reason}")
        else:
            passed += 1
    if code not in (0, 5) and not failed:
        failed = 1
    return Result(kind, passed, failed, skipped, tuple(refused), seconds)


def run_kind(kind: str, extra: list[str], later: bool = False) -> Result:
    """Runs tests/KIND with pytest and reads its report. With `later` its output comes in one piece, when it has ended."""
    title = f"\n--- {kind}: {KINDS[kind]}"
    if not later:
        print(title, flush=True)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        began = time.monotonic()
        start = ["lab.shards", str(PROCESSES[kind])] if kind in PROCESSES else ["pytest"]
        command = [sys.executable, "-m", *start, "-q", "-rfEs", f"--junitxml={folder}/{{share}}.xml", f"tests/{kind}", *extra]
        where = {"stdout": output, "stderr": subprocess.STDOUT} if later else {}
        tests = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, **where)  # type: ignore[call-overload]
        _, status, usage = os.wait4(tests.pid, 0)
        tests.returncode = os.waitstatus_to_exitcode(status)
        if later:
            output.seek(0)
            with _output:
                print(title, output.read().decode(errors="replace"), sep="\n", end="", flush=True)
        found = read_reports(kind, Path(folder).glob("*.xml"), time.monotonic() - began, tests.returncode)
        return replace(found, computed=usage.ru_utime + usage.ru_stime)


def run_all(extra: list[str]) -> list[Result]:
    """Runs every kind, those of BESIDE first."""
    results: dict[str, Result] = {}
    with ThreadPoolExecutor(len(BESIDE)) as together:
        found = together.map(lambda lane: [run_kind(kind, extra, later=True) for kind in lane], BESIDE)
        results |= {result.kind: result for lane in found for result in lane}
    for kind in KINDS:
        results[kind] = results.get(kind) or run_kind(kind, extra)
    return [results[kind] for kind in KINDS]


def summary(results: list[Result]) -> int:
    """Prints the table and the closing line; exit code."""
    print()
    for result in results:
        took = f"{result.seconds:7.1f} s {result.computed:7.1f} s of CPU"
        print(f"{result.kind:8} {result.passed:5} passed {result.failed:3} failed {result.skipped:3} skipped {took}")
        for line in result.refused_skips:
            print(f"    skipped without a line in tests/allowed_skips: {line}")
        if not result.passed and not result.failed:
            print("    no test of this kind ran: a kind that is asked for must run")
    refused = sum(len(result.refused_skips) for result in results) + sum(not r.passed and not r.failed for r in results)
    failed = sum(result.failed for result in results) + refused
    print(f"{sum(r.passed for r in results)} passed, {failed} failed, {sum(r.skipped for r in results)} skipped", flush=True)
    return 0 if all(result.ok for result in results) else 1


def main() -> int:
    """Runs the kinds asked for, all by default."""
    parser = argparse.ArgumentParser(prog="scripts/test", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this kind; may be repeated")
    parser.add_argument("--kernel", help="run the packet cases inside an emulated machine with this kernel, for instance 6.1")
    parser.add_argument("pytest", nargs="*", help="more arguments for pytest, after --")
    options = parser.parse_args()
    if options.kernel:
        return subprocess.run([str(ROOT / "scripts/kernel"), options.kernel, *options.pytest]).returncode
    if options.kind:
        return summary([run_kind(kind, options.pytest) for kind in options.kind])
    return summary(run_all(options.pytest))


if __name__ == "__main__":
    sys.exit(main())
