"""Allow and deny lists: who is let in, which prefix wins, and that established flows of who is denied stop, in both directions."""

import ipaddress
import struct
from collections.abc import Iterable

import pytest
from scapy.layers.inet import TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, PadN
from scapy.packet import Packet

from l4lb_agent.dataplane import syscall
from l4lb_agent.model import layout
from l4lb_agent.model.access.lists import Members
from l4lb_agent.model.access.prefixes import parse_all
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet import direct
from tests.packet.balancer import Balancer
from tests.packet.conftest import Make
from tests.packet.errors import about_backend, about_client, quotes_for_backend, quotes_for_client, refused, unreachable
from tests.packet.modes import every_mode, furnish
from tests.packet.odd import cut, with_headers, with_options
from tests.packet.wire import NUMBER, V4, V6, Family, each_family, each_protocol, from_backend, from_client, quick_ipv4

ALLOW, DENY = 5, 9
HOST = {4: "198.51.100.7", 6: "2001:db8:1::7"}  # the client of wire.py
NEAR = {4: "198.51.100.0/24", 6: "2001:db8:1::/48"}  # a prefix around it
WIDE = {4: "198.0.0.0/8", 6: "2001:db8::/32"}  # another around that
ALL = {4: "0.0.0.0/0", 6: "::/0"}
ELSEWHERE = {4: "203.0.113.0/24", 6: "2001:db8:ffff::/48"}
LET_IN = {Reason.FLOW_CREATED, Reason.TO_BACKEND}


def put(lb: Balancer, number: int, prefixes: Iterable[str]) -> None:
    """The list of that number has these prefixes and no others."""
    wanted = Members(number, parse_all(prefixes, "prefixes")).elements
    for key in lb.keyed("lists"):
        if struct.unpack_from("=I", key, 4)[0] >> 1 == number:
            syscall.map_delete(lb.maps["lists"].fileno(), key)
    for key, value in wanted.items():
        lb.write("lists", key, value)


def name(lb: Balancer, service: int, *, allow: int = 0, deny: int = 0) -> None:
    """The service, which is there, names these lists; its backends know of it."""
    lb.write("policies", service, bytes(layout.Policy(allow_list=allow, deny_list=deny)))
    element = layout.Service.from_buffer_copy(lb.read("services", service))
    element.word |= layout.SERVICE_LISTED
    lb.write("services", service, bytes(element))
    for number in range(1, 7):
        flags = layout.Backend.from_buffer_copy(lb.read("backends", number)).flags
        lb.set_backend(number, flags=flags | layout.BACKEND_LISTED)


def service_of(family: Family, kind: type[Packet] = TCP) -> int:
    return direct.SERVICE[family.version, NUMBER[kind]]


def fate(lb: Balancer, family: Family, kind: type[Packet] = TCP, **fields: object) -> Reason:
    """Of a client's packet that may start a flow."""
    result = lb.send(from_client(family, kind, **{"flags": "S", **fields}))  # type: ignore[arg-type]
    assert (result.verdict is Verdict.DROP) == (result.reason not in LET_IN)
    return Reason.TO_BACKEND if result.reason in LET_IN else result.reason


@every_mode
@each_family
@each_protocol
def test_who_is_on_the_deny_list_is_not_let_in(make: Make, mode: str, family: Family, kind: type[Packet]) -> None:
    lb = furnish(make, mode)
    name(lb, service_of(family, kind), deny=DENY)
    assert fate(lb, family, kind) is Reason.TO_BACKEND, "an empty list denies nobody"
    put(lb, DENY, [NEAR[family.version]])
    assert fate(lb, family, kind) is Reason.DENIED
    put(lb, DENY, [ELSEWHERE[family.version]])
    assert fate(lb, family, kind) is Reason.TO_BACKEND


@every_mode
@each_family
@each_protocol
def test_an_allow_list_lets_in_nobody_else(make: Make, mode: str, family: Family, kind: type[Packet]) -> None:
    lb = furnish(make, mode)
    name(lb, service_of(family, kind), allow=ALLOW)
    assert fate(lb, family, kind) is Reason.NOT_ALLOWED, "an empty list lets in nobody"
    put(lb, ALLOW, [ELSEWHERE[family.version]])
    assert fate(lb, family, kind) is Reason.NOT_ALLOWED
    put(lb, ALLOW, [ELSEWHERE[family.version], HOST[family.version]])
    assert fate(lb, family, kind) is Reason.TO_BACKEND


@each_family
@pytest.mark.parametrize(
    ("allowed", "denied", "reason"),
    [
        ([NEAR], [WIDE], Reason.TO_BACKEND),
        ([WIDE], [NEAR], Reason.DENIED),
        ([NEAR], [NEAR], Reason.DENIED),
        ([ALL], [NEAR], Reason.DENIED),
        ([HOST], [ALL], Reason.TO_BACKEND),
        ([ALL], [HOST], Reason.DENIED),
        ([ALL, HOST], [NEAR, WIDE], Reason.TO_BACKEND),
        ([WIDE], [ALL, HOST], Reason.DENIED),
        ([ALL], [ALL], Reason.DENIED),
        ([ELSEWHERE], [NEAR], Reason.NOT_ALLOWED),
        ([WIDE], [ELSEWHERE], Reason.TO_BACKEND),
        ([], [], Reason.NOT_ALLOWED),
    ],
)
def test_between_both_lists_the_longer_prefix_wins_and_equal_ones_deny(
    lb: Balancer, family: Family, allowed: list[dict[int, str]], denied: list[dict[int, str]], reason: Reason
) -> None:
    name(lb, service_of(family), allow=ALLOW, deny=DENY)
    put(lb, ALLOW, [prefix[family.version] for prefix in allowed])
    put(lb, DENY, [prefix[family.version] for prefix in denied])
    assert fate(lb, family) is reason


@pytest.mark.parametrize("bits", range(0, 33, 4))
def test_an_ipv4_prefix_of_any_length_holds_what_is_in_it_and_nothing_beside(lb: Balancer, bits: int) -> None:
    name(lb, service_of(V4), deny=DENY)
    whole = int.from_bytes(bytes([198, 51, 100, 7]), "big")
    start = whole >> (32 - bits) << (32 - bits)
    put(lb, DENY, [f"{'.'.join(map(str, start.to_bytes(4, 'big')))}/{bits}"])
    assert fate(lb, V4) is Reason.DENIED
    if bits:
        beside = whole ^ 1 << (32 - bits)
        assert fate(lb, V4, client=".".join(map(str, beside.to_bytes(4, "big")))) is not Reason.DENIED


@pytest.mark.parametrize("bits", [0, 1, 31, 32, 33, 63, 64, 65, 96, 127, 128])
def test_an_ipv6_prefix_of_any_length_holds_what_is_in_it_and_nothing_beside(lb: Balancer, bits: int) -> None:
    name(lb, service_of(V6), deny=DENY)
    whole = int.from_bytes(bytes.fromhex("20010db8000100000000000000000007"), "big")
    start = whole >> (128 - bits) << (128 - bits)
    put(lb, DENY, [f"{ipaddress.IPv6Address(start)}/{bits}"])
    assert fate(lb, V6) is Reason.DENIED
    if bits > 2:
        assert fate(lb, V6, client=str(ipaddress.IPv6Address(whole ^ 1 << (128 - bits)))) is not Reason.DENIED


def test_a_prefix_holds_no_address_of_the_other_family(lb: Balancer) -> None:
    """::/0 is all of IPv6; an IPv4 address is held as ::ffff:a.b.c.d, and is not in it."""
    for family, other in ((V4, V6), (V6, V4)):
        name(lb, service_of(family), deny=DENY)
        put(lb, DENY, [ALL[other.version]])
        assert fate(lb, family) is Reason.TO_BACKEND
        put(lb, DENY, [ALL[family.version]])
        assert fate(lb, family) is Reason.DENIED


def test_services_have_lists_of_their_own_and_may_share_one(lb: Balancer) -> None:
    lb.service(7, V4.vip, 81, 6, now=1)
    name(lb, service_of(V4), deny=DENY)
    name(lb, 7, deny=ALLOW)
    put(lb, DENY, [NEAR[4]])
    assert fate(lb, V4) is Reason.DENIED
    assert fate(lb, V4, vip_port=81) is Reason.TO_BACKEND
    name(lb, 7, deny=DENY)
    assert fate(lb, V4, vip_port=81, port=12345) is Reason.DENIED
    assert fate(lb, V4, UDP) is Reason.TO_BACKEND, "a service without lists"


@each_family
@each_protocol
def test_established_nat_flows_of_who_is_denied_stop_in_both_directions_and_go_on_afterwards(
    flowing: Balancer, family: Family, kind: type[Packet]
) -> None:
    number = service_of(family, kind)
    name(flowing, number, deny=DENY)
    there, back = from_client(family, kind, flags="A", seq=1001, ack=6), from_backend(family, kind, flags="A", seq=6, ack=1001)
    assert [flowing.send(p).reason for p in (there, back)] == [Reason.TO_BACKEND, Reason.TO_CLIENT]
    put(flowing, DENY, [NEAR[family.version]])
    counted = flowing.traffic("service_counters", number)
    for packet in (there, back):
        result = flowing.send(packet)
        assert (result.reason, result.verdict) == (Reason.DENIED, Verdict.DROP)
    assert flowing.traffic("service_counters", number) == counted
    put(flowing, DENY, [])
    assert [flowing.send(p).reason for p in (there, back)] == [Reason.TO_BACKEND, Reason.TO_CLIENT]


@each_family
@each_protocol
def test_errors_about_flows_of_who_is_denied_reach_nobody_whoever_sends_them(flowing: Balancer, family: Family, kind: type[Packet]) -> None:
    for_backend = about_client(family, unreachable(family), quotes_for_backend(family, kind, b"", None)[0])
    for_client = about_backend(family, unreachable(family), quotes_for_client(family, kind, b"", None)[0])
    name(flowing, service_of(family, kind), deny=DENY)
    assert [flowing.send(e).reason for e in (for_backend, for_client)] == [Reason.ICMP_TO_BACKEND, Reason.ICMP_TO_CLIENT]
    put(flowing, DENY, [NEAR[family.version]])
    refused(flowing, for_backend, Reason.DENIED)
    refused(flowing, for_client, Reason.DENIED)


@each_family
def test_a_router_on_the_way_need_not_be_on_the_allow_list(flowing: Balancer, family: Family) -> None:
    name(flowing, service_of(family), allow=ALLOW)
    put(flowing, ALLOW, [HOST[family.version]])
    error = about_client(family, unreachable(family), quotes_for_backend(family, TCP, b"", None)[0])
    assert flowing.send(error).reason is Reason.ICMP_TO_BACKEND
    put(flowing, ALLOW, [])
    refused(flowing, error, Reason.NOT_ALLOWED)


@pytest.mark.parametrize("mode", direct.MODES)
@pytest.mark.parametrize("flags", [0, layout.SERVICE_TRACK_ALL])
@each_family
def test_established_direct_flows_of_who_is_denied_stop(make: Make, mode: str, flags: int, family: Family) -> None:
    lb = furnish(make, mode, flags)
    name(lb, service_of(family), allow=ALLOW)
    put(lb, ALLOW, [HOST[family.version]])
    assert fate(lb, family, seq=1000) is Reason.TO_BACKEND
    assert fate(lb, family, flags="A", seq=1001) is Reason.TO_BACKEND
    put(lb, ALLOW, [])
    before = lb.used("flow_table")
    for tcp_flags in ("A", "PA", "FA", "R", "S", "SA"):
        assert lb.send(from_client(family, flags=tcp_flags, seq=1001)).reason is Reason.NOT_ALLOWED
    assert lb.used("flow_table") == before, "what is denied keeps no entry alive"


@each_family
@each_protocol
def test_fragments_of_who_is_denied_stop_in_both_directions_also_those_whose_first_one_was_let_in(
    flowing: Balancer, family: Family, kind: type[Packet]
) -> None:
    payload, fields = bytes(4000), {"flags": "PA", "seq": 1001, "ack": 6}
    ways = [cut(from_client(family, kind, payload, **fields), 1480), cut(from_backend(family, kind, payload, **fields), 1480)]
    name(flowing, service_of(family, kind), deny=DENY)
    assert [{flowing.send(piece).reason for piece in way} for way in ways] == [{Reason.TO_BACKEND}, {Reason.TO_CLIENT}]
    put(flowing, DENY, [NEAR[family.version]])
    for way in ways:
        assert {flowing.send(piece).reason for piece in (*way[1:], way[0])} == {Reason.DENIED}


@pytest.mark.parametrize("mode", direct.MODES)
@each_family
def test_fragments_of_who_is_denied_reach_no_direct_backend(make: Make, mode: str, family: Family) -> None:
    lb = furnish(make, mode)
    name(lb, service_of(family, UDP), allow=ALLOW)
    pieces = cut(from_client(family, UDP, bytes(4000)), 1480)
    assert lb.send(pieces[0]).reason is Reason.NOT_ALLOWED
    assert lb.send(pieces[1]).reason is Reason.FRAGMENT, "nothing is kept of a first fragment that was dropped"
    put(lb, ALLOW, [HOST[family.version]])
    assert {lb.send(piece).reason for piece in pieces} == {Reason.TO_BACKEND}
    put(lb, ALLOW, [])
    assert {lb.send(piece).reason for piece in pieces[1:]} == {Reason.NOT_ALLOWED}


@each_family
def test_options_and_extension_headers_get_nobody_past_a_list(lb: Balancer, family: Family) -> None:
    name(lb, service_of(family), deny=DENY)
    plain = from_client(family, flags="S")
    odd = (
        with_options(plain, [IPOption_NOP()] * 4)
        if family is V4
        else with_headers(plain, IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))]))
    )
    assert lb.send(odd).reason is Reason.FLOW_CREATED
    put(lb, DENY, [NEAR[family.version]])
    assert lb.send(odd).reason is Reason.DENIED


@each_family
def test_nobody_who_is_denied_is_answered_or_leaves_a_flow(lb: Balancer, family: Family) -> None:
    """No RST for a packet without flow, no flow for a SYN, nothing taken of a limit."""
    lb.configure(rst_rate=1000, rst_burst=1000)
    name(lb, service_of(family), deny=DENY)
    put(lb, DENY, [NEAR[family.version]])
    for flags in ("A", "S", "FA", "SA"):
        assert lb.send(from_client(family, flags=flags)).reason is Reason.DENIED
    assert lb.elements("flows") == {}
    assert not lb.records()


@each_family
def test_a_denied_packet_for_an_address_of_this_host_is_not_passed_to_it(lb: Balancer, family: Family) -> None:
    name(lb, service_of(family), deny=DENY)
    put(lb, DENY, [NEAR[family.version]])
    lb.own(family.vip, layout.ADDRESS_VIP | layout.ADDRESS_LOCAL)
    result = lb.send(from_client(family, flags="S"))
    assert (result.reason, result.verdict) == (Reason.DENIED, Verdict.DROP)


@each_family
def test_a_frame_for_another_station_is_not_judged(lb: Balancer, family: Family) -> None:
    name(lb, service_of(family), deny=DENY)
    put(lb, DENY, [NEAR[family.version]])
    lb.write("interfaces", 1, bytes(layout.Interface(ifindex=1, mac=(layout.U8 * 6)(2, 0, 0, 0, 0, 2))))
    foreign = from_client(family, flags="S")
    foreign.dst = "02:00:00:00:00:77"
    assert lb.send(foreign).reason is Reason.FRAME_FOREIGN


def test_ten_thousand_prefixes_are_all_found_and_nothing_else(make: Make) -> None:
    lb = furnish(make, "dsr")
    number = service_of(V4)
    name(lb, number, deny=DENY)
    texts = [f"10.{n >> 8}.{n & 255}.0/{24 + n % 8}" for n in range(10_000)]
    put(lb, DENY, texts)
    vip = bytes([192, 0, 2, 10])
    for n in range(0, 10_000, 7):
        inside, last = bytes([10, n >> 8, n & 255, 0]), bytes([10, n >> 8, n & 255, (1 << 8 - n % 8) - 1])
        for source in (inside, last):
            assert lb.run(quick_ipv4(6, source, vip, (1234, 80), flags="S"))[0] == Verdict.DROP
        if n % 8:
            beyond = bytes([10, n >> 8, n & 255, 1 << 8 - n % 8])
            assert lb.run(quick_ipv4(6, beyond, vip, (1234, 80), flags="S"))[0] != Verdict.DROP
    assert lb.run(quick_ipv4(6, bytes([10, 200, 0, 1]), vip, (1234, 80), flags="S"))[0] != Verdict.DROP
