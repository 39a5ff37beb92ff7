"""Network devices as XDP needs them, asked of rtnetlink(7) by hand: bpf(2) tells neither the mode of a link nor a foreign program."""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_ERROR, _GETLINK = 2, 18
_REQUEST = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_XDP = 1, 3, 43
_XDP_ATTACHED, _XDP_PROGRAM, _XDP_NATIVE, _XDP_GENERIC = 2, 4, 5, 6
_NETLINK_GENERIC, _GENERIC_CONTROL = 16, 16
_GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 3, 1, 2  # linux/genetlink.h
_GET_DEVICE, _DEVICE_IFINDEX, _DEVICE_XDP_FEATURES, _XDP_BASIC = 1, 1, 3, 1  # linux/netdev.h
_MODES = {0: "", 1: "native", 2: "generic", 3: "offload", 4: "several"}


@dataclass(frozen=True)
class Device:
    """`xdp_mode` is native, generic, offload, several or "" (nothing attached); `mac` is empty for devices without."""

    name: str
    ifindex: int
    mac: bytes
    xdp_mode: str
    xdp_program: int


def _attributes(raw: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(raw):
        length, kind = struct.unpack_from("=HH", raw, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, raw[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def parse(name: str, message: bytes) -> Device:
    """The device in an RTM_NEWLINK message, its header included."""
    found = dict(_attributes(message[32:]))
    xdp = dict(_attributes(found.get(_IFLA_XDP, b"")))
    program = next((xdp[kind] for kind in (_XDP_PROGRAM, _XDP_NATIVE, _XDP_GENERIC) if kind in xdp), bytes(4))
    mode = _MODES.get(xdp.get(_XDP_ATTACHED, b"\0")[0], "several")
    ifindex = struct.unpack_from("=i", message, 20)[0]
    return Device(name, ifindex, found.get(_IFLA_ADDRESS, b""), mode, int.from_bytes(program, "little"))


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _ask(protocol: int, kind: int, body: bytes) -> bytes:
    """The one message that answers. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as door:
        door.settimeout(5)
        door.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST, 1, 0) + body)
        answer = door.recv(1 << 16)
    if struct.unpack_from("=H", answer, 4)[0] == _ERROR:
        code = -struct.unpack_from("=i", answer, 16)[0] or errno.EPROTO
        raise OSError(code, os.strerror(code))
    return answer


def find(name: str) -> Device:
    """The device `name` of this network namespace. Raises OSError ENODEV when there is none."""
    try:
        answer = _ask(socket.NETLINK_ROUTE, _GETLINK, bytes(16) + _attribute(_IFLA_IFNAME, name.encode() + b"\0"))
    except OSError as error:
        wrong = error.errno in (errno.ENODEV, errno.ERANGE, errno.EINVAL)
        code = errno.ENODEV if wrong else error.errno or errno.EPROTO
        raise OSError(code, f"interface {name}: {'does not exist' if wrong else os.strerror(code)}") from None
    return parse(name, answer)


def takes_native(ifindex: int) -> bool | None:
    """Whether the device's driver says that it takes XDP programs; None when the kernel does not tell (before 6.3)."""
    try:
        family = _ask(_NETLINK_GENERIC, _GENERIC_CONTROL, struct.pack("=BBH", _GET_FAMILY, 1, 0) + _attribute(_FAMILY_NAME, b"netdev\0"))
        number = dict(_attributes(family[20:]))[_FAMILY_ID]
        body = struct.pack("=BBH", _GET_DEVICE, 1, 0) + _attribute(_DEVICE_IFINDEX, struct.pack("=I", ifindex))
        answer = _ask(_NETLINK_GENERIC, int.from_bytes(number, "little"), body)
        return bool(int.from_bytes(dict(_attributes(answer[20:]))[_DEVICE_XDP_FEATURES], "little") & _XDP_BASIC)
    except (OSError, KeyError):
        return None
