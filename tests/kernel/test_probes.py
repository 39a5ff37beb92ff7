"""TCP and UDP probes against real sockets, and what holds for probes of every kind."""

import asyncio
import contextlib
import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from l4lb_agent.model.address import Address
from l4lb_agent.model.health.check import HealthCheck, Kind, Target
from l4lb_agent.model.health.outcome import Outcome, Why
from l4lb_agent.system.probing import prober
from l4lb_agent.system.probing.prober import Prober
from lab import netns
from tests.kernel import probed as bed
from tests.kernel.probed import HERE, HERE_6, check, probed


def sockets() -> set[str]:
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(path).startswith("socket:"):
                found.add(path.name)
    return found


@pytest.fixture(autouse=True)
async def no_socket_left() -> None:  # type: ignore[misc]
    before = sockets()
    yield
    assert sockets() <= before


async def test_a_port_that_listens_is_well_and_one_that_does_not_refuses() -> None:
    with bed.deaf() as port:
        outcome = await probed(check(Kind.TCP), port)
    assert (outcome.why, outcome.detail) == (Why.OK, "connected")
    assert 0 < outcome.latency_seconds < 5
    refused = await probed(check(Kind.TCP), port)
    assert (refused.why, refused.detail) == (Why.REFUSED, "connecting: Connection refused")


async def test_ipv6_is_probed_like_ipv4() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        assert (await probed(check(Kind.TCP), port, address=HERE_6)).ok
    assert (await probed(check(Kind.TCP), port, address=HERE_6)).why is Why.REFUSED


async def test_a_connection_is_closed_by_rst_and_leaves_nothing_on_either_side() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert (await probed(check(Kind.TCP), port)).ok
        taken, _ = server.accept()
        with taken, pytest.raises(ConnectionResetError):
            taken.recv(1)
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert [line for line in lines if f":{port:04X}" in line[1] + line[2]] == []


async def test_a_syn_without_an_answer_times_out_while_connecting() -> None:
    with bed.full() as port:
        outcome = await probed(check(Kind.TCP, timeout_seconds=0.3), port)
    assert (outcome.why, outcome.detail) == (Why.TIMEOUT, "connecting: nothing within 0.3 s")
    assert 0.3 <= outcome.latency_seconds < 5


@pytest.mark.parametrize(
    ("answer", "why", "detail"),
    [
        (b"+PONG\r\n", Why.OK, "answered as expected"),
        (b"-ERR\x1b[2J\r\n", Why.ANSWER, "answered '-ERR?[2J??'"),
        (b"+PO", Why.RESET, "closed before the answer was whole"),
        (b"", Why.RESET, "closed before the answer was whole"),
    ],
)
async def test_tcp_looks_at_how_the_answer_begins(answer: bytes, why: Why, detail: str) -> None:
    async with bed.serving(bed.saying(answer)) as port:
        outcome = await probed(check(Kind.TCP, send=b"PING\r\n", expect=b"+PONG"), port)
    assert (outcome.why, outcome.detail) == (why, detail)


async def test_an_answer_by_rst_is_a_reset() -> None:
    async with bed.serving(bed.resetting) as port:
        outcome = await probed(check(Kind.TCP, send=b"PING\r\n", expect=b"+PONG"), port)
    assert (outcome.why, outcome.detail) == (Why.RESET, "waiting for the answer: Connection reset by peer")


async def test_an_answer_that_never_comes_times_out() -> None:
    with bed.deaf() as port:
        outcome = await probed(check(Kind.TCP, expect=b"220 ", timeout_seconds=0.2), port)
    assert (outcome.why, outcome.detail) == (Why.TIMEOUT, "waiting for the answer: nothing within 0.2 s")


class Answering(asyncio.DatagramProtocol):
    """Says `answer` and what was asked; nothing where `answer` is empty."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio."""
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Of asyncio."""
        if self.answer:
            self.transport.sendto(self.answer + data, addr)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("answer", "expect", "why"),
    [(b"pong ", b"pong ping", Why.OK), (b"pong ", b"", Why.OK), (b"what? ", b"pong", Why.ANSWER), (b"", b"", Why.TIMEOUT)],
)
async def test_udp_looks_at_how_the_answer_begins(answer: bytes, expect: bytes, why: Why) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Answering(answer), ("127.0.0.1", 0))
    try:
        port = transport.get_extra_info("sockname")[1]
        seconds = 0.2 if why is Why.TIMEOUT else 5.0
        assert (await probed(check(Kind.UDP, send=b"ping", expect=expect, timeout_seconds=seconds), port)).why is why
    finally:
        transport.close()
        await asyncio.sleep(0)


@pytest.mark.parametrize("address", [HERE, HERE_6])
async def test_icmp_port_unreachable_refuses(address: Address) -> None:
    with socket.socket(socket.AF_INET if address.family == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as door:
        door.bind((str(address), 0))
        port = door.getsockname()[1]
    assert (await probed(check(Kind.UDP, send=b"ping"), port, address=address)).why is Why.REFUSED


@pytest.fixture
def nowhere() -> Iterator[str]:
    name = f"l4lb-nowhere-{os.getpid()}"
    netns.create([name])
    yield name
    netns.run(["ip", "netns", "del", name])


@pytest.mark.parametrize("kind", [Kind.TCP, Kind.UDP, Kind.HTTP, Kind.GRPC])
async def test_a_host_without_a_route_says_so(nowhere: str, kind: Kind) -> None:
    def inside() -> Outcome:
        netns.enter(nowhere)
        return asyncio.run(probed(check(kind), 80, address=Address.parse("198.51.100.11", "address")))

    outcome = await asyncio.to_thread(inside)
    assert (outcome.why, outcome.detail) == (Why.UNREACHABLE, "connecting: Network is unreachable")


@pytest.mark.parametrize("kind", list(Kind))
async def test_without_a_file_descriptor_nothing_is_said_of_the_backend(kind: Kind) -> None:
    with bed.deaf() as port:
        await probed(check(kind, timeout_seconds=0.05), port)  # what is loaded with the first probe is loaded
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        try:
            outcome = await probed(check(kind), port)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (outcome.why, outcome.conclusive) == (Why.OWN_FAULT, False)
    assert outcome.detail == "connecting: Too many open files"


async def test_without_a_local_port_nothing_is_said_of_the_backend(nowhere: str) -> None:
    """The kernel has a range of one port, and it is taken."""

    def inside() -> Outcome:
        netns.enter(nowhere)
        netns.run(["ip", "netns", "exec", nowhere, "sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40000"])
        with socket.create_server(("127.0.0.1", 80)) as server, socket.create_connection(server.getsockname()):
            return asyncio.run(probed(check(Kind.TCP), 80))

    outcome = await asyncio.to_thread(inside)
    assert (outcome.why, outcome.detail) == (Why.OWN_FAULT, "connecting: Cannot assign requested address")


async def test_a_failure_while_the_event_loop_stood_still_says_nothing_of_the_backend() -> None:
    with bed.deaf() as port:
        what = check(Kind.TCP, expect=b"220 ", timeout_seconds=0.5)
        asyncio.get_running_loop().call_later(0.05, time.sleep, 0.4)
        outcome = await Prober().probe(what, Target(HERE, port))
        assert outcome.why is Why.OWN_FAULT
        assert outcome.detail.startswith(bed.STOOD_STILL)
        assert outcome.detail.endswith("waiting for the answer: nothing within 0.5 s")


async def test_a_short_pause_of_the_event_loop_excuses_nothing() -> None:
    with bed.deaf() as port:
        asyncio.get_running_loop().call_later(0.05, time.sleep, 0.1)
        assert (await probed(check(Kind.TCP, expect=b"220 ", timeout_seconds=1.5), port)).why is Why.TIMEOUT


async def test_an_old_pause_is_none_of_the_next_probe() -> None:
    with bed.deaf() as port:
        one, what = Prober(), check(Kind.TCP, expect=b"220 ", timeout_seconds=0.5)
        asyncio.get_running_loop().call_later(0.05, time.sleep, 0.4)
        assert (await one.probe(what, Target(HERE, port))).why is Why.OWN_FAULT
        later = [(await one.probe(what, Target(HERE, port))).why for _ in range(5)]
        assert Why.TIMEOUT in later, "unless this machine stands still all the time"


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_probe_that_is_given_up_leaves_no_socket(kind: Kind) -> None:
    with bed.deaf() as port:
        await probed(check(kind, timeout_seconds=0.05), port)
        before = sockets()
        task = asyncio.create_task(probed(check(kind, send=b"ping", expect=b"220 "), port))
        while sockets() == before:
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sockets() == before


async def test_waiting_for_room_is_neither_latency_nor_timeout() -> None:
    with bed.deaf() as port:
        one, waiting = Prober(), check(Kind.TCP, expect=b"220 ", timeout_seconds=60.0)
        before = len(sockets())
        first = [asyncio.create_task(one.probe(waiting, Target(HERE, port))) for _ in range(prober.MOST_AT_ONCE)]
        while len(sockets()) - before < prober.MOST_AT_ONCE:
            await asyncio.sleep(0.01)
        last = asyncio.create_task(one.probe(check(Kind.TCP, timeout_seconds=1.0), Target(HERE, port)))
        await asyncio.sleep(1.1)
        assert not last.done()
        assert len(sockets()) - before == prober.MOST_AT_ONCE
        first[7].cancel()
        assert (await last).ok
        for task in first:
            task.cancel()
        await asyncio.gather(*first, return_exceptions=True)


async def test_a_mistake_of_our_own_is_no_failure_of_the_backend(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(*_: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(prober, "_kind", lambda kind: broken)
    outcome = await probed(HealthCheck(Kind.TCP), 80)
    assert (outcome.why, outcome.detail) == (Why.OWN_FAULT, "connecting: ZeroDivisionError")
    assert "event=probe_broke kind=TCP address=127.0.0.1 port=80" in caplog.text
