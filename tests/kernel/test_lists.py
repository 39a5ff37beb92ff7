"""Lists of ten thousand prefixes in the kernel's trie: written, adopted, repaired, and exchanged under traffic."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.kernel import KernelDatapath
from l4lb_agent.dataplane.maps import ShapeError
from l4lb_agent.dataplane.program import BPF_DIR, compile_or_cached
from l4lb_agent.model import layout, mapspec
from l4lb_agent.model.access.lists import Members
from l4lb_agent.model.access.prefixes import Prefix, parse_all
from l4lb_agent.model.plan import plan
from l4lb_agent.model.reasons import Reason
from l4lb_agent.model.tables import Elements, Tables, Write, array_key
from lab import install
from tests.kernel.trivial import Trivial
from tests.packet import direct
from tests.packet.balancer import Balancer
from tests.packet.bed import Bed
from tests.packet.wire import quick_ipv4

SIZES = mapspec.Sizes(
    services=8,
    backends=8,
    addresses=8,
    flows=64,
    tracked_flows=256,
    prefixes=12_000,
    rings_1021=3,
    rings_4093=3,
    rings_16381=3,
    rings_65537=3,
)
MANY = 10_000


def many(first: int, count: int = MANY) -> frozenset[Prefix]:
    """Both families, of several lengths, each beside the others."""
    v4 = [f"{10 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.0/{24 + n % 9}" for n in range(first, first + count // 2)]
    v6 = [f"2001:db8:{n:x}::/{48 + n % 81}" for n in range(first, first + count - count // 2)]
    return parse_all(v4 + v6, "prefixes")


def lists(*members: Members) -> Tables:
    every: Elements = {}
    for one in members:
        every |= one.elements
    return Tables({"lists": every})


def write(datapath: KernelDatapath, wanted: Tables, most: int | None = None) -> int:
    """Carries out the plan, or its first `most` steps; how many writes that were."""
    actual = Tables({"lists": datapath.read_tables().get("lists")})
    steps = plan(actual, wanted)[:most]
    for step in steps:
        datapath.execute(step)
    return sum(isinstance(step, Write) for step in steps)


def test_ten_thousand_prefixes_are_written_and_read_back(bpffs: Path) -> None:
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    wanted = lists(Members(3, many(0)))
    began = time.monotonic()
    assert write(datapath, wanted) == MANY
    assert datapath.read_tables().get("lists") == wanted.get("lists")
    assert time.monotonic() - began < 30
    assert write(datapath, wanted) == 0
    datapath.close()


@pytest.mark.parametrize("done", [1, MANY // 2, MANY, MANY + 2, MANY + MANY // 2])
def test_an_agent_that_was_killed_between_two_writes_leaves_a_list_that_the_next_one_completes(bpffs: Path, done: int) -> None:
    first = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    first.execute(Write("config", array_key(0), bytes(layout.Config(layout=layout.LAYOUT_VERSION)), "test"))
    write(first, lists(Members(3, many(0))))
    wanted = lists(Members(3, many(MANY)), Members(4, parse_all(["::/0", "0.0.0.0/0"], "")))
    write(first, wanted, done)
    first.close()
    second = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    assert second.adopted
    assert write(second, wanted) == 2 * MANY + 2 - done + (done > MANY + 2)  # of the steps one is a grace period
    assert second.read_tables().get("lists") == wanted.get("lists")
    second.close()


def test_a_trie_of_another_size_is_refused(bpffs: Path) -> None:
    KernelDatapath(bpffs / "l4lb", SIZES, Trivial()).close()
    with pytest.raises(ShapeError, match="map lists pinned at .* flags 0x1"):
        KernelDatapath(bpffs / "l4lb", replace(SIZES, prefixes=500), Trivial())


def test_the_bucket_of_a_new_service_is_full(bpffs: Path) -> None:
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    with Fd(syscall.obj_get(bpffs / "l4lb/maps/service_limits")) as fd:
        syscall.map_update(fd.fileno(), array_key(2), bytes(layout.LimitLine(word=(layout.U64 * 8)(1 << 50))))
        datapath.clear_service_counters(2)
        assert not any(syscall.map_lookup(fd.fileno(), array_key(2), 64) or b"")
    datapath.close()


@pytest.mark.parametrize("allows", [True, False], ids=["allow", "deny"])
def test_while_ten_thousand_prefixes_are_exchanged_nobody_is_judged_by_half_a_list(tmp_path: Path, allows: bool) -> None:
    """One client is in both lists by another prefix in each, one in neither: all that is sent meanwhile gets one and the same answer."""
    objects = compile_or_cached(BPF_DIR, install.bytecode(install.cache_folder(), tmp_path))
    lb = direct.furnish(lambda: Balancer(Bed(objects, SIZES)), layout.MODE_DSR)
    lb.set_backend(1, flags=layout.BACKEND_KEEP | layout.BACKEND_HERE)
    lb.write("policies", 1, bytes(layout.Policy(**{"allow_list" if allows else "deny_list": 3})))
    element = layout.Service.from_buffer_copy(lb.read("services", 1))
    element.word |= layout.SERVICE_LISTED
    lb.write("services", 1, bytes(element))
    old = lists(Members(3, many(0) | parse_all(["198.51.100.0/24"], "")))
    new = lists(Members(3, many(MANY) | parse_all(["198.51.0.0/16", "198.51.100.4/30"], "")))
    vip = bytes([192, 0, 2, 10])
    inside, outside = (quick_ipv4(6, bytes(source), vip, (40000, 80)) for source in ([198, 51, 100, 7], [198, 18, 0, 1]))
    stop = threading.Event()
    sent = [0]

    def traffic() -> None:
        while not stop.is_set():
            for packet in (inside, outside):
                syscall.prog_test_run(lb.generation.program.fileno(), packet, ifindex=1, repeat=50)
            sent[0] += 1

    number = lb.maps["lists"].fileno()
    for key, value in old.get("lists").items():
        syscall.map_update(number, key, value)
    thread = threading.Thread(target=traffic)
    thread.start()
    exchanges = (plan(old, new), plan(new, old))
    try:
        for turn in range(100):
            if turn >= 3 and sent[0] > 10:
                break
            for step in exchanges[turn % 2]:
                if not isinstance(step, Write):
                    syscall.membarrier()
                elif any(step.value):
                    syscall.map_update(number, step.key, step.value)
                else:
                    syscall.map_delete(number, step.key)
    finally:
        stop.set()
        thread.join()
    rounds = sent[0]
    counts = {Reason(reason): packets for (reason, _), (packets, _) in lb.reasons().items()}
    lb.bed.close()
    assert rounds > 10, "there was traffic"
    refused = Reason.NOT_ALLOWED if allows else Reason.DENIED
    assert counts == {Reason.TO_BACKEND: 50 * rounds, refused: 50 * rounds}
