"""Brings a laboratory up, runs every step, says whether all promises held. Exit code 0 only then; 130 after Ctrl-C."""

import sys

from lab import interrupt, netns
from lab.agent import Agent
from lab.check import Checks
from lab.demo import drain, kills, remote, serve, table
from lab.demo.stage import Score, Stage
from lab.footprint import Footprint, Host
from lab.laboratory import Laboratory
from lab.remote import Remote


def _steps(stage: Stage, access: Remote) -> None:
    serve.start(stage)
    remote.doors(stage, access)
    serve.refused_before(stage)
    serve.shares(stage)
    serve.move(stage)
    drain.drain(stage)
    kills.kills(stage)
    table.path(stage)
    remote.audited(stage)
    kills.detach(stage)


def _play(lab: Laboratory, checks: Checks, score: Score) -> None:
    netns.enter(lab.namespace("controller"))  # from here on this process is the controller
    access = Remote(lab)
    agent = Agent(lab, remote=access)
    try:
        with access.client("admin") as client:
            _steps(Stage(lab, agent, client, checks, score), access)
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
    interrupt.once()
    checks, score = Checks(), Score()
    before = Host.read()
    try:
        with open("/proc/thread-self/ns/net") as home:
            with Laboratory() as lab:
                checks.step(f"laboratory {lab.id}: {', '.join(lab.topology.roles())}, each a network namespace")
                footprint = Footprint(lab.id)
                _play(lab, checks, score)
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
