"""The twin foretells what becomes of a packet, in every mode and state, and asking leaves no trace: `send` of each balancer here asks
first, compares all maps before and after, and then the answer with what really becomes of the packet (twins.py)."""

from collections.abc import Callable, Iterator

import pytest
from scapy.layers.inet import ICMP, TCP, UDP, IPOption_NOP, IPOption_RR
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6, IPv6ExtHdrDestOpt, PadN
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.maps import cpus
from l4lb_agent.dataplane.program import Objects
from l4lb_agent.dataplane.twin import LONGEST_FRAME, SHORTEST_FRAME
from l4lb_agent.model import layout, mapspec
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet import limits, modes, test_affinity, test_capture, test_lists, test_tracking, vlans
from tests.packet.balancer import LB_MAC, LOOPBACK, Balancer, mac
from tests.packet.bed import SIZES
from tests.packet.conftest import Make, furnish
from tests.packet.direct import SERVICE
from tests.packet.errors import about_backend, about_client, quotes_for_backend, quotes_for_client, too_big, unreachable
from tests.packet.modes import every_mode
from tests.packet.odd import cut, with_headers, with_options
from tests.packet.twins import Asked
from tests.packet.vlans import tagged
from tests.packet.wire import CLIENT_MAC, FAMILIES, PROTOCOLS, V4, V6, Family, each_family, each_protocol, from_backend, from_client

pytestmark = pytest.mark.timeout(600)  # an emulated machine loads all programs twice more for a minute
Ask = Callable[[Balancer], Asked]
PAYLOAD = bytes(range(256)) * 8
ELSEWHERE = 77  # an interface


@pytest.fixture
def ask(objects: Objects) -> Iterator[Ask]:
    """Gives balancers a twin, which ends with the test."""
    made: list[Asked] = []

    def one(lb: Balancer) -> Asked:
        made.append(Asked(lb, objects))
        return made[-1]

    yield one
    for asked in made:
        asked.close()


@pytest.fixture
def asked(lb: Balancer, ask: Ask) -> Asked:
    """`lb`, with budgets for answers and the MAC of its interface."""
    lb.configure(rst_rate=100, rst_burst=100, icmp_rate=100, icmp_burst=100)
    lb.write("interfaces", LOOPBACK, bytes(layout.Interface(ifindex=LOOPBACK, mac=mac(LB_MAC))))
    return ask(lb)


def reasons(asked: Asked, *frames: object) -> list[Reason]:
    """Why each ended."""
    return [asked.send(frame).reason for frame in frames]


def test_it_is_the_very_bytecode(asked: Asked) -> None:
    """The kernel's tag does not depend on maps."""
    asked.send(from_client(V4, UDP))
    loaded = asked.twin._loaded
    assert loaded
    tags = [syscall.prog_info(one.program.fileno()).tag for one in (asked.lb.generation, loaded.plain, loaded.noting)]
    assert tags[0] == tags[1] != tags[2]


@every_mode
def test_flows(make: Make, ask: Ask, mode: str) -> None:
    asked = ask(modes.furnish(make, mode))
    asked.lb.configure(rst_rate=100, rst_burst=100)
    for family in FAMILIES:
        for kind in PROTOCOLS:
            found = reasons(
                asked,
                from_client(family, kind, b"one", flags="PA", seq=900, ack=4),
                from_client(family, kind, flags="S", seq=1000),
                from_client(family, kind, flags="S", seq=1000),
                from_client(family, kind, b"two", flags="PA", seq=1001, ack=6, tos=0xB9),
                from_client(family, kind, b"far", flags="PA", seq=1004, ack=6, ttl=1),
                from_client(family, kind, b"bye", flags="FA", seq=1004, ack=6),
                from_client(family, kind, flags="R", seq=1008),
                from_client(family, kind, port=40001, flags="S", seq=7),
            )
            assert {Reason.TO_BACKEND, Reason.TTL_EXCEEDED} <= set(found)
            assert (kind is UDP and mode != "nat") or Reason.FLOW_CREATED in found
    assert all(answer.steady and not answer.drawn for answer in asked.answers)


@every_mode
def test_flows_that_have_entries(make: Make, ask: Ask, mode: str) -> None:
    flags = 0 if mode == "nat" else layout.SERVICE_TRACK_ALL
    asked = ask(modes.furnish(make, mode, flags))
    for family in FAMILIES:
        modes.spread(asked.lb, family, mode, flags)
        for port in range(3000, 3006):
            asked.send(from_client(family, port=port, flags="S", seq=port))
            asked.send(from_client(family, UDP, b"q", port=port))
        asked.lb.ring(3, [4 if family is V6 else 1])
        for port in range(3000, 3006):
            assert asked.send(from_client(family, port=port, flags="A", seq=port + 1)).reason is Reason.TO_BACKEND
            asked.send(from_client(family, UDP, b"q", port=port))


def test_slots_at_risk(make: Make, ask: Ask) -> None:
    lb = test_tracking.changing(make)
    asked = ask(lb)
    for port in range(3000, 3006):
        asked.send(from_client(V4, flags="A", seq=port, port=port))
        asked.send(from_client(V4, flags="S", seq=port + 5000, port=port))
        asked.send(from_client(V4, flags="A", seq=port + 1, port=port))
        asked.send(from_client(V4, flags="S", seq=port + 9000, port=port))
        asked.send(from_client(V4, flags="FA", seq=port + 5001, port=port))
        asked.send(from_client(V4, flags="R", seq=port + 9001, port=port))
    lb.age_tracked(20)
    for port in range(3000, 3006):
        asked.send(from_client(V4, flags="A", seq=port + 5001, port=port))
    assert lb.tracking(1)[1] > 0, "none was pinned"


@each_family
def test_a_nat_connection_from_its_first_packet_to_a_new_one_on_its_ports(asked: Asked, family: Family) -> None:
    limits.stop_clock(asked.lb)  # the last flow's port is drawn from the second
    found = reasons(
        asked,
        from_client(family, flags="S", seq=1000),
        from_backend(family, flags="SA", seq=5, ack=1001),
        from_client(family, flags="A", seq=1001, ack=6),
        from_backend(family, TCP, b"hello", flags="PA", seq=6, ack=1001),
        from_client(family, flags="S", seq=77),
        from_client(family, flags="FA", seq=1001, ack=11),
        from_backend(family, flags="FA", seq=11, ack=1002),
        from_client(family, flags="A", seq=1002, ack=12),
        from_client(family, flags="S", seq=77),
        from_client(family, flags="S", seq=90000),
        from_backend(family, flags="RA", seq=0, ack=90001),
        from_client(family, flags="S", seq=90000),
    )
    assert found[0] is Reason.FLOW_CREATED
    assert Reason.CLOSED in found
    assert [answer.drawn for answer in asked.answers] == [False] * 11 + [True]


@each_family
@each_protocol
def test_icmp(asked: Asked, family: Family, kind: type[Packet]) -> None:
    reasons(asked, from_client(family, kind, flags="S", seq=1000), from_backend(family, kind, flags="SA", seq=5, ack=1001))
    asked.send(from_client(family, kind, flags="A", seq=1001, ack=6))
    about = {"flags": "A", "seq": 6, "ack": 1001}
    before, _ = quotes_for_backend(family, kind, b"q" * 40, None, **about)
    behind, _ = quotes_for_client(family, kind, b"q" * 40, None, **about)
    stranger, _ = quotes_for_client(family, kind, b"q" * 40, None, port=1, **about)
    echo = ICMP() if family is V4 else ICMPv6EchoRequest(data=b"payload")
    ping = Ether(src=CLIENT_MAC, dst="02:00:00:00:00:02") / family.ip(family.client, family.vip) / echo
    asked.lb.own(family.vip, layout.ADDRESS_VIP | layout.ADDRESS_ECHO)
    found = reasons(
        asked,
        about_client(family, too_big(family), before),
        about_client(family, unreachable(family), before),
        about_backend(family, unreachable(family), behind),
        about_backend(family, unreachable(family), stranger),
        ping,
    )
    assert found == [Reason.ICMP_TO_BACKEND] * 2 + [Reason.ICMP_TO_CLIENT, Reason.ICMP_NO_FLOW, Reason.ECHO_ANSWERED]


@every_mode
def test_odd_ones(make: Make, ask: Ask, mode: str) -> None:
    """Fragments, options, extension headers, VLANs, and what is too long."""
    asked = ask(modes.furnish(make, mode))
    vlans.stack(asked.lb, [vlans.SEVERAL])
    for family in FAMILIES:
        first, *later = cut(from_client(family, UDP, PAYLOAD), 800)
        assert asked.send(later[0]).reason is Reason.FRAGMENT
        sent = reasons(asked, first, *later, first)
        assert set(sent) == ({Reason.TO_BACKEND, Reason.FLOW_CREATED} if mode in ("nat", "keep") else {sent[-1]})
        other = cut(from_client(family, UDP, PAYLOAD, port=99), 800)
        assert asked.send(other[0]).reason is Reason.FRAGMENT_OVERLAP
        plain = from_client(family, flags="S", seq=4)
        twice, provided = tagged(tagged(plain, 8), 100), tagged(plain, 9, kind=vlans.SERVICE)
        found = reasons(asked, *(tagged(plain, vlan, 5) for vlan in (100, 101, 0)), twice, tagged(twice, 100), provided)
        assert {found[0], found[3], found[5]} <= set(test_lists.LET_IN)
        assert [found[1], found[4]] == [Reason.VLAN_FOREIGN, Reason.VLAN_STACKED]
        asked.lb.set_backend(1 if family is V4 else 4, ifindex=vlans.STACKED, vlan=layout.OUT_DEVICE)
        assert reasons(asked, plain, tagged(plain, 100))[0] in test_lists.LET_IN
        asked.lb.set_backend(1 if family is V4 else 4, ifindex=vlans.STACKED + 9)
        assert reasons(asked, from_client(family, UDP, b"nowhere")) == [Reason.BACKEND_UNRESOLVED]
        asked.lb.set_backend(1 if family is V4 else 4, ifindex=LOOPBACK, vlan=0)
        asked.lb.set_backend(1 if family is V4 else 4, mtu=1400)
        asked.lb.configure(icmp_rate=100, icmp_burst=100)
        assert asked.send(from_client(family, UDP, bytes(1400))).reason is Reason.TOO_BIG_ANSWERED
        asked.lb.configure(icmp_burst=0)
        longest = from_client(family, UDP, bytes(LONGEST_FRAME - len(bytes(from_client(family, UDP)))))
        assert asked.send(longest).reason is Reason.TOO_BIG_LIMITED
        asked.lb.set_backend(1 if family is V4 else 4, mtu=0)
    del asked.answers[:]
    found = reasons(
        asked,
        with_options(from_client(V4, UDP, b"q", port=53), [IPOption_NOP()] * 4),
        with_options(from_client(V4, UDP, b"q"), [IPOption_RR(routers=["192.0.2.1"])]),
        with_headers(from_client(V6, UDP, b"q", port=5353), IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])),
    )
    assert (Reason.IP_OPTIONS in found) == (mode in ("nat", "keep"))
    assert asked.answers[-1].drawn == (mode == "nat"), "behind a header the port is not looked for"


def test_what_is_answered_and_what_passes(asked: Asked) -> None:
    solicitation = IPv6(src=V6.client, dst=V6.vip) / ICMPv6ND_NS(tgt=V6.vip) / ICMPv6NDOptSrcLLAddr(lladdr=CLIENT_MAC)
    found = reasons(
        asked,
        Ether(src=CLIENT_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(psrc=V4.client, pdst=V4.vip, hwsrc=CLIENT_MAC),
        Ether(src=CLIENT_MAC, dst="02:00:00:00:00:02") / solicitation,
        from_client(V4, flags="A", seq=5, ack=3),
        from_client(V4, vip="192.0.2.99"),
        from_client(V4, vip_port=81, flags="S"),
        Ether(src=CLIENT_MAC, dst="02:00:00:00:00:02", type=0x88B5) / Raw(b"other"),
        bytes(SHORTEST_FRAME),
    )
    assert found[:4] == [Reason.ARP_ANSWERED, Reason.NEIGHBOUR_ANSWERED, Reason.RST_ANSWERED, Reason.FOREIGN]
    assert found[4:] == [Reason.NO_SERVICE, Reason.NOT_IP, Reason.NOT_IP]


def test_budgets_are_neither_spent_nor_forgotten(asked: Asked) -> None:
    asked.lb.configure(rst_rate=0, rst_burst=2)
    asked.lb.write("budgets", layout.BUDGET_RST, bytes(layout.Budget(tokens=2 << 24)) * cpus())
    assert reasons(asked, *[from_client(V4, flags="A", seq=5, ack=3)] * 3) == [Reason.RST_ANSWERED] * 2 + [Reason.RST_LIMITED]


@every_mode
def test_limits_and_lists(make: Make, ask: Ask, mode: str) -> None:
    """Asking spends no token, and knows which are left."""
    asked = ask(modes.furnish(make, mode))
    limits.stop_clock(asked.lb)
    for family in FAMILIES:
        number = SERVICE[family.version, 6]
        limits.limit(asked.lb, number, service=limits.Bucket(3, 100), source=limits.Bucket(2, 100))
        stranger = "198.18.0.1" if family is V4 else "2001:db9::1"
        found = [asked.send(from_client(family, port=port, flags="S")).reason for port in (2001, 2002, 2003)]
        found += [asked.send(from_client(family, client=stranger, port=port, flags="S")).reason for port in (2001, 2002)]
        assert found[2::2] == [Reason.SOURCE_LIMITED, Reason.NEW_FLOWS_LIMITED]
        assert {*found[:2], found[3]} <= test_lists.LET_IN
        test_lists.put(asked.lb, test_lists.DENY, [test_lists.NEAR[family.version]])
        test_lists.name(asked.lb, number, deny=test_lists.DENY)
        assert asked.send(from_client(family, port=2001, flags="A")).reason is Reason.DENIED
        assert asked.send(from_client(family, client=stranger, port=2001, flags="A")).reason not in {Reason.DENIED, Reason.NOT_ALLOWED}


@every_mode
def test_affinity_and_backends_that_go(make: Make, ask: Ask, mode: str) -> None:
    family = V6 if mode in ("gue", "dsr") else V4
    lb = test_affinity.sticky(make, mode, family)
    lb.configure(rst_rate=9, rst_burst=9)
    asked = ask(lb)
    went = {modes.backend_of(asked.send(from_client(family, port=port, flags="S", seq=port))) for port in range(2000, 2008)}
    assert len(went) == 1
    (number,) = went
    lb.set_backend(number, flags=layout.BACKEND_KEEP)
    assert modes.backend_of(asked.send(from_client(family, port=2100, flags="S", seq=1))) != number
    lb.set_backend(number, flags=layout.BACKEND_RESET)
    assert asked.send(from_client(family, TCP, b"q", port=2000, flags="PA", seq=2001, ack=6)).reason is Reason.DRAIN_RESET
    lb.set_backend(number, flags=0)
    assert asked.send(from_client(family, port=2001, flags="A", seq=2002, ack=6)).reason is not Reason.DRAIN_RESET
    lb.ring(3, [0])
    assert asked.send(from_client(family, client=test_affinity.client(family, 9), flags="S", seq=1)).reason is Reason.NO_BACKEND


@each_family
@each_protocol
def test_ports_that_are_drawn(asked: Asked, family: Family, kind: type[Packet]) -> None:
    """Two clients with one port, a port below 1024, and then none that is free."""
    limits.stop_clock(asked.lb)
    asked.lb.configure(port_low=40000, port_high=40003)
    clients = [f"198.51.100.{n}" if family is V4 else f"2001:db8:1::{n:x}" for n in range(1, 9)]
    found = [asked.send(from_client(family, kind, client=one, flags="S", seq=1)).reason for one in clients]
    assert found[:2] == [Reason.FLOW_CREATED] * 2
    assert Reason.NO_SOURCE_PORT in found
    assert [answer.drawn for answer in asked.answers][:2] == [False, True]
    asked.lb.snat("192.0.2.20", "192.0.2.21", "2001:db8::20", "2001:db8::21")
    asked.lb.configure(port_low=1024, port_high=65535)
    assert asked.send(from_client(family, kind, port=53, flags="S")).reason is Reason.FLOW_CREATED
    assert asked.answers[-1].drawn


def test_a_full_table(make: Make, ask: Ask) -> None:
    """New flows take the records of others, which end only when the packet really comes."""
    asked = ask(make(sizes=mapspec.Sizes(**{**vars(SIZES), "flows": 16})))
    furnish(asked.lb)
    found = [asked.send(from_client(V4, UDP, b"q", port=port)).reason for port in range(5000, 5040)]
    assert set(found) == {Reason.FLOW_CREATED}
    assert asked.send(from_client(V4, UDP, b"q", port=5000)).reason is Reason.FLOW_CREATED


def test_captures_get_nothing(make: Make, ask: Ask) -> None:
    lb = make()
    furnish(lb)
    capture = test_capture.Capture(lb)
    capture.begin(rate=2)
    asked = ask(lb)
    for port in range(5000, 5004):
        raw = from_client(V4, UDP, b"q", port=port)
        asked.twin.ask(LOOPBACK, bytes(raw))
        assert capture.taken() == []
        lb.send(raw)
        assert len(capture.taken()) == (port < 5002)


@each_family
def test_a_redirect_names_its_interface(asked: Asked, family: Family) -> None:
    for number in (1, 4):
        asked.lb.set_backend(number, ifindex=ELSEWHERE)
    asked.send(from_client(family, flags="S"))
    assert (asked.answers[-1].verdict, asked.answers[-1].ifindex) == (Verdict.REDIRECT, ELSEWHERE)
    asked.send(from_client(family, flags="A", vip_port=81))
    assert asked.answers[-1].ifindex is None
    asked.lb.configure(flags=layout.CONFIG_TRANSMIT_REDIRECT)
    asked.send(from_client(family, port=4, flags="A", seq=5))
    assert (asked.answers[-1].reason, asked.answers[-1].ifindex) == (Reason.RST_ANSWERED, LOOPBACK)


@pytest.mark.parametrize("size", [0, SHORTEST_FRAME - 1, LONGEST_FRAME + 1, 65535])
def test_frames_that_cannot_be_asked_about_are_named(asked: Asked, size: int) -> None:
    with pytest.raises(ValueError, match=f"a frame of {size} bytes cannot be asked about: it has {SHORTEST_FRAME} to {LONGEST_FRAME}"):
        asked.twin.ask(LOOPBACK, bytes(size))


def test_an_interface_that_is_not_there_is_an_error_and_the_next_question_is_none(asked: Asked) -> None:
    with pytest.raises(OSError, match="No such device"):
        asked.twin.ask(123456, bytes(from_client(V4, UDP)))
    assert asked.send(from_client(V4, UDP)).reason is Reason.FLOW_CREATED
