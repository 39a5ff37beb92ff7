"""Virtual services of a laboratory: HTTP and echo over both families, with the backends where they are now."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import l4lb
from l4lb.channel import CALL_SECONDS
from l4lb.v1.agent_pb2 import Agent as AgentInfo
from lab.agent import Agent
from lab.laboratory import Laboratory
from lab.topology import BACKENDS, FAMILIES, PORT_ECHO, PORT_HTTP

WEIGHTS = {"a": 3, "b": 1}
EVEN = dict.fromkeys(BACKENDS, 1)


class NotForwarded(AssertionError):
    """AddBackend answered OK, and the kernel does not forward to the backend."""


@dataclass
class Balanced:
    """A laboratory, its agent, and a client of it."""

    lab: Laboratory
    agent: Agent
    client: l4lb.Client
    options: Mapping[str, Any] = field(default_factory=dict, kw_only=True)  # of every service: the mode, for instance
    over: Mapping[str, int] = field(default_factory=dict, kw_only=True)  # family of a backend's address, where it is not the VIP's

    def vips(self) -> list[str]:
        """Both addresses of the VIP."""
        return [self.lab.topology.vip().of(family) for family in FAMILIES]

    def add_service(self, name: str, family: int, *, protocol: str, port: int, weights: Mapping[str, int]) -> None:
        """A virtual service with backends."""
        self.client.create_service(name, vip=self.lab.topology.vip().of(family), port=port, protocol=protocol, **self.options)
        for backend, weight in weights.items():
            self.add_backend(f"{name}/{backend}", family, weight)

    def add_backend(self, name: str, family: int, weight: int = 1) -> None:
        """A backend where it is now. Raises NotForwarded."""
        host = name.split("/")[1]
        [address] = [a.split("/")[0] for a in self.lab.addresses(host) if (":" in a) == (self.over.get(host, family) == 6)]
        added = self.client.add_backend(name, address=address, weight=weight)
        if added.reconciling:
            raise NotForwarded(f"{name}: {added.reconciling_reason}")

    def add_web(self, weights: Mapping[str, int] = WEIGHTS) -> None:
        """`web4` and `web6`."""
        for family in FAMILIES:
            self.add_service(f"web{family}", family, protocol="tcp", port=PORT_HTTP, weights=weights)

    def add_echoes(self, weights: Mapping[str, int] = EVEN) -> None:
        """`echo-tcp4`, `echo-udp4`, `echo-tcp6` and `echo-udp6`."""
        for family in FAMILIES:
            for protocol in ("tcp", "udp"):
                self.add_service(f"echo-{protocol}{family}", family, protocol=protocol, port=PORT_ECHO, weights=weights)


@contextmanager
def balanced(lab: Laboratory, agent: Agent, *, wait: bool = True, patience: float = CALL_SECONDS, **more: Any) -> Iterator[Balanced]:
    """A running agent in `lab`, READY unless not waited for; killed in the end. Each of the client's calls has `patience` seconds. `more`
    is what else Balanced takes. Raises AgentFailed."""
    agent.start()
    try:
        with l4lb.Client(agent.target, timeout=patience) as client:
            if wait:
                agent.wait_ready(client, max(60.0, patience))
            yield Balanced(lab, agent, client, **more)
    finally:
        agent.kill()


def programs(info: AgentInfo) -> set[tuple[int, str]]:
    """Program id and tag of every interface."""
    return {(interface.program_id, interface.program_tag) for interface in info.interfaces}


def identities(info: AgentInfo) -> tuple[object, ...]:
    """Everything in the kernel that must outlive the agent: links, programs and maps by id."""
    interfaces = sorted((i.name, i.link_id, i.program_id, i.program_tag) for i in info.interfaces)
    return (tuple(interfaces), tuple(sorted((m.stats.map, m.map_id) for m in info.maps)))
