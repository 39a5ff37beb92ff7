"""What the steps of the demo share: the laboratory, the agent, the client, and what has been counted so far."""

from dataclasses import dataclass, field
from typing import Any

import l4lb
from l4lb.v1.agent_pb2 import Agent as AgentInfo
from lab.agent import Agent
from lab.check import Checks
from lab.laboratory import Laboratory
from lab.topology import FAMILIES, PORT_ECHO, PORT_HTTP

WEIGHTS = {"a": 3, "b": 1}


@dataclass
class Stage:
    """One run of the demo."""

    lab: Laboratory
    agent: Agent
    client: l4lb.Client
    checks: Checks
    requests: int = 0  # that were to succeed: HTTP requests, downloads, echoed messages, UDP probes
    failed: int = 0
    summary: dict[str, str] = field(default_factory=lambda: {"shares": "none", "drain": "none", "kills": "none"})

    def vips(self) -> list[str]:
        """Both addresses of the VIP."""
        return [self.lab.topology.vip().of(family) for family in FAMILIES]

    def count(self, result: dict[str, Any], what: str) -> dict[str, Any]:
        """Count a generator's result, and check that nothing in it failed."""
        requests = result.get("requests", 1)
        self.requests += requests
        self.failed += result["failed"]
        self.checks.that(f"no failure among {requests} {what}", result["failed"] == 0, result["errors"] or "")
        return result

    def add_service(self, name: str, family: int, *, protocol: str, port: int, weights: dict[str, int]) -> None:
        """A virtual service with both backends, where they are now."""
        self.client.create_service(name, vip=self.lab.topology.vip().of(family), port=port, protocol=protocol)
        for backend, weight in weights.items():
            self.add_backend(f"{name}/{backend}", family, weight)

    def add_backend(self, name: str, family: int, weight: int) -> None:
        """A backend where it is now; checks that the kernel forwards to it at once."""
        backend = name.split("/")[1]
        [address] = [a.split("/")[0] for a in self.lab.addresses(backend) if (":" in a) == (family == 6)]
        added = self.client.add_backend(name, address=address, weight=weight)
        if added.reconciling:
            self.checks.that(f"{name} is forwarded to when AddBackend answers OK", False, added.reconciling_reason)

    def add_web(self) -> None:
        """The HTTP service of each family."""
        for family in FAMILIES:
            self.add_service(f"web{family}", family, protocol="tcp", port=PORT_HTTP, weights=WEIGHTS)

    def add_echoes(self) -> None:
        """TCP and UDP echo services of each family."""
        for family in FAMILIES:
            for protocol in ("tcp", "udp"):
                self.add_service(f"echo-{protocol}{family}", family, protocol=protocol, port=PORT_ECHO, weights={"a": 1, "b": 1})

    def tags(self) -> set[tuple[int, str]]:
        """Program id and tag of every interface."""
        return {(interface.program_id, interface.program_tag) for interface in self.client.agent().interfaces}


def identities(agent: AgentInfo) -> tuple[object, ...]:
    """Everything in the kernel that must outlive the agent: links, programs and maps by id."""
    interfaces = sorted((i.name, i.link_id, i.program_id, i.program_tag) for i in agent.interfaces)
    return (tuple(interfaces), tuple(sorted((m.stats.map, m.map_id) for m in agent.maps)))
