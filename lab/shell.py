"""What a shell needs to be the controller and the client of a laboratory: a file of functions and variables to be sourced."""

from pathlib import Path
from typing import Final

from lab import install, netns
from lab.agent import Agent
from lab.laboratory import Laboratory
from lab.remote import Remote
from lab.topology import BACKENDS

_FILE: Final = """\
# Of laboratory {id}; source it. as ROLE chooses whose certificate l4lbctl shows, get fetches a page as the client.
export L4LB_TARGET={target} L4LB_CA={pki}/ca.pem
as() {{ export L4LB_CERT={pki}/$1.pem L4LB_KEY={pki}/$1.key; }}
as admin
l4lbctl() {{ {controller} {root}/scripts/l4lbctl "$@"; }}
get() {{ PYTHONPATH={root} {client} /usr/bin/python3 -m lab.get "$@"; }}
{addresses}
AGENT_PID={pid}
"""


def write(lab: Laboratory, agent: Agent, remote: Remote) -> Path:
    """Makes the file, which goes with the laboratory, and says where it is. VIP, A, B and their IPv6 twins VIP6, A6, B6 are addresses."""
    hosts = {"VIP": lab.topology.vip(), **{name.upper(): lab.topology.host(name) for name in BACKENDS}}
    values = {
        "id": lab.id,
        "target": remote.target,
        "pki": remote.authority.folder,
        "root": install.checkout(),
        "pid": agent.pid,
        "addresses": "\n".join(f"{name}={host.v4} {name}6={host.v6}" for name, host in hosts.items()),
        **{role: " ".join(netns.entering(lab.namespace(role), [])) for role in ("client", "controller")},
    }
    path = lab.run.path / "shell"
    path.write_text(_FILE.format(**values))
    return path
