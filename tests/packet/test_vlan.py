"""802.1Q, byte for byte: tagged packets are balanced, answers keep their tag, ways have tags of their own, all else passes as it came."""

import itertools
import random

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason, Verdict
from l4lb_agent.model.ways.vlan import Vlan, first_place, place
from tests.packet import odd
from tests.packet.balancer import LOOPBACK, Balancer
from tests.packet.conftest import Make
from tests.packet.direct import MODES, PAIRS, Pair, encapsulated, point, rewritten
from tests.packet.modes import every_mode, furnish
from tests.packet.test_direct import hash32
from tests.packet.test_ways import GATEWAY_MAC, Link, link
from tests.packet.vlans import SERVICE, join, tagged
from tests.packet.wire import (
    CLIENT_MAC,
    LB_MAC,
    V4,
    V6,
    VIP_PORT,
    Family,
    built,
    each_family,
    each_protocol,
    from_backend,
    from_client,
    to_backend,
    to_client,
)  # fmt: skip

__all__ = ["link"]
CROSSING = [(pair, mode) for pair in PAIRS for mode in MODES if mode != "dsr" or pair.vip is pair.backend]
CLIENTS, BACKENDS = 7, 4094  # VLANs
TAGS = [(0, 0), (CLIENTS, 0), (0, BACKENDS), (CLIENTS, BACKENDS), (CLIENTS, CLIENTS)]  # of the frame that comes and of the way out
each_tagging = pytest.mark.parametrize(("came", "goes"), TAGS)


def with_tag(frame: object, vlan: int) -> bytes:
    """The frame with that tag, with none for 0."""
    return tagged(frame, vlan) if vlan else bytes(frame)  # type: ignore[call-overload]


def behind(lb: Balancer, vlan: int) -> Balancer:
    """Both first backends are reached over the VLAN; the host is in CLIENTS and BACKENDS."""
    join(lb, (CLIENTS, BACKENDS))
    for number in (1, 4):
        lb.set_backend(number, vlan=vlan)
    return lb


@each_family
@each_protocol
@each_tagging
def test_nat_takes_and_sends_tags_in_both_directions(make: Make, family: Family, kind: type[Packet], came: int, goes: int) -> None:
    lb = behind(furnish(make, "nat"), goes)
    packet = from_client(family, kind, b"odd", flags="S")
    result = lb.send(with_tag(packet, came))
    assert (result.reason, result.verdict) == (Reason.FLOW_CREATED, Verdict.TX)
    expected = to_backend(family, kind, b"odd", flags="S")
    expected[kind].dport = VIP_PORT
    del expected[kind].chksum
    assert result.data == with_tag(built(expected), goes)
    answer = from_backend(family, kind, b"more", flags="SA")
    answer[kind].sport = VIP_PORT
    del answer[kind].chksum
    result = lb.send(with_tag(built(answer), goes))
    assert (result.reason, result.verdict) == (Reason.TO_CLIENT, Verdict.TX)
    assert result.data == with_tag(to_client(family, kind, b"more", flags="SA"), came)
    if goes:
        assert lb.send(built(answer)).data == result.data, "where the answer comes from is not asked"


@each_tagging
@pytest.mark.parametrize(("pair", "mode"), CROSSING, ids=str)
def test_dsr_and_encap_put_on_the_tag_of_the_way(make: Make, pair: Pair, mode: str, came: int, goes: int) -> None:
    lb = behind(furnish(make, mode), goes)
    point(lb, pair)
    packet = from_client(pair.vip, TCP, b"data", flags="A")
    result = lb.send(with_tag(packet, came))
    assert (result.reason, result.verdict) == (Reason.TO_BACKEND, Verdict.TX)
    expected = rewritten(packet) if mode == "dsr" else encapsulated(pair, packet, mode, hash32(pair.vip, TCP))
    assert result.data == with_tag(expected, goes)
    length = len(packet) + (4 if came else 0)
    assert lb.traffic("backend_counters", 1 if pair.backend is V4 else 4) == (1, length, 0, 0, 0)


@each_family
@every_mode
def test_another_interface_is_redirected_to_with_the_tag(make: Make, family: Family, mode: str) -> None:
    lb = behind(furnish(make, mode), BACKENDS)
    lb.set_backend(1 if family is V4 else 4, ifindex=LOOPBACK + 1)
    result = lb.send(from_client(family, TCP, flags="S"))
    assert (result.verdict, result.data[12:16].hex()) == (Verdict.REDIRECT, "81000ffe")


def asking(family: Family) -> dict[str, tuple[bytes, Reason]]:
    """Frames that are answered, and why they are."""
    ether = Ether(src=CLIENT_MAC, dst=LB_MAC)
    ping = ether / family.ip(family.client, family.vip) / (ICMP(id=7) if family is V4 else ICMPv6EchoRequest(id=7)) / Raw(b"odd")
    who: Packet = Ether(src=CLIENT_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=CLIENT_MAC, psrc=V4.client, pdst=V4.vip)
    reason = Reason.ARP_ANSWERED
    if family is V6:
        solicited = ICMPv6ND_NS(tgt=V6.vip) / ICMPv6NDOptSrcLLAddr(lladdr=CLIENT_MAC)
        who = Ether(src=CLIENT_MAC, dst="33:33:ff:00:00:10") / IPv6(src=V6.client, dst="ff02::1:ff00:10", hlim=255) / solicited
        reason = Reason.NEIGHBOUR_ANSWERED
    return {
        "who": (bytes(built(who)), reason),
        "ping": (bytes(built(ping)), Reason.ECHO_ANSWERED),
        "reset": (bytes(from_client(family, TCP, b"x", flags="A", ack=9)), Reason.RST_ANSWERED),
        "long": (bytes(from_client(family, UDP, bytes(1500))), Reason.TOO_BIG_ANSWERED),
    }


def answered(lb: Balancer, family: Family, name: str) -> tuple[bytes, Reason, bytes]:
    """What is answered to the frame of that name in asking(), without a tag: the frame, why, and the answer."""
    lb.configure(icmp_rate=100, icmp_burst=100, rst_rate=100, rst_burst=100)
    lb.own(family.vip, layout.ADDRESS_VIP | layout.ADDRESS_ECHO)
    lb.set_backend(1 if family is V4 else 4, mtu=1400)
    lb.write("interfaces", LOOPBACK, bytes(layout.Interface(ifindex=LOOPBACK, mac=(layout.U8 * 6)(2, 0, 0, 0, 0, 2))))
    frame, reason = asking(family)[name]
    plain = lb.send(frame)
    assert (plain.reason, plain.verdict) == (reason, Verdict.TX)
    return frame, reason, plain.data


@each_family
@pytest.mark.parametrize(("vlan", "priority"), [(CLIENTS, 0), (CLIENTS, 15), (0, 0), (0, 10)])
@pytest.mark.parametrize("name", ["who", "ping", "reset", "long"])
def test_an_answer_has_the_very_tag_of_what_it_answers(make: Make, family: Family, name: str, vlan: int, priority: int) -> None:
    lb = behind(furnish(make, "nat"), BACKENDS)
    frame, reason, plain = answered(lb, family, name)
    result = lb.send(tagged(frame, vlan, priority))
    assert (result.reason, result.verdict, result.data) == (reason, Verdict.TX, tagged(plain, vlan, priority))


@each_family
@pytest.mark.parametrize("priority", [0, 1, 15])
def test_a_priority_tag_is_no_vlan(make: Make, family: Family, priority: int) -> None:
    lb = furnish(make, "dsr")
    packet = from_client(family, TCP, b"data", flags="A")
    assert lb.send(tagged(packet, 0, priority)).data == bytes(rewritten(packet))


def passes(lb: Balancer, frame: bytes, reason: Reason) -> None:
    """The frame is left as it is."""
    result = lb.send(frame)
    assert (result.reason, result.verdict, result.data) == (reason, Verdict.PASS, frame)


@each_family
def test_other_vlans_pass_as_they_are(make: Make, family: Family) -> None:
    lb = furnish(make, "dsr")
    packet = from_client(family, TCP, b"data", flags="A")
    passes(lb, tagged(packet, CLIENTS), Reason.VLAN_FOREIGN)
    join(lb, (CLIENTS, 5), lower=LOOPBACK + 1)
    passes(lb, tagged(packet, CLIENTS), Reason.VLAN_FOREIGN)
    join(lb, (CLIENTS,))
    assert lb.send(tagged(packet, CLIENTS)).reason is Reason.TO_BACKEND
    for vlan in (1, 5, CLIENTS - 1, CLIENTS + 1, CLIENTS + 256, 4095):
        passes(lb, tagged(packet, vlan, 3), Reason.VLAN_FOREIGN)


@each_family
def test_what_is_none_of_ours_in_a_vlan_of_ours_passes_as_it_is(make: Make, family: Family) -> None:
    lb = behind(furnish(make, "dsr"), 0)
    lb.own(family.snat, layout.ADDRESS_SNAT | layout.ADDRESS_LOCAL)
    other = from_client(family, TCP, b"data", flags="A", vip=family.client)
    passes(lb, tagged(other, CLIENTS, 11), Reason.FOREIGN)
    passes(lb, tagged(from_client(family, TCP, b"x", flags="A", vip=family.snat), CLIENTS, 4), Reason.LOCAL)
    passes(lb, tagged(Ether(src=CLIENT_MAC, dst=LB_MAC, type=0x88CC) / Raw(b"neighbour"), CLIENTS), Reason.NOT_IP)
    arp = Ether(src=CLIENT_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=CLIENT_MAC, psrc=V4.client, pdst="192.0.2.99")
    passes(lb, tagged(arp, CLIENTS), Reason.NOT_IP)
    here = layout.BACKEND_KEEP | layout.BACKEND_ELIGIBLE | layout.BACKEND_HERE
    lb.set_backend(1 if family is V4 else 4, flags=here, ifindex=0)
    passes(lb, tagged(from_client(family, TCP, b"x", flags="A"), CLIENTS, 2), Reason.TO_BACKEND)


@pytest.mark.parametrize("kinds", list(itertools.product([0x8100, SERVICE], repeat=3)))
def test_three_tags_pass_as_they_are(make: Make, kinds: tuple[int, int, int]) -> None:
    lb = behind(furnish(make, "dsr"), 0)
    frame = bytes(from_client(V4, TCP, b"data", flags="A"))
    for kind in kinds:
        frame = tagged(frame, CLIENTS, kind=kind)
    passes(lb, frame, Reason.VLAN_STACKED)


def test_two_tags_of_vlans_that_this_host_is_not_in_pass_as_they_are(make: Make) -> None:
    lb = behind(furnish(make, "dsr"), 0)
    packet = from_client(V4, TCP, b"data", flags="A")
    for outer, inner in ((0x8100, 0x8100), (SERVICE, 0x8100), (0x8100, SERVICE)):
        passes(lb, tagged(tagged(packet, CLIENTS, 3, inner), CLIENTS, 5, outer), Reason.VLAN_FOREIGN)
    passes(lb, tagged(packet, CLIENTS, kind=SERVICE), Reason.VLAN_FOREIGN)


@pytest.mark.parametrize("length", range(14, 58))
def test_a_frame_that_ends_anywhere_is_never_sent(make: Make, length: int) -> None:
    lb = behind(furnish(make, "dsr"), BACKENDS)
    frame = tagged(from_client(V4, TCP, flags="A"), CLIENTS)[:length]
    result = lb.send(frame)
    assert result.verdict in (Verdict.DROP, Verdict.PASS)
    assert result.verdict is Verdict.DROP or result.data == frame


@each_family
def test_the_kernels_way_over_a_vlan_device_is_the_lower_devices_with_the_tag(make: Make, link: Link, family: Family) -> None:
    lb = furnish(make, "nat")
    elements, _ = place([Vlan(link.ifindex, LOOPBACK, CLIENTS)])
    for key, value in elements.items():
        lb.write("vlans", key, value)
    lb.configure(flags=layout.CONFIG_VLANS)
    lb.send(from_client(family, flags="S"))
    (flow,) = lb.flows()
    assert flow.element.ifindex == LOOPBACK | CLIENTS << layout.OUT_VLAN_SHIFT
    answer = from_backend(family, flags="SA")
    answer[TCP].sport = VIP_PORT
    del answer[TCP].chksum
    result = lb.send(built(answer))
    expected = to_client(family, flags="SA")
    expected.src, expected.dst = link.mac, GATEWAY_MAC
    assert (result.verdict, result.data) == (Verdict.TX, tagged(expected, CLIENTS))


@each_family
@each_tagging
@pytest.mark.parametrize("mode", ["nat", "gue"])
def test_fragments_and_their_order_do_not_care_about_tags(make: Make, family: Family, mode: str, came: int, goes: int) -> None:
    lb = behind(furnish(make, mode), goes)
    for piece in odd.cut(from_client(family, UDP, bytes(1200)), 400):
        plain = lb.send(piece)
        assert (plain.verdict, plain.data[12:14] == b"\x81\0") == (Verdict.TX, bool(goes))
        again = lb.send(with_tag(piece, came))
        assert (again.reason, again.verdict) == (Reason.TO_BACKEND, Verdict.TX)
        assert again.data == plain.data


def test_a_packet_as_long_as_the_way_allows_may_have_a_tag_beside(make: Make) -> None:
    lb = behind(furnish(make, "dsr"), BACKENDS)
    lb.set_backend(1, mtu=1400)
    packet = from_client(V4, TCP, bytes(1360), flags="A")
    assert lb.send(tagged(packet, CLIENTS)).data == tagged(rewritten(packet), BACKENDS)


def found(elements: dict[bytes, bytes], ifindex: int, key: int) -> layout.Vlan | None:
    """As the datapath looks."""
    for more in range(layout.VLAN_TRIES):
        number = (first_place(ifindex, key) + more) % layout.VLAN_PLACES
        element = elements.get(number.to_bytes(4, "little"))
        if element is None:
            return None
        one = layout.Vlan.from_buffer_copy(element)
        if (one.ifindex, one.key) == (ifindex, key):
            return one
    return None


@pytest.mark.parametrize("many", [1, 10, 500])
def test_every_vlan_is_found_under_both_devices(many: int) -> None:
    dice = random.Random(many)
    vlans = {Vlan(100 + number, dice.choice((2, 3, 4)), dice.randrange(1, 4095)) for number in range(many)}
    elements, left = place(vlans)
    assert not left
    for one in vlans:
        under = found(elements, one.device, layout.VLAN_DEVICE)
        assert under is not None
        assert (under.other, under.tag) == (one.lower, one.vlan)
        assert found(elements, one.lower, one.vlan) is not None
    assert found(elements, 99, layout.VLAN_DEVICE) is None


def test_those_that_find_no_place_are_told_and_harm_no_other() -> None:
    vlans = [Vlan(10 + number, 2 + number // 4094, 1 + number % 4094) for number in range(3000)]
    elements, left = place(vlans)
    assert 0 < len(left) < 3000
    assert len(elements) == 2 * (3000 - len(left))
    assert all(found(elements, one.device, layout.VLAN_DEVICE) for one in set(vlans) - set(left))
