"""Fragments of balanced flows follow their first one, in every mode; hostile ones are refused, and cost nobody else anything."""

import struct

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, PadN
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet import direct, modes, odd
from tests.packet.balancer import Balancer
from tests.packet.conftest import Make
from tests.packet.direct import MODES, PAIRS, SERVICE, Pair, encapsulated, point, rewritten
from tests.packet.modes import FIRST, every_mode
from tests.packet.odd import IDENTIFICATION, cut, with_headers, with_options
from tests.packet.test_direct import hash32
from tests.packet.wire import (
    CLIENT_MAC,
    LB_MAC,
    NUMBER,
    V4,
    V6,
    Family,
    built,
    each_family,
    each_protocol,
    from_backend,
    from_client,
    same,
    to_backend,
    to_client,
)

L2 = Ether(src=CLIENT_MAC, dst=LB_MAC)
PAYLOAD = bytes(range(256)) * 14 + b"odd"
LIFE, REPEAT = 80, 16  # sixteenths of a second


def reasons(lb: Balancer, frames: list[Packet]) -> list[Reason]:
    """Why each ended."""
    return [lb.send(frame).reason for frame in frames]


def renamed(frames: list[Packet], identification: int) -> list[Packet]:
    """IPv4 frames with another identification."""
    for frame in frames:
        if IP in frame:
            frame[IP].id = identification
            del frame[IP].chksum
    return [built(frame) for frame in frames]


@each_family
@each_protocol
@pytest.mark.parametrize("size", [24, 1480, 3000])
def test_nat_translates_every_fragment_in_both_directions(flowing: Balancer, family: Family, kind: type[Packet], size: int) -> None:
    """Ports and checksum are in the first one only; an IPv4 datagram gets an identification of its own, the same in all its parts."""
    fields = {"flags": "PA", "seq": 1001, "ack": 6, "tos": 0xB9}
    for before, after, reason in (
        (from_client(family, kind, PAYLOAD, **fields), to_backend(family, kind, PAYLOAD, **fields), Reason.TO_BACKEND),
        (from_backend(family, kind, PAYLOAD, **fields), to_client(family, kind, PAYLOAD, **fields), Reason.TO_CLIENT),
    ):
        results = [flowing.send(frame) for frame in cut(before, size)]
        assert {(r.reason, r.verdict) for r in results} == {(reason, Verdict.TX)}
        expected = cut(after, size)
        if family is V4:
            expected = renamed(expected, odd.identification(results[0].data))
        for result, frame in zip(results, expected, strict=True):
            same(result.data, frame)


@each_family
def test_a_first_fragment_begins_a_flow_as_a_whole_packet_does(lb: Balancer, family: Family) -> None:
    first, *later = cut(from_client(family, UDP, PAYLOAD), 1480)
    assert lb.send(first).reason is Reason.FLOW_CREATED
    assert set(reasons(lb, later)) == {Reason.TO_BACKEND}
    assert len(lb.records()) == 1
    assert lb.traffic("backend_counters", 1 if family is V4 else 4)[0] == 1 + len(later)


def test_a_udp_datagram_without_checksum_stays_without(lb: Balancer) -> None:
    first, _ = cut(from_client(V4, UDP, PAYLOAD, chksum=0), 3000)
    expected = cut(to_backend(V4, UDP, PAYLOAD, chksum=0), 3000)
    data = lb.send(first).data
    same(data, renamed(expected, odd.identification(data))[0])


@each_family
@each_protocol
@pytest.mark.parametrize("size", [24, 1480])
def test_dsr_changes_macs_and_hop_of_every_fragment(make: Make, family: Family, kind: type[Packet], size: int) -> None:
    lb = direct.furnish(make, layout.MODE_DSR)
    for frame in cut(from_client(family, kind, PAYLOAD, flags="PA", tos=0x2F), size):
        result = lb.send(frame)
        assert (result.reason, result.verdict) == (Reason.TO_BACKEND, Verdict.TX)
        same(result.data, rewritten(frame))


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("mode", ["ipip", "gue", "fou"])
@pytest.mark.parametrize("checksum", [False, True], ids=["", "checksum"])
@each_protocol
def test_encap_carries_every_fragment_and_its_checksum_covers_it(
    make: Make, pair: Pair, mode: str, kind: type[Packet], checksum: bool
) -> None:
    """Outer IPv4 packets that may be fragmented again have identifications of their own."""
    lb = direct.furnish(make, MODES[mode], layout.SERVICE_OUTER_CHECKSUM if checksum else 0)
    point(lb, pair)
    seen = []
    for frame in cut(from_client(pair.vip, kind, PAYLOAD, flags="PA", tos=0x2F), 1000):
        result = lb.send(frame)
        assert (result.reason, result.verdict) == (Reason.TO_BACKEND, Verdict.TX)
        expected = encapsulated(pair, frame, mode, hash32(pair.vip, kind), checksum=checksum)
        if pair.backend is V4 and pair.vip is V4:
            seen.append(odd.identification(result.data))
            expected = renamed([expected], seen[-1])[0]
        same(result.data, expected)
    assert len(set(seen)) == len(seen)


@every_mode
@each_family
@each_protocol
def test_later_fragments_go_where_the_first_one_went_whatever_changes(make: Make, mode: str, family: Family, kind: type[Packet]) -> None:
    lb = modes.furnish(make, mode)
    modes.spread(lb, family, mode)
    lb.send(from_client(family, kind, flags="S"))
    first, *later = cut(from_client(family, kind, PAYLOAD, flags="PA"), 1000)
    backend = modes.backend_of(lb.send(first))
    lb.ring(3, [FIRST + 30 if backend != FIRST + 30 else FIRST])
    assert {modes.backend_of(lb.send(frame)) for frame in later} == {backend}


@every_mode
@each_family
def test_a_later_fragment_before_its_first_is_dropped_and_after_it_goes(make: Make, mode: str, family: Family) -> None:
    lb = modes.furnish(make, mode)
    first, *later = cut(from_client(family, UDP, PAYLOAD), 1000)
    for frame in later:
        result = lb.send(frame)
        assert (result.reason, result.verdict, result.data) == (Reason.FRAGMENT, Verdict.DROP, bytes(frame))
    assert not lb.flows()
    lb.send(first)
    assert set(reasons(lb, later[::-1])) == {Reason.TO_BACKEND}, "in any order"


@each_family
def test_an_entry_lives_five_seconds_and_later_fragments_do_not_prolong_it(make: Make, family: Family) -> None:
    lb = modes.furnish(make, "dsr")
    first, second, third, _ = cut(from_client(family, UDP, PAYLOAD), 1000)
    lb.send(first)
    odd.age(lb, LIFE - 2)
    assert lb.send(second).reason is Reason.TO_BACKEND
    odd.age(lb, 4)
    assert lb.send(third).reason is Reason.FRAGMENT


@each_family
@each_protocol
def test_later_fragments_keep_no_flow_alive_and_change_no_state(flowing: Balancer, family: Family, kind: type[Packet]) -> None:
    for frames in (
        cut(from_client(family, kind, PAYLOAD, flags="PA", seq=1001, ack=6), 1000),
        cut(from_backend(family, kind, PAYLOAD, flags="PA", seq=6, ack=1001), 1000),
    ):
        flowing.send(frames[0])
        flowing.age(20)
        before = flowing.elements("flows")
        assert flowing.send(frames[1]).reason in (Reason.TO_BACKEND, Reason.TO_CLIENT)
        assert flowing.elements("flows") == before


@each_family
def test_a_later_fragment_of_a_flow_that_is_over_is_dropped(flowing: Balancer, family: Family) -> None:
    for packet in (from_client(family, UDP, PAYLOAD), from_backend(family, UDP, PAYLOAD)):
        first, second, third, _ = cut(packet, 1000)
        flowing.send(first)
        assert flowing.send(second).reason in (Reason.TO_BACKEND, Reason.TO_CLIENT)
        saved = flowing.elements("flow_index")
        for number in saved:
            flowing.write("flow_index", number, bytes(64))
        assert flowing.send(third).reason is Reason.NO_FLOW
        for number, value in saved.items():
            flowing.write("flow_index", number, value)


@every_mode
@each_family
def test_a_backend_that_keeps_no_flows_gets_no_later_fragment(make: Make, mode: str, family: Family) -> None:
    lb = modes.furnish(make, mode)
    first, second, *_ = cut(from_client(family, UDP, PAYLOAD), 1000)
    lb.send(first)
    lb.set_backend(1 if family is V4 else 4, flags=0)
    assert lb.send(second).reason is Reason.NO_BACKEND


@pytest.mark.parametrize("what", ["other_port", "last_hop", "no_way", "too_long", "no_backend"])
@every_mode
@each_family
def test_only_what_was_forwarded_is_remembered(make: Make, mode: str, family: Family, what: str) -> None:
    lb = modes.furnish(make, mode)
    backend = 1 if family is V4 else 4
    if what == "no_way":
        lb.set_backend(backend, ifindex=0)
    elif what == "too_long":
        lb.set_backend(backend, mtu=576)
    elif what == "no_backend":
        lb.ring(1 if family is V4 else 2, [0])
    fields = {"other_port": {"vip_port": 81}, "last_hop": {"ttl": 1}}.get(what, {})
    first, second, *_ = cut(from_client(family, UDP, PAYLOAD, **fields), 1000)
    assert lb.send(first).verdict is Verdict.DROP or what == "too_long"
    assert not odd.entries(lb)
    assert lb.send(second).reason is Reason.FRAGMENT


def test_datagrams_of_many_clients_with_one_identification_leave_with_many(make: Make) -> None:
    """Behind one SNAT address they would be put together from parts of each other."""
    lb = modes.furnish(make, "nat")
    seen = []
    for last in range(1, 40):
        first, *later = cut(from_client(V4, UDP, PAYLOAD, client=f"198.51.100.{last}"), 1000, 1)
        names = {odd.identification(lb.send(frame).data) for frame in (first, *later)}
        assert len(names) == 1
        seen += names
    assert len(set(seen)) == len(seen)


def test_the_next_datagram_in_the_place_of_an_old_one_has_another_identification(make: Make) -> None:
    lb = modes.furnish(make, "nat")
    seen = []
    for _ in range(4):
        first, *_ = cut(from_client(V4, UDP, PAYLOAD), 1000)
        seen.append(odd.identification(lb.send(first).data))
        odd.age(lb, LIFE + 1)
    assert len(set(seen)) == 4


def test_ipv6_identifications_are_the_senders(lb: Balancer) -> None:
    first, *_ = cut(from_client(V6, UDP, PAYLOAD), 1000, 0xDEADBEEF)
    assert Ether(lb.send(first).data)[IPv6ExtHdrFragment].id == 0xDEADBEEF


@each_family
def test_datagrams_are_told_apart_by_address_and_identification(make: Make, family: Family) -> None:
    lb = modes.furnish(make, "dsr")
    other = "198.51.100.9" if family is V4 else "2001:db8:1::9"
    lb.send(cut(from_client(family, UDP, PAYLOAD), 1000)[0])
    assert lb.send(cut(from_client(family, UDP, PAYLOAD), 1000, 1)[1]).reason is Reason.FRAGMENT
    assert lb.send(cut(from_client(family, UDP, PAYLOAD, client=other), 1000)[1]).reason is Reason.FRAGMENT
    assert lb.send(cut(from_client(family, UDP, PAYLOAD), 1000)[1]).reason is Reason.TO_BACKEND


def test_ipv4_datagrams_are_told_apart_by_protocol_too(make: Make) -> None:
    lb = modes.furnish(make, "dsr")
    udp, tcp = cut(from_client(V4, UDP, PAYLOAD), 1000), cut(from_client(V4, TCP, PAYLOAD, flags="A"), 1000)
    assert reasons(lb, [udp[0], tcp[1]]) == [Reason.TO_BACKEND, Reason.FRAGMENT]
    assert reasons(lb, [tcp[0], tcp[1], udp[1]]) == [Reason.TO_BACKEND] * 3


def test_a_later_ipv6_fragment_need_not_repeat_the_next_header(make: Make) -> None:
    """RFC 8200 4.5: only the first one's counts."""
    lb = modes.furnish(make, "dsr")
    first, second, *_ = cut(from_client(V6, UDP, PAYLOAD), 1000)
    second[IPv6ExtHdrFragment].nh = 60
    assert reasons(lb, [first, second]) == [Reason.TO_BACKEND] * 2


@each_family
@pytest.mark.parametrize("mode", ["nat", "dsr"])
def test_fragments_may_have_options(make: Make, family: Family, mode: str) -> None:
    lb = modes.furnish(make, mode)
    hop, padded = IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))]), IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])
    whole = from_client(family, UDP, PAYLOAD) if family is V4 else with_headers(from_client(family, UDP, PAYLOAD), padded)
    for frame in cut(whole, 1000):
        packet = with_options(frame, [IPOption_NOP()] * 8) if family is V4 else with_headers(frame, hop)
        result = lb.send(packet)
        assert result.reason in (Reason.FLOW_CREATED, Reason.TO_BACKEND)
        if mode == "dsr":
            same(result.data, rewritten(packet))


@each_family
def test_padding_is_no_part_of_a_fragment(make: Make, family: Family) -> None:
    lb = modes.furnish(make, "dsr")
    *_, last = frames = cut(from_client(family, UDP, bytes(1003)), 1000)
    result = [lb.send(bytes(frame) + bytes(12)) for frame in frames][-1]
    assert (result.reason, result.data) == (Reason.TO_BACKEND, bytes(rewritten(last)) + bytes(12))


def piece(family: Family, data: bytes, at: int = 0, more: bool = True, kind: type[Packet] = UDP) -> Packet:
    """A fragment with these bytes, `at` in units of 8."""
    if family is V4:
        flags = "MF" if more else 0
        return built(L2 / IP(src=V4.client, dst=V4.vip, id=IDENTIFICATION, flags=flags, frag=at, proto=NUMBER[kind]) / Raw(data))
    header = IPv6ExtHdrFragment(nh=NUMBER[kind], offset=at, m=more, id=IDENTIFICATION)
    return built(L2 / IPv6(src=V6.client, dst=V6.vip) / header / Raw(data))


@each_family
@pytest.mark.parametrize("bytes_", [8, 16, 24])
def test_a_tcp_header_in_two_fragments_is_refused(make: Make, family: Family, bytes_: int) -> None:
    lb = modes.furnish(make, "dsr")
    header = bytes(from_client(family, TCP, flags="A", options=[("NOP", None)] * 12)[TCP])
    assert len(header) == 32
    assert lb.send(piece(family, header[:bytes_], kind=TCP)).reason is Reason.FRAGMENT_TINY
    assert lb.send(piece(family, header, kind=TCP)).reason is Reason.TO_BACKEND


@each_family
def test_other_headers_in_two_fragments_are_refused(make: Make, family: Family) -> None:
    lb = modes.furnish(make, "dsr")
    if family is V6:
        destination = IPv6ExtHdrFragment(nh=60, m=1, id=1) / Raw(bytes([17, 1, 1, 4]) + bytes(4))
        assert lb.send(built(L2 / IPv6(src=V6.client, dst=V6.vip) / destination)).reason is Reason.FRAGMENT_TINY
        nothing = IPv6ExtHdrFragment(nh=60, m=1, id=1) / Raw(bytes([17, 0, 1, 4]) + bytes(4))
        assert lb.send(built(L2 / IPv6(src=V6.client, dst=V6.vip) / nothing)).reason is Reason.FRAGMENT_TINY
    assert lb.send(piece(family, bytes.fromhex("9c40005000000001"))).reason is not Reason.FRAGMENT_TINY, "a UDP header is 8 bytes"


@each_family
@each_protocol
def test_what_the_first_fragment_brought_is_not_brought_again(make: Make, family: Family, kind: type[Packet]) -> None:
    """RFC 1858 and RFC 3128: a second fragment that overwrites flags or ports of the first."""
    lb = modes.furnish(make, "dsr")
    first, *_ = cut(from_client(family, kind, PAYLOAD, flags="A"), 48)
    assert lb.send(first).reason is Reason.TO_BACKEND
    for at in range(1, 6):
        assert lb.send(piece(family, bytes(16), at, kind=kind)).reason is Reason.FRAGMENT_OVERLAP
    assert lb.send(piece(family, bytes(16), 6, kind=kind)).reason is Reason.TO_BACKEND


@each_family
def test_a_shorter_first_fragment_uncovers_nothing(make: Make, family: Family) -> None:
    lb = modes.furnish(make, "dsr")
    packet = from_client(family, TCP, PAYLOAD, flags="A")
    assert reasons(lb, [cut(packet, 480)[0], cut(packet, 24)[0]]) == [Reason.TO_BACKEND] * 2
    assert lb.send(piece(family, bytes(16), 3, kind=TCP)).reason is Reason.FRAGMENT_OVERLAP


@each_family
def test_another_first_fragment_is_an_attack_at_once_and_the_next_datagram_later(make: Make, family: Family) -> None:
    lb = modes.furnish(make, "dsr")
    one, other = (cut(from_client(family, UDP, PAYLOAD, port=port), 1000) for port in (5000, 5001))
    assert reasons(lb, [one[0], other[0], one[0], one[1]]) == [
        Reason.TO_BACKEND, Reason.FRAGMENT_OVERLAP, Reason.TO_BACKEND, Reason.TO_BACKEND,
    ]  # fmt: skip
    odd.age(lb, REPEAT + 1)
    assert reasons(lb, [other[0], other[1]]) == [Reason.TO_BACKEND] * 2
    assert [entry.source_port for entry in odd.entries(lb)] == [int.from_bytes((5001).to_bytes(2, "big"), "little")]


@each_family
@pytest.mark.parametrize("at", [0, 100])
def test_a_fragment_that_cannot_be_is_refused(make: Make, family: Family, at: int) -> None:
    lb = modes.furnish(make, "dsr")
    lb.send(cut(from_client(family, UDP, PAYLOAD), 800)[0])
    for data in (bytes(7), bytes(801)):
        assert lb.send(piece(family, data, at)).reason is Reason.FRAGMENT_WRONG
    if at:
        assert lb.send(piece(family, b"", at, more=False)).reason in (Reason.FRAGMENT_WRONG, Reason.LENGTH_WRONG)
        assert lb.send(piece(family, bytes(16), 8190, more=False)).reason is Reason.FRAGMENT_WRONG, "the ping of death"
        assert lb.send(piece(family, bytes(15), 8190, more=False)).reason is Reason.TO_BACKEND


def test_fragments_of_other_protocols_are_refused_by_protocol(lb: Balancer) -> None:
    sctp = built(L2 / IP(src=V4.client, dst=V4.vip, flags="MF", proto=132) / Raw(bytes(64)))
    assert lb.send(sctp).reason is Reason.PROTOCOL_UNSUPPORTED
    for frame in (L2 / IP(src=V4.client, dst=V4.vip, flags="MF", proto=1), L2 / IP(src=V4.client, dst=V4.vip, frag=9, proto=1)):
        assert lb.send(built(frame / Raw(bytes(64)))).reason is Reason.ICMP_FRAGMENT
    for header in (IPv6ExtHdrFragment(nh=58, m=1), IPv6ExtHdrFragment(nh=58, offset=9)):
        assert lb.send(built(L2 / IPv6(src=V6.client, dst=V6.vip) / header / Raw(bytes(64)))).reason is Reason.ICMP_FRAGMENT


@each_family
def test_fragments_for_the_host_itself_pass_untouched(lb: Balancer, family: Family) -> None:
    lb.own(family.vip, layout.ADDRESS_VIP | layout.ADDRESS_LOCAL)
    for frame in cut(from_client(family, UDP, PAYLOAD, vip_port=53), 1000):
        result = lb.send(frame)
        assert (result.reason, result.verdict, result.data) == (Reason.LOCAL, Verdict.PASS, bytes(frame))


@each_family
def test_a_backend_on_this_host_gets_every_fragment(make: Make, family: Family) -> None:
    lb = modes.furnish(make, "dsr")
    flags = layout.BACKEND_KEEP | layout.BACKEND_ELIGIBLE | layout.BACKEND_HERE
    lb.set_backend(1 if family is V4 else 4, flags=flags, ifindex=0)
    for frame in cut(from_client(family, UDP, PAYLOAD), 1000):
        result = lb.send(frame)
        assert (result.reason, result.verdict, result.data) == (Reason.TO_BACKEND, Verdict.PASS, bytes(frame))


@each_family
def test_fragments_make_no_entry_in_the_flow_table_but_by_the_first(make: Make, family: Family) -> None:
    lb = direct.furnish(make, layout.MODE_IPIP, layout.SERVICE_TRACK_ALL)
    first, *later = cut(from_client(family, UDP, PAYLOAD), 1000)
    lb.send(first)
    before, reads = lb.buckets(), lb.tracking(SERVICE[family.version, 17])
    assert {name: bytes(bucket) for name, bucket in before.items()}
    assert set(reasons(lb, later)) == {Reason.TO_BACKEND}
    assert {n: bytes(b) for n, b in lb.buckets().items()} == {n: bytes(b) for n, b in before.items()}
    assert lb.tracking(SERVICE[family.version, 17]) == reads


def test_a_flood_fills_the_table_and_the_newest_datagrams_work(make: Make) -> None:
    """30,000 datagrams whose last fragment never comes; the stalest of a bucket makes room."""
    lb = modes.furnish(make, "dsr")
    first, second, *_ = cut(from_client(V4, UDP, PAYLOAD), 1000)
    raw = bytearray(bytes(cut(from_client(V4, UDP, bytes(64)), 64)[0]))
    total = int.from_bytes(raw[18:20], "big") + int.from_bytes(raw[28:30], "big")
    for number in range(30_000):
        raw[18:20] = number.to_bytes(2, "big")
        raw[28:30] = ((total - number) % 65535).to_bytes(2, "big")  # of the source: keeps the header's checksum right
        assert lb.run(bytes(raw))[0] == Verdict.TX
    found = odd.entries(lb)
    assert layout.FRAGMENT_BUCKETS * 3.5 < len(found) <= layout.FRAGMENT_BUCKETS * 4
    assert reasons(lb, [first, second]) == [Reason.TO_BACKEND] * 2
    ids = [entry.identification for entry in found]
    assert len(set(ids)) == len(ids), "no two live datagrams leave with one identification"


def test_a_flood_of_later_fragments_changes_nothing(make: Make) -> None:
    lb = modes.furnish(make, "nat")
    first, second, *_ = cut(from_client(V4, UDP, PAYLOAD), 1000)
    lb.send(first)
    before = [bytes(entry) for entry in odd.entries(lb)]
    for number in range(200):
        stray = piece(V4, struct.pack(">Q", number), 100 + number)
        stray[IP].id = number
        del stray[IP].chksum
        assert lb.send(built(stray)).reason is Reason.FRAGMENT
    assert [bytes(entry) for entry in odd.entries(lb)] == before
    assert lb.send(second).reason is Reason.TO_BACKEND


@each_protocol
def test_a_client_of_a_snat_port_is_found_by_every_fragment_of_an_answer(flowing: Balancer, kind: type[Packet]) -> None:
    """Two flows from one backend with one identification each."""
    flowing.send(from_client(V4, kind, flags="S", client="198.51.100.99", port=41000, seq=1))
    flowing.send(from_backend(V4, kind, port=41000, flags="SA", seq=1, ack=2))
    one = cut(from_backend(V4, kind, PAYLOAD, flags="A"), 1000, 1)
    other = cut(from_backend(V4, kind, PAYLOAD, port=41000, flags="A"), 1000, 2)
    for mine, others in zip(one, other, strict=True):
        assert Ether(flowing.send(mine).data)[IP].dst == V4.client
        assert Ether(flowing.send(others).data)[IP].dst == "198.51.100.99"
