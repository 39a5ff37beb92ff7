#!/usr/bin/env python3
"""Drains one address on many agents, one agent after the other.

    rolling_drain.py --address 198.51.100.11 --ca ca.pem --cert me.pem --key me.key lb1:7443 lb2:7443

On each agent every backend with that address is drained, and the next agent comes only when none of them has a flow left (or what was left
was cut or reset, as asked by --at-deadline). The first failure ends it: agents after that one are not touched, and drains that have begun
go on. It may be run again at any time: what is drained stays drained, a drain that runs is waited for and keeps its deadline. An agent that
restarts meanwhile is waited for, up to --patience seconds.

Exit codes: 0 drained everywhere, 1 stopped at a failure, 2 wrong usage, 130 interrupted.
"""

import argparse
import ipaddress
import sys
from contextlib import AbstractContextManager

import l4lb
from l4lb import names
from l4lb.v1.backend_pb2 import AdminState, Backend, DrainResult

FINISHED = (DrainResult.DRAIN_RESULT_EMPTY, DrainResult.DRAIN_RESULT_DEADLINE_CUT)
SLACK_SECONDS = 30.0  # between the deadline of a drain and giving up waiting for the agent to say that it is over


class Failed(Exception):
    """Why the next agent must not be touched."""


def backends_at(lb: l4lb.Client, address: str) -> list[Backend]:
    """Those with that address. Raises Failed when there are none: a mistyped address must not look drained."""
    if found := [backend for backend in lb.list_backends() if backend.address == address]:
        return found
    raise Failed(f"no backend has the address {address}")


def begin(lb: l4lb.Client, backends: list[Backend], timeout: float, at_deadline: str) -> None:
    """Begins the drains that have not begun, once the agent agrees to each of them."""
    fresh = [b for b in backends if b.admin_state not in (AdminState.ADMIN_STATE_DRAINING, AdminState.ADMIN_STATE_DRAINED)]
    for validate_only in (True, False):
        for backend in fresh:
            lb.drain(backend.name, timeout=timeout, at_deadline=at_deadline, etag=backend.etag, validate_only=validate_only)


def active_flows(lb: l4lb.Client, name: str) -> int:
    """Flows of a backend that have not ended, by the last sweep."""
    [sample] = lb.stats(services=[names.split(name)[0]], samples=1)
    return sum(stats.traffic.active_flows for stats in sample.backends if stats.backend == name)


def finish(lb: l4lb.Client, name: str, timeout: float, target: str) -> None:
    """Waits for the end of one drain. Raises Failed when flows were left."""
    backend = lb.wait_drained(name, timeout=timeout, on_progress=lambda progress: print(f"{target} {progress}", flush=True))
    if backend.drain.result in FINISHED:
        return
    # An earlier drain may have ended with flows that have ended since.
    if left := active_flows(lb, name):
        raise Failed(f"{names.short(name)} ended its drain as {DrainResult.Name(backend.drain.result)}, and {left} flows go on")


def drain_agent(lb: l4lb.Client, target: str, options: argparse.Namespace) -> None:
    """All of one agent. Raises Failed or l4lb.Error."""
    agent = lb.agent()
    if not agent.ready:
        raise Failed(f"the agent is not ready: {agent.not_ready_reason}")
    backends = backends_at(lb, options.address)
    begin(lb, backends, options.timeout, options.at_deadline)
    for backend in backends:
        finish(lb, backend.name, options.timeout + SLACK_SECONDS, target)


def connect(target: str, options: argparse.Namespace) -> AbstractContextManager[l4lb.Client]:
    """A client of one agent. Raises ValueError and OSError for certificates that are missing."""
    return l4lb.Client(target, ca=options.ca, cert=options.cert, key=options.key, server_name=options.server_name, resume=options.patience)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Drains one address on many agents, one agent after the other.")
    address = parser.add_argument("--address", required=True, type=lambda text: ipaddress.ip_address(text).compressed)
    address.help = "address of the server to take out, in whatever services it is a backend"
    for name in ("ca", "cert", "key"):
        parser.add_argument(f"--{name}", help="PEM file for mutual TLS")
    parser.add_argument("--server-name", default="", help="name in the agents' certificates, when not the host of each target")
    parser.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="deadline of each drain (300)")
    parser.add_argument("--at-deadline", choices=("keep", "cut", "reset"), default="keep", help="what happens then to flows that are left")
    parser.add_argument("--patience", type=float, default=60.0, metavar="SECONDS", help="how long a lost agent is waited for (60)")
    parser.add_argument("agent", nargs="+", help="host:port, or unix:///path")
    return parser.parse_args()


def main() -> int:
    """Drains agent after agent."""
    options = parsed()
    for number, target in enumerate(options.agent, 1):
        print(f"{target}: agent {number} of {len(options.agent)}", flush=True)
        try:
            with connect(target, options) as lb:
                drain_agent(lb, target, options)
        except (Failed, l4lb.Error, OSError, ValueError) as failure:
            print(f"{target}: {failure}", file=sys.stderr)
            print(f"stopped: {number - 1} of {len(options.agent)} agents are drained; run it again when this is mended", file=sys.stderr)
            return 1
        print(f"{target}: drained", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted: drains that have begun go on; run it again to wait for them", file=sys.stderr)
        sys.exit(130)
