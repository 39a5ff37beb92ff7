"""What the packet tests share: the compiled program, a network namespace of their own, a balancer with one service for each case."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from scapy.layers.inet import TCP, UDP

from l4lb_agent.dataplane import program, syscall
from l4lb_agent.dataplane.program import Objects
from l4lb_agent.model import layout
from lab import install, shards
from tests.packet.balancer import Balancer
from tests.packet.bed import Beds
from tests.packet.wire import BACKEND_PORT, NUMBER, PROTOCOLS, V4, V6, VIP_PORT, from_backend, from_client

CLONE_NEWNET = 0x40000000
Make = Callable[..., Balancer]


@pytest.fixture(scope="session")
def emulated() -> bool:
    """Whether this machine is the emulated one of lab.guest, some twenty times slower."""
    return "L4LB_BYTECODE" in os.environ


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of compiled programs, warm. An emulated machine, where compiling takes minutes, is given one in L4LB_BYTECODE."""
    if given := os.environ.get("L4LB_BYTECODE"):
        return Path(given)
    return install.bytecode(install.cache_folder(), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def objects(cache: Path) -> Objects:
    """The programs, compiled once."""
    return program.compile_or_cached(program.BPF_DIR, cache)


@pytest.fixture(scope="package", autouse=True)
def every_cpu() -> Iterator[set[int]]:
    """One CPU for all tests, so that per-CPU budgets count. Yields all that there are."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {shards.cpu(cpus)})
    yield cpus
    os.sched_setaffinity(0, cpus)


@pytest.fixture(autouse=True)
def alone(every_cpu: set[int]) -> Iterator[set[int]]:
    """A network namespace for the test, with no routes but its own, and one CPU, also after a test of two. Yields all the CPUs."""
    pinned = {shards.cpu(every_cpu)}
    if os.sched_getaffinity(0) != pinned:  # to set it costs milliseconds, also when it stays
        os.sched_setaffinity(0, pinned)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    assert syscall._LIBC.unshare(CLONE_NEWNET) == 0, "needs root"
    try:
        yield every_cpu
    finally:
        assert syscall._LIBC.setns(home, CLONE_NEWNET) == 0
        os.close(home)


@pytest.fixture(scope="session")
def beds(objects: Objects) -> Iterator[Beds]:
    """Maps and programs that tests leave as new for each other."""
    every = Beds(objects)
    yield every
    every.close()


@pytest.fixture
def make(beds: Beds) -> Iterator[Make]:
    """Makes balancers that end with the test."""
    with ExitStack() as stack:
        yield lambda **options: Balancer(stack.enter_context(beds.lent(**options)))


@pytest.fixture
def lb(make: Make) -> Balancer:
    """Services 1 to 4 (IPv4 TCP, UDP; IPv6 TCP, UDP) on port 80, each with the ring of its number, all slots to backend 1 (IPv4) or 4
    (IPv6); backends 1 to 3 and 4 to 6 are there."""
    balancer = make()
    furnish(balancer)
    return balancer


@pytest.fixture
def flowing(lb: Balancer) -> Balancer:
    """With an established flow of each family and protocol."""
    for family in (V4, V6):
        for kind in (TCP, UDP):
            lb.send(from_client(family, kind, flags="S", seq=1000))
            lb.send(from_backend(family, kind, flags="SA", seq=5, ack=1001))
            lb.send(from_client(family, kind, flags="A", seq=1001, ack=6))
    return lb


def furnish(balancer: Balancer, **config: object) -> None:
    """What `lb` promises, with these fields of the configuration."""
    balancer.start(**config)
    balancer.snat(V4.snat, V6.snat)
    number = 0
    for base, family in ((1, V4), (4, V6)):
        balancer.own(family.vip, layout.ADDRESS_VIP)
        for place, text in enumerate(family.backends):
            balancer.backend(base + place, text, BACKEND_PORT)
        for kind in PROTOCOLS:
            number += 1
            balancer.service(number, family.vip, VIP_PORT, NUMBER[kind], now=1 if base == 1 else 2)
    balancer.ring(1, [1])
    balancer.ring(2, [4])
