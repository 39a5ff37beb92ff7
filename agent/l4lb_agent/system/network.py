"""Routes, neighbours, links and addresses of this network namespace: the control.ports.Network of a real kernel."""

import asyncio
import contextlib
import errno
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Container
from dataclasses import replace

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from l4lb_agent.model.address import Address
from l4lb_agent.model.observed import NextHop
from l4lb_agent.model.ways.vlan import Vlan, beside_two_tags
from l4lb_agent.system import routing
from l4lb_agent.system.netlink import Message, Netlink, is_transient
from l4lb_agent.system.routing import NUD_FIXED, NUD_USABLE, Neighbour

_RTN_UNICAST = 1
_NTF_EXT_LEARNED = 0x10
NTF_EXT_MANAGED = 1  # in NDA_FLAGS_EXT: the kernel resolves it and keeps it resolved
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.ENETDOWN, errno.ENODEV)
MOST_GATEWAYS = 256  # that are kept resolved, of those of routes: an internet exchange may have thousands
KNOWN_SECONDS = 1.0  # and at most until the kernel tells of a change
_KINDS = {"LINK": "link", "NEIGH": "neighbour", "ROUTE": "route", "ADDR": "address"}
_GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400  # RTMGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE


class KernelNetwork:
    """One event loop's view; needs CAP_NET_ADMIN for neighbours only."""

    def __init__(self, connect: Callable[[], AsyncIPRoute] = AsyncIPRoute) -> None:
        self._connect = connect
        self._netlink = Netlink(connect)
        self._kept: dict[Address, Neighbour] = {}  # by the address that was asked for; several may share a gateway
        self._uses: Counter[Neighbour] = Counter()  # how many of those
        self._known: dict[Neighbour, tuple[float, asyncio.Task[tuple[Message, bytes]]]] = {}  # when it was asked, link and MAC
        self._made: set[Neighbour] = set()  # managed by us: `forget` deletes them
        self._gateways: frozenset[Neighbour] = frozenset()  # of the routes that `routing` saw
        self._resolved: frozenset[Neighbour] = frozenset()  # those of them that count among `_uses`
        self._macs: dict[Neighbour, bytes] = {}  # what `changes` saw last

    async def next_hop(self, address: Address) -> NextHop | None:
        """The kernel's way to `address`; its neighbour is kept resolved from now on. None without a route, for an address of this host,
        and until the neighbour has answered."""
        route = await self.route(address)
        if route is None:
            await self.forget(address)
            return None
        gateway = routing.gateway(route)
        neighbour = Neighbour(gateway or address, route.get("oif"))
        if self._kept.get(address) != neighbour:
            await self.forget(address)
            self._kept[address] = neighbour
            self._uses[neighbour] += 1
        link, destination = await self._shared(neighbour)
        source = routing.mac(link.get("address"))
        if not source or not destination:
            return None
        mtu = routing.mtu(route, link)
        hop = NextHop(link.get("ifname"), neighbour.ifindex, source, destination, gateway, mtu, routing.source(route))
        return await self._over_vlan(link, hop) if routing.kind(link) == "vlan" else hop

    async def _shared(self, neighbour: Neighbour) -> tuple[Message, bytes]:
        """The link of a neighbour, and its MAC. Thousands of backends behind one router want the same: while nothing changes they are asked
        for once, of a neighbour that has answered."""
        now = asyncio.get_running_loop().time()
        known = self._known.get(neighbour)
        if known is None or now - known[0] > KNOWN_SECONDS:
            known = self._known[neighbour] = (now, asyncio.create_task(self._link_and_mac(neighbour)))
        try:
            found = await asyncio.shield(known[1])
        except OSError:
            self._unknow(neighbour, known)
            raise
        if not found[1]:
            self._unknow(neighbour, known)
        return found

    def _unknow(self, neighbour: Neighbour, known: object) -> None:
        if self._known.get(neighbour) is known:
            del self._known[neighbour]

    async def _link_and_mac(self, neighbour: Neighbour) -> tuple[Message, bytes]:
        link = (await self._netlink.ask("link", "get", index=neighbour.ifindex))[0]
        return link, await self._resolve(neighbour)

    async def _over_vlan(self, link: Message, hop: NextHop) -> NextHop:
        """The way over a VLAN device: by its lower device, with the tag; or by the device itself, whose tags the datapath looks up."""
        links = {link["index"]: link}
        below = link
        while routing.kind(below) == "vlan" and below.get("link") and below.get("link_netnsid") is None:
            below = (await self._netlink.ask("link", "get", index=below.get("link")))[0]
            links[below["index"]] = below
        found = routing.vlan(link, links)
        if isinstance(found, str):
            return replace(hop, trouble=routing.trouble(link, links, hop.gateway))
        outer = routing.vlan(links[found.lower], links) if routing.kind(links[found.lower]) == "vlan" else None
        if isinstance(outer, Vlan):
            mtu = min(hop.mtu, beside_two_tags(found.mtu))
            return replace(hop, vlan=found.vlan, outer_vlan=outer.vlan, by_device=True, mtu=mtu)
        if found.service:
            return replace(hop, vlan=found.vlan, by_device=True)
        return replace(hop, ifindex=found.lower, vlan=found.vlan)

    async def vlans(self) -> frozenset[Vlan]:
        """Those over which packets can be sent and received."""
        return routing.vlans(await self._netlink.ask("link", "dump"))

    async def route(self, address: Address) -> Message | None:
        """The kernel's route to `address`; None without one and for an address of this host."""
        try:
            route = (await self._netlink.ask("route", "get", dst=str(address)))[0]
        except OSError as error:
            if error.errno in _NO_ROUTE:
                return None
            raise
        return route if route["type"] == _RTN_UNICAST and route.get("oif") else None

    async def _resolve(self, neighbour: Neighbour) -> bytes:
        """MAC of a neighbour, b"" while unknown. A new request is made only where the kernel does not manage the entry already: each
        request is itself a change that `changes` reports."""
        entry = await self.entry(neighbour)
        state = entry["state"] if entry is not None else 0
        if entry is None or not state & NUD_FIXED and not (entry.get("flags_ext") or 0) & NTF_EXT_MANAGED:
            await self._netlink.ask(
                "neigh", "replace", dst=str(neighbour.address), ifindex=neighbour.ifindex, state=0, flags=_NTF_EXT_LEARNED,
                NDA_FLAGS_EXT=NTF_EXT_MANAGED,
            )  # fmt: skip
            entry = await self.entry(neighbour)
            state = entry["state"] if entry is not None else 0
        if not state & NUD_FIXED:
            self._made.add(neighbour)
        return routing.mac(entry.get("lladdr")) if entry is not None and state & (NUD_USABLE | NUD_FIXED) else b""

    async def entry(self, neighbour: Neighbour) -> Message | None:
        """The kernel's entry of a neighbour, None without one."""
        try:
            return (await self._netlink.ask("neigh", "get", dst=str(neighbour.address), ifindex=neighbour.ifindex))[0]
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                return None
            raise

    async def forget(self, address: Address) -> None:
        """No longer keep the neighbour resolved, unless another address needs the same one."""
        neighbour = self._kept.pop(address, None)
        if neighbour is not None:
            await self._release(neighbour)

    async def _release(self, neighbour: Neighbour) -> None:
        """One use less."""
        self._uses[neighbour] -= 1
        if self._uses[neighbour]:
            return
        del self._uses[neighbour]
        self._known.pop(neighbour, None)
        if neighbour not in self._made:
            return
        self._made.discard(neighbour)
        self._macs.pop(neighbour, None)
        try:
            await self._netlink.ask("neigh", "del", dst=str(neighbour.address), ifindex=neighbour.ifindex)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
                raise

    async def local_addresses(self) -> frozenset[Address]:
        """Every address of this host."""
        messages = await self._netlink.ask("addr", "dump")
        return frozenset(routing.address(m.get("local") or m.get("address")) for m in messages if m.get("local") or m.get("address"))

    async def interfaces(self) -> dict[str, int]:
        """Interface names and indices."""
        return {m.get("ifname"): m["index"] for m in await self._netlink.ask("link", "dump")}

    async def routing(self) -> bytes:
        """All that decides how replies leave, as canonical bytes: links, routes, MACs of the gateways of routes. Those are kept resolved
        from now on."""
        links, routes, neighbours = [await self._netlink.ask(what, "dump") for what in ("link", "route", "neigh")]
        self._gateways = routing.gateways(routes)
        await self._keep_gateways(routing.ethernet(links), routing.kept(neighbours, NTF_EXT_MANAGED))
        return routing.canonical(links, routes, neighbours)

    async def _keep_gateways(self, links: Container[int], kept: Container[Neighbour]) -> None:
        """Nothing else makes this host speak to the routers before clients, and to one that it does not know replies cannot move when
        theirs has gone."""
        ways = sorted((one for one in self._gateways if one.ifindex in links), key=lambda one: (one.ifindex, one.address))[:MOST_GATEWAYS]
        before, self._resolved = self._resolved, frozenset(ways)
        for neighbour in before - self._resolved:
            await self._release(neighbour)
        self._uses.update(self._resolved - before)
        for neighbour in self._resolved:
            if neighbour not in kept:
                with contextlib.suppress(OSError):  # the link has gone meanwhile, which is told
                    await self._resolve(neighbour)

    async def forwarding(self, interface: str) -> frozenset[int] | None:
        """Families, 4 and 6, that are forwarded from this interface; None when it is not there. Asked over netlink, since /proc/sys may
        be hidden."""
        try:
            link = (await self._netlink.ask("link", "get", ifname=interface))[0]
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.ENXIO):
                return None
            raise
        return routing.forwarding(link)

    async def changes(self) -> AsyncGenerator[str, None]:
        """Yields "link", "neighbour", "route" or "address" whenever one changes; never ends. "anything" comes once it listens, and after
        an overflow, when anything may have been missed. A neighbour counts when it is kept, or a gateway, and its MAC is another."""
        while True:
            monitor = self._connect()
            try:
                await monitor.bind(_GROUPS)
                self._known.clear()
                yield "anything"
                while True:
                    for kind in await self._batch(monitor):
                        yield kind
            except (OSError, NetlinkError) as error:
                if not is_transient(error) and getattr(error, "errno", None) != errno.ECONNRESET:
                    raise
                await asyncio.sleep(0.05)
            finally:
                monitor.close()

    async def _batch(self, monitor: AsyncIPRoute) -> list[str]:
        found: dict[str, None] = {}
        async for message in monitor.get():
            self._known.clear()
            kind = _KINDS.get(message["event"].removeprefix("RTM_NEW").removeprefix("RTM_DEL"))
            if kind and (kind != "neighbour" or self._moved(message)):
                found[kind] = None
        return list(found)

    def _moved(self, message: Message) -> bool:
        if message["family"] not in (socket.AF_INET, socket.AF_INET6) or not message.get("dst"):
            return False
        neighbour = Neighbour(routing.address(message.get("dst")), message["ifindex"])
        if neighbour not in self._gateways and neighbour not in self._uses:
            return False
        usable = message["event"] == "RTM_NEWNEIGH" and message["state"] & (NUD_USABLE | NUD_FIXED)
        mac = routing.mac(message.get("lladdr")) if usable else b""
        before, self._macs[neighbour] = self._macs.get(neighbour), mac
        return mac != before

    def close(self) -> None:
        """Close the connection; kept neighbours stay kept, so that forwarding goes on."""
        self._netlink.close()
