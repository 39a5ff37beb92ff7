"""NAT that keeps the client's address: only the destination changes, and answers are known by where they come from. Whole frames against
scapy's; what is no flow's is never touched."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from l4lb_agent.model import hashing, layout, mapspec
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet import errors, keep, odd
from tests.packet.balancer import INDEX_SECRET, Balancer, address
from tests.packet.bed import SIZES
from tests.packet.conftest import Make, furnish
from tests.packet.errors import ALL, PAYLOAD, Kind, about_backend, about_client, at_backend, at_client, each_kind, family_of, too_big
from tests.packet.keep import reached, reply
from tests.packet.wire import (
    BACKEND_MAC,
    BACKEND_PORT,
    CLIENT_PORT,
    LB_MAC,
    NUMBER,
    V4,
    V6,
    VIP_PORT,
    Family,
    built,
    each_family,
    each_protocol,
    from_client,
    same,
    to_client,
    transport,
)

FIRST = {4: 1, 6: 4}  # backends
RING = {4: 1, 6: 2}
OTHER_VIP = {4: "192.0.2.11", 6: "2001:db8::11"}


@pytest.fixture
def kept(lb: Balancer) -> Balancer:
    """As `lb`, with services that keep the client's address."""
    keep.keep(lb)
    return lb


def opened(lb: Balancer, family: Family, kind: type[Packet] = TCP, **fields: object) -> None:
    """An established flow."""
    assert lb.send(from_client(family, kind, flags="S", seq=1000, **fields)).reason is Reason.FLOW_CREATED  # type: ignore[arg-type]
    assert lb.send(reply(family, kind, flags="SA", seq=5, ack=1001, **fields)).reason is Reason.TO_CLIENT  # type: ignore[arg-type]
    assert lb.send(from_client(family, kind, flags="A", seq=1001, ack=6, **fields)).reason is Reason.TO_BACKEND  # type: ignore[arg-type]


def untouched(lb: Balancer, frame: Packet | bytes, reason: Reason) -> None:
    """The frame passes as it came, and no flow is the wiser."""
    before = errors.untouched(lb)
    result = lb.send(frame)
    assert (result.reason, result.verdict, result.data) == (reason, Verdict.PASS, bytes(frame))
    assert errors.untouched(lb) == before


def with_port(packet: Packet, source: int = 0, destination: int = 0) -> Packet:
    """The frame with other ports."""
    layer = packet[TCP] if TCP in packet else packet[UDP]
    layer.sport, layer.dport = source or layer.sport, destination or layer.dport
    del layer.chksum
    return built(packet)


# --- both directions


@each_family
@each_protocol
@pytest.mark.parametrize("length", [0, 1, 2, 99, 1459, 1460])
def test_the_backend_sees_the_client_and_the_client_the_vip(kept: Balancer, family: Family, kind: type[Packet], length: int) -> None:
    payload = bytes((7 * i + length) & 0xFF for i in range(length))
    there = kept.send(from_client(family, kind, payload, flags="S", seq=1000, tos=0xB9))
    assert (there.reason, there.verdict) == (Reason.FLOW_CREATED, Verdict.TX)
    same(there.data, reached(family, kind, payload, flags="S", seq=1000, tos=0xB9))
    back = kept.send(reply(family, kind, payload, flags="SA", seq=5, ack=1001, tos=0x2F))
    assert (back.reason, back.verdict) == (Reason.TO_CLIENT, Verdict.TX)
    same(back.data, to_client(family, kind, payload, flags="SA", seq=5, ack=1001, tos=0x2F))
    again = kept.send(from_client(family, kind, payload, flags="PA", seq=1001, ack=6))
    assert again.reason is Reason.TO_BACKEND
    same(again.data, reached(family, kind, payload, flags="PA", seq=1001, ack=6))


@each_family
@each_protocol
@pytest.mark.parametrize("port", [1, 80, 1023, 1024, 9999, 65535])
def test_every_source_port_is_kept_whatever_the_range_for_snat(kept: Balancer, family: Family, kind: type[Packet], port: int) -> None:
    kept.configure(port_low=20000, port_high=20001)
    same(kept.send(from_client(family, kind, flags="S", port=port)).data, reached(family, kind, flags="S", port=port))
    same(kept.send(reply(family, kind, flags="SA", port=port)).data, to_client(family, kind, flags="SA", port=port))


@each_family
def test_no_snat_address_is_needed(make: Make, family: Family) -> None:
    lb = make()
    furnish(lb)
    keep.keep(lb)
    lb.configure(snat_v4=0, snat_v6=0)
    opened(lb, family)


def test_udp_without_checksum_stays_without(kept: Balancer) -> None:
    same(kept.send(from_client(V4, UDP, b"abc", chksum=0)).data, reached(V4, UDP, b"abc", chksum=0))
    same(kept.send(reply(V4, UDP, b"abc", chksum=0)).data, to_client(V4, UDP, b"abc", chksum=0))


@each_family
@pytest.mark.parametrize("ttl", [0, 1, 2])
def test_the_last_hop_of_an_answer_is_not_spent(kept: Balancer, family: Family, ttl: int) -> None:
    opened(kept, family)
    result = kept.send(reply(family, flags="A", ttl=ttl))
    if ttl > 1:
        same(result.data, to_client(family, flags="A", ttl=ttl - 1))
    else:
        assert (result.reason, result.verdict) == (Reason.TTL_EXCEEDED, Verdict.DROP)


@each_family
@each_protocol
def test_a_range_of_ports_comes_back_by_the_port_that_was_asked(kept: Balancer, family: Family, kind: type[Packet]) -> None:
    first = FIRST[family.version]
    kept.set_backend(first, port=0)
    kept.service(
        5, family.vip, 7000, NUMBER[kind], now=RING[family.version], mode=layout.MODE_KEEP, port_end=7999
    )  # fmt: skip
    kept.port_ranges(family.vip, NUMBER[kind], 1, (7000, 7999, 5))
    for port in (7000, 7500, 7999):
        same(
            kept.send(from_client(family, kind, flags="S", vip_port=port)).data,
            with_port(reached(family, kind, flags="S"), destination=port),
        )
        same(
            kept.send(with_port(reply(family, kind, flags="SA"), source=port)).data,
            with_port(to_client(family, kind, flags="SA"), source=port),
        )


@each_family
def test_both_directions_are_counted_for_service_and_backend(kept: Balancer, family: Family) -> None:
    opened(kept, family)
    sizes = [len(bytes(from_client(family, flags="S"))), len(bytes(reply(family, flags="SA")))]
    for name, number in (("service_counters", keep.SERVICE[family.version, 6]), ("backend_counters", FIRST[family.version])):
        assert kept.traffic(name, number) == (2, 2 * sizes[0], 1, sizes[1], 1)


# --- what is no flow's


@each_family
@each_protocol
def test_what_a_backend_sends_for_itself_passes(kept: Balancer, family: Family, kind: type[Packet]) -> None:
    opened(kept, family, kind)
    for frame in (
        reply(family, kind, flags="PA", client=V4.backends[2] if family is V4 else V6.backends[2]),
        reply(family, kind, flags="PA", port=CLIENT_PORT + 1),
        reply(family, kind, flags="PA", backend=family.backends[1]),
        with_port(reply(family, kind, flags="PA"), source=22),
    ):
        untouched(kept, frame, Reason.NOT_A_REPLY)


@each_family
def test_what_others_send_to_others_is_foreign(kept: Balancer, family: Family) -> None:
    opened(kept, family)
    stranger = "198.51.100.99" if family is V4 else "2001:db8:1::99"
    for source, destination in ((stranger, family.client), (family.client, family.backends[0]), (stranger, family.backends[0])):
        frame = built(Ether(src=BACKEND_MAC, dst=LB_MAC) / family.ip(source, destination) / transport(TCP, BACKEND_PORT, 1, b"", flags="A"))
        untouched(kept, frame, Reason.FOREIGN)


@each_family
def test_an_answer_in_a_frame_for_another_station_passes(kept: Balancer, family: Family) -> None:
    opened(kept, family)
    kept.write("interfaces", 1, bytes(layout.Interface(ifindex=1, mac=(layout.U8 * 6)(2, 0, 0, 0, 0, 2))))
    frame = reply(family, flags="A")
    assert kept.send(frame).reason is Reason.TO_CLIENT
    frame.dst = "02:00:00:00:00:99"
    untouched(kept, frame, Reason.FOREIGN)


@each_family
def test_without_a_service_that_keeps_addresses_nothing_foreign_is_looked_at(kept: Balancer, family: Family) -> None:
    opened(kept, family)
    kept.configure(flags=0)
    untouched(kept, reply(family, flags="A"), Reason.FOREIGN)


@each_family
def test_a_translating_service_beside_it_goes_on_as_before(kept: Balancer, family: Family) -> None:
    kept.own(OTHER_VIP[family.version], layout.ADDRESS_VIP)
    kept.service(6, OTHER_VIP[family.version], VIP_PORT, 6, now=RING[family.version])
    opened(kept, family)
    there = kept.send(from_client(family, flags="S", vip=OTHER_VIP[family.version]))
    assert there.reason is Reason.FLOW_CREATED, "the same client, port and backend: the SNAT address tells the flows apart"
    assert kept.send(reply(family, flags="SA", client=family.snat)).reason is Reason.TO_CLIENT
    same(kept.send(reply(family, flags="A", seq=9)).data, to_client(family, flags="A", seq=9))


@each_family
@pytest.mark.parametrize(
    "spoil",
    [
        lambda frame: frame[:-4],
        lambda frame: frame[:14] + bytes([frame[14] & 0x0F | 0x50]) + frame[15:],
        lambda frame: frame[:-20] + bytes([frame[-20] ^ 1]) + frame[-19:],  # of another port
    ],
    ids=["cut", "version", "port"],
)
def test_malformed_packets_of_backends_are_the_hosts_to_judge(kept: Balancer, family: Family, spoil: object) -> None:
    opened(kept, family)
    result = kept.send(spoil(bytes(reply(family, flags="A"))))  # type: ignore[operator]
    assert result.verdict is Verdict.PASS
    assert result.reason in (Reason.FOREIGN, Reason.NOT_A_REPLY)


@each_family
@pytest.mark.parametrize("flags", ["", "SF", "FPU"])
def test_flags_that_nobody_sends_are_the_hosts_to_judge(kept: Balancer, family: Family, flags: str) -> None:
    opened(kept, family)
    untouched(kept, reply(family, flags=flags), Reason.FOREIGN)


def test_an_ipv6_header_with_an_ipv4_backend_in_it_is_nobodys(kept: Balancer) -> None:
    opened(kept, V4)
    mapped = IPv6(src=f"::ffff:{V4.backends[0]}", dst=f"::ffff:{V4.client}")
    frame = built(Ether(src=BACKEND_MAC, dst=LB_MAC) / mapped / TCP(sport=BACKEND_PORT, dport=CLIENT_PORT, flags="A"))
    untouched(kept, frame, Reason.NOT_A_REPLY)


def test_every_backend_is_found_though_buckets_overflow(kept: Balancer) -> None:
    """More addresses of one first bucket than it has places."""
    mask, found, number = mapspec.kept_buckets(SIZES) - 1, [], 0
    while len(found) < 12:
        number += 1
        text = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        if hashing.address_hash(address(text), INDEX_SECRET) & mask == 3:
            found.append(text)
    for place, text in enumerate(found):
        kept.backend(10 + place, text, BACKEND_PORT)
    keep.name(kept, *range(10, 22))
    for place, text in enumerate(found):
        kept.ring(1, [10 + place])
        port = CLIENT_PORT + place
        assert kept.send(from_client(V4, flags="S", port=port)).reason is Reason.FLOW_CREATED
        same(kept.send(reply(V4, flags="SA", port=port, backend=text)).data, to_client(V4, flags="SA", port=port))


# --- one tuple at the backend


@each_family
@each_protocol
def test_a_flow_whose_client_and_port_are_in_use_at_the_backend_is_refused(kept: Balancer, family: Family, kind: type[Packet]) -> None:
    vip = OTHER_VIP[family.version]
    kept.own(vip, layout.ADDRESS_VIP)
    kept.service(6, vip, VIP_PORT, NUMBER[kind], now=RING[family.version], mode=layout.MODE_KEEP)
    opened(kept, family, kind)
    refused = kept.send(from_client(family, kind, flags="S", vip=vip))
    assert (refused.reason, refused.verdict) == (Reason.CLIENT_PORT_TAKEN, Verdict.DROP)
    assert len(kept.records()) == 1
    same(kept.send(reply(family, kind, flags="A", seq=6)).data, to_client(family, kind, flags="A", seq=6))
    kept.age(1000)
    taken_over = kept.send(from_client(family, kind, flags="S", vip=vip))
    assert taken_over.reason is Reason.FLOW_CREATED, "what is over keeps nobody out, swept or not"
    answer = kept.send(reply(family, kind, flags="SA"))
    assert (answer.reason, answer.data[26:30] if family is V4 else answer.data[22:38]) == (Reason.TO_CLIENT, _packed(vip))


def _packed(text: str) -> bytes:
    return address(text)[12:] if "." in text else address(text)


@each_family
def test_another_flow_is_refused_as_long_as_a_closed_one_is_in_quarantine(kept: Balancer, family: Family) -> None:
    vip = OTHER_VIP[family.version]
    kept.own(vip, layout.ADDRESS_VIP)
    kept.service(6, vip, VIP_PORT, 6, now=RING[family.version], mode=layout.MODE_KEEP)
    opened(kept, family)
    assert kept.send(from_client(family, flags="R")).reason is Reason.TO_BACKEND
    assert kept.send(from_client(family, flags="S", vip=vip)).reason is Reason.CLIENT_PORT_TAKEN
    kept.age(6)
    assert kept.send(from_client(family, flags="S", vip=vip)).reason is Reason.FLOW_CREATED


@each_family
@pytest.mark.parametrize("end", ["R", "FA"])
def test_a_client_that_comes_again_with_its_port_is_let_in_at_once(kept: Balancer, family: Family, end: str) -> None:
    """The backend judges whether its old connection is over, as if nobody were between: older sequence numbers pass too."""
    opened(kept, family)
    kept.send(from_client(family, flags=end, seq=1001))
    kept.send(reply(family, flags=end, seq=6))
    for sequence in (5000, 20):
        there = kept.send(from_client(family, flags="S", seq=sequence))
        assert there.reason is Reason.FLOW_CREATED
        same(there.data, reached(family, flags="S", seq=sequence))
        same(kept.send(reply(family, flags="SA", seq=7)).data, to_client(family, flags="SA", seq=7))
        kept.send(from_client(family, flags="R", seq=sequence + 1))
        kept.records()


@each_family
@each_protocol
def test_a_flow_that_has_expired_begins_anew_before_and_after_the_sweep(kept: Balancer, family: Family, kind: type[Packet]) -> None:
    opened(kept, family, kind)
    for swept in (False, True, False):
        kept.age(1000)
        untouched(kept, reply(family, kind, flags="A"), Reason.NOT_A_REPLY)
        if swept:
            kept.sweep()
        opened(kept, family, kind)
        assert len([one for one in kept.flows() if one.element.seen > 0]) >= 1
    kept.sweep()
    assert len(kept.records()) == 1


@each_family
def test_a_client_that_goes_to_and_fro_between_backends_is_always_let_in(kept: Balancer, family: Family) -> None:
    """Each time the ring has moved its SYN is a new flow, and the backend that it left may still hold the port of the last visit."""
    first, sequence = FIRST[family.version], 1000
    for visit in range(6):
        number = visit & 1
        kept.ring(RING[family.version], [first + number])
        sequence += 1000
        there = kept.send(from_client(family, flags="S", seq=sequence))
        assert there.reason is Reason.FLOW_CREATED
        same(there.data, reached(family, flags="S", seq=sequence, backend=family.backends[number]))
        same(kept.send(reply(family, flags="SA", backend=family.backends[number])).data, to_client(family, flags="SA"))
        late = kept.send(reply(family, flags="A", backend=family.backends[1 - number]))
        assert late.reason in (Reason.NO_FLOW, Reason.NOT_A_REPLY), "nothing of the backend that was left reaches the client translated"
        kept.send(from_client(family, flags="A", seq=sequence + 1))
        kept.send(from_client(family, flags="R", seq=sequence + 1))
        kept.records()


@each_family
def test_sweeping_frees_every_record_that_was_inherited(kept: Balancer, family: Family) -> None:
    for visit in range(4):
        kept.ring(RING[family.version], [FIRST[family.version] + (visit & 1)])
        kept.send(from_client(family, flags="S", seq=visit * 1000))
        kept.send(from_client(family, flags="R", seq=visit * 1000 + 1))
    kept.age(1000)
    kept.sweep()
    assert not kept.records()
    kept.ring(RING[family.version], [FIRST[family.version]])
    opened(kept, family)


# --- hairpins


@each_family
@each_protocol
def test_a_client_that_is_a_backend_is_refused(kept: Balancer, family: Family, kind: type[Packet]) -> None:
    for client in family.backends:
        refused = kept.send(from_client(family, kind, flags="S", client=client))
        assert (refused.reason, refused.verdict) == (Reason.CLIENT_IS_BACKEND, Verdict.DROP)
    assert not kept.records()
    kept.service(
        keep.SERVICE[family.version, NUMBER[kind]], family.vip, VIP_PORT, NUMBER[kind], now=RING[family.version], mode=layout.MODE_NAT
    )  # fmt: skip
    assert kept.send(from_client(family, kind, flags="S", client=family.backends[1])).reason is Reason.FLOW_CREATED, "full NAT can"


# --- ICMP


@each_kind
@each_protocol
@pytest.mark.parametrize("cut", [8, ALL])
def test_errors_are_translated_in_both_directions(kept: Balancer, error: Kind, kind: type[Packet], cut: int) -> None:
    family = family_of(error)
    opened(kept, family, kind)
    fields = {"flags": "PA", "seq": 6, "ack": 1001}
    end = None if cut is None else errors.IP_BYTES[family.version] + cut
    before = errors.inside(to_client(family, kind, PAYLOAD, **fields))[:end]  # type: ignore[arg-type]
    after = errors.inside(reply(family, kind, PAYLOAD, ttl=63, **fields))[:end]  # type: ignore[arg-type]
    there = kept.send(about_client(family, error.header, before))
    assert (there.reason, there.verdict) == (Reason.ICMP_TO_BACKEND, Verdict.TX)
    assert there.data == at_backend(family, error.header, after, snat=family.client)
    before = errors.inside(reached(family, kind, PAYLOAD, **fields))[:end]  # type: ignore[arg-type]
    after = errors.inside(from_client(family, kind, PAYLOAD, ttl=63, **fields))[:end]  # type: ignore[arg-type]
    for source in ("", family.backends[0]):
        back = kept.send(about_backend(family, error.header, before, source=source, snat=family.client))
        assert (back.reason, back.verdict) == (Reason.ICMP_TO_CLIENT, Verdict.TX)
        assert back.data == at_client(family, error.header, after)


@each_family
def test_errors_about_other_peoples_packets_pass(kept: Balancer, family: Family) -> None:
    opened(kept, family)
    for packet in (reached(family, flags="A", port=CLIENT_PORT + 1), reached(family, UDP), reached(family, flags="A", client=family.snat)):
        frame = about_backend(family, too_big(family), errors.inside(packet), snat=family.client)
        untouched(kept, frame, Reason.FOREIGN)
    kept.age(1000)
    over = about_backend(family, too_big(family), errors.inside(reached(family, flags="A")), snat=family.client)
    untouched(kept, over, Reason.FOREIGN)


@each_family
def test_pings_between_others_pass_and_are_not_answered(kept: Balancer, family: Family) -> None:
    kept.configure(icmp_rate=1000, icmp_burst=1000)
    echo = ICMP() if family is V4 else ICMPv6EchoRequest()
    for source in (family.backends[0], family.vip, "198.51.100.99" if family is V4 else "2001:db8:1::99"):
        untouched(kept, built(Ether(src=BACKEND_MAC, dst=LB_MAC) / family.ip(source, family.client) / echo), Reason.FOREIGN)


@each_family
@pytest.mark.parametrize("kept_bytes", [0, 4, 8, 20])
def test_cut_errors_between_others_pass(kept: Balancer, family: Family, kept_bytes: int) -> None:
    opened(kept, family)
    frame = about_backend(family, too_big(family), errors.inside(reached(family, flags="A")), snat=family.client)
    untouched(kept, frame[: 14 + errors.IP_BYTES[family.version] + kept_bytes], Reason.FOREIGN)


# --- fragments, options, lengths


@each_family
@each_protocol
@pytest.mark.parametrize("size", [24, 1480])
def test_fragments_are_translated_in_both_directions(kept: Balancer, family: Family, kind: type[Packet], size: int) -> None:
    opened(kept, family, kind)
    fields = {"flags": "PA", "seq": 1001, "ack": 6}
    payload = PAYLOAD * 6
    for before, after, reason in (
        (from_client(family, kind, payload, **fields), reached(family, kind, payload, **fields), Reason.TO_BACKEND),  # type: ignore[arg-type]
        (reply(family, kind, payload, **fields), to_client(family, kind, payload, **fields), Reason.TO_CLIENT),  # type: ignore[arg-type]
    ):
        results = [kept.send(frame) for frame in odd.cut(before, size)]
        assert {(one.reason, one.verdict) for one in results} == {(reason, Verdict.TX)}
        for result, frame in zip(results, odd.cut(after, size), strict=True):
            if IP in frame:
                frame[IP].id = odd.identification(results[0].data)
                del frame[IP].chksum
            same(result.data, built(frame))


@each_family
def test_fragments_of_a_backends_own_pass(kept: Balancer, family: Family) -> None:
    opened(kept, family, UDP)
    whole = reply(family, UDP, PAYLOAD * 6, port=CLIENT_PORT + 1)
    first, *later = odd.cut(whole, 1000)
    untouched(kept, first, Reason.NOT_A_REPLY)
    for frame in later:
        untouched(kept, frame, Reason.FOREIGN)
    for frame in odd.cut(reply(family, UDP, PAYLOAD * 6), 1000)[1:]:
        untouched(kept, frame, Reason.FOREIGN)
    tiny = odd.cut(reply(family, TCP, PAYLOAD), 8)[0]
    untouched(kept, tiny, Reason.FOREIGN)


def test_options_go_along_where_they_may_and_pass_where_not(kept: Balancer) -> None:
    opened(kept, V4)
    for name in ("nop", "record_route"):
        frame = odd.with_options(reply(V4, flags="A", seq=6), errors.OPTIONS[name])
        if name == "nop":
            same(kept.send(frame).data, odd.with_options(to_client(V4, flags="A", seq=6), errors.OPTIONS[name]))
        else:
            untouched(kept, frame, Reason.FOREIGN)


@each_family
def test_the_sender_of_a_packet_that_is_too_long_is_told(kept: Balancer, family: Family) -> None:
    """The backend by the client's address, which is all that it knows of the way."""
    kept.configure(icmp_rate=1000, icmp_burst=1000)
    opened(kept, family)
    (flow,) = kept.flows()
    flow.element.mtu = 1400
    kept.write("flows", flow.id, bytes(flow.element))
    long = reply(family, payload=bytes(1400), flags="A")
    result = kept.send(long)
    assert (result.reason, result.verdict) == (Reason.TOO_BIG_ANSWERED, Verdict.TX)
    answer = Ether(result.data)
    layer = answer[IP] if family is V4 else answer[IPv6]
    assert (layer.src, layer.dst, answer.dst) == (family.client, family.backends[0], BACKEND_MAC)
    kept.set_backend(FIRST[family.version], mtu=1400)
    answer = Ether(kept.send(from_client(family, payload=bytes(1400), flags="A")).data)
    layer = answer[IP] if family is V4 else answer[IPv6]
    assert (layer.src, layer.dst) == (family.vip, family.client)


@each_family
def test_the_mss_of_both_syns_is_lowered(kept: Balancer, family: Family) -> None:
    keep.keep(kept, mss=1200)
    asked, lowered = [("MSS", 1460)], [("MSS", 1200)]
    same(kept.send(from_client(family, flags="S", options=asked)).data, reached(family, flags="S", options=lowered))
    same(kept.send(reply(family, flags="SA", options=asked)).data, to_client(family, flags="SA", options=lowered))


# --- backends that end


@each_family
def test_a_draining_backend_keeps_its_flows(kept: Balancer, family: Family) -> None:
    opened(kept, family)
    kept.ring(RING[family.version], [FIRST[family.version] + 1])
    kept.set_backend(FIRST[family.version], flags=layout.BACKEND_KEEP)
    same(kept.send(from_client(family, flags="A", seq=9)).data, reached(family, flags="A", seq=9))
    same(kept.send(reply(family, flags="A", seq=9)).data, to_client(family, flags="A", seq=9))
    fresh = kept.send(from_client(family, flags="S", port=50000))
    same(fresh.data, reached(family, flags="S", port=50000, backend=family.backends[1]))


@each_family
def test_what_a_cut_backend_still_sends_is_dropped(kept: Balancer, family: Family) -> None:
    opened(kept, family)
    kept.ring(RING[family.version], [FIRST[family.version] + 1])
    kept.set_backend(FIRST[family.version], flags=0)
    cut = kept.send(reply(family, flags="A"))
    assert (cut.reason, cut.verdict) == (Reason.FLOW_CUT, Verdict.DROP)
    fresh = kept.send(from_client(family, flags="S", seq=5000))
    same(fresh.data, reached(family, flags="S", seq=5000, backend=family.backends[1]))


@each_family
def test_a_reset_flow_tells_the_backend_by_the_clients_address(kept: Balancer, family: Family) -> None:
    opened(kept, family)
    kept.set_backend(FIRST[family.version], flags=layout.BACKEND_RESET)
    told = kept.send(reply(family, payload=b"xyz", flags="PA", seq=9, ack=888))
    assert (told.reason, told.verdict) == (Reason.DRAIN_RESET, Verdict.TX)
    answer = Ether(told.data)
    layer, rst = answer[IP] if family is V4 else answer[IPv6], answer[TCP]
    assert (layer.src, layer.dst) == (family.client, family.backends[0])
    assert (rst.flags, rst.seq, rst.sport, rst.dport) == ("R", 888, CLIENT_PORT, BACKEND_PORT)
    told = kept.send(from_client(family, flags="PA", ack=777))
    assert (told.reason, Ether(told.data)[TCP].seq) == (Reason.DRAIN_RESET, 777)
