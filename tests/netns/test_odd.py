"""Fragments, IPv4 options and IPv6 extension headers as real stacks send them, and put together again."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from l4lb.v1.reason_pb2 import Reason
from lab import netns
from lab.direct.modes import Mode
from lab.services import Balanced
from lab.topology import FAMILIES, PORT_ECHO
from tests.netns.conftest import set_up

PATIENCE = 10.0
MTU = 1300  # of a router's link
ROOMY = 1400  # of the client's way, where packets grow on theirs
TO_BALANCER = "eth0"  # the router's interface
IP_MTU_DISCOVER, IP_PMTUDISC_DONT, IPV6_DSTOPTS = 10, 0, 59  # linux/in.h, in6.h; Python does not name them
NOTHING = bytes([1] * 12)  # IPv4 options
PADDING = bytes([0, 0, 1, 4, 0, 0, 0, 0])  # a destination options header: next header and length are the kernel's, PadN
CASES: dict[str, dict[str, Any]] = {
    "nat": {},
    "nat-generic": {"mode": "generic"},
    "nat-two-sided": {"two_sided": True},
    "keep": {"forwarding": Mode.KEEP},
    "keep-two-sided": {"forwarding": Mode.KEEP, "two_sided": True},
    "dsr": {"forwarding": Mode.DSR},
    "ipip": {"forwarding": Mode.IPIP, "over": {"a": 4, "b": 6}},
    "gue-checksum": {"forwarding": Mode.GUE, "over": {"a": 4, "b": 6}, "options": {"encap": {"outer_checksum": True}}},
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES.keys())
def running(request: pytest.FixtureRequest) -> Iterator[Balanced]:
    with set_up(**request.param) as made:
        if request.param.get("over"):  # a fragment has to leave room for the outer header: nobody can cut it again
            netns.batch(made.lab.namespace("client"), [f"route add {vip} dev eth0 mtu {ROOMY}" for vip in made.vips()])
        made.add_echoes()
        yield made


def counted(running: Balanced, *reasons: int, least: int = 0) -> int:
    """Packets that ended so; waited for while they are less than `least`."""
    found = 0
    for sample in running.client.stats(samples=5):
        found = sum(row.packets for row in sample.reasons if row.reason in reasons)
        if found >= least:
            break
    return found


def made(family: int, kind: socket.SocketKind, vip: str) -> socket.socket:
    """A socket connected to the echo service, inside the namespace that the thread is in."""
    sock = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, kind)
    sock.settimeout(PATIENCE)
    sock.connect((vip, PORT_ECHO))
    return sock


def echoed(sock: socket.socket, data: bytes) -> bytes:
    """What a stream brings back."""
    received = b""
    for at in range(0, len(data), 10_000):
        part = data[at : at + 10_000]
        sock.sendall(part)
        while len(received) < at + len(part):
            got = sock.recv(65536)
            assert got, "the connection was closed"
            received += got
    return received


@pytest.mark.parametrize("family", FAMILIES)
def test_large_datagrams_come_back_whole(running: Balanced, family: int) -> None:
    """Twelve of them at once, from as many ports: each goes in fragments to its backend and comes back in fragments."""
    vip = running.lab.topology.vip().of(family)
    before = counted(running, Reason.REASON_TO_BACKEND, Reason.REASON_FLOW_CREATED)

    def exchange() -> None:
        with contextlib.ExitStack() as closing:
            sent = {}
            for number in range(12):
                sock = closing.enter_context(made(family, socket.SOCK_DGRAM, vip))
                sent[sock] = bytes([number]) * (1900 + 400 * number)
                sock.send(sent[sock])
            assert all(sock.recv(65536) == data for sock, data in sent.items())

    netns.inside(running.lab.namespace("client"), exchange)
    after = counted(running, Reason.REASON_TO_BACKEND, Reason.REASON_FLOW_CREATED, least=before + 12 * 2)
    assert after - before >= 12 * 2, "fragments pass one by one"
    assert counted(running, Reason.REASON_FRAGMENT, Reason.REASON_FRAGMENT_OVERLAP) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_largest_datagram_comes_back_whole(running: Balanced, family: int) -> None:
    vip, data = running.lab.topology.vip().of(family), bytes(range(250)) * 260

    def exchange() -> bytes:
        with made(family, socket.SOCK_DGRAM, vip) as sock:
            sock.send(data)
            return sock.recv(65536)

    assert netns.inside(running.lab.namespace("client"), exchange) == data


@pytest.mark.parametrize("family", FAMILIES)
def test_tcp_with_options_in_every_packet(running: Balanced, family: int) -> None:
    vip, data = running.lab.topology.vip().of(family), bytes(range(256)) * 800

    def exchange() -> bytes:
        with socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6) as sock:
            sock.settimeout(PATIENCE)
            if family == 4:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, NOTHING)
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, IPV6_DSTOPTS, PADDING)
            sock.connect((vip, PORT_ECHO))
            return echoed(sock, data)

    assert netns.inside(running.lab.namespace("client"), exchange) == data


def test_tcp_in_fragments_of_a_router() -> None:
    """A client that lets routers fragment what is too long for their links: of IPv4 alone, IPv6 routers do not."""
    with set_up(routed=True) as running:
        running.add_echoes()
        netns.batch(running.lab.namespace("router"), [f"link set {TO_BALANCER} mtu {MTU}"])
        vip, data = running.lab.topology.vip().of(4), bytes(range(256)) * 800

        def exchange() -> bytes:
            with socket.socket(socket.AF_INET) as sock:
                sock.settimeout(PATIENCE)
                sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
                sock.connect((vip, PORT_ECHO))
                return echoed(sock, data)

        assert netns.inside(running.lab.namespace("client"), exchange) == data
        assert counted(running, Reason.REASON_FRAGMENT, Reason.REASON_MTU_EXCEEDED) == 0
        made = fragments_made(running.lab.namespace("router"))
        assert made >= 2 * 100, "the router has cut them"


def fragments_made(namespace: str) -> int:
    """Fragments that the kernel of a namespace has made of IPv4 packets."""

    def read() -> int:
        with open("/proc/thread-self/net/snmp") as file:
            names, values = (line.split() for line in file if line.startswith("Ip:"))
        return int(values[names.index("FragCreates")])

    return netns.inside(namespace, read)
