"""Floods of packets that are dropped for twenty reasons, and the recorder behind them: bounded, whole for each reason, read meanwhile."""

import asyncio
import io
import json
import os
import tarfile
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from l4lb_agent.api.convert.record import record
from l4lb_agent.control import captures
from l4lb_agent.control.captures import Captures, Names
from l4lb_agent.control.recorder import recorder
from l4lb_agent.control.recorder.recorder import Recorder
from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.program import BPF_DIR, compile_or_cached
from l4lb_agent.dataplane.ringbuf import RingBuffer
from l4lb_agent.dataplane.ticks import Ticks
from l4lb_agent.model import mapspec
from l4lb_agent.model.capture import taken
from l4lb_agent.model.capture.layout import RECORDER_BYTES
from l4lb_agent.model.reasons import Reason, Verdict
from l4lb_agent.system.clock import SystemClock
from l4lb_agent.system.dumps import DumpFolder
from lab import install
from tests import readers
from tests.kernel.conftest import Pair
from tests.packet.balancer import LOOPBACK, Balancer
from tests.packet.bed import Bed
from tests.packet.conftest import furnish
from tests.packet.wire import CLIENT_MAC, LB_MAC, V4, V6, from_client

SECONDS = 8.0
A_SECOND = 10_000  # packets, at least
TOGETHER = 1000  # of one reason in a row


class Doors:
    """As much of control.ports.Datapath as captures use, over a balancer's maps."""

    def __init__(self, lb: Balancer) -> None:
        self._lb, self._ticks = lb, Ticks()
        self._ring = RingBuffer(lb.maps["captured"].fileno(), mapspec.CAPTURED_BYTES)

    def now(self) -> int:
        """The datapath's clock."""
        return self._ticks.second()

    def switch_captures(self, running: list[taken.Filter], recorder_until: int = 0) -> None:
        """As dataplane.kernel does."""
        self._lb.write("capture_switch", 0, taken.switch(running, recorder_until))

    def captured(self, most: int) -> list[taken.Captured]:
        """As dataplane.kernel does."""
        return [taken.read(raw) for raw in self._ring.records(most)]

    def close(self) -> None:
        """Give everything back."""
        self._ring.close()
        self._ticks.close()


def ip(**fields: object) -> Packet:
    return Ether(src=CLIENT_MAC, dst=LB_MAC) / IP(src=V4.client, dst=V4.vip, **fields)


def dropped() -> list[Packet]:
    """One packet for each of twenty reasons and more."""
    syn, padding = TCP(sport=4000, dport=80, flags="S"), b"x" * 64
    return [
        from_client(V4, vip_port=81, flags="S"),
        from_client(V4, flags="A", ack=1),
        ip(ttl=1) / syn,
        ip(proto=47) / padding,
        ip() / ICMP(type=13) / padding,
        from_client(V4, vip=V4.snat, vip_port=40000, flags="A", ack=1),
        ip() / ICMP(type=3, code=1) / b"xx",
        ip(flags="MF") / ICMP(type=3, code=1) / padding,
        ip() / ICMP(type=3, code=1) / IP(src=V4.vip, dst=V4.client) / TCP(sport=80, dport=4001) / padding,
        ip(ihl=4) / syn,
        ip(len=2000) / syn,
        ip(chksum=1) / syn,
        ip() / TCP(sport=4000, dport=80, flags="S", dataofs=4),
        ip() / TCP(sport=4000, dport=80, flags="SF"),
        Ether(src=CLIENT_MAC, dst=LB_MAC) / IP(src="127.0.0.1", dst=V4.vip) / syn,
        Ether(src=CLIENT_MAC, dst=LB_MAC) / IP(src=V4.vip, dst=V4.vip) / syn,
        Ether(src=CLIENT_MAC, dst="02:00:00:00:00:99") / IP(src=V4.client, dst=V4.vip) / syn,
        ip(frag=100, id=7) / padding,
        ip(flags="MF", id=9) / b"xxxxxxxx",
        ip(options=[IPOption_LSRR(routers=["192.0.2.99"])]) / syn,
        ip(proto=17, len=24) / UDP(sport=4000, dport=80, len=3) / padding,
        ip() / ICMP(type=3, code=4, nexthopmtu=1) / IP(src=V4.vip, dst=V4.client) / TCP(sport=80, dport=4001) / padding,
        Ether(src=CLIENT_MAC, dst=LB_MAC) / IPv6(src=V6.client, dst=V6.vip, hlim=1) / syn,
        Ether(src=CLIENT_MAC, dst=LB_MAC) / IPv6(src=V6.client, dst=V6.vip) / ICMPv6EchoRequest(cksum=1),
    ]


@pytest.fixture
def lb(inside: Pair, tmp_path: Path) -> Iterator[Balancer]:
    """As that of the packet tests, on one CPU, in a namespace."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    balancer = Balancer(Bed(compile_or_cached(BPF_DIR, install.bytecode(install.cache_folder(), tmp_path))))
    try:
        furnish(balancer)
        yield balancer
    finally:
        balancer.bed.close()
        os.sched_setaffinity(0, cpus)


@pytest.fixture
def flood(lb: Balancer) -> dict[Reason, bytes]:
    """A frame for each reason."""
    found: dict[Reason, bytes] = {}
    for packet in dropped():
        result = lb.send(packet)
        if result.verdict is Verdict.DROP:
            found.setdefault(result.reason, bytes(packet))
    assert len(found) >= 20, sorted(reason.name for reason in found)
    return found


def blast(lb: Balancer, frames: dict[Reason, bytes], ended: threading.Event, sent: list[int]) -> None:
    """Sends all of them in turn until it is told to end."""
    while not ended.is_set():
        for frame in frames.values():
            syscall.prog_test_run(lb.generation.program.fileno(), frame, ifindex=LOOPBACK, repeat=TOGETHER, room=256)
            sent[0] += TOGETHER


def test_a_flood_of_twenty_reasons_is_bounded_and_each_has_its_last_packets(
    lb: Balancer, flood: dict[Reason, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captures, "RECORD_SECONDS", 0.05)
    ended, sent = threading.Event(), [0]
    made = Recorder(SystemClock(), DumpFolder(tmp_path, 1), record, "1.2.3", 60)
    doors = Doors(lb)
    files: list[bytes] = []
    memory: list[int] = []

    async def follow() -> None:
        task = asyncio.create_task(Captures(doors, SystemClock(), Names).record(made.dropped))  # type: ignore[arg-type]
        await asyncio.sleep(0.2)
        thread.start()
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            await asyncio.sleep(1)
            files.append(await asyncio.to_thread(record, made.dump("asked")))
            memory.append(tracemalloc.get_traced_memory()[0] - sum(map(len, files)))
        ended.set()
        task.cancel()
        await asyncio.wait({task})

    thread = threading.Thread(target=blast, args=(lb, flood, ended, sent))
    tracemalloc.start()
    try:
        asyncio.run(follow())
    finally:
        ended.set()
        tracemalloc.stop()
        thread.join()
        doors.close()
    assert sent[0] > A_SECOND * SECONDS
    kept = made.dump("asked").packets
    assert {one.packet.reason for one in kept} == set(flood)
    last = max(one.time for one in kept)
    for reason, frame in flood.items():
        of = [one for one in kept if one.packet.reason is reason]
        assert len(of) <= recorder.PACKETS
        assert {one.packet.came for one in of} == {frame[:RECORDER_BYTES]}
        assert last - max(one.time for one in of) < 2.5, f"{reason.name}: its last packet is older than the flood"
    assert max(memory) - memory[1] < 4 << 20, "it grows"
    for number, data in enumerate(files):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            told = json.load(archive.extractfile("timeline.json"))  # type: ignore[arg-type]
            (tmp_path / f"{number}.pcapng").write_bytes(archive.extractfile("drops.pcapng").read())  # type: ignore[union-attr]
        assert {one["reason"] for one in told["drops"]} == {reason.name for reason in flood}
    frames = readers.tshark(tmp_path / f"{len(files) - 1}.pcapng")
    assert {" ".join(one.comment.split()[:2]) for one in frames} == {f"verdict=DROP reason={reason.name}" for reason in flood}
