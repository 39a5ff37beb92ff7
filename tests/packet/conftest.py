"""What the packet tests share: the compiled program, a network namespace of their own, a balancer with one service for each case."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import TCP, UDP

from l4lb_agent.dataplane import program, syscall
from l4lb_agent.dataplane.program import Objects
from l4lb_agent.model import layout
from lab import shards
from tests.packet.balancer import Balancer
from tests.packet.wire import BACKEND_PORT, NUMBER, PROTOCOLS, V4, V6, VIP_PORT, from_backend, from_client

CLONE_NEWNET = 0x40000000
Make = Callable[..., Balancer]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of compiled programs, warm. An emulated machine, where compiling takes minutes, is given one in L4LB_BYTECODE."""
    where = Path(os.environ.get("L4LB_BYTECODE") or tmp_path_factory.mktemp("cache"))
    program.compile_or_cached(program.BPF_DIR, where)
    return where


@pytest.fixture(scope="session")
def objects(cache: Path) -> Objects:
    """The programs, compiled once."""
    return program.compile_or_cached(program.BPF_DIR, cache)


@pytest.fixture(autouse=True)
def alone() -> Iterator[set[int]]:
    """A network namespace and one CPU for the test: no routes but its own, and per-CPU budgets that count. Yields all the CPUs."""
    home, cpus = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.sched_getaffinity(0)
    assert syscall._LIBC.unshare(CLONE_NEWNET) == 0, "needs root"
    os.sched_setaffinity(0, {shards.cpu(cpus)})
    try:
        yield cpus
    finally:
        os.sched_setaffinity(0, cpus)
        assert syscall._LIBC.setns(home, CLONE_NEWNET) == 0
        os.close(home)


@pytest.fixture
def make(objects: Objects) -> Iterator[Make]:
    """Makes balancers that are closed with the test."""
    made: list[Balancer] = []

    def one(**options: object) -> Balancer:
        made.append(Balancer(objects, **options))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for balancer in made:
        balancer.close()


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
