"""Telling neighbours where an address is: gratuitous ARP (RFC 5227 2.3) and unsolicited neighbour advertisements (RFC 4861 7.2.6).

A raw socket needs CAP_NET_RAW. Instead a tiny traffic-control program is run once on the frame (BPF_PROG_TEST_RUN) and hands a clone to
the device's ordinary transmit queue (bpf_clone_redirect), which needs nothing of the driver, unlike XDP's redirect.
"""

import contextlib
import errno
import fcntl
import os
import socket
import struct

from l4lb_agent.dataplane import device, syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.model import checksums
from l4lb_agent.model.address import Address

_SIOCADDMULTI, _SIOCDELMULTI = 0x8931, 0x8932
_CLONE_REDIRECT = 13
_SOLICITED_NODE = bytes.fromhex("ff02" + "00" * 9 + "01ff")  # the address's last three bytes follow (RFC 4291 2.7.1)


def solicited_node(address: Address) -> bytes:
    """MAC of the IPv6 address's solicited-node group (RFC 4291 2.7.1, RFC 2464 7)."""
    return b"\x33\x33\xff" + address.packed[13:]


def frame(address: Address, mac: bytes) -> bytes:
    """The Ethernet frame that says to everybody on the link: `address` is at `mac`."""
    if address.family == 4:
        ip = address.packed[12:]
        arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + ip + bytes(6) + ip
        return b"\xff" * 6 + mac + b"\x08\x06" + arp
    override = 0x20000000
    body = struct.pack("!I", override) + address.packed + b"\x02\x01" + mac
    destination = bytes.fromhex("ff02" + "00" * 13 + "01")
    pseudo = address.packed + destination + struct.pack("!II", 4 + len(body), 58)
    message = struct.pack("!BBH", 136, 0, checksums.complete(checksums.words(pseudo + b"\x88\0\0\0" + body))) + body
    header = struct.pack("!IHBB", 6 << 28, len(message), 58, 255) + address.packed + destination
    return b"\x33\x33\0\0\0\x01" + mac + b"\x86\xdd" + header + message


def transmitter(ifindex: int) -> bytes:
    """Instructions: return bpf_clone_redirect(skb, ifindex, 0)."""
    return (
        struct.pack("<BBhi", 0xB7, 2, 0, ifindex)
        + struct.pack("<BBhi", 0xB7, 3, 0, 0)
        + struct.pack("<BBhi", 0x85, 0, 0, _CLONE_REDIRECT)
        + struct.pack("<BBhi", 0x95, 0, 0, 0)
    )


def announce(address: Address, found: device.Device) -> None:
    """Send one announcement on a device that has a MAC (`has_mac`). Raises OSError."""
    with Fd(syscall.prog_load(transmitter(found.ifindex), "l4lb_announce", type=syscall.PROG_TYPE_SCHED_CLS)) as program:
        run = syscall.prog_test_run(program.fileno(), frame(address, found.mac))
    if run.retval:
        # Negative: an errno. Positive (NET_XMIT_*): the queue refused it, as that of a device without carrier does.
        code = 0x100000000 - run.retval if run.retval >> 31 else errno.ENETDOWN
        raise OSError(code, f"announce {address} on {found.name}: {os.strerror(code)}")


def has_mac(found: device.Device) -> bool:
    """False for devices without neighbours to tell: lo, tunnels."""
    return len(found.mac) == 6 and any(found.mac)


class Groups:
    """Which solicited-node groups the devices listen to for announced addresses: a network card drops what nobody asked for, and a switch
    that snoops on MLD (RFC 4541 3) keeps back what nobody has reported. The card goes on listening when the agent ends, reports end with
    it: neighbours that know an address ask this station alone."""

    def __init__(self) -> None:
        self._users: dict[tuple[str, bytes], set[Address]] = {}
        self._reported: dict[tuple[str, bytes], tuple[int, socket.socket]] = {}  # ifindex, and who is the group's member there
        self._members: list[socket.socket] = []  # each with as many groups as the kernel lets it have

    def join(self, address: Address, found: device.Device) -> None:
        """Listen for solicitations of an IPv6 `address`; nothing for IPv4. Joining twice is joining once, also for the kernel."""
        if address.family == 4:
            return
        key = (found.name, solicited_node(address))
        _multicast(found.name, key[1], _SIOCADDMULTI)
        self._users.setdefault(key, set()).add(address)
        if self._reported.get(key, (0,))[0] != found.ifindex:
            with contextlib.suppress(OSError):  # a device without IPv6 reports nothing
                self._reported[key] = (found.ifindex, self._report(found.ifindex, address))

    def leave(self, address: Address, interface: str) -> None:
        """Undo `join`, unless another address needs the same group."""
        key = (interface, solicited_node(address))
        users = self._users.get(key, set())
        users.discard(address)
        if address.family == 4 or users or self._users.pop(key, None) is None:
            return
        ifindex, member = self._reported.pop(key, (0, None))
        if member is not None:
            with contextlib.suppress(OSError):  # the device has gone
                member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, _membership(ifindex, address))
        _multicast(interface, key[1], _SIOCDELMULTI)

    def close(self) -> None:
        """No longer be a member of any."""
        for member in self._members:
            member.close()

    def _report(self, ifindex: int, address: Address) -> socket.socket:
        """The kernel reports the group on the device for as long as the socket is open."""
        for member in self._members:
            try:
                member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, _membership(ifindex, address))
            except OSError as error:
                if error.errno != errno.ENOMEM:
                    raise
            else:
                return member
        self._members.append(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        self._members[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, _membership(ifindex, address))
        return self._members[-1]


def _membership(ifindex: int, address: Address) -> bytes:
    """struct ipv6_mreq of the address's solicited-node group."""
    return _SOLICITED_NODE + address.packed[13:] + struct.pack("=I", ifindex)


def _multicast(interface: str, group: bytes, request: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        try:
            fcntl.ioctl(door, request, struct.pack("=16sH14s", interface.encode()[:15], 0, group))
        except OSError as error:
            raise OSError(error.errno, f"multicast group {group.hex(':')} on {interface}: {error.strerror}") from None
