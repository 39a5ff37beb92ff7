"""Brings a laboratory up, runs every step, says whether all promises held. Exit code 0 only then; 130 after Ctrl-C."""

import sys

import l4lb
from lab import interrupt, netns
from lab.agent import Agent
from lab.check import Checks
from lab.demo import drain, kills, serve, table
from lab.demo.stage import Stage
from lab.laboratory import Laboratory


def _steps(stage: Stage) -> None:
    serve.start(stage)
    serve.refused_before(stage)
    serve.shares(stage)
    serve.move(stage)
    drain.drain(stage)
    kills.kills(stage)
    table.path(stage)
    kills.detach(stage)


def _play(lab: Laboratory, checks: Checks) -> Stage:
    netns.enter(lab.namespace("controller"))  # from here on this process is the controller
    agent = Agent(lab)
    with l4lb.Client(lab.start_relay(agent.socket)) as client:
        stage = Stage(lab, agent, client, checks)
        try:
            _steps(stage)
        except Exception as failure:  # noqa: BLE001 (counted as a broken promise; the summary comes all the same)
            checks.failed(failure)
        if checks.broken:
            print(f"\nthe agent's log ends:\n{agent.log()}", flush=True)
        agent.kill()
        return stage


def main() -> int:
    """Run it."""
    interrupt.once()
    checks = Checks()
    try:
        with Laboratory() as lab:
            checks.step(f"laboratory {lab.id}: {', '.join(lab.topology.roles())}, each a network namespace")
            stage = _play(lab, checks)
    except KeyboardInterrupt:
        print("\ndemo: interrupted, everything is removed", flush=True)
        return 130
    if checks.broken:
        print("\nbroken:\n" + "\n".join(f"  {promise}" for promise in checks.broken))
    words = " ".join(f"{name}={value}" for name, value in stage.summary.items())
    print(f"\n{checks.held} promises held, {len(checks.broken)} broken")
    print(f"demo: requests={stage.requests} failed={stage.failed} {words}", flush=True)
    return 0 if not checks.broken and not stage.failed else 1


if __name__ == "__main__":
    sys.exit(main())
