"""Two tags and those of 802.1ad, byte for byte: taken off and put on in every mode, kept by answers and by what passes."""

from dataclasses import dataclass

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.packet import Packet, Raw

from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason, Verdict
from l4lb_agent.model.ways.vlan import Vlan
from tests.packet import odd
from tests.packet.balancer import LOOPBACK, Balancer
from tests.packet.conftest import Make
from tests.packet.direct import Pair, encapsulated, point, rewritten
from tests.packet.modes import every_mode, furnish
from tests.packet.test_direct import hash32
from tests.packet.test_vlan import CROSSING, answered, passes
from tests.packet.test_ways import GATEWAY_MAC, Link, link
from tests.packet.vlans import DEVICE, SERVICE, STACKED, stack, tagged
from tests.packet.wire import (
    LB_MAC,
    V4,
    VIP_PORT,
    Family,
    built,
    each_family,
    from_backend,
    from_client,
    to_backend,
    to_client,
)  # fmt: skip

__all__ = ["link"]
OUTER, INNER, BEHIND = 100, 7, 9  # VLANs: of clients two, of backends OUTER and BEHIND
ELSEWHERE = LOOPBACK + 1


@dataclass(frozen=True)
class Tags:
    """Those of one VLAN device, the outer one first: (EtherType, VLAN)."""

    name: str
    tags: tuple[tuple[int, int], ...]

    def on(self, frame: object, priority: int = 0) -> bytes:
        """The frame with them."""
        raw = bytes(frame)  # type: ignore[call-overload]
        for kind, vlan in reversed(self.tags):
            raw = tagged(raw, vlan, priority, kind)
        return raw

    def devices(self, inner: int, lower: int = LOOPBACK, number: int = 0) -> tuple[Vlan, ...]:
        """VLAN devices that have these tags, the last one with another VLAN: number STACKED + `number`, on DEVICE + `number`."""
        *outer, (last, _) = self.tags
        first = tuple(Vlan(DEVICE + number, lower, vlan, kind == SERVICE) for kind, vlan in outer)
        return (*first, Vlan(STACKED + number, DEVICE + number if first else lower, inner, last == SERVICE))

    def other(self) -> "Tags":
        """Those of the backends: the last one with another VLAN."""
        return Tags(self.name, (*self.tags[:-1], (self.tags[-1][0], BEHIND)))


KINDS = [
    Tags("QinQ", ((SERVICE, OUTER), (0x8100, INNER))),
    Tags("twice", ((0x8100, OUTER), (0x8100, INNER))),
    Tags("upside-down", ((0x8100, OUTER), (SERVICE, INNER))),
    Tags("service", ((SERVICE, INNER),)),
]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def member(lb: Balancer, kind: Tags, lower: int = LOOPBACK, mtu: int = 0) -> Balancer:
    """In both VLANs of the kind, with all backends behind the second one."""
    first, second = kind.devices(INNER, lower), kind.devices(BEHIND, lower)
    moved = Vlan(STACKED + 1, second[-1].lower, second[-1].vlan, second[-1].service)
    stack(lb, [first, (moved,)], mtu)
    for number in range(1, 7):
        lb.set_backend(number, ifindex=STACKED + 1, vlan=layout.OUT_DEVICE)
    return lb


@each_family
@each_kind
@pytest.mark.parametrize("kind_of", [TCP, UDP], ids=["tcp", "udp"])
def test_nat_takes_and_sends_all_tags_in_both_directions(make: Make, family: Family, kind_of: type[Packet], kind: Tags) -> None:
    lb = member(furnish(make, "nat"), kind)
    result = lb.send(kind.on(from_client(family, kind_of, b"odd", flags="S")))
    assert (result.reason, result.verdict) == (Reason.FLOW_CREATED, Verdict.TX)
    expected = to_backend(family, kind_of, b"odd", flags="S")
    expected[kind_of].dport = VIP_PORT
    del expected[kind_of].chksum
    assert result.data == kind.other().on(built(expected))
    answer = from_backend(family, kind_of, b"more", flags="SA")
    answer[kind_of].sport = VIP_PORT
    del answer[kind_of].chksum
    result = lb.send(kind.other().on(built(answer)))
    assert (result.reason, result.verdict) == (Reason.TO_CLIENT, Verdict.TX)
    assert result.data == kind.on(to_client(family, kind_of, b"more", flags="SA"))


@each_kind
@pytest.mark.parametrize(("pair", "mode"), CROSSING, ids=str)
@pytest.mark.parametrize("priority", [0, 11])
def test_dsr_and_encap_put_on_the_tags_of_the_way(make: Make, pair: Pair, mode: str, kind: Tags, priority: int) -> None:
    lb = member(furnish(make, mode), kind)
    point(lb, pair)
    packet = from_client(pair.vip, TCP, b"data", flags="A")
    expected = rewritten(packet) if mode == "dsr" else encapsulated(pair, packet, mode, hash32(pair.vip, TCP))
    for came in (kind.on(packet, priority), bytes(packet)):
        result = lb.send(came)
        assert (result.reason, result.verdict) == (Reason.TO_BACKEND, Verdict.TX)
        assert result.data == kind.other().on(expected)
    length = 2 * len(packet) + 4 * len(kind.tags)
    assert lb.traffic("backend_counters", 1 if pair.backend is V4 else 4) == (2, length, 0, 0, 0)


@each_family
@each_kind
def test_two_tags_go_into_one_and_one_into_none(make: Make, family: Family, kind: Tags) -> None:
    lb = member(furnish(make, "dsr"), kind)
    number = 1 if family is V4 else 4
    packet = from_client(family, TCP, b"data", flags="A")
    lb.set_backend(number, ifindex=LOOPBACK, vlan=BEHIND)
    assert lb.send(kind.on(packet)).data == tagged(rewritten(packet), BEHIND)
    lb.set_backend(number, vlan=0)
    assert lb.send(kind.on(packet)).data == bytes(rewritten(packet))


@each_family
@each_kind
@every_mode
def test_a_way_by_another_interface_is_redirected_to_with_all_tags(make: Make, family: Family, mode: str, kind: Tags) -> None:
    lb = member(furnish(make, mode), kind, lower=ELSEWHERE)
    result = lb.send(from_client(family, TCP, flags="S"))
    assert (result.verdict, result.reason) == (Verdict.REDIRECT, Reason.FLOW_CREATED)
    assert result.data[12 : 12 + 4 * len(kind.tags)] == kind.other().on(bytes(14))[12 : 12 + 4 * len(kind.tags)]


@each_family
@each_kind
def test_a_device_that_has_gone_is_no_way(make: Make, family: Family, kind: Tags) -> None:
    lb = member(furnish(make, "dsr"), kind)
    lb.set_backend(1 if family is V4 else 4, ifindex=STACKED + 9)
    result = lb.send(kind.on(from_client(family, TCP, b"data", flags="A")))
    assert (result.reason, result.verdict) == (Reason.BACKEND_UNRESOLVED, Verdict.DROP)


@each_family
@each_kind
@pytest.mark.parametrize("name", ["who", "ping", "reset", "long"])
@pytest.mark.parametrize("priority", [0, 15])
def test_an_answer_has_the_very_tags_of_what_it_answers(make: Make, family: Family, name: str, kind: Tags, priority: int) -> None:
    lb = member(furnish(make, "nat"), kind)
    frame, reason, plain = answered(lb, family, name)
    result = lb.send(kind.on(frame, priority))
    assert (result.reason, result.verdict, result.data) == (reason, Verdict.TX, kind.on(plain, priority))


@each_family
@each_kind
def test_what_is_none_of_ours_passes_with_all_its_tags(make: Make, family: Family, kind: Tags) -> None:
    lb = member(furnish(make, "dsr"), kind)
    other = from_client(family, TCP, b"data", flags="A", vip=family.client)
    passes(lb, kind.on(other, 13), Reason.FOREIGN)
    packet = from_client(family, TCP, b"data", flags="A")
    strange = Tags("", (*kind.tags[:-1], (kind.tags[-1][0], INNER + 1)))
    passes(lb, strange.on(packet, 13), Reason.VLAN_FOREIGN)
    swapped = Tags("", tuple((0x8100 if ether == SERVICE else SERVICE, vlan) for ether, vlan in kind.tags))
    passes(lb, swapped.on(packet), Reason.VLAN_FOREIGN)


@each_family
def test_priority_tags_around_and_inside_are_no_vlans(make: Make, family: Family) -> None:
    lb = member(furnish(make, "dsr"), KINDS[1])
    stack(lb, [(Vlan(DEVICE, LOOPBACK, OUTER),)])
    lb.set_backend(1 if family is V4 else 4, ifindex=LOOPBACK, vlan=0)
    packet = from_client(family, TCP, b"data", flags="A")
    for frame in (tagged(tagged(packet, 0, 3), OUTER), tagged(tagged(packet, OUTER), 0, 3), tagged(tagged(packet, 0), 0)):
        assert lb.send(frame).data == bytes(rewritten(packet))


@each_family
@each_kind
def test_the_way_back_of_a_flow_is_by_the_tags_that_it_came_with(make: Make, family: Family, kind: Tags) -> None:
    lb = member(furnish(make, "nat"), kind)
    lb.send(kind.on(from_client(family, flags="S")))
    (flow,) = lb.flows()
    assert flow.element.ifindex == STACKED | layout.OUT_DEVICE << layout.OUT_VLAN_SHIFT


@each_family
@each_kind
def test_the_kernels_way_over_such_a_device_is_the_device_and_its_room(make: Make, link: Link, family: Family, kind: Tags) -> None:
    lb = furnish(make, "nat")
    *outer, last = kind.devices(INNER)
    stack(lb, [(*outer, Vlan(link.ifindex, last.lower, last.vlan, last.service))], mtu=1400)
    lb.send(from_client(family, flags="S"))
    (flow,) = lb.flows()
    assert flow.element.ifindex == link.ifindex | layout.OUT_DEVICE << layout.OUT_VLAN_SHIFT
    assert flow.element.mtu == (1396 if outer else 1500)
    answer = from_backend(family, flags="SA")
    answer[TCP].sport = VIP_PORT
    del answer[TCP].chksum
    result = lb.send(built(answer))
    expected = to_client(family, flags="SA")
    expected.src, expected.dst = link.mac, GATEWAY_MAC
    assert (result.verdict, result.data) == (Verdict.TX, kind.on(expected))


@each_family
@each_kind
@pytest.mark.parametrize("mode", ["nat", "gue"])
def test_fragments_do_not_care_about_tags(make: Make, family: Family, mode: str, kind: Tags) -> None:
    lb = member(furnish(make, mode), kind)
    for piece in odd.cut(from_client(family, UDP, bytes(1200)), 400):
        plain = lb.send(piece)
        assert plain.verdict is Verdict.TX
        again = lb.send(kind.on(piece))
        assert (again.reason, again.verdict, again.data) == (Reason.TO_BACKEND, Verdict.TX, plain.data)


@each_kind
@pytest.mark.parametrize("length", range(14, 66))
def test_a_frame_that_ends_anywhere_is_never_sent(make: Make, kind: Tags, length: int) -> None:
    lb = member(furnish(make, "dsr"), kind)
    frame = kind.on(from_client(V4, TCP, flags="A"))[:length]
    if len(frame) < 14 + 4 * len(kind.tags) + 40:
        result = lb.send(frame)
        assert result.verdict in (Verdict.DROP, Verdict.PASS)
        assert result.verdict is Verdict.DROP or result.data == frame


def test_neither_ip_nor_arp_passes_with_its_tags(make: Make) -> None:
    lb = member(furnish(make, "dsr"), KINDS[0])
    frame = bytes.fromhex((LB_MAC + "020000000001").replace(":", "")) + b"\x88\xcc" + bytes(Raw(b"neighbour"))
    passes(lb, KINDS[0].on(frame, 4), Reason.NOT_IP)
