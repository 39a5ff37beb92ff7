"""The program for probes of VIPs, byte for byte: each packet goes to the backend that its source port stands for, as a client's would."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from l4lb_agent.dataplane import probes, syscall
from l4lb_agent.dataplane.info import Run
from l4lb_agent.dataplane.program import Objects
from l4lb_agent.model import layout
from l4lb_agent.model.health.layout import PROBES
from l4lb_agent.model.health.outcome import Why
from l4lb_agent.model.health.passing import Fate, Place, stopped
from l4lb_agent.model.reasons import VERDICTS, Reason, Verdict
from tests.packet.balancer import LOOPBACK, Balancer
from tests.packet.conftest import Make
from tests.packet.direct import MODES, PAIRS, SERVICE, Pair, encapsulated, furnish, rewritten
from tests.packet.test_direct import hash32
from tests.packet.vlans import SEVERAL, STACKED, join, stack, tagged
from tests.packet.wire import CLIENT_MAC, CLIENT_PORT, LB_MAC, NUMBER, V4, V6, Family, each_family, each_protocol, from_client, same

WAY = 77  # interface: any but the one that the packets come by
CROSSING = [(pair, mode) for pair in PAIRS for mode in MODES if mode != "dsr" or pair.vip is pair.backend]


@dataclass
class Prober:
    """The program over a balancer's maps."""

    lb: Balancer
    door: probes.Probes

    def place(self, family: Family, kind: type[Packet], backend: int, **fields: object) -> Place:
        """A backend that belongs to the VIP's service."""
        service = SERVICE[family.version, NUMBER[kind]]
        self.lb.set_backend(backend, **{"service": service, "ifindex": WAY, **fields})
        return Place(service, backend)

    def begin(self, family: Family, kind: type[Packet], place: Place, port: int = CLIENT_PORT) -> bool:
        """A socket of that port probes the backend from now on."""
        return self.door.begin(family.version, NUMBER[kind], port, place)

    def end(self, family: Family, kind: type[Packet] = TCP) -> Fate:
        """Not any more."""
        return self.door.end(family.version, NUMBER[kind], CLIENT_PORT)

    def send(self, packet: object) -> Run:
        """What becomes of a frame."""
        assert self.door._loaded  # noqa: SLF001
        return syscall.prog_test_run(self.door._loaded[0].fileno(), bytes(packet), ifindex=LOOPBACK)  # type: ignore[call-overload]  # noqa: SLF001


@contextmanager
def probing(objects: Objects, lb: Balancer) -> Iterator[Prober]:
    numbers = {name: fd.fileno() for name, fd in lb.maps.items()}
    door = probes.Probes(objects, numbers, lambda name, key: syscall.map_lookup(numbers[name], key, lb.specs[name].value_size))
    door._loaded = objects.load_probe(numbers)  # noqa: SLF001
    try:
        yield Prober(lb, door)
    finally:
        door.close()


@pytest.mark.parametrize(("pair", "mode"), CROSSING, ids=lambda value: str(value))
@each_protocol
@pytest.mark.parametrize("checksum", [False, True], ids=["", "checksum"])
def test_a_probe_leaves_as_a_clients_packet_does(
    objects: Objects, make: Make, pair: Pair, mode: str, kind: type[Packet], checksum: bool
) -> None:  # fmt: skip
    lb = furnish(make, MODES[mode], layout.SERVICE_OUTER_CHECKSUM if checksum else 0)
    packet = from_client(pair.vip, kind, b"probe", flags="PA", tos=0x2D)
    with probing(objects, lb) as prober:
        place = prober.place(pair.vip, kind, 1 if pair.backend is V4 else 4)
        assert prober.begin(pair.vip, kind, place)
        run = prober.send(packet)
        assert prober.end(pair.vip, kind) == Fate(1, Reason.TO_BACKEND * VERDICTS + Verdict.REDIRECT)
    assert run.retval == Verdict.REDIRECT
    outside = checksum and mode in ("gue", "fou")
    expected = rewritten(packet) if mode == "dsr" else encapsulated(pair, packet, mode, hash32(pair.vip, kind), checksum=outside)
    same(run.data, expected)


@each_family
def test_the_ring_and_the_backends_state_do_not_matter_and_nothing_is_counted(objects: Objects, make: Make, family: Family) -> None:
    lb = furnish(make, layout.MODE_DSR)
    first = 1 if family is V4 else 4
    lb.ring(1 if family is V4 else 2, [first])
    packet = from_client(family, TCP, flags="S")
    with probing(objects, lb) as prober:
        place = prober.place(family, TCP, first + 1, flags=0, destination_mac=(layout.U8 * 6)(2, 0, 0, 0, 0, 9))
        prober.begin(family, TCP, place)
        run = prober.send(packet)
    assert run.retval == Verdict.REDIRECT
    assert run.data[:6] == bytes.fromhex("020000000009")
    assert run.data[6:12] == bytes.fromhex(LB_MAC.replace(":", ""))
    assert lb.reasons() == {}
    assert [n for name, words in (("service_counters", 8), ("backend_in", 3)) for n, _ in lb.sums(name, words)] == []


def test_each_port_has_its_backend(objects: Objects, make: Make) -> None:
    lb = furnish(make, layout.MODE_IPIP)
    with probing(objects, lb) as prober:
        for port, backend in ((5001, 1), (5002, 2), (5003, 3)):
            assert prober.begin(V4, TCP, prober.place(V4, TCP, backend), port)
        assert not prober.begin(V4, TCP, Place(1, 1), 5002), "another probe has it"
        assert prober.begin(V4, UDP, prober.place(V4, UDP, 1), 5002), "of another protocol"
        prober.place(V4, TCP, 1)
        seen = [prober.send(from_client(V4, TCP, flags="S", port=port)).data[30:34] for port in (5001, 5002, 5003)]
    assert [".".join(map(str, destination)) for destination in seen] == list(V4.backends)


@pytest.mark.parametrize("vlan", [7, 4094])
def test_a_way_over_a_vlan_has_its_tag(objects: Objects, make: Make, vlan: int) -> None:
    lb = furnish(make, layout.MODE_DSR)
    join(lb, (vlan,))
    packet = from_client(V4, TCP, flags="S")
    with probing(objects, lb) as prober:
        prober.begin(V4, TCP, prober.place(V4, TCP, 1, vlan=vlan))
        run = prober.send(packet)
    assert run.retval == Verdict.REDIRECT
    assert run.data == tagged(rewritten(packet), vlan)


def test_a_way_over_a_vlan_device_on_another_has_both_tags(objects: Objects, make: Make) -> None:
    lb = furnish(make, layout.MODE_DSR)
    stack(lb, [SEVERAL[1:2], SEVERAL[:1]])
    packet = from_client(V4, TCP, flags="S")
    with probing(objects, lb) as prober:
        prober.begin(V4, TCP, prober.place(V4, TCP, 1, ifindex=STACKED, vlan=0xFFF))
        run = prober.send(packet)
    assert run.data == tagged(tagged(rewritten(packet), 8), 100)


@pytest.mark.parametrize(
    ("fields", "reason", "why"),
    [
        ({"ifindex": 0}, Reason.BACKEND_UNRESOLVED, Why.UNREACHABLE),
        ({"mtu": 600}, Reason.MTU_EXCEEDED, Why.OWN_FAULT),
        ({"service": 2}, Reason.NO_BACKEND, Why.OWN_FAULT),
        ({"flags": layout.BACKEND_HERE}, Reason.LOCAL, Why.OWN_FAULT),
    ],
)
def test_what_cannot_leave_is_said_and_dropped(
    objects: Objects, make: Make, fields: dict[str, int], reason: Reason, why: Why
) -> None:  # fmt: skip
    lb = furnish(make, layout.MODE_GUE)
    with probing(objects, lb) as prober:
        prober.place(V4, TCP, 1, **fields)
        prober.begin(V4, TCP, Place(1, 1))
        assert prober.send(from_client(V4, TCP, bytes(700), flags="A")).retval == Verdict.DROP
        fate = prober.end(V4)
    assert fate == Fate(1, reason * VERDICTS + Verdict.DROP)
    said = stopped(fate)
    assert said is not None
    assert (said[0], reason.name in said[1]) == (why, True)


def test_a_service_that_translates_is_not_probed_so(objects: Objects, make: Make) -> None:
    lb = furnish(make, layout.MODE_NAT)
    with probing(objects, lb) as prober:
        prober.begin(V4, TCP, prober.place(V4, TCP, 1))
        assert prober.send(from_client(V4, TCP, flags="S")).retval == Verdict.DROP
        assert prober.end(V4).outcome // VERDICTS == Reason.NO_SERVICE


def test_nobody_elses_packets_leave(objects: Objects, make: Make) -> None:
    lb = furnish(make, layout.MODE_DSR)
    frame = Ether(src=CLIENT_MAC, dst=LB_MAC)
    frames = [
        from_client(V4, TCP, flags="S", port=CLIENT_PORT + 1), from_client(V4, UDP, b"x"), from_client(V6, TCP, flags="S"),
        frame / V4.ip(V4.client, V4.vip) / ICMP(), frame / ARP(psrc=V4.client, pdst=V4.vip), bytes(14), bytes(60),
    ]  # fmt: skip
    with probing(objects, lb) as prober:
        prober.begin(V4, TCP, prober.place(V4, TCP, 1))
        assert {prober.send(frame).retval for frame in frames} == {Verdict.DROP}
        assert prober.end(V4) == Fate(0, 0)
        assert prober.send(from_client(V4, TCP, flags="S")).retval == Verdict.DROP, "its probe has ended"


def test_ways_are_told(objects: Objects, make: Make) -> None:
    lb = furnish(make, layout.MODE_DSR)
    with probing(objects, lb) as prober:
        prober.place(V4, TCP, 1)
        prober.place(V4, TCP, 2, ifindex=0)
        assert [prober.door.reaches(number) for number in (1, 2, 60)] == [True, False, False]


def test_as_many_may_be_probed_as_there_are_places(objects: Objects, make: Make) -> None:
    lb = furnish(make, layout.MODE_DSR)
    with probing(objects, lb) as prober:
        for port in range(5000, 5000 + PROBES):
            assert prober.begin(V4, TCP, Place(1, 1), port)
        with pytest.raises(OSError, match="Argument list too long"):
            prober.begin(V4, TCP, Place(1, 1), 4999)
