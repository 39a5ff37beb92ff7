"""Laboratories with a running agent, made by the demo's own parts."""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Any

import pytest

from lab import netns
from lab.agent import Agent
from lab.direct.modes import Mode
from lab.laboratory import Laboratory
from lab.offload import Peer
from lab.services import Balanced, balanced

# name -> arguments of Laboratory and Agent
MODES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "native-tx": ({"peer": Peer.PROGRAM}, {"mode": "native"}),
    "native-redirect": ({"peer": Peer.GRO}, {"mode": "native", "redirect": True}),
    "generic": ({"peer": Peer.GRO}, {"mode": "generic"}),
}

Setup = Callable[..., AbstractContextManager[Balanced]]


@contextmanager
def set_up(
    mode: str = "native-tx", *, routed: bool = False, two_sided: bool = False, forwarding: Mode = Mode.NAT, wait: bool = True,
    options: Mapping[str, Any] = MappingProxyType({}), over: Mapping[str, int] = MappingProxyType({}), **agent: Any,
) -> Iterator[Balanced]:  # fmt: skip
    """A laboratory with a READY agent and no service; prints the agent's log when the test fails. Services will be of the mode `forwarding`
    with these further `options` (those of `encap` are its fields), backends `over` the given families."""
    laboratory, attached = MODES[mode]
    encap = options.get("encap", {})
    service = {**options, **forwarding.service(**encap)}
    with Laboratory(routed=routed, two_sided=two_sided, through=forwarding.through, direct=forwarding.direct, **laboratory) as lab:
        made = Agent(lab, **attached, **agent)
        try:
            with balanced(lab, made, wait=wait, options=service, over=over) as running:
                yield running
        finally:
            print(made.log())


def counted(running: Balanced, reason: int) -> int:
    """Packets that ended so."""
    [sample] = running.client.stats(samples=1)
    return sum(row.packets for row in sample.reasons if row.reason == reason)


def learnt(running: Balanced, role: str, address: str) -> int:
    """The MTU that a host's kernel remembers of the path to an address, 0 for none."""
    words = netns.run(["ip", "-n", running.lab.namespace(role), "route", "get", address]).split()
    return int(words[words.index("mtu") + 1]) if "mtu" in words else 0


def echoes(running: Balanced) -> None:
    """Long-lived TCP connections and UDP probes to both VIPs are answered, every one."""
    connections = running.lab.traffic.connections(running.vips(), 10)
    datagrams = running.lab.traffic.datagrams(running.vips(), 10)
    messages, probes = connections.result(), datagrams.result()
    assert (messages["failed"], messages["open"], messages["errors"]) == (0, 10, {})
    assert probes["requests"] >= 20
    assert (probes["failed"], probes["errors"]) == (0, {})


def downloads_whole(running: Balanced, family: int) -> int:
    """A client's download of BULK_BYTES arrives as it is; the bytes that the load balancer has sent meanwhile."""
    before = running.lab.sent_by_balancer()
    download = running.lab.traffic.download(running.lab.topology.vip().of(family), "/bulk.bin", "down").result()
    assert (download["errors"], download["sha256"]) == ({}, running.lab.digests["bulk.bin"])
    return running.lab.sent_by_balancer() - before


def uploads_whole(running: Balanced, family: int) -> None:
    """A client's upload arrives as it is."""
    name = f"up{family}"
    upload = running.lab.traffic.upload(running.lab.topology.vip().of(family), f"/upload/{name}", 10_000_000, name)
    assert upload["errors"] == {}
    [server] = [server for server in running.lab.nginx.values() if server.logged(name)]
    assert server.uploaded(name) == upload["sha256"]


def hears_that_nobody_listens(running: Balanced, family: int) -> None:
    """A client's connected UDP socket is told by the VIP that nothing listens at the backend's port; the service for it is added."""
    running.add_service(f"closed{family}", family, protocol="udp", port=9, weights={"a": 1})
    vip = running.lab.topology.vip().of(family)

    def ask() -> None:
        with socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect((vip, 9))
            sock.send(b"anybody?")
            sock.recv(100)

    with pytest.raises(ConnectionRefusedError):
        netns.inside(running.lab.namespace("client"), ask)


@pytest.fixture
def running() -> Iterator[Balanced]:
    """Bridged, native XDP_TX, READY, no service."""
    with set_up() as made:
        yield made


@pytest.fixture
def web(running: Balanced) -> Balanced:
    """The same with HTTP services of both families, weights 3:1."""
    running.add_web()
    return running
