"""Routes, and who answers on a link: what the doctor asks of the neighbourhood. Entries that it makes for that go away with it."""

import asyncio
import errno
import socket
from collections.abc import Iterable, Mapping
from typing import Final

from l4lb_agent.model.address import Address
from l4lb_agent.model.doctor.facts import Claim, Way
from l4lb_agent.model.ways.vlan import Vlan, beside_two_tags
from l4lb_agent.system import routing
from l4lb_agent.system.netlink import Message, Netlink
from l4lb_agent.system.network import NTF_EXT_MANAGED, KernelNetwork
from l4lb_agent.system.routing import NUD_FIXED, NUD_USABLE, Neighbour

POLLS: Final = (0.02, 0.05, 0.1, 0.25, 0.9)  # seconds between looks for answers: the kernel asks at once and again after a second
FEW: Final = 16  # neighbours; for more of them the whole table is read at once
_NTF_USE = 1  # resolve it once
_STATES = {1: "incomplete", 2: "reachable", 4: "stale", 8: "delay", 16: "probe", 32: "failed", 64: "noarp", 128: "permanent"}


class Ways:
    """Of one event loop. Needs CAP_NET_ADMIN to ask neighbours."""

    def __init__(self, netlink: Netlink, network: KernelNetwork) -> None:
        self._netlink, self._network = netlink, network

    async def default_ways(self) -> frozenset[str]:
        """Names of the interfaces that default routes of either family leave by."""
        links = {link["index"]: link.get("ifname") for link in await self._netlink.ask("link", "dump")}
        routes = [m for family in (socket.AF_INET, socket.AF_INET6) for m in await self._netlink.ask("route", "dump", family=family)]
        hops = (hop for route in routes if not route["dst_len"] and route["type"] == 1 for hop in route.get("multipath") or [route])
        return frozenset(links[index] for hop in hops if (index := hop.get("oif")) in links)

    async def ways(self, addresses: Iterable[Address]) -> dict[Address, Way | None]:
        """The route to each, and whether its neighbour answers; those of whom nothing is known are asked."""
        routes = {address: await self._network.route(address) for address in addresses}
        neighbours = {a: Neighbour(routing.gateway(route) or a, route.get("oif")) for a, route in routes.items() if route is not None}
        entries = await self._entries(set(neighbours.values()))
        asked = {one for one, entry in entries.items() if not _usable(entry) and not _managed(entry)}
        entries |= await self._asked(asked)
        links = {link["index"]: link for link in await self._netlink.ask("link", "dump")}
        found: dict[Address, Way | None] = dict.fromkeys(routes)
        for address, one in neighbours.items():
            route, link, entry = routes[address], links.get(one.ifindex), entries[one]
            mtu = routing.mtu(route, link) if route is not None else 0
            name = link.get("ifname") if link else str(one.ifindex)
            gateway = routing.gateway(routes[address])
            trouble = routing.trouble(link, links, gateway) if link is not None else ""
            carried, carrier = _beside_tags(link, links) if link is not None else (0, "")
            short = 0 < carried < mtu
            mtu = carried if short else mtu
            found[address] = Way(
                name, gateway, mtu, _state(entry), _usable(entry), trouble, carrier if short else "", routing.source(route)
            )  # fmt: skip
        return found

    async def claims(self, addresses: Iterable[Address], interfaces: Mapping[str, int]) -> tuple[Claim, ...]:
        """Who answers on the links of `interfaces` (name -> index) for addresses that nobody but the load balancer should have."""
        names = {index: name for name, index in interfaces.items()}
        wanted = {Neighbour(address, index) for address in addresses for index in names}
        before = await self._entries(wanted)
        for one, entry in before.items():  # what is known may be old
            if entry is not None and not entry["state"] & NUD_FIXED:
                await self._forget(one)
        asked = await self._asked({one for one, entry in before.items() if entry is None or not entry["state"] & NUD_FIXED})
        for one in asked:
            await self._forget(one)
        found = [(one, routing.mac(entry.get("lladdr"))) for one, entry in asked.items() if entry is not None and _usable(entry)]
        return tuple(
            Claim(one.address, names[one.ifindex], mac) for one, mac in sorted(found, key=lambda f: (f[0].ifindex, f[0].address)) if mac
        )

    async def _asked(self, neighbours: set[Neighbour]) -> dict[Neighbour, Message | None]:
        """Their entries after the kernel has asked them; those that have answered, as soon as all have."""
        for one in neighbours:
            await self._netlink.ask("neigh", "replace", dst=str(one.address), ifindex=one.ifindex, state=0, flags=_NTF_USE)
        entries: dict[Neighbour, Message | None] = dict.fromkeys(neighbours)
        for seconds in POLLS if neighbours else ():
            await asyncio.sleep(seconds)
            entries |= await self._entries({one for one, entry in entries.items() if not _usable(entry)})
            if all(map(_usable, entries.values())):
                break
        return entries

    async def _entries(self, wanted: set[Neighbour]) -> dict[Neighbour, Message | None]:
        """What the kernel knows of them: asked one by one, or all at once when they are many."""
        if len(wanted) <= FEW:
            return {one: await self._network.entry(one) for one in wanted}
        found: dict[Neighbour, Message | None] = dict.fromkeys(wanted)
        for message in await self._netlink.ask("neigh", "dump"):
            if message["family"] in (socket.AF_INET, socket.AF_INET6) and message.get("dst"):
                one = Neighbour(routing.address(message.get("dst")), message["ifindex"])
                if one in wanted:
                    found[one] = message
        return found

    async def _forget(self, one: Neighbour) -> None:
        try:
            await self._netlink.ask("neigh", "del", dst=str(one.address), ifindex=one.ifindex)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
                raise


def _beside_tags(link: Message, links: Mapping[int, Message]) -> tuple[int, str]:
    """What the interface that carries a link's frames has room for beside their two tags, and its name; 0 and "" where it has no two."""
    found = routing.vlan(link, links) if routing.kind(link) == "vlan" else None
    under = routing.vlan(links[found.lower], links) if isinstance(found, Vlan) and routing.kind(links[found.lower]) == "vlan" else None
    if not isinstance(found, Vlan) or not isinstance(under, Vlan):
        return 0, ""
    return beside_two_tags(found.mtu), links[under.lower].get("ifname")


def _usable(entry: Message | None) -> bool:
    return entry is not None and bool(entry["state"] & (NUD_USABLE | NUD_FIXED))


def _managed(entry: Message | None) -> bool:
    """Whether the kernel goes on asking by itself; to ask once would end that."""
    return entry is not None and bool((entry.get("flags_ext") or 0) & NTF_EXT_MANAGED)


def _state(entry: Message | None) -> str:
    return _STATES.get(entry["state"], "none") if entry is not None else "none"
