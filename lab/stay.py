"""Brings the laboratory of the demo up, prints what can be done with it, and stays until Ctrl-C: `python -m lab.stay --help`."""

import argparse
import shutil
import signal
import sys

from lab import interrupt, netns, shell
from lab.agent import Agent
from lab.laboratory import Laboratory
from lab.remote import Remote
from lab.services import balanced

_COMMANDS = """
laboratory {id} is up; Ctrl-C removes it

  in another terminal, for l4lbctl as the controller and get as the client (docs/tutorial.md):
    . {shell}

  requests, each from a new connection:
    {client} {get} http://{vip4}/whoami
    {client} {get} 'http://[{vip6}]/whoami'
  the agent:
    export L4LB_TARGET={target}
    {l4lbctl} backend list web4
    {l4lbctl} drain web4/a
    {l4lbctl} stats --watch
    tail -f {log}
    kill -9 {pid}          # the datapath goes on without it
  the same from the controller's namespace, with a certificate:
    {controller} {l4lbctl} -s {remote} --ca {pki}/ca.pem --cert {pki}/operator.pem --key {pki}/operator.key agent
  packets as they arrive at the load balancer's port:
    {switch} tcpdump -ni lb
  access logs:
    tail -f {run}/nginx-a/access.log {run}/nginx-b/access.log
"""


def _print_commands(lab: Laboratory, agent: Agent, remote: Remote) -> None:
    vip = lab.topology.vip()
    enter = {role: " ".join(netns.entering(lab.namespace(role), [])).removesuffix(" --") for role in ("client", "switch", "controller")}
    get = "curl -sg" if shutil.which("curl") else "wget -qO-"
    values = {
        "id": lab.id,
        "run": lab.run.path,
        "vip4": vip.v4,
        "vip6": vip.v6,
        "target": agent.target,
        "log": agent.log_file,
        "remote": remote.target,
        "pki": remote.authority.folder,
    }
    values["shell"] = shell.write(lab, agent, remote)
    print(_COMMANDS.format(**values, **enter, get=get, l4lbctl="scripts/l4lbctl", pid=agent.pid), flush=True)


def main() -> int:
    """Run it. Exit code 0 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="scripts/lab", description="Brings the demo's laboratory up and stays.")
    parser.add_argument("--routed", action="store_true", help="client and backends behind a router")
    parser.add_argument("--empty", action="store_true", help="without services: make them yourself")
    options = parser.parse_args()
    interrupt.once()
    try:
        with Laboratory(routed=options.routed) as lab:
            remote = Remote(lab)
            agent = Agent(lab, remote=remote)
            with balanced(lab, agent) as running:
                if not options.empty:
                    running.add_web()
                _print_commands(lab, agent, remote)
                signal.pause()
    except KeyboardInterrupt:
        print("\nlaboratory removed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
