"""Interfaces as the doctor looks at them: what rtnetlink(7) and the ethtool ioctl tell. Changes nothing; any user may ask."""

import contextlib
import os
import socket
import struct
from collections.abc import Iterable

from pyroute2.ethtool.ioctl import EthtoolError, IoctlEthtool

from l4lb_agent.model.doctor.facts import Device, Peer
from l4lb_agent.system import namespaces, routing
from l4lb_agent.system.netlink import Message, Netlink

_IFF_UP = 0x1
_GET_NETCONF, _NETCONF_IFINDEX, _NETCONF_RP_FILTER, _ALL = 82, 1, 3, -1  # linux/netconf.h
_CHECKSUMS = ("tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6")  # any of them leaves TCP and UDP checksums unfinished


async def devices(netlink: Netlink, wanted: Iterable[str]) -> tuple[dict[str, Device], frozenset[bytes]]:
    """Those of `wanted` that there are, by name, and the MACs of every interface. Raises OSError."""
    links = await netlink.ask("link", "dump")
    by_index = {link["index"]: link for link in links}
    strict = reverse_path_filter(_ALL)
    found = {link.get("ifname"): _device(link, by_index, strict) for link in links if link.get("ifname") in set(wanted)}
    return found, frozenset(mac for link in links if (mac := routing.mac(link.get("address"))))


def _device(link: Message, by_index: dict[int, Message], strict: int) -> Device:
    name = link.get("ifname")
    active, fixed = offloads(name)
    queues, most = channels(name)
    above = _vlans_on(link["index"], by_index)
    return Device(
        name,
        link["index"],
        kind=routing.kind(link),
        mtu=link.get("mtu") or 0,
        up=bool(link["flags"] & _IFF_UP) and link.get("carrier") != 0,  # IFF_RUNNING comes up to a second later
        offloads=active,
        fixed=fixed,
        queues=queues,
        queues_most=most,
        vlans=tuple(sorted(other.get("ifname") for other in above)),
        service_vlans=any(routing.is_service(other) for other in above),
        peer=_peer(link, by_index),
        forwards=routing.forwarding(link),
        strict=max(strict, reverse_path_filter(link["index"])) == 1,
    )


def _vlans_on(index: int, by_index: dict[int, Message]) -> list[Message]:
    """VLAN devices on a link, and those on them."""
    on = [one for one in by_index.values() if one.get("link") == index and one.get("link_netnsid") is None]
    near = [one for one in on if routing.kind(one) == "vlan"]
    return near + [further for one in near for further in _vlans_on(one["index"], by_index)]


def _peer(link: Message, by_index: dict[int, Message]) -> Peer | None:
    """The other end of a veth: in this namespace too, or in a named one, whose number it then tells."""
    index, nsid = link.get("link") or 0, link.get("link_netnsid")
    if routing.kind(link) != "veth" or not index:
        return None
    if nsid is not None:
        return namespaces.inside(nsid, lambda name: _end(socket.if_indextoname(index), name))
    return _end(by_index[index].get("ifname"), "") if index in by_index else None


def _end(name: str, namespace: str) -> Peer:
    active, _ = offloads(name)
    return Peer(name, any(active.get(offload) for offload in _CHECKSUMS), namespace)


def offloads(name: str) -> tuple[dict[str, bool], frozenset[str]]:
    """The device's features by the kernel's names, whether each is on, and those that cannot be changed. Empty when it does not tell."""
    with contextlib.closing(IoctlEthtool(name)) as door, contextlib.suppress(OSError, EthtoolError):
        features = door.get_features()
        active = {feature: bool(on) for feature, on, *_ in features}
        fixed = frozenset(f for f in active if features.is_never_changed(f) or not features.is_available(f))
        return active, fixed
    return {}, frozenset()


def channels(name: str) -> tuple[int, int]:
    """Queues for receiving, and the most that the device has; (0, 0) when it does not tell."""
    with contextlib.closing(IoctlEthtool(name)) as door, contextlib.suppress(OSError, EthtoolError):
        told = door.get_channels()
        return told["rx_count"] + told["combined_count"], max(told["max_rx"], told["max_combined"])
    return 0, 0


def reverse_path_filter(ifindex: int) -> int:
    """The rp_filter setting of one interface, or of `all` (-1), over netlink, since /proc/sys may be hidden. Raises OSError."""
    body = struct.pack("=B3x", socket.AF_INET) + struct.pack("=HHi", 8, _NETCONF_IFINDEX, ifindex)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as door:
        door.settimeout(5)
        door.send(struct.pack("=IHHII", 16 + len(body), _GET_NETCONF, 1, 1, 0) + body)
        answer = door.recv(1 << 16)
    if struct.unpack_from("=H", answer, 4)[0] == 2:
        code = -struct.unpack_from("=i", answer, 16)[0]
        raise OSError(code, f"rp_filter of interface {ifindex}: {os.strerror(code)}")
    for offset in range(20, len(answer), 8):  # every attribute is one number of 4 bytes
        length, kind, value = struct.unpack_from("=HHi", answer, offset)
        if length == 8 and kind == _NETCONF_RP_FILTER:
            return int(value)
    return 0
