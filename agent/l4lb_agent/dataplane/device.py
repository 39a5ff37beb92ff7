"""Network devices as XDP needs them, asked of rtnetlink(7) by hand: bpf(2) tells neither the mode of a link nor a foreign program."""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_ERROR, _NEWLINK, _GETLINK = 2, 16, 18
_REQUEST = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_XDP = 1, 3, 43
_XDP_ATTACHED, _XDP_PROGRAM, _XDP_NATIVE, _XDP_GENERIC = 2, 4, 5, 6
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


def find(name: str) -> Device:
    """The device `name` of this network namespace. Raises OSError ENODEV when there is none."""
    text = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(text), _IFLA_IFNAME) + text + bytes(-len(text) % 4)
    body = bytes(16) + attribute
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as door:
        door.settimeout(5)
        door.send(struct.pack("=IHHII", 16 + len(body), _GETLINK, _REQUEST, 1, 0) + body)
        answer = door.recv(1 << 16)
    kind = struct.unpack_from("=H", answer, 4)[0]
    if kind != _NEWLINK:
        code = -struct.unpack_from("=i", answer, 16)[0] if kind == _ERROR else errno.EPROTO
        wrong = code in (errno.ENODEV, errno.ERANGE, errno.EINVAL)
        raise OSError(errno.ENODEV if wrong else code, f"interface {name}: {'does not exist' if wrong else os.strerror(code)}")
    return parse(name, answer)
