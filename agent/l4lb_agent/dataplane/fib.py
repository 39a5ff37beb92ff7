"""The kernel's routes, neighbours and MTUs as the datapath asks them: bpf_fib_lookup() and bpf_check_mtu() in a program that is run on the
question and writes the answer over it. It asks for no neighbour to be resolved, and leaves no trace."""

import ctypes
import os
import struct
from dataclasses import replace

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.model.address import is_mapped
from l4lb_agent.model.explain.moment import Asked, Route

_FIB_LOOKUP, _CHECK_MTU = 69, 163
_QUESTION = struct.Struct("=BB2s2sHII16s16sI6s6sII")  # struct bpf_fib_lookup of linux/bpf.h; an interface, and its MTU
_BYTES, _ROUTE_BYTES = _QUESTION.size, 64
_NO_NEIGHBOUR, _TOO_LONG = 7, 8
_LONGEST = 0xFFFF
_FAMILIES = {4: 2, 6: 10}
_TOO_SHORT = 99
_WHY = {
    1: "a blackhole route", 2: "an unreachable route", 3: "a prohibit route", 4: "an address of this host, or no route",
    5: "forwarding is off", 6: "a route with an encapsulation", 7: "the neighbour is not resolved", 8: "too long for the way",
    9: "no source address",
}  # fmt: skip


def _op(code: int, destination: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("<BBhi", code, source << 4 | destination, offset, immediate)


def _program() -> bytes:
    """r6 = context, r7 = packet, r8 = what the kernel says; the question is copied to the stack and back."""
    copied = range(0, _BYTES, 8)
    return b"".join(
        [
            _op(0xBF, 6, 1),
            _op(0x61, 7, 6, 0),  # r7 = data
            _op(0x61, 3, 6, 4),  # r3 = data_end
            _op(0xBF, 4, 7),
            _op(0x07, 4, immediate=_BYTES),
            _op(0x3D, 3, 4, 2),  # if r3 >= r4 goto copy
            _op(0xB7, 0, immediate=_TOO_SHORT),
            _op(0x95),
            *(_op(0x79, 5, 7, at) + _op(0x7B, 10, 5, at - _BYTES) for at in copied),
            _op(0xBF, 1, 6),
            _op(0xBF, 2, 10),
            _op(0x07, 2, immediate=-_BYTES),
            _op(0xB7, 3, immediate=_ROUTE_BYTES),
            _op(0xB7, 4),
            _op(0x85, immediate=_FIB_LOOKUP),
            _op(0xBF, 8, 0),
            _op(0xBF, 1, 6),
            _op(0x61, 2, 10, -8),  # the interface
            _op(0xBF, 3, 10),
            _op(0x07, 3, immediate=-4),  # its MTU
            _op(0xB7, 4),
            _op(0xB7, 5),
            _op(0x85, immediate=_CHECK_MTU),
            *(_op(0x79, 5, 10, at - _BYTES) + _op(0x7B, 7, 5, at) for at in copied),
            _op(0xBF, 0, 8),
            _op(0x95),
        ]
    )


class Routes:
    """The loaded program. Of this network namespace."""

    def __init__(self) -> None:
        self._loaded = Fd(syscall.prog_load(_program(), "l4lb_route"))

    def ask(self, asked: Asked) -> Route:
        """The way, or why there is none."""
        said, route = self._say(asked, 0)
        if said != _NO_NEIGHBOUR:
            return route
        longer, told = self._say(asked, _LONGEST)  # the MTU of a route without a neighbour is told only when it is too little
        return replace(route, mtu=told.mtu if longer == _TOO_LONG else 0)

    def _say(self, asked: Asked, length: int) -> tuple[int, Route]:
        family = 4 if is_mapped(asked.destination) else 6
        source, destination = (one[12:].ljust(16, b"\0") if family == 4 else one for one in (asked.source, asked.destination))
        ports = asked.source_port.to_bytes(2, "big"), asked.destination_port.to_bytes(2, "big")
        question = _QUESTION.pack(
            _FAMILIES[family], asked.protocol, *ports, length, asked.ifindex, 0, source, destination, 0, bytes(6), bytes(6), asked.back, 0
        )  # fmt: skip
        run = syscall.prog_test_run(self._loaded.fileno(), question, ifindex=asked.ifindex, room=_BYTES)
        said = ctypes.c_int32(run.retval).value
        _, _, _, _, mtu, ifindex, _, _, _, _, source_mac, destination_mac, _, back_mtu = _QUESTION.unpack(run.data)
        if not said:
            return said, Route("", ifindex, mtu, back_mtu, source_mac, destination_mac)
        why = _WHY.get(said, os.strerror(-said) if said < 0 else f"the kernel answers {said}")
        return said, Route(why, ifindex if said == _NO_NEIGHBOUR else 0, mtu if said == _TOO_LONG else 0, back_mtu)

    def close(self) -> None:
        """Unload it."""
        self._loaded.close()
