"""Whose addresses they are: VIPs are answered for and announced, and nobody locks himself out."""

import socket
import struct
import time

from lab import netns
from lab.services import Balanced

ETH_P_ARP = 0x0806
ETH_P_IPV6 = 0x86DD


def listen(running: Balanced, protocol: int) -> socket.socket:
    """A packet socket on the client's interface."""

    def open_socket() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        made.bind(("eth0", protocol))
        made.settimeout(0.2)
        return made

    return netns.inside(running.lab.namespace("client"), open_socket)


def frames(sock: socket.socket, seconds: float) -> list[bytes]:
    """What arrives within a time."""
    found, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            found.append(sock.recv(2048))
        except TimeoutError:
            continue
    return found


def arp_senders(captured: list[bytes]) -> set[tuple[str, str]]:
    """(address, MAC) that ARP packets announce or tell."""
    return {(socket.inet_ntoa(f[28:32]), f[22:28].hex(":")) for f in captured if f[12:14] == struct.pack("!H", ETH_P_ARP)}


def advertised(captured: list[bytes]) -> set[str]:
    """Targets of neighbour advertisements (ICMPv6 type 136)."""
    return {socket.inet_ntop(socket.AF_INET6, f[62:78]) for f in captured if f[20] == 58 and f[54] == 136}


def test_the_datapath_answers_arp_and_neighbour_solicitations_for_vips_of_no_interface(web: Balanced) -> None:
    assert not any(vip in address for vip in web.vips() for address in web.lab.addresses("lb"))
    web.lab.forget_neighbours("client")
    assert web.lab.traffic.counted(web.vips(), 2, "resolved")["errors"] == {}
    neighbours = netns.run(["ip", "-n", web.lab.namespace("client"), "neigh", "show", "dev", "eth0"])
    lines = {line.split()[0]: line for line in neighbours.splitlines()}
    for vip in web.vips():
        assert f"lladdr {web.lab.mac('lb')}" in lines[vip]


def test_a_new_vip_is_announced(running: Balanced) -> None:
    mac, topology = running.lab.mac("lb"), running.lab.topology
    with listen(running, ETH_P_ARP) as arp, listen(running, ETH_P_IPV6) as ipv6:
        running.add_web()
        assert (topology.vip().v4, mac) in arp_senders(frames(arp, 1.5))
        assert topology.vip().v6 in advertised(frames(ipv6, 0.5))


def test_vips_are_announced_when_the_program_is_attached(web: Balanced) -> None:
    web.agent.stop()
    assert web.agent.run("detach").returncode == 0
    with listen(web, ETH_P_ARP) as arp, listen(web, ETH_P_IPV6) as ipv6:
        web.agent.start()
        web.agent.wait_ready(web.client)
        senders = arp_senders(frames(arp, 1.5))
        targets = advertised(frames(ipv6, 0.5))
    topology, mac = web.lab.topology, web.lab.mac("lb")
    assert {(topology.vip().v4, mac), (topology.snat().v4, mac)} <= senders
    assert {topology.vip().v6, topology.snat().v6} <= targets
    assert web.lab.traffic.counted(web.vips(), 5, "again")["errors"] == {}


def test_a_vip_that_is_also_an_address_of_the_host_keeps_the_hosts_own_ports_reachable(running: Balanced) -> None:
    """Who makes a service on the address that he administers the host by must not lock himself out."""
    own = running.lab.topology.host("lb")

    def serve() -> socket.socket:
        server = socket.create_server(("", 2222))
        server.settimeout(5)
        return server

    server = netns.inside(running.lab.namespace("lb"), serve)
    running.client.create_service("own", vip=own.v4, port=80)
    running.client.add_backend("own/a", address=running.lab.topology.host("a").v4)

    def connect(port: int) -> socket.socket:
        return netns.inside(running.lab.namespace("client"), lambda: socket.create_connection((own.v4, port), 5))

    with server, connect(2222) as client:
        accepted, _ = server.accept()
        accepted.close()
        assert client.recv(1) == b""
    assert running.lab.traffic.counted([own.v4], 10, "own")["by_backend"] == {"backend-a": 10}
    assert any("LOCAL" in warning.reason for warning in running.client.agent().warnings)


def test_a_port_of_a_vip_without_a_service_is_dropped_under_its_own_reason(web: Balanced) -> None:
    seen = web.lab.traffic.counted([web.lab.topology.vip().v4], 1, "nobody", port=81, patience=0.5)
    assert seen["failed"] == 1
    [sample] = web.client.stats(samples=1)
    assert any(row.reason == 36 and row.packets > 0 for row in sample.reasons)
