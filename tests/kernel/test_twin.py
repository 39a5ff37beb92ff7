"""The twin beside a datapath that is attached and forwards: traffic goes on and nothing but traffic is counted."""

import ctypes
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from l4lb_agent.dataplane import device, syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.kernel import KernelDatapath
from l4lb_agent.dataplane.program import BPF_DIR, Objects, compile_or_cached
from l4lb_agent.dataplane.twin import Twin
from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason, Verdict
from lab import install
from tests.kernel.conftest import Pair, run
from tests.kernel.test_real_program import SIZES
from tests.packet.balancer import Balancer
from tests.packet.bed import Bed
from tests.packet.conftest import furnish

VIP, BACKEND, SNAT = "192.0.2.10", "203.0.113.5", "192.0.2.20"  # of tests/packet/wire.py
PORT, BACKEND_PORT = 80, 8080
DATAGRAMS, QUESTIONS = 2000, 1000


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return compile_or_cached(BPF_DIR, install.bytecode(install.cache_folder(), tmp_path_factory.mktemp("cache")))


@pytest.fixture
def forwarding(inside: Pair, program: Objects) -> Iterator[Balancer]:
    """A balancer attached to eth0, which sends what comes for the VIP back to where it came from: there is the backend, too."""
    balancer = Balancer(Bed(program))
    try:
        furnish(balancer)
        near, peer = device.find("eth0"), run("ip", "-n", inside.peer, "link", "show", "eth0").split("link/ether ")[1].split()[0]
        mac = (layout.U8 * 6)(*near.mac[:6])
        balancer.write("interfaces", near.ifindex % layout.INTERFACE_PLACES, bytes(layout.Interface(ifindex=near.ifindex, mac=mac)))
        balancer.backend(1, BACKEND, BACKEND_PORT, ifindex=near.ifindex, destination=bytes.fromhex(peer.replace(":", "")))
        for command in (
            ["address", "add", f"{BACKEND}/32", "dev", "lo"],
            ["neighbour", "add", VIP, "lladdr", near.mac[:6].hex(":"), "dev", "eth0"],
        ):
            inside.ip(inside.peer, *command)
        with Fd(syscall.link_create(balancer.generation.program.fileno(), near.ifindex, syscall.XDP_FLAGS_GENERIC)):
            yield balancer
    finally:
        balancer.bed.close()


def sockets(namespace: str) -> tuple[socket.socket, socket.socket]:
    """A backend's and a client's, in that network namespace."""
    made: list[socket.socket] = []

    def there() -> None:
        with open(f"/run/netns/{namespace}") as target:
            assert syscall._LIBC.setns(target.fileno(), 0x40000000) == 0
        made.extend(socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))

    thread = threading.Thread(target=there)
    thread.start()
    thread.join()
    return made[0], made[1]


def test_traffic_goes_on_while_a_thousand_questions_are_asked(forwarding: Balancer, pair: Pair, program: Objects) -> None:
    """Every datagram arrives, in the order in which they were sent, and the counters are those of the datagrams alone."""
    backend, client = sockets(pair.peer)
    twin = Twin(program, forwarding.specs, {name: fd.fileno() for name, fd in forwarding.maps.items()})
    arrived: list[int] = []
    done = threading.Event()

    def talk() -> None:
        """Each datagram is sent when the one before it has arrived, again and again until all questions have been answered."""
        while len(arrived) < DATAGRAMS or not done.is_set():
            client.sendto(len(arrived).to_bytes(8, "big"), (VIP, PORT))
            arrived.append(int.from_bytes(backend.recv(8), "big"))

    ifindex = device.find("eth0").ifindex
    mac = device.find("eth0").mac[:6].hex(":")
    with backend, client:
        backend.bind((BACKEND, BACKEND_PORT))
        backend.settimeout(10)
        client.bind(("192.0.2.2", 0))
        l2, ip = Ether(src="02:00:00:00:00:01", dst=mac), IP(src="198.51.100.7", dst=VIP)
        known = l2 / IP(src="192.0.2.2", dst=VIP) / UDP(sport=client.getsockname()[1], dport=PORT) / Raw(bytes(8))
        frames = [
            bytes(frame) for frame in (known, l2 / ip / TCP(sport=4000, dport=PORT, flags="S"), l2 / ip / UDP(sport=4000, dport=PORT))
        ]
        talker = threading.Thread(target=talk)
        talker.start()
        try:
            answers = [twin.ask(ifindex, frames[number % 3]) for number in range(QUESTIONS)]
        finally:
            done.set()
            talker.join()
            twin.close()
    assert arrived == list(range(len(arrived)))
    assert len(arrived) >= DATAGRAMS
    assert {answer.verdict for answer in answers} == {Verdict.TX}
    assert {answer.reason for answer in answers[1::3] + answers[2::3]} == {Reason.FLOW_CREATED}
    assert {answer.reason for answer in answers[3::3]} == {Reason.TO_BACKEND}
    traffic = layout.Traffic(packets_in=len(arrived), bytes_in=50 * len(arrived), flows=1)
    words = next(words for number, words in forwarding.sums("service_counters", ctypes.sizeof(layout.Traffic) // 8) if number == 2)
    assert layout.Traffic(*words).packets_in == traffic.packets_in
    assert bytes(layout.Traffic(*words)) == bytes(traffic)
    assert len(forwarding.records()) == 1
    ours = {reason: packets for (reason, _), (packets, _) in forwarding.reasons().items() if reason >= Reason.FLOW_CREATED}
    assert ours == {Reason.FLOW_CREATED: 1, Reason.TO_BACKEND: len(arrived) - 1}


def test_a_datapath_answers_and_lets_go_of_it_all_with_the_agent(inside: Pair, bpffs: Path, program: Objects) -> None:
    before = _programs()
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, program)
    datapath.attach("eth0", "auto")
    alone = _programs()
    tags = Dot1Q(vlan=5) / Dot1Q(vlan=6) / Dot1Q(vlan=7)
    frame = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / tags / IP(dst=VIP) / UDP())
    answer = datapath.ask(device.find("eth0").ifindex, frame)
    assert (answer.reason, answer.verdict, answer.frame) == (Reason.VLAN_STACKED, Verdict.PASS, frame)
    assert (Reason.VLAN_STACKED, Verdict.PASS) not in datapath.counters().reasons
    assert _programs() - alone == 4
    datapath.close()
    assert _programs() == before


def _programs() -> int:
    """Descriptors of XDP programs and of prog_arrays that this process holds: a generation has one of each."""
    found = 0
    for path in Path("/proc/self/fdinfo").iterdir():
        try:
            found += "prog_type:\t6\n" in path.read_text()
        except OSError:
            continue
    return found
