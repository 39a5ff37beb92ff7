"""NAT that keeps the client's address under what else there is: options, extension headers, ICMP errors about such packets, lists, limits,
drains, floods. What every mode shares is tested with all of them (modes.py); here are answers, which are found in another way."""

import dataclasses

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrRouting, PadN
from scapy.packet import Packet

from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet import errors, keep
from tests.packet.balancer import Balancer
from tests.packet.bed import SIZES
from tests.packet.conftest import Make, furnish
from tests.packet.errors import (
    ALL,
    EXTENSIONS,
    OPTIONS,
    PAYLOAD,
    about_backend,
    about_client,
    at_backend,
    at_client,
    extended,
    inside,
    too_big,
    unreachable,
    with_options,
)
from tests.packet.keep import reached, reply
from tests.packet.limits import Bucket, limit, stop_clock
from tests.packet.odd import cut, with_headers
from tests.packet.test_keep import FIRST, RING, kept, opened, untouched
from tests.packet.test_lists import DENY, NEAR, name, put, service_of
from tests.packet.test_options import ODD, each_odd, odd
from tests.packet.test_records import flood
from tests.packet.wire import V4, V6, Family, each_family, each_protocol, from_client, same, to_client

__all__ = ["kept"]
SMALL = dataclasses.replace(SIZES, flows=64)
SYN_FLOOD = 5 * SMALL.flows


# --- options and extension headers


@each_odd
@each_protocol
def test_answers_with_what_is_safe_are_translated(kept: Balancer, family: Family, name: str, kind: type[Packet]) -> None:
    opened(kept, family, kind)
    for payload in (b"", b"odd"):
        there = kept.send(odd(family, name, from_client(family, kind, payload, flags="PA", seq=1001, ack=6)))
        assert there.reason is Reason.TO_BACKEND
        same(there.data, odd(family, name, reached(family, kind, payload, flags="PA", seq=1001, ack=6)))
        back = kept.send(odd(family, name, reply(family, kind, payload, flags="PA", seq=6, ack=1001)))
        assert (back.reason, back.verdict) == (Reason.TO_CLIENT, Verdict.TX)
        same(back.data, odd(family, name, to_client(family, kind, payload, flags="PA", seq=6, ack=1001)))


def test_every_odd_answer_of_no_flow_passes(kept: Balancer) -> None:
    for family, kind in ODD:
        opened(kept, family, port=50000 + len(kept.records()))
        untouched(kept, odd(family, kind, reply(family, flags="A", port=39999)), Reason.NOT_A_REPLY)


def test_an_answer_with_a_way_to_go_is_the_hosts(kept: Balancer) -> None:
    opened(kept, V6)
    header = IPv6ExtHdrRouting(addresses=["2001:db8::77"], segleft=1)
    untouched(kept, with_headers(reply(V6, flags="A"), header), Reason.FOREIGN)


# --- ICMP errors about packets with them


@pytest.mark.parametrize("options", OPTIONS)
@each_protocol
@pytest.mark.parametrize("cut_at", [8, ALL])
def test_options_in_a_quote_are_stepped_over_in_both_directions(
    kept: Balancer, options: str, kind: type[Packet], cut_at: int | None
) -> None:  # fmt: skip
    opened(kept, V4, kind)

    def quoted(packet: Packet) -> bytes:
        whole = with_options(packet, options)
        return whole if cut_at is None else whole[: (whole[0] & 15) * 4 + cut_at]

    there = kept.send(about_client(V4, too_big(V4), quoted(to_client(V4, kind, PAYLOAD))))
    assert there.data == at_backend(V4, too_big(V4), quoted(reply(V4, kind, PAYLOAD, ttl=63)), snat=V4.client)
    back = kept.send(about_backend(V4, too_big(V4), quoted(reached(V4, kind, PAYLOAD)), snat=V4.client))
    assert back.data == at_client(V4, too_big(V4), quoted(from_client(V4, kind, PAYLOAD, ttl=63)))


@pytest.mark.parametrize("header", EXTENSIONS)
@each_protocol
@pytest.mark.parametrize("cut_at", [8, ALL])
def test_extension_headers_in_a_quote_are_walked_in_both_directions(
    kept: Balancer, header: str, kind: type[Packet], cut_at: int | None
) -> None:  # fmt: skip
    opened(kept, V6, kind)

    def quoted(packet: Packet) -> bytes:
        whole = extended(packet, EXTENSIONS[header])
        return whole if cut_at is None else whole[: len(whole) - len(inside(packet)) + 40 + cut_at]

    there = kept.send(about_client(V6, too_big(V6), quoted(to_client(V6, kind, PAYLOAD))))
    assert there.data == at_backend(V6, too_big(V6), quoted(reply(V6, kind, PAYLOAD, ttl=63)), snat=V6.client)
    back = kept.send(about_backend(V6, too_big(V6), quoted(reached(V6, kind, PAYLOAD)), snat=V6.client))
    assert back.data == at_client(V6, too_big(V6), quoted(from_client(V6, kind, PAYLOAD, ttl=63)))


@each_family
def test_an_error_that_has_options_itself_is_the_hosts_to_route(kept: Balancer, family: Family) -> None:
    """For the VIP such errors are dropped (OPTION, EXTENSION_HEADER); one for a client may be anybody's."""
    opened(kept, family)
    error = about_backend(family, unreachable(family), inside(reached(family, flags="A")), snat=family.client)
    packet = errors.Ether(error)
    if family is V4:
        packet[IP].options, packet[IP].ihl, packet[IP].len, packet[IP].chksum = [IPOption_NOP()] * 4, None, None, None
        untouched(kept, errors.Ether(bytes(packet)), Reason.FOREIGN)
    else:
        untouched(kept, with_headers(packet, IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])), Reason.FOREIGN)


# --- lists and limits


@each_family
@each_protocol
def test_answers_to_who_is_denied_are_dropped_and_do_not_pass(kept: Balancer, family: Family, kind: type[Packet]) -> None:
    """Passed they would reach the client from the backend's own address."""
    opened(kept, family, kind)
    whole = reply(family, kind, bytes(4000), flags="PA", seq=6, ack=1001)
    pieces = cut(whole, 1480)
    error = about_backend(family, unreachable(family), inside(reached(family, kind, flags="A")), snat=family.client)
    assert {kept.send(piece).reason for piece in pieces} == {Reason.TO_CLIENT}
    name(kept, service_of(family, kind), deny=DENY)
    put(kept, DENY, [NEAR[family.version]])
    for frame in (reply(family, kind, flags="A", seq=6), *pieces[1:], pieces[0], error):
        result = kept.send(frame)
        assert (result.reason, result.verdict) == (Reason.DENIED, Verdict.DROP)
    put(kept, DENY, [])
    assert kept.send(reply(family, kind, flags="A", seq=6)).reason is Reason.TO_CLIENT


@each_family
@each_protocol
def test_a_limit_refuses_new_flows_and_no_packet_of_old_ones(kept: Balancer, family: Family, kind: type[Packet]) -> None:
    stop_clock(kept)
    limit(kept, service_of(family, kind), service=Bucket(1, 10))
    opened(kept, family, kind)
    before = errors.untouched(kept)
    assert kept.send(from_client(family, kind, flags="S", port=50000)).reason is Reason.NEW_FLOWS_LIMITED
    assert errors.untouched(kept) == before
    untouched(kept, reply(family, kind, flags="SA", port=50000), Reason.NOT_A_REPLY)
    assert kept.send(from_client(family, kind, flags="A", seq=1001)).reason is Reason.TO_BACKEND
    assert kept.send(reply(family, kind, flags="A", seq=6)).reason is Reason.TO_CLIENT


# --- drains


@each_family
def test_an_undrained_backend_gets_new_flows_again_and_has_kept_the_old_ones(kept: Balancer, family: Family) -> None:
    first, ring = FIRST[family.version], RING[family.version]
    opened(kept, family)
    kept.ring(ring, [first + 1])
    kept.set_backend(first, flags=layout.BACKEND_KEEP)
    same(kept.send(from_client(family, flags="S", port=50000)).data, reached(family, flags="S", port=50000, backend=family.backends[1]))
    kept.ring(ring, [first])
    kept.set_backend(first, flags=layout.BACKEND_KEEP | layout.BACKEND_ELIGIBLE)
    same(kept.send(reply(family, flags="A", seq=9)).data, to_client(family, flags="A", seq=9))
    same(kept.send(from_client(family, flags="S", port=50001)).data, reached(family, flags="S", port=50001))
    away = reply(family, flags="SA", port=50000, backend=family.backends[1])
    same(kept.send(away).data, to_client(family, flags="SA", port=50000))


@each_family
@pytest.mark.parametrize("flags", ["A", "PA", "R", "RA", "FA"])
def test_what_the_backend_sends_after_the_cut_never_reaches_the_client(kept: Balancer, family: Family, flags: str) -> None:
    """Of fragments the first, and those whose datagram was on its way; others pass, and without the first are nothing to anybody."""
    opened(kept, family)
    pieces = cut(reply(family, payload=bytes(3000), flags=flags, seq=6), 1480)
    assert {kept.send(piece).reason for piece in pieces[:-1]} == {Reason.TO_CLIENT}
    kept.ring(RING[family.version], [FIRST[family.version] + 1])
    kept.set_backend(FIRST[family.version], flags=0)
    for frame in (pieces[-1], reply(family, flags=flags, seq=6, ack=1001), pieces[0]):
        result = kept.send(frame)
        assert (result.reason, result.verdict) == (Reason.FLOW_CUT, Verdict.DROP)


# --- floods


@each_family
@each_protocol
def test_a_flood_is_bounded_as_with_full_nat_and_ends_no_flow(make: Make, family: Family, kind: type[Packet]) -> None:
    """Records and index are those of all of NAT. `kept` names backends, and only the agent writes it: no packet makes it grow."""
    lb = make(sizes=SMALL)
    furnish(lb)
    keep.keep(lb)
    opened(lb, family, kind)
    named = lb.elements("kept")
    for round_ in range(3):
        assert set(flood(lb, SYN_FLOOD * round_, SYN_FLOOD, family, kind)) == {Reason.FLOW_CREATED}
        opened(lb, family, kind, port=50000 + round_)
    assert len(lb.records()) <= SMALL.flows - 1
    for port in (40000, 50000, 50002):
        same(lb.send(from_client(family, kind, b"x", flags="A", port=port)).data, reached(family, kind, b"x", flags="A", port=port))
        same(lb.send(reply(family, kind, b"y", flags="A", port=port)).data, to_client(family, kind, b"y", flags="A", port=port))
    assert lb.elements("kept") == named
    lb.age(1000)
    lb.sweep()
    assert not lb.records()


@each_family
def test_pairs_of_syn_and_ack_keep_no_record(make: Make, family: Family) -> None:
    """The backend answers each SYN, and who forged it does not hear what to acknowledge."""
    lb = make(sizes=SMALL)
    furnish(lb)
    keep.keep(lb)
    opened(lb, family)
    for number in range(4 * SMALL.flows):
        port = 2000 + number
        assert lb.send(from_client(family, flags="S", seq=7, port=port)).reason is Reason.FLOW_CREATED
        assert lb.send(reply(family, flags="SA", seq=0x70000000, ack=8, port=port)).reason is Reason.TO_CLIENT
        lb.send(from_client(family, flags="A", seq=8, ack=number, port=port))
    assert sum(1 for one in lb.flows() if not one.held) == 1, "the one that is real"
    same(lb.send(reply(family, flags="A", seq=9)).data, to_client(family, flags="A", seq=9))


@each_family
def test_a_flow_that_a_flood_has_pushed_out_begins_anew_with_its_port(make: Make, family: Family) -> None:
    lb = make(sizes=SMALL)
    furnish(lb)
    keep.keep(lb)
    lb.send(from_client(family, flags="S", seq=7))
    lb.age(1)
    flood(lb, 0, SYN_FLOOD, family)
    untouched(lb, reply(family, flags="SA", seq=5, ack=8), Reason.NOT_A_REPLY)
    opened(lb, family)


@each_family
def test_answers_of_random_flows_are_looked_for_and_pass(kept: Balancer, family: Family) -> None:
    """A backend that is made to send to anybody, for instance by echoing forged sources, fills nothing."""
    opened(kept, family)
    before = errors.untouched(kept)
    for number in range(300):
        result = kept.send(reply(family, UDP if number & 1 else TCP, flags="SA", port=1024 + number))
        assert (result.reason, result.verdict) == (Reason.NOT_A_REPLY, Verdict.PASS)
    assert errors.untouched(kept) == before
