"""A backend that answers directly, with each way to open outer headers: hand-made packets go in, a real TCP socket on the VIP answers."""

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from lab import netns
from lab.direct import tunnels
from lab.direct.backend import PORT_GUE, take_vip
from lab.direct.decapsulator import Decapsulator
from lab.direct.tunnels import Tunnels
from lab.topology import Host

CLIENT, BACKEND, VIP = Host("10.88.0.1", "fd88::1"), Host("10.88.0.2", "fd88::2"), Host("10.88.0.100", "fd88::100")
ETH_P_ALL = 3
SEQUENCE = 1000
KINDS = ("ipip", "gue", "gue with a checksum", "fou", "fou with a checksum")
PAIRS = [(inner, outer) for inner in (4, 6) for outer in (4, 6)]


@dataclass
class Backend:
    """A client's namespace joined to a backend's; `opener` takes outer headers off."""

    opener: Tunnels | Decapsulator
    wire: socket.socket  # a packet socket on the client's end
    mac: str  # the backend's

    def answer(self, frame: Packet, source_port: int, family: int, patience: float = 30) -> TCP | None:
        """What the VIP's socket says to the client's port when `frame` arrives; None when it says nothing for so many seconds."""
        self.wire.settimeout(patience)
        self.wire.send(bytes(frame))
        until = time.monotonic() + patience
        while time.monotonic() < until:
            try:
                seen = Ether(self.wire.recv(2048))
            except TimeoutError:
                break
            layer = seen.getlayer(IP if family == 4 else IPv6)
            if TCP in seen and layer is not None and (layer.src, seen[TCP].dport) == (VIP.of(family), source_port):
                return seen[TCP]
        return None


@pytest.fixture(scope="module")
def namespaces() -> Iterator[tuple[str, str]]:
    names = (f"l4lb-{os.getpid()}-client", f"l4lb-{os.getpid()}-backend")
    netns.create(names)
    netns.batch(names[0], [f"link add eth0 type veth peer name eth0 netns {names[1]}"])
    for name, host in zip(names, (CLIENT, BACKEND)):
        netns.set_sysctls(name, {"ipv6/conf/eth0/accept_dad": "0"})
        netns.batch(name, [f"addr add {host.v4}/24 dev eth0", f"addr add {host.v6}/64 dev eth0 nodad", "link set eth0 up"])
    take_vip(names[1], VIP)
    yield names
    netns.delete(names)


@pytest.fixture(scope="module", params=["xdp", "kernel"])
def backend(request: pytest.FixtureRequest, namespaces: tuple[str, str]) -> Iterator[Backend]:
    client, name = namespaces
    opener: Tunnels | Decapsulator
    if request.param == "kernel":
        if not tunnels.supported(name, PORT_GUE):
            pytest.skip("this kernel has no tunnels")
        opener = Tunnels(name, BACKEND, PORT_GUE)
    else:
        opener = Decapsulator(BACKEND, PORT_GUE)
        opener.attach(name)

    def sockets() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        made.bind(("eth0", ETH_P_ALL))
        return made

    mac = netns.run(["ip", "-n", name, "-o", "link", "show", "dev", "eth0"]).split("link/ether ")[1].split()[0]
    listening = netns.inside(name, lambda: [socket.create_server((host, 80), family=family) for host, family in servers()])
    with netns.inside(client, sockets) as wire:
        yield Backend(opener, wire, mac)
    for server in listening:
        server.close()
    opener.close()


def servers() -> list[tuple[str, socket.AddressFamily]]:
    """Addresses that somebody listens on."""
    return [(VIP.v4, socket.AF_INET), (VIP.v6, socket.AF_INET6)]


def syn(family: int, source_port: int) -> Packet:
    """A client's first packet to the VIP."""
    ip = IP(src=CLIENT.v4, dst=VIP.v4) if family == 4 else IPv6(src=CLIENT.v6, dst=VIP.v6)
    return ip / TCP(sport=source_port, dport=80, flags="S", seq=SEQUENCE)


def wrapped(packet: Packet, outer: int, kind: str) -> Packet:
    """Inside an outer header to the backend."""
    number = 41 if IPv6 in packet else 4
    if kind == "ipip":
        ip = IP(src=CLIENT.v4, dst=BACKEND.v4, proto=number) if outer == 4 else IPv6(src=CLIENT.v6, dst=BACKEND.v6, nh=number)
        return ip / bytes(packet)
    udp = UDP(sport=50000, dport=PORT_GUE) if "checksum" in kind else UDP(sport=50000, dport=PORT_GUE, chksum=0)
    ip = IP(src=CLIENT.v4, dst=BACKEND.v4) if outer == 4 else IPv6(src=CLIENT.v6, dst=BACKEND.v6)
    gue = bytes([0, number, 0, 0]) if kind.startswith("gue") else b""
    return ip / udp / Raw(gue + bytes(packet))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("inner", "outer"), PAIRS, ids=[f"{inner}in{outer}" for inner, outer in PAIRS])
def test_a_syn_inside_an_outer_header_is_answered_by_the_vips_own_socket(backend: Backend, inner: int, outer: int, kind: str) -> None:
    port = 40000 + 100 * KINDS.index(kind) + 10 * PAIRS.index((inner, outer))
    taken = backend.opener.taken()
    answer = backend.answer(Ether(dst=backend.mac) / wrapped(syn(inner, port), outer, kind), port, inner)
    assert answer is not None
    assert (answer.flags, answer.ack) == ("SA", SEQUENCE + 1)
    assert backend.opener.taken() > taken


def test_a_syn_for_the_vip_by_the_backends_mac_alone_is_answered(backend: Backend) -> None:
    for family in (4, 6):
        answer = backend.answer(Ether(dst=backend.mac) / syn(family, 45000 + family), 45000 + family, family)
        assert answer is not None
        assert answer.flags == "SA"


def test_a_broken_outer_checksum_is_not_answered(backend: Backend) -> None:
    frame = bytearray(bytes(Ether(dst=backend.mac) / wrapped(syn(4, 46000), 6, "gue with a checksum")))
    frame[-1] ^= 1
    assert backend.answer(Ether(bytes(frame)), 46000, 4, patience=1) is None


def test_neighbours_are_not_told_of_the_vip(backend: Backend, namespaces: tuple[str, str]) -> None:
    client = namespaces[0]

    def ask() -> None:
        for address, family in servers():
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.sendto(b"?", (address, 9))

    netns.inside(client, ask)
    answered, failed = told(client)
    while not answered and len(failed) < 2:
        time.sleep(0.05)
        answered, failed = told(client)
    assert (answered, failed) == (set(), {VIP.v4, VIP.v6})


def told(client: str) -> tuple[set[str], set[str]]:
    """VIPs that the client has learnt a MAC for, and those that nobody answered for."""
    lines = [line.split() for line in netns.run(["ip", "-n", client, "neigh", "show", "dev", "eth0"]).splitlines()]
    ours = [words for words in lines if words[0] in (VIP.v4, VIP.v6)]
    return {words[0] for words in ours if "lladdr" in words}, {words[0] for words in ours if words[-1] == "FAILED"}
