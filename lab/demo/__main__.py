"""Brings a laboratory up, runs every step, says whether all promises held. Exit code 0 only then; 130 after Ctrl-C."""

import argparse
import sys
from typing import Final

from lab import interrupt, netns
from lab.agent import Agent
from lab.check import Checks
from lab.demo import direct, drain, kills, remote, serve, table
from lab.demo.stage import Score, Stage
from lab.direct.modes import Mode
from lab.footprint import Footprint, Host
from lab.laboratory import Laboratory
from lab.remote import Remote

# Where nobody sees the backends' FINs a drain ends when flows have been silent for so long; the slow download never is.
_IDLE_SECONDS: Final = 3


def _steps(stage: Stage, access: Remote, times: int) -> None:
    serve.start(stage)
    remote.doors(stage, access)
    serve.refused_before(stage)
    serve.shares(stage)
    serve.move(stage)
    if stage.lab.direct:
        direct.direct(stage)
    drain.drain(stage)
    kills.kills(stage, times)
    table.path(stage)
    remote.audited(stage)
    kills.detach(stage)


def _play(lab: Laboratory, asked: argparse.Namespace, checks: Checks, score: Score) -> None:
    netns.enter(lab.namespace("controller"))  # from here on this process is the controller
    access = Remote(lab)
    agent = Agent(lab, remote=access)
    options = asked.mode.service() | ({"idle_timeout": _IDLE_SECONDS} if lab.direct else {})
    try:
        with access.client("admin") as client:
            _steps(Stage(lab, agent, client, checks, score, options=options), access, asked.kills)
    except Exception as failure:  # noqa: BLE001 (counted as a broken promise; the summary comes all the same)
        checks.failed(failure)
    if checks.broken:
        print(f"\nthe agent's log ends:\n{agent.log()}", flush=True)
    agent.kill()


def _leave(checks: Checks, footprint: Footprint, before: Host) -> None:
    checks.step("the laboratory is removed")
    with footprint:
        left = footprint.left()
    checks.that("no namespace, process, mount, pin or folder is left", not left, ", ".join(left))
    changed = before.changed(Host.read())
    checks.that("no interface and no setting of the host has changed", not changed, ", ".join(changed))


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Real HTTP through a real agent, and every promise about it checked.")
    parser.add_argument(
        "--mode",
        type=Mode,
        choices=list(Mode),
        default=Mode.NAT,
        metavar="|".join(mode.value for mode in Mode),
        help="how packets reach the backends (default: nat)",
    )
    parser.add_argument("--kills", type=int, default=kills.KILLS, help="how often the agent is killed (default: %(default)s)")
    asked = parser.parse_args()
    interrupt.once()
    checks, score = Checks(), Score()
    before = Host.read()
    try:
        with open("/proc/thread-self/ns/net") as home:
            with Laboratory(direct=asked.mode.direct, through=asked.mode.through) as lab:
                checks.step(f"laboratory {lab.id}: {', '.join(lab.topology.roles())}, each a network namespace")
                footprint = Footprint(lab.id)
                _play(lab, asked, checks, score)
                netns.enter(f"/proc/self/fd/{home.fileno()}")
            _leave(checks, footprint, before)
    except KeyboardInterrupt:
        print("\ndemo: interrupted, everything is removed", flush=True)
        return 130
    if checks.broken:
        print("\nbroken:\n" + "\n".join(f"  {promise}" for promise in checks.broken))
    print(f"\n{checks.held} promises held, {len(checks.broken)} broken\n{score}", flush=True)
    return 0 if not checks.broken and not score.failed else 1


if __name__ == "__main__":
    sys.exit(main())
