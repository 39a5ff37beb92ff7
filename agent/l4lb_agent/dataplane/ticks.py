"""The datapath's clock: jiffies64, read by running a three-instruction program, scaled to seconds as bpf/clock.h does."""

import struct
import time

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd

_CLOCK_MONOTONIC_COARSE = 6
_JIFFIES64 = 118
_PACKET = bytes(14)


def hertz() -> int:
    """Timer interrupts a second (CONFIG_HZ): the coarse clocks step once in each, and say so."""
    return round(1 / time.clock_getres(_CLOCK_MONOTONIC_COARSE))


def second_multiplier(hz: int) -> int:
    """seconds = (jiffies64 * second_multiplier) >> 24; slow by up to 15 in a million, the same for all who use it."""
    return (1 << 24) // hz


def _instruction(code: int, destination: int = 0, source: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("<BBhi", code, source << 4 | destination, 0, immediate)


class Ticks:
    """Loaded programs that return the second, and the parts of it."""

    def __init__(self) -> None:
        self.multiplier = second_multiplier(hertz())
        self._program = Fd(syscall.prog_load(self._shifted(24), "l4lb_second"))
        self._fine = Fd(syscall.prog_load(self._shifted(0), "l4lb_fine"))

    def _shifted(self, bits: int) -> bytes:
        return (
            _instruction(0x85, immediate=_JIFFIES64)
            + _instruction(0x27, 0, immediate=self.multiplier)  # r0 *= multiplier
            + _instruction(0x77, 0, immediate=bits)  # r0 >>= bits
            + _instruction(0x95)
        )

    def second(self) -> int:
        """Now, as the `seen` fields of flows and replies count it."""
        return syscall.prog_test_run(self._program.fileno(), _PACKET, room=64).retval

    def fine(self) -> int:
        """Now in 2^-24 seconds, as fine_time() of bpf/clock.h."""
        while True:
            second, parts = self.second(), syscall.prog_test_run(self._fine.fileno(), _PACKET, room=64).retval
            if parts >> 24 == second & 0xFF:
                return second << 24 | parts & 0xFFFFFF

    def close(self) -> None:
        """Unload them."""
        self._program.close()
        self._fine.close()
