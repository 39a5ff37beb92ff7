"""Reading rtnetlink messages: pure functions of what pyroute2 decoded."""

import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from l4lb_agent.model.address import Address
from l4lb_agent.model.ways.mtu import effective
from l4lb_agent.model.ways.vlan import Vlan

Message = Any

NUD_USABLE = 0x02 | 0x04 | 0x08 | 0x10  # REACHABLE, STALE, DELAY, PROBE: the kernel has a MAC and goes on using it
NUD_FIXED = 0x40 | 0x80  # NOARP, PERMANENT: the operator's own, left as they are
_IFF_UP_RUNNING = 0x1 | 0x40
_DOT1AD = 0x88A8
OWN_DEVICES = ("l4lb-probe0", "l4lb-probe1")  # a veth pair of the agent's own, see probing/pair.py: no client's packet goes there
_RTM_F_CLONED = 0x200  # a cached copy of a route, not a route
_ROUTE_HEADER = ("family", "dst_len", "src_len", "tos", "type", "flags")
_ROUTE_ATTRIBUTES = ("table", "dst", "src", "oif", "priority", "prefsrc")


@dataclass(frozen=True)
class Neighbour:
    """Who is asked for a MAC: `address` on the device `ifindex`."""

    address: Address
    ifindex: int


def address(text: str) -> Address:
    """An address as the kernel writes it; any will do, also link-local ones."""
    packed = ipaddress.ip_address(text).packed
    return Address(packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed)


def mac(text: str | None) -> bytes:
    """Six bytes; b"" for none, another length or all zero."""
    raw = bytes.fromhex(text.replace(":", "")) if text else b""
    return raw if len(raw) == 6 and any(raw) else b""


def gateway(hop: Message) -> Address | None:
    """The gateway of a route or of one of its hops, also an IPv6 one of an IPv4 route (RFC 5549)."""
    text = hop.get("gateway") or (hop.get("via") or {}).get("addr")
    return address(text) if text else None


def source(route: Message) -> Address | None:
    """What the kernel would send from, unless it has nothing that means anything beyond the link, or the host (RFC 3927, RFC 4007)."""
    text = route.get("prefsrc")
    own = ipaddress.ip_address(text) if text else None
    return address(text) if own and not (own.is_link_local or own.is_loopback) else None


def mtu(route: Message, link: Message | None) -> int:
    """What fits into a route over a link: a route's own MTU may say more than its link takes, and then nothing is sent of what it says."""
    metrics, carried = route.get("metrics"), (link.get("mtu") if link is not None else None) or 0
    asked = (metrics.get("mtu") if metrics else None) or 0
    return effective(asked, carried)


def _hops(route: Message) -> Iterator[tuple[int, Address | None, int]]:
    """Device, gateway and weight of each way."""
    for hop in route.get("multipath") or [route]:
        index = hop.get("oif") or 0
        yield index, gateway(hop), hop.get("hops") or 0


def gateways(routes: Iterable[Message]) -> frozenset[Neighbour]:
    """Every gateway with its device."""
    return frozenset(Neighbour(way, index) for route in routes for index, way, _ in _hops(route) if way)


def ethernet(links: Iterable[Message]) -> frozenset[int]:
    """Those of the links that run and have a MAC: over them neighbours are asked for theirs."""
    return frozenset(one["index"] for one in links if _runs(one) and mac(one.get("address")))


def _runs(link: Message) -> bool:
    return bool(link["flags"] & _IFF_UP_RUNNING == _IFF_UP_RUNNING)


def kept(neighbours: Iterable[Message], managed: int) -> frozenset[Neighbour]:
    """Those that the kernel, by the flag `managed`, or an operator keeps."""
    entries = (m for m in neighbours if m.get("dst") and (m["state"] & NUD_FIXED or (m.get("flags_ext") or 0) & managed))
    return frozenset(Neighbour(address(m.get("dst")), m["ifindex"]) for m in entries)


def forwarding(link: Message) -> frozenset[int]:
    """Families, 4 and 6, that the host forwards from a link."""
    families = link.get("af_spec")
    v4 = families.get("af_inet") if families else None
    v6 = families.get("af_inet6") if families else None
    settings = v6.get("ifla_inet6_conf") if v6 else None
    found = ((4, v4), (6, settings))
    return frozenset(family for family, values in found if values and values["forwarding"])


def vlan(link: Message, links: Mapping[int, Message]) -> Vlan | str:
    """A VLAN device, or why none of its packets can be sent or received: in words that follow its name. `links` has those that it is on."""
    lower = links.get(link.get("link")) if link.get("link_netnsid") is None else None
    if lower is None:
        return "is on an interface of another network namespace: move both into the one of the agent"
    mtu = lower.get("mtu") or 0
    if kind(lower) == "vlan":
        under = vlan(lower, links)
        if isinstance(under, str):
            return f"is a VLAN on {lower.get('ifname')}, which {under}"
        if kind(links[under.lower]) == "vlan":
            return f"is a VLAN on {lower.get('ifname')}, which is one on another one: three tags are not handled"
        mtu = under.mtu
    number = link.get("linkinfo").get("data").get("vlan_id")
    return Vlan(link["index"], lower["index"], number, is_service(link), mtu, link.get("ifname"), _runs(link))


def is_service(link: Message) -> bool:
    """Whether a VLAN device is of 802.1ad."""
    return bool(link.get("linkinfo").get("data").get("vlan_protocol") == _DOT1AD)


def trouble(link: Message, links: Mapping[int, Message], gateway: Address | None) -> str:
    """Why nothing can be sent over `link` to a neighbour or to `gateway`; "" when it can. `links` has those that it is on."""
    found = vlan(link, links) if kind(link) == "vlan" else ""
    return f"{link.get('ifname')}, over which {gateway or 'it'} is reached, {found}" if isinstance(found, str) and found else ""


def vlans(links: Iterable[Message]) -> frozenset[Vlan]:
    """Those over which packets can be sent and received."""
    by_index = {link["index"]: link for link in links}
    found = (vlan(link, by_index) for link in by_index.values() if kind(link) == "vlan")
    return frozenset(one for one in found if isinstance(one, Vlan))


def kind(link: Message) -> str:
    """veth, vlan, bond ...; "" for a network card."""
    information = link.get("linkinfo")
    return (information.get("kind") if information else None) or ""


def canonical(links: Iterable[Message], routes: Iterable[Message], neighbours: Iterable[Message]) -> bytes:
    """What decides how packets leave: links with MAC, MTU and whether they run; VLANs; routes; MACs of gateways. The same bytes for the
    same state, in whatever order the kernel tells it, without ages and statistics."""
    links = list(links)
    own = {link["index"] for link in links if link.get("ifname") in OWN_DEVICES}
    links = [link for link in links if link["index"] not in own]
    routes = [route for route in routes if not route["flags"] & _RTM_F_CLONED and route.get("oif") not in own]
    ways = gateways(routes)
    lines = [["link", m["index"], mac(m.get("address")).hex(), m.get("mtu"), m["flags"] & _IFF_UP_RUNNING] for m in links]
    lines += [["vlan", one.device, one.lower, one.number, one.mtu] for one in vlans(links)]
    for route in routes:
        hops = sorted([index, str(way), weight] for index, way, weight in _hops(route))
        metrics = route.get("metrics")
        parts = [route[name] for name in _ROUTE_HEADER] + [route.get(name) for name in _ROUTE_ATTRIBUTES]
        lines.append(["route", *parts, hops, metrics.get("mtu") if metrics else None])
    for m in neighbours:
        known = m["state"] & (NUD_USABLE | NUD_FIXED) and m.get("dst")
        if known and Neighbour(address(m.get("dst")), m["ifindex"]) in ways:
            lines.append(["gateway", m["ifindex"], m.get("dst"), mac(m.get("lladdr")).hex()])
    return "\n".join(sorted(json.dumps(line) for line in lines)).encode()
