"""Which namespaces a laboratory has, how they are wired and what their addresses are. Pure: returns names and lines for ip(8).

Bridged: everyone on one link.            Routed: three links, a router between them.

    client   lb   a   b                       client        lb        a   b
       |     |    |   |                          |           |        |   |
    ===+=====+====+===+=== (switch)           ===+===     ===+===  ===+===+===   (switch)
                                                  \\          |         /
    controller ---- lb                             +------ router -----+         controller ---- lb

Two-sided: the load balancer has a link to the clients and one to the backends, whose own way to clients is a router.

    client --+--- lb ---+-- a
             |          +-- b
             +- router -+

Bridged and two-sided also "through": backends reach clients through the load balancer alone, which is the router of a two-sided laboratory.

Tagged: two-sided over one wire, eth0, on which the links to the clients and to the backends are VLANs: eth0.7 and eth0.9.

Bridges live in the namespace `switch`; each veth is made inside it with its other end in the namespace that uses it, so that the root
namespace never sees an interface. Addresses are private ones (RFC 1918, RFC 4193); nothing leaves the namespaces, so that several
laboratories may use the same.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

BACKENDS: Final = ("a", "b")
FAMILIES: Final = (4, 6)
PORT_HTTP: Final = 80
PORT_ECHO: Final = 7007
_ROUTED: Final = {"lb": 0, "client": 1, "a": 2, "b": 2}  # the number of the link each is on
_TWO_SIDED: Final = {"lb": 0, "client": 0, "a": 1, "b": 1}
VLANS: Final = (7, 9)  # of a tagged laboratory's links
_ROUTER: Final = 254
_MTU: Final = 1500
_OUTER: Final = 52  # the largest outer header: IPv6, UDP, GUE
_IP_AND_TCP: Final = {4: 40, 6: 60}


@dataclass(frozen=True)
class Host:
    """One address of each family."""

    v4: str
    v6: str

    def of(self, family: int) -> str:
        """The address of family 4 or 6."""
        return self.v4 if family == 4 else self.v6


@dataclass(frozen=True)
class Topology:
    """Addresses of one laboratory."""

    routed: bool = False
    two_sided: bool = False
    through: bool = False
    tagged: bool = False

    def roles(self) -> tuple[str, ...]:
        """What namespaces are called, after the run's prefix."""
        return ("client", "lb", "a", "b", "switch", "controller", *(("router",) if self._has_router() else ()))

    def _has_router(self) -> bool:
        return self.routed or (self.two_sided and not self.through)

    def links(self) -> int:
        """How many there are beside the management link."""
        return 3 if self.routed else 2 if self.two_sided else 1

    def interfaces(self) -> tuple[str, ...]:
        """Of the load balancer: the switch's ports they are connected to are `ports`."""
        return ("eth0", "eth1") if self.two_sided and not self.tagged else ("eth0",)

    def ports(self) -> tuple[str, ...]:
        """What the switch calls the other ends of the load balancer's interfaces."""
        return ("lb", "lb1") if self.two_sided and not self.tagged else ("lb",)

    def ends(self) -> tuple[str, ...]:
        """Interfaces of the load balancer that have its addresses, by link."""
        return tuple(f"eth0.{vlan}" for vlan in VLANS) if self.tagged else self.interfaces()

    def _link(self, role: str) -> int:
        return _ROUTED[role] if self.routed else _TWO_SIDED[role] if self.two_sided else 0

    def _host(self, link: int, number: int) -> Host:
        return Host(f"10.77.{link}.{number}", f"fd77:0:0:{link}::{number}" if link else f"fd77::{number}")

    def host(self, role: str) -> Host:
        """Address of client, lb, a or b."""
        return self._host(self._link(role), {"lb": 1, "client": 10, "a": 21, "b": 22}[role])

    def spare(self) -> Host:
        """Address that a backend can move to."""
        return self._host(self._link("b"), 23)

    def vip(self) -> Host:
        """The VIP: on the load balancer's link, of no interface."""
        return self._host(self._link("lb"), 100)

    def snat(self) -> Host:
        """Source towards backends: on the load balancer's link (to them, if it has two), of no interface."""
        return self._host(self._link("a" if self.two_sided else "lb"), 200)

    def management(self, role: str) -> str:
        """Address of lb or controller on the link between them."""
        return {"lb": "10.77.9.1", "controller": "10.77.9.2"}[role]

    def switch_lines(self, prefix: str) -> list[str]:
        """What makes the bridges and every veth, inside `switch`."""
        lines = []
        for link in range(self.links()):
            lines.append(f"link add br{link} type bridge stp_state 0 forward_delay 0 mcast_snooping 0")
            lines.append(f"link set br{link} up")
        for role in ("lb", "client", *BACKENDS):
            lines += self._port(role, "eth0", prefix + role, self._link(role))
        if self.tagged:
            lines.append("link set dev lb nomaster")
            lines += [line for link, vlan in enumerate(VLANS) for line in self.member(link, vlan)]
        elif self.two_sided:
            lines += self._port("lb1", "eth1", f"{prefix}lb", 1)
        for link in range(self.links()) if self._has_router() else ():
            lines += self._port(f"router{link}", f"eth{link}", f"{prefix}router", link)
        return lines

    @staticmethod
    def _port(port: str, interface: str, namespace: str, link: int) -> list[str]:
        return [f"link add name {port} type veth peer name {interface} netns {namespace}", f"link set dev {port} master br{link} up"]

    @staticmethod
    def member(link: int, vlan: int) -> list[str]:
        """What makes a VLAN of the load balancer's wire part of a link, inside `switch`."""
        device = f"lb.{vlan}"
        return [f"link add link lb name {device} type vlan id {vlan}", f"link set dev {device} master br{link} up"]

    def host_lines(self, role: str, prefix: str) -> list[str]:
        """What gives one namespace its addresses and routes, after the switch is there."""
        if role == "switch":
            return []
        if role == "controller":
            peer = f"link add eth0 type veth peer name mgmt0 netns {prefix}lb"
            return [peer, f"addr add {self.management('controller')}/30 dev eth0", "link set eth0 up"]
        if role == "router":
            return [line for link in range(self.links()) for line in self._up(f"eth{link}", self._host(link, _ROUTER))]
        if role == "lb":
            vlans = [f"link add link eth0 name eth0.{vlan} type vlan id {vlan}" for vlan in VLANS] if self.tagged else []
            up = [line for link, end in enumerate(self.ends()) for line in self._up(end, self._host(link, 1))]
            return ["link set eth0 up", *vlans, *up, *self.routes(role)]
        return [*self._up("eth0", self.host(role)), *self.routes(role)]

    def _gateways(self, role: str, family: int) -> list[str]:
        """The address of the router on a host's link, if the host needs one."""
        if self.through and self.two_sided and role != "lb":
            return [self._host(self._link(role), 1).of(family)]
        needed = self.routed or (self.two_sided and role != "lb")
        return [self._host(self._link(role), _ROUTER).of(family)] if needed else []

    def routes(self, role: str) -> list[str]:
        """What sends a host's packets to the router, if there is one. The kernel drops these routes with the addresses they depend on."""
        lines = [f"route replace default via {address} dev eth0" for family in FAMILIES for address in self._gateways(role, family)]
        if self.through and not self.two_sided and role in BACKENDS:  # more specific than the link that they share
            client, lb = self.host("client"), self.host("lb")
            lines += [f"route replace {client.of(family)}/{32 if family == 4 else 128} via {lb.of(family)} dev eth0" for family in FAMILIES]
        return lines

    def small_segments(self, host: Host) -> list[str]:
        """What makes a backend at `host` ask clients for TCP segments that an outer header can be put around without exceeding the MTU."""
        lines = []
        for family, (length, kernels) in {4: (24, f"scope link src {host.v4}"), 6: (64, "metric 256")}.items():
            network = ipaddress.ip_interface(f"{host.of(family)}/{length}").network
            ways = [f"{network} proto kernel {kernels}", *(f"default via {gateway}" for gateway in self._gateways("a", family))]
            lines += [f"route replace {way} dev eth0 advmss {_MTU - _OUTER - _IP_AND_TCP[family]}" for way in ways]
        return lines

    def management_lines(self) -> list[str]:
        """What completes the management link, inside `lb`, after the controller's lines."""
        return [f"addr add {self.management('lb')}/30 dev mgmt0", "link set mgmt0 up"]

    @staticmethod
    def _up(interface: str, host: Host) -> list[str]:
        return [*address_lines(interface, host), f"link set {interface} up"]

    def sysctls(self, role: str) -> dict[str, str]:
        """Settings below net/ of one namespace, once it has its interfaces."""
        if role == "lb":  # bpf_fib_lookup answers only for interfaces that forward
            silent = {f"ipv4/conf/{which}/send_redirects": "0" for which in ("all", *self.interfaces())} if self.through else {}
            every = {*self.interfaces(), *self.ends()}
            forwarding = {f"{family}/conf/{interface}/forwarding": "1" for family in ("ipv4", "ipv6") for interface in every}
            return forwarding | silent
        if role == "router":
            telling = {"ipv4/conf/all/arp_notify": "1", **{f"ipv6/conf/eth{link}/ndisc_notify": "1" for link in range(self.links())}}
            return {"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", **telling, **self._any_way(range(self.links()))}
        if role == "client":  # nobody answers for an address: known after 0.6 s instead of 3
            return {f"{family}/neigh/eth0/retrans_time_ms": "200" for family in ("ipv4", "ipv6")}
        if role in BACKENDS:  # a host that changes its MAC address tells its neighbours
            told = {"ipv4/conf/eth0/accept_redirects": "0", "ipv6/conf/eth0/accept_redirects": "0"} if self.through else {}
            return {"ipv4/conf/eth0/arp_notify": "1", "ipv6/conf/eth0/ndisc_notify": "1", **told, **self._any_way([0])}
        return {}

    @staticmethod
    def _any_way(interfaces: Iterable[int]) -> dict[str, str]:
        """Packets may come from where no reply to them would go: a VIP's, where backends answer directly."""
        return {"ipv4/conf/all/rp_filter": "0", **{f"ipv4/conf/eth{number}/rp_filter": "0" for number in interfaces}}


def address_lines(interface: str, host: Host, verb: str = "add") -> list[str]:
    """Lines that add or delete both addresses of a host."""
    nodad = " nodad" if verb == "add" else ""
    return [f"addr {verb} {host.v4}/24 dev {interface}", f"addr {verb} {host.v6}/64 dev {interface}{nodad}"]
