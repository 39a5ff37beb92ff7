"""Which way packets leave: back, by redirect, to the kernel's own next hop."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import Balancer
from tests.packet.wire import BACKEND_MAC, CLIENT_MAC, LB_MAC, V4, V6, Family, each_family, from_backend, from_client, same, to_client

GATEWAY_MAC = "02:00:00:00:00:77"
NEXT_GATEWAY_MAC = "02:00:00:00:00:78"
GATEWAYS = {4: ("10.9.0.1", "10.9.0.2"), 6: ("fd00::1", "fd00::2")}


def ip(command: str) -> None:
    """Run `ip` in the test's own namespace."""
    done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"ip {command}: {done.stderr}"


@dataclass(frozen=True)
class Link:
    """An interface with routes to the clients by a gateway whose neighbour entry is permanent."""

    ifindex: int
    mac: str


@pytest.fixture
def link(alone: set[int]) -> Link:
    """A veth pair with the routes; gone with the namespace."""
    ip("link set lo up")
    ip("link add way0 type veth peer name way1")
    for name in ("way0", "way1"):
        ip(f"link set {name} up")
    ip("addr add 10.9.0.9/24 dev way0")
    ip("addr add fd00::9/64 dev way0 nodad")
    for family in (V4, V6):
        for gateway, mac in zip(GATEWAYS[family.version], (GATEWAY_MAC, NEXT_GATEWAY_MAC)):
            ip(f"neigh replace {gateway} lladdr {mac} dev way0 nud permanent")
        route(family, 0)
    for name in ("lo", "way0"):
        for version in ("ipv4", "ipv6"):
            Path(f"/proc/sys/net/{version}/conf/{name}/forwarding").write_text("1")
    return Link(int(_show("way0")[0].rstrip(":")), _show("way0")[_show("way0").index("link/ether") + 1])


def _show(name: str) -> list[str]:
    return subprocess.run(["ip", "-o", "link", "show", name], capture_output=True, text=True, timeout=30, check=True).stdout.split()


def route(family: Family, gateway: int) -> None:
    """The clients are behind this gateway now."""
    prefix = "198.51.100.0/24" if family is V4 else "2001:db8:1::/64"
    ip(f"-{family.version} route replace {prefix} via {GATEWAYS[family.version][gateway]} dev way0")


@each_family
def test_replies_take_the_kernels_next_hop(lb: Balancer, link: Link, family: Family) -> None:
    lb.send(from_client(family, flags="S"))
    (flow,) = lb.flows()
    assert flow.element.ifindex == link.ifindex
    result = lb.send(from_backend(family, flags="SA"))
    assert (result.reason, result.verdict) == (Reason.TO_CLIENT, Verdict.REDIRECT)
    expected = to_client(family, flags="SA")
    expected.src, expected.dst = link.mac, GATEWAY_MAC
    same(result.data, expected)


@each_family
def test_a_next_hop_is_looked_up_again_only_when_routes_may_have_changed(lb: Balancer, link: Link, family: Family) -> None:
    lb.send(from_client(family, flags="S"))
    route(family, 1)
    assert lb.send(from_backend(family, flags="SA")).data[:6].hex(":") == GATEWAY_MAC
    lb.configure(route_generation=2)
    assert lb.send(from_backend(family, flags="SA")).data[:6].hex(":") == NEXT_GATEWAY_MAC


@each_family
def test_the_next_hop_stays_when_no_route_is_left(lb: Balancer, link: Link, family: Family) -> None:
    lb.send(from_client(family, flags="S"))
    ip(f"-{family.version} route flush root {'198.51.100.0/24' if family is V4 else '2001:db8:1::/64'}")
    lb.configure(route_generation=2)
    assert lb.send(from_backend(family, flags="SA")).data[:6].hex(":") == GATEWAY_MAC
    route(family, 1)
    assert lb.send(from_backend(family, flags="SA")).data[:6].hex(":") == GATEWAY_MAC, "asked once in a generation"


@each_family
def test_without_a_route_replies_go_back_as_the_clients_packet_came(lb: Balancer, family: Family) -> None:
    lb.send(from_client(family, flags="S"))
    (flow,) = lb.flows()
    assert (flow.element.ifindex, flow.element.mtu) == (1, 0)
    assert (bytes(flow.element.source_mac).hex(":"), bytes(flow.element.destination_mac).hex(":")) == (LB_MAC, CLIENT_MAC)


@each_family
def test_a_reply_longer_than_the_mtu_of_its_way_is_dropped(lb: Balancer, link: Link, family: Family) -> None:
    ip("link set way0 mtu 1300")
    lb.send(from_client(family, flags="S"))
    assert lb.flows()[0].element.mtu == 1300
    room = 1300 - (40 if family is V4 else 60)
    assert lb.send(from_backend(family, payload=bytes(room), flags="A")).reason is Reason.TO_CLIENT
    assert lb.send(from_backend(family, payload=bytes(room + 1), flags="A")).reason is Reason.TOO_BIG_LIMITED


@each_family
def test_a_backend_behind_another_interface_is_reached_by_redirect(lb: Balancer, link: Link, family: Family) -> None:
    lb.set_backend(1 if family is V4 else 4, ifindex=link.ifindex)
    result = lb.send(from_client(family, flags="S"))
    assert (result.reason, result.verdict) == (Reason.FLOW_CREATED, Verdict.REDIRECT)
    assert result.data[:6].hex(":") == BACKEND_MAC
    assert lb.send(from_client(family, flags="A"), ifindex=link.ifindex).verdict is Verdict.TX, "in and out by the same"


@each_family
def test_redirect_replaces_transmit_where_that_is_configured(lb: Balancer, family: Family) -> None:
    lb.configure(flags=layout.CONFIG_TRANSMIT_REDIRECT)
    assert lb.send(from_client(family, flags="S")).verdict is Verdict.REDIRECT
    assert lb.send(from_client(family, flags="A")).verdict is Verdict.REDIRECT
    assert lb.send(from_backend(family, flags="A")).verdict is Verdict.REDIRECT


@each_family
def test_a_backend_that_moves_is_reached_by_the_same_program(lb: Balancer, family: Family) -> None:
    """Neither addresses nor MACs are compiled in."""
    lb.send(from_client(family, flags="S"))
    lb.set_backend(1 if family is V4 else 4, destination_mac=(layout.U8 * 6)(*bytes.fromhex("020000000099")))
    assert lb.send(from_client(family, flags="A")).data[:6].hex() == "020000000099"
