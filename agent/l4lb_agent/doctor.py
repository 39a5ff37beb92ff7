"""`l4lb-agent doctor`: looks at the host before the agent runs, or beside it, and cures what may be cured without thinking.

Exit status: 0 nothing worse than information, 5 warnings, 6 errors; l4lbctl doctor has the same.
"""

import asyncio
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from l4lb_agent.api import convert
from l4lb_agent.config import Config
from l4lb_agent.model import records
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.doctor.examine import examine
from l4lb_agent.model.doctor.facts import Facts, Scope
from l4lb_agent.model.doctor.finding import Finding, Id, Severity, in_order, worst
from l4lb_agent.survey import Survey
from l4lb_agent.system import disk
from l4lb_agent.system.network import KernelNetwork

EXIT = {Severity.INFO: 0, Severity.WARNING: 5, Severity.ERROR: 6}
CURE_SECONDS = 30.0  # for one command


@dataclass(frozen=True)
class Options:
    """What was asked on the command line. `yes` answers every question of `fix`."""

    json: bool = False
    fix: bool = False
    yes: bool = False


def run(settings: Config, bpf_dir: Path, options: Options) -> int:
    """Looks, prints, cures if asked to, and looks again. Returns the exit status by what is left."""
    found = look(settings, bpf_dir)
    if options.fix and any(finding.safe for finding in found):
        show(found, options)
        cured = cure(found, options.yes, _ask)
        found = look(settings, bpf_dir) if cured else found
        print("\nleft:", file=sys.stderr)
    show(found, options)
    return EXIT[worst(found)]


def look(settings: Config, bpf_dir: Path) -> list[Finding]:
    """What is found now. Without a journal nothing is known of services and backends."""
    modes = {one.name: one.mode for one in settings.interfaces}
    try:
        replayed = records.replay(disk.peek(settings.state_dir))
        desired, more = (replayed.desired if replayed else Desired()), []
    except (OSError, records.RecordError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        evidence = f"the journal in {settings.state_dir} could not be read, services and backends were not looked at: {reason}"
        desired, more = Desired(), [Finding(Id.NOT_EXAMINED, Severity.WARNING, "journal", evidence)]
    scope = Scope(modes, settings.datapath, desired)
    return in_order([*examine(scope, asyncio.run(_facts(settings, bpf_dir, scope))), *more])


async def _facts(settings: Config, bpf_dir: Path, scope: Scope) -> Facts:
    network = KernelNetwork()
    try:
        return await Survey(settings, settings.pins_here(), bpf_dir, network, lambda: 0).facts(scope)
    finally:
        network.close()


def show(found: Sequence[Finding], options: Options) -> None:
    """For people, or one JSON object for programs."""
    if options.json:
        print(json.dumps(convert.findings_json(found)))
        return
    for finding in found:
        print(f"{finding.severity.name:<8} {finding.id}  {finding.subject}\n         {finding.evidence}")
        for command in finding.cure:
            print(f"         $ {command}{'   (--fix)' if finding.safe else ''}")
    if not found:
        print("nothing was found")


def cure(found: Sequence[Finding], yes: bool, ask: Callable[[str], bool]) -> bool:
    """Runs the commands of the safe findings, each after a yes; whether any was run."""
    ran = False
    for finding in found:
        for command in finding.cure if finding.safe else ():
            if yes or ask(f"{finding.id} {finding.subject}: run `{command}`?"):
                ran = True
                print(f"$ {command}", file=sys.stderr)
                if failed := _execute(command):
                    print(f"  failed: {failed}", file=sys.stderr)
    return ran


def _execute(command: str) -> str:
    """Runs it without a shell; what went wrong, or ""."""
    try:
        done = subprocess.run(shlex.split(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CURE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr.strip() or f"exit status {done.returncode}" if done.returncode else ""


def _ask(question: str) -> bool:
    """Only a person at a terminal can say yes."""
    if not sys.stdin.isatty():
        print(f"{question} nobody can be asked here: --yes answers", file=sys.stderr)
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
