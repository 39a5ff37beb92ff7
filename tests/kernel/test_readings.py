"""Counters and the clock, as the datapath holds them."""

import struct
import time
from pathlib import Path

from l4lb_agent.dataplane import maps, syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.kernel import KernelDatapath
from l4lb_agent.dataplane.ticks import Ticks, hertz
from l4lb_agent.model import mapspec
from l4lb_agent.model.observed import TrafficCount
from l4lb_agent.model.tables import array_key
from tests.kernel.trivial import Trivial

SIZES = mapspec.Sizes(services=4, backends=40000, addresses=8, flows=64, rings_1021=1, rings_4093=1, rings_16381=1, rings_65537=1)


def test_counters_are_summed_over_cpus_and_zeros_left_out(bpffs: Path) -> None:
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    cpus = maps.cpus()

    def fill(name: str, index: int, words: list[int]) -> None:
        with Fd(syscall.obj_get(bpffs / "l4lb/maps" / name)) as fd:
            each_cpu = b"".join(struct.pack(f"={len(words)}Q", *(word + cpu for word in words)) for cpu in range(cpus))
            syscall.map_update(fd.fileno(), array_key(index), each_cpu)

    fill("service_counters", 3, [1, 2, 3, 4, 5, 6, 7, 8])
    fill("backend_in", 39999, [10, 20, 30])
    fill("backend_out", 39999, [40, 50])
    fill("backend_out", 7, [60, 70])
    fill("reason_counters", 11 * 8 + 3, [7, 700])
    extra = sum(range(cpus))
    counters = datapath.counters()
    assert counters.services == {3: TrafficCount(*(cpus * word + extra for word in range(1, 9)))}
    assert counters.backends == {
        39999: TrafficCount(*(cpus * word + extra for word in (10, 20, 40, 50, 30))),
        7: TrafficCount(packets_out=cpus * 60 + extra, bytes_out=cpus * 70 + extra),
    }
    assert counters.reasons == {(11, 3): (cpus * 7 + extra, cpus * 700 + extra)}
    datapath.clear_backend_counters(39999)
    datapath.clear_backend_counters(7)
    assert datapath.counters().backends == {}
    datapath.close()


def test_the_clock_counts_seconds_of_the_kernel_s_own_timer() -> None:
    """The rate that the coarse clock's resolution tells is the rate at which jiffies really pass."""
    jiffies = bytes([0x85, 0, 0, 0, 118, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])
    with Fd(syscall.prog_load(jiffies, "jiffies")) as program:
        began, first = time.monotonic(), syscall.prog_test_run(program.fileno(), bytes(14)).retval
        time.sleep(1)
        passed, second = time.monotonic() - began, syscall.prog_test_run(program.fileno(), bytes(14)).retval
    measured = ((second - first) % (1 << 32)) / passed
    assert hertz() in (100, 250, 300, 1000)
    assert abs(measured / hertz() - 1) < 0.15
    ticks = Ticks()
    before = ticks.second()
    time.sleep(1.1)
    assert 1 <= ticks.second() - before <= 3
    assert ticks.multiplier == (1 << 24) // hertz()
    ticks.close()
