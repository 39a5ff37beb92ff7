"""Brings the laboratory of the demo up, prints what can be done with it, and stays until Ctrl-C: `python -m lab.stay [--routed]`."""

import argparse
import signal
import sys
from pathlib import Path

import l4lb
from lab import interrupt, netns
from lab.agent import Agent
from lab.check import Checks
from lab.demo.stage import Stage
from lab.laboratory import Laboratory

_COMMANDS = """
laboratory {id} is up; Ctrl-C removes it

  requests, each from a new connection:
    {client} curl -s http://{vip4}/whoami
    {client} curl -s -g 'http://[{vip6}]/whoami'
  the agent:
    {python} -m l4lb.cli --target {target} backend list web4
    {python} -m l4lb.cli --target {target} drain web4/a
    {python} -m l4lb.cli --target {target} stats --watch
    tail -f {log}
    kill -9 {pid}          # the datapath goes on; {agent}
  packets as they arrive at the load balancer's port:
    {switch} tcpdump -ni lb
  access logs:
    tail -f {run}/nginx-a/access.log {run}/nginx-b/access.log
"""


def _print_commands(lab: Laboratory, agent: Agent) -> None:
    vip = lab.topology.vip()
    enter = {role: " ".join(netns.entering(lab.namespace(role), [])).removesuffix(" --") for role in ("client", "switch")}
    python = f"PYTHONPATH={Path(__file__).resolve().parents[1] / 'clients/python'} {sys.executable}"
    print(
        _COMMANDS.format(
            id=lab.id, client=enter["client"], switch=enter["switch"], vip4=vip.v4, vip6=vip.v6, python=python, target=agent.target,
            log=agent.log_file, pid=agent.pid, agent="it is not started again here", run=lab.run.path,
        ),
        flush=True,
    )  # fmt: skip


def main() -> int:
    """Run it. Exit code 0 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="scripts/lab", description="Brings the demo's laboratory up and stays.")
    parser.add_argument("--routed", action="store_true", help="client and backends behind a router")
    options = parser.parse_args()
    interrupt.once()
    try:
        with Laboratory(routed=options.routed) as lab:
            agent = Agent(lab)
            agent.start()
            with l4lb.Client(agent.target) as client:
                agent.wait_ready(client)
                Stage(lab, agent, client, Checks()).add_web()
                _print_commands(lab, agent)
                signal.pause()
    except KeyboardInterrupt:
        print("\nlaboratory removed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
