"""Services under load, a backend added, one drained and one removed while a flood lasts, and what must hold then."""

import ctypes
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from l4lb.v1.reason_pb2 import Reason
from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.model import layout
from l4lb_agent.model.tables import array_key
from lab import netns
from lab.direct.modes import Mode
from lab.services import EVEN, Balanced
from lab.topology import FAMILIES, PORT_ECHO, PORT_HTTP, address_lines
from lab.traffic import Load
from tests.flood import floods, sender
from tests.flood.floods import Target, aimed, together
from tests.flood.sender import Flood, Frame
from tests.netns.conftest import set_up

SECONDS = float(os.environ.get("L4LB_FLOOD_SECONDS", "4"))
ESTABLISHED, ALIVE = 1000, 0.999
RATE = 20  # innocent connections a second
LEAST_ARRIVED = 100_000  # packets of each flood: it lasts longer where the machine is slow
LONGEST_SECONDS = 40
SUCCESS = {Mode.NAT: 0.90, Mode.DSR: 0.99, Mode.IPIP: 0.99}
RECOVERY_SECONDS = 5
GROWTH_BYTES = 8 << 20
RING_SIZE = 1021
# Ten thousand SYN+ACKs once more, a second later and all at once, are a flood that nobody sent, and go on into the next test
ONE_ANSWER = {"ipv4/tcp_synack_retries": "0"}
SMALL = {"more": "\n[sizes]\ntracked_flows = 32768\n"}  # a flow table that each flood of pairs goes through many times
PORT_AIMED = 7100  # nobody listens there
PATIENCE = 5.0  # of the load generators for one answer

# Of IPv6 they come together: what starts flows, and what starts none.
TOGETHER = {"starting": ("syn", "pairs", "aimed"), "stateless": ("udp", "icmp", "fragments")}
ANSWERED = {"syn", "pairs", "aimed", "starting"}  # by backends

# Beside the packets of services in use: how those of each flood must be counted, nearly all of them.
INNOCENT = {
    Reason.REASON_FLOW_CREATED, Reason.REASON_TO_BACKEND, Reason.REASON_TO_CLIENT, Reason.REASON_FOREIGN, Reason.REASON_NOT_IP,
    Reason.REASON_LOCAL, Reason.REASON_ARP_ANSWERED, Reason.REASON_NEIGHBOUR_ANSWERED,
}  # fmt: skip
STARTING = {
    Reason.REASON_FLOW_CREATED, Reason.REASON_FLOW_TABLE_FULL, Reason.REASON_NO_SOURCE_PORT,
    Reason.REASON_NO_FLOW,  # answers to flows that later ones have replaced
}  # fmt: skip
COUNTED = {
    "syn": STARTING,
    "pairs": STARTING
    | {Reason.REASON_TO_BACKEND, Reason.REASON_RST_ANSWERED, Reason.REASON_RST_LIMITED},  # ACKs after a SYN without a port
    "udp": {Reason.REASON_NO_SERVICE},
    "icmp": {Reason.REASON_ICMP_NO_FLOW, Reason.REASON_ICMP_TO_BACKEND, Reason.REASON_ICMP_TO_CLIENT},
    "fragments": {
        Reason.REASON_FRAGMENT,
        Reason.REASON_FRAGMENT_TINY,
        Reason.REASON_FRAGMENT_OVERLAP,
        Reason.REASON_FRAGMENT_WRONG,
        Reason.REASON_NO_SERVICE,
        Reason.REASON_TO_BACKEND,
        Reason.REASON_RST_ANSWERED,
        Reason.REASON_RST_LIMITED,
    },
    "aimed": STARTING,
}


@dataclass
class Bed:
    """Services of both families under load: 1,000 connections that echo once a second, half of them over each."""

    running: Balanced
    mode: Mode
    established: Load
    program: Path

    def vip(self, family: int) -> str:
        """Of all services."""
        return self.running.lab.topology.vip().of(family)

    def target(self, family: int, port: int = PORT_ECHO) -> Target:
        """Whom to flood, and from where."""
        lab, topology = self.running.lab, self.running.lab.topology
        hosts = (topology.snat(), topology.host("client"), topology.host("a"))
        snat, client, backend = (host.of(family) for host in hosts)
        return Target(family, (lab.mac("client"), lab.mac("lb")), self.vip(family), port, snat, client, backend)

    def flood(self, frames: list[Frame], *, paced: bool = False) -> Flood:
        """Begin one, from the client's namespace; if `paced`, no faster than the VIP answers ARP requests between its frames."""
        question = floods.question(self.target(4)) if paced else b""
        return Flood(self.program, self.running.lab.namespace("client"), frames, question)

    def alive(self) -> int:
        """Established connections, as the client's kernel sees them."""
        files = [Path(f"/proc/thread-self/net/{name}") for name in ("tcp", "tcp6")]
        read = netns.inside(
            self.running.lab.namespace("client"), lambda: [line for file in files for line in file.read_text().splitlines()]
        )
        fields = [line.split() for line in read]
        return sum(field[2].endswith(f":{PORT_ECHO:04X}") and field[3] == "01" for field in fields)

    def reasons(self) -> Counter[int]:
        """Packets by how they ended."""
        [sample] = self.running.client.stats(samples=1)
        counted: Counter[int] = Counter()
        for row in sample.reasons:
            counted[row.reason] += row.packets
        return counted

    def created(self) -> dict[str, int]:
        """Flows that each backend of the service that nothing changes has been given."""
        [sample] = self.running.client.stats(samples=1)
        return {row.backend: row.traffic.flows for row in sample.backends if row.backend.startswith("services/aimed4/")}

    def resident(self) -> int:
        """Bytes of memory that the agent has."""
        lines = Path(f"/proc/{self.running.agent.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

    def change(self, until: float, family: int) -> None:
        """While the flood lasts: one backend comes, one is drained, the one that came is removed again."""
        client, topology, wait = self.running.client, self.running.lab.topology, (until - time.monotonic()) / 4
        # Through a tunnel of the other family, or at an address of its own
        spare = topology.host("b").of(10 - family) if self.mode is Mode.IPIP else topology.spare().of(family)
        for act in (
            lambda name: client.add_backend(f"{name}/c", address=spare),
            lambda name: client.drain(f"{name}/b"),
            lambda name: client.remove_backend(f"{name}/c", force=True),
        ):
            time.sleep(max(0.0, wait))
            for name in changing(family):
                act(name)
        time.sleep(max(0.0, until - time.monotonic()))

    def wait_arrived(self, before: Counter[int]) -> None:
        """Until so many packets have come that the number is the same test on every machine. Raises AssertionError."""
        until = time.monotonic() + LONGEST_SECONDS
        while (count := arrived(self.reasons() - before)) < LEAST_ARRIVED:
            assert time.monotonic() < until, f"only {count} packets have arrived"
            time.sleep(0.2)

    def restore(self, family: int) -> None:
        """The backend that was drained takes new flows again."""
        for name in changing(family):
            self.running.client.undrain(f"{name}/b")


def changing(family: int) -> tuple[str, str]:
    """Names of the services whose backends come and go: under flood, and of those who are innocent."""
    return f"echo{family}", f"web{family}"


def arrived(reasons: Counter[int]) -> int:
    """Packets from the client's side among these."""
    return reasons.total() - reasons[Reason.REASON_TO_CLIENT]


@contextmanager
def made(mode: Mode, folder: Path, agent: Mapping[str, Any] = MappingProxyType({}), **options: object) -> Iterator[Bed]:
    """A bed of services of one mode with these options, settled for two seconds: each connection has echoed in a second after its first."""
    with set_up(forwarding=mode, options={"ring_size": RING_SIZE, **options}, **agent) as running:
        quick = {"change_window": 1} if "change_window" in options else {}
        for family in FAMILIES:
            for name, port in zip(changing(family), (PORT_ECHO, PORT_HTTP)):
                running.add_service(name, family, protocol="tcp", port=port, weights=EVEN)
            vip = running.lab.topology.vip().of(family)
            running.client.create_service(f"aimed{family}", vip=vip, port=PORT_AIMED, protocol="tcp", **{**running.options, **quick})
            for host in EVEN:
                running.add_backend(f"aimed{family}/{host}", family)
        netns.batch(running.lab.namespace("b"), address_lines("eth0", running.lab.topology.spare()))
        for host in EVEN if mode is Mode.NAT else ():
            netns.set_sysctls(running.lab.namespace(host), ONE_ANSWER)
        established = running.lab.traffic.connections(running.vips(), ESTABLISHED, interval=1.0)
        time.sleep(2)
        yield Bed(running, mode, established, sender.compile(folder))


def frames_of(bed: Bed, name: str, family: int) -> list[Frame]:
    """One flood, or several together. What NAT makes flows of is for both services, that of the innocent too."""
    targets = [bed.target(family, port) for port in ((PORT_ECHO, PORT_HTTP) if paced(bed, name) else (PORT_ECHO,))]
    return together(TOGETHER.get(name, (name,)), targets)


def paced(bed: Bed, name: str) -> bool:
    """Whether the flood must be no faster than its packets get through. Where backends answer it through the load balancer, the wire there
    carries all packets twice, on the CPUs that send and answer them, and in queues that are shorter than what these can send: it would
    lose every second packet, of whoever, and show nothing of the load balancer."""
    return bed.mode is Mode.NAT and name in ANSWERED


def withstands(bed: Bed, name: str, family: int = 4, seconds: float = SECONDS) -> None:
    """A flood, as fast as the bed can, cuts nobody, keeps nobody out, leaves nothing behind, and is counted as what it is."""
    lab, vip, frames = bed.running.lab, bed.vip(family), frames_of(bed, name, family)
    before, resident = bed.reasons(), bed.resident()
    innocent = lab.traffic.constant([vip], RATE, name)
    under_way = bed.flood(frames, paced=paced(bed, name))
    try:
        bed.change(time.monotonic() + seconds, family)
        bed.wait_arrived(before)
        sent, lasted, unanswered = under_way.stop()
    except BaseException:
        under_way.kill()
        raise
    ended = time.monotonic()
    after = bed.reasons() - before
    tried = innocent.result()
    recovered = lab.traffic.counted([vip], 100, f"{name}-after", patience=RECOVERY_SECONDS)
    tried.pop("answered")
    print(f"{name}: {sent} sent, {lasted} s, {unanswered=}; {tried}; {bed.alive()} alive; {arrived(after)} arrived: {after.most_common()}")
    bed.restore(family)
    assert tried["requests"] - tried["failed"] >= SUCCESS[bed.mode] * tried["requests"], tried
    assert recovered["errors"] == {}
    assert time.monotonic() - ended <= RECOVERY_SECONDS + PATIENCE
    assert bed.alive() >= ALIVE * ESTABLISHED
    assert bed.resident() - resident < GROWTH_BYTES
    flood = set().union(*(COUNTED[one] for one in TOGETHER.get(name, (name,))))
    # The wire may lose some; where it loses none and the flood is slow, a tenth of what arrives is established connections
    assert sum(after[reason] for reason in flood) >= 0.9 * min(sent, arrived(after))
    assert sum(packets for reason, packets in after.items() if reason not in flood | INNOCENT) <= 0.01 * after.total()


def takes_no_aim(bed: Bed) -> None:
    """Only who knows the hash's key can make all of a flood's flows go to one backend."""
    assert not bed.running.client.get_service("aimed4").differing_slots, "nothing changes it"
    path = bed.running.agent.pin_dir / "maps/config"
    with Fd(syscall.obj_get(path)) as config:
        raw = syscall.map_lookup(config.fileno(), array_key(0), ctypes.sizeof(layout.Config))
    assert raw is not None
    own, *rest = layout.Config.from_buffer_copy(raw).slot_secret
    for secret, least, most in (((own, *rest), 0.999, 1.0), ((0, 0), 0.5, 0.75)):
        before = bed.created()
        under_way = bed.flood(aimed(bed.target(4, PORT_AIMED), secret, RING_SIZE))
        time.sleep(min(1.0, SECONDS))
        under_way.stop()
        flows = {name: count - before[name] for name, count in bed.created().items()}
        assert least <= max(flows.values()) / sum(flows.values()) <= most, flows
    assert bed.alive() >= ALIVE * ESTABLISHED


def outlived(bed: Bed) -> None:
    """The established connections have echoed once a second, and none was ever silent for five."""
    result = bed.established.result()
    assert result["open"] >= ALIVE * ESTABLISHED, result
