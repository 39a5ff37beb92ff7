"""The veth pair by which probes of VIPs leave this host, and what leads their sockets' packets there: a rule for each family that sends
marked packets by a table of their own. What another agent has left, however it ended, is taken away before it is made anew."""

import errno
import fcntl
import socket
import struct
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from pyroute2.netlink.rtnl.ifinfmsg import IFF_UP

from l4lb_agent.system import routing
from l4lb_agent.system.netlink import Message, Netlink

OUT, IN = routing.OWN_DEVICES  # packets are sent by the one, and looked at as they come by the other
MTU: Final = 1280  # what every way has room for behind outer headers (RFC 8200 5)
PROTOCOL: Final = 108  # of the rules (rtnetlink(7)): by it an agent knows those of an earlier one, whatever their numbers were
_WHOLE: Final = 0xFFFFFFFF
_GENERATION_NONE: Final = 1  # IN6_ADDR_GEN_MODE_NONE in linux/if_link.h: no link-local address, and nothing is said about one
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17  # linux/sockios.h, linux/ethtool.h
_FAMILIES: Final = ((socket.AF_INET, "0.0.0.0/0"), (socket.AF_INET6, "::/0"))
_GONE: Final = (errno.ENOENT, errno.ENODEV, errno.ESRCH)
_NO_IPV6: Final = (errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL, errno.EACCES, errno.ENODEV)


@dataclass(frozen=True)
class Numbers:
    """Of this host's policy routing: [health] of agent.toml."""

    mark: int = 0x6C346C62
    table: int = 27746
    priority: int = 100


async def make(netlink: Netlink, numbers: Numbers) -> int:
    """Makes pair, rules and routes; ifindex of the end whose packets a program has to take. Raises OSError."""
    await remove(netlink)
    await netlink.ask("link", "add", ifname=OUT, kind="veth", mtu=MTU, peer={"ifname": IN, "mtu": MTU})
    indices = [int((await netlink.ask("link", "get", ifname=name))[0]["index"]) for name in (OUT, IN)]
    _finish_checksums(OUT)
    plain = {"attrs": [["AF_INET6", {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", _GENERATION_NONE]]}]]}
    for index in indices:
        with _ignoring(*_NO_IPV6):
            await netlink.ask("link", "set", index=index, IFLA_AF_SPEC=plain)
        await netlink.ask("link", "set", index=index, arp=False, state="up")
    for family, everywhere in _FAMILIES:
        with _ignoring(*(_NO_IPV6 if family == socket.AF_INET6 else ())):
            await netlink.ask("route", "replace", family=family, dst=everywhere, oif=indices[0], table=numbers.table)
            await netlink.ask(
                "rule", "add", family=family, fwmark=numbers.mark, fwmask=_WHOLE, table=numbers.table, priority=numbers.priority,
                protocol=PROTOCOL,
            )  # fmt: skip
    return indices[1]


async def whole(netlink: Netlink, numbers: Numbers, family: socket.AddressFamily) -> bool:
    """Whether all of it is there, for packets of this family. Raises OSError."""
    links = {link.get("ifname"): link for link in await netlink.ask("link", "dump")}
    if not all(name in links and links[name]["flags"] & IFF_UP for name in (OUT, IN)):
        return False
    routes = await netlink.ask("route", "dump", family=family, table=numbers.table)
    rules = await netlink.ask("rule", "dump", family=family)
    return any(one.get("oif") == links[OUT]["index"] for one in routes) and any(one.get("protocol") == PROTOCOL for one in rules)


async def remove(netlink: Netlink) -> None:
    """Takes away what there is of it; routes go with their device. Raises OSError: EEXIST for a device of the name that is none of ours,
    EBUSY while a program is attached, which is that of an agent that lives."""
    link = None
    with _ignoring(*_GONE):
        link = (await netlink.ask("link", "get", ifname=OUT))[0]
        if routing.kind(link) != "veth":
            raise FileExistsError(errno.EEXIST, f"there is a device {OUT} that is no veth pair: give it another name")
        if _attached((await netlink.ask("link", "get", ifname=IN))[0]):
            raise OSError(errno.EBUSY, f"{IN} is in use by another agent of this host: only one can probe VIPs")
    for family, _ in _FAMILIES:
        rules: list[Message] = []
        with _ignoring(*_NO_IPV6):
            rules = await netlink.ask("rule", "dump", family=family)
        for rule in (one for one in rules if one.get("protocol") == PROTOCOL):
            with _ignoring(*_GONE):
                await netlink.ask(
                    "rule", "delete", family=family, fwmark=rule.get("fwmark"), fwmask=rule.get("fwmask"), table=rule.get("table"),
                    priority=rule.get("priority"), protocol=PROTOCOL,
                )  # fmt: skip
    if link is not None:
        with _ignoring(*_GONE):
            await netlink.ask("link", "delete", index=link["index"])


def _attached(link: Message) -> bool:
    xdp = link.get("xdp")
    return bool(xdp and xdp.get("IFLA_XDP_PROG_ID"))


def _finish_checksums(name: str) -> None:
    """The kernel writes whole checksums, and no packet longer than the MTU: nobody completes them on the way."""
    wanted = array("I", (_ETHTOOL_STXCSUM, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        fcntl.ioctl(door, _SIOCETHTOOL, struct.pack("16sQ", name.encode(), wanted.buffer_info()[0]))


@contextmanager
def _ignoring(*numbers: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise
