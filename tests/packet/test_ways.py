"""Which way packets leave: back, by redirect, to the kernel's own next hop."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason, Verdict
from l4lb_agent.model.ways.vlan import Vlan, place
from tests.packet.balancer import LOOPBACK, Balancer
from tests.packet.vlans import tagged
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


def unknown(family: Family, options: str = "") -> None:
    """The clients are behind a gateway now that is no known neighbour."""
    prefix, gateway = ("198.51.100.0/24", "10.9.0.3") if family is V4 else ("2001:db8:1::/64", "fd00::3")
    ip(f"-{family.version} route replace {prefix} via {gateway} dev way0 {options}")


def way_mtu(lb: Balancer, family: Family, ifindex: int) -> int:
    """What the flow of a client's packet from that interface takes for the MTU of its way, once the backend has answered."""
    lb.send(from_client(family, flags="S"), ifindex=ifindex)
    assert lb.send(from_backend(family, flags="SA"), ifindex=ifindex).data[:12].hex(":") == f"{CLIENT_MAC}:{LB_MAC}", "as it came"
    (flow,) = lb.flows()
    return int(flow.element.mtu)


@each_family
@pytest.mark.parametrize("options", ["", "mtu lock 1290"])
def test_the_mtu_of_a_way_back_without_a_neighbour_is_the_routes(lb: Balancer, link: Link, family: Family, options: str) -> None:
    """Nobody resolves it: replies go back by XDP, and the host may never speak to a client."""
    ip("link set way0 mtu 1300")
    unknown(family, options)
    lb.configure(icmp_rate=1000, icmp_burst=1000)
    expected = 1290 if options else 1300
    assert way_mtu(lb, family, link.ifindex) == expected
    room = expected - (40 if family is V4 else 60)
    assert lb.send(from_backend(family, payload=bytes(room), flags="A"), ifindex=link.ifindex).reason is Reason.TO_CLIENT
    told = lb.send(from_backend(family, payload=bytes(room + 1), flags="A"), ifindex=link.ifindex)
    assert (told.reason, told.verdict) == (Reason.TOO_BIG_ANSWERED, Verdict.TX)
    assert int.from_bytes(told.data[40:42] if family is V4 else told.data[58:62], "big") == expected, "what the backend is told"


@each_family
def test_the_mtu_of_a_way_back_without_a_route_is_the_interfaces(lb: Balancer, link: Link, family: Family) -> None:
    ip(f"-{family.version} route flush root {'198.51.100.0/24' if family is V4 else '2001:db8:1::/64'}")
    ip("link set way0 mtu 1300")
    assert way_mtu(lb, family, link.ifindex) == 1300


@each_family
def test_a_route_over_another_interface_says_nothing_of_the_way_back(lb: Balancer, link: Link, family: Family) -> None:
    ip("link set lo mtu 1400")
    unknown(family, "mtu lock 1290")
    assert way_mtu(lb, family, LOOPBACK) == 1400


@each_family
def test_an_interface_that_takes_everything_limits_no_reply(lb: Balancer, link: Link, family: Family) -> None:
    unknown(family)
    ip("link set lo mtu 65536")
    assert way_mtu(lb, family, LOOPBACK) == 0


@each_family
def test_the_mtu_of_a_way_back_by_a_vlan_is_that_of_its_device(lb: Balancer, link: Link, family: Family) -> None:
    unknown(family)
    other = int(_show("way1")[0].rstrip(":"))
    ip("link set way1 mtu 1290")
    for key, value in place([Vlan(other, link.ifindex, 7)])[0].items():
        lb.write("vlans", key, value)
    lb.configure(flags=layout.CONFIG_VLANS)
    for frame in (from_client(family, flags="S"), from_backend(family, flags="SA")):
        lb.send(tagged(frame, 7), ifindex=link.ifindex)
    (flow,) = lb.flows()
    assert (flow.element.ifindex, flow.element.mtu) == (link.ifindex | 7 << layout.OUT_VLAN_SHIFT, 1290)


@each_family
def test_an_mtu_that_changes_is_learnt_without_a_neighbour_too(lb: Balancer, link: Link, family: Family) -> None:
    unknown(family)
    assert way_mtu(lb, family, link.ifindex) == 1500
    ip("link set way0 mtu 1300")
    lb.send(from_backend(family, flags="A"), ifindex=link.ifindex)
    assert lb.flows()[0].element.mtu == 1500, "asked once in a generation"
    lb.configure(route_generation=2)
    assert way_mtu(lb, family, link.ifindex) == 1300


@each_family
def test_a_neighbour_that_appears_before_the_first_reply_is_its_next_hop(lb: Balancer, link: Link, family: Family) -> None:
    unknown(family)
    lb.send(from_client(family, flags="S"), ifindex=link.ifindex)
    route(family, 0)
    assert lb.send(from_backend(family, flags="SA"), ifindex=link.ifindex).data[:6].hex(":") == GATEWAY_MAC


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
