"""What is unusual and legal, or hostile and well-formed, along a NAT flow: translated exactly, or refused, with and without the client's
address kept."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, IPv6, IPv6ExtHdrHopByHop, Jumbo
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet import errors, keep, odd
from tests.packet.balancer import Balancer
from tests.packet.errors import IP_BYTES, about_backend, about_client, at_backend, at_client, inside, too_big, unreachable
from tests.packet.wire import (
    BACKEND_PORT,
    CLIENT_MAC,
    CLIENT_PORT,
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
    same,
    to_backend,
    to_client,
)

FORWARDED = (Reason.FLOW_CREATED, Reason.TO_BACKEND, Reason.TO_CLIENT)
MULTICAST = {4: ("224.0.0.1", "255.255.255.255"), 6: ("ff02::1", "ff0e::7")}


@dataclass(frozen=True)
class Road:
    """A balancer whose services translate the client's address, or keep it."""

    lb: Balancer
    kept: bool

    def source(self, family: Family) -> str:
        """Whose packets the backend sees."""
        return family.client if self.kept else family.snat

    def there(self, frame: Packet | bytes, expected: Packet | bytes | None, *reasons: Reason) -> None:
        """The frame is forwarded as `expected`."""
        result = self.lb.send(frame)
        assert result.verdict is Verdict.TX, result.reason
        assert result.reason in (reasons or FORWARDED)
        if expected is not None:
            same(result.data, expected if isinstance(expected, Packet) else Ether(expected))

    def both(self, family: Family, kind: type[Packet] = TCP, payload: bytes = b"", *, port: int = CLIENT_PORT, **fields: object) -> None:
        """A packet of each direction, with these fields, arrives with nothing changed but what NAT changes."""
        source = self.source(family)
        there: dict[str, object] = {"seq": 1001, "ack": 6, **fields}
        back: dict[str, object] = {"seq": 6, "ack": 1001, **fields}
        arrives = to_backend(family, kind, payload, snat=source, port=port, **there)  # type: ignore[arg-type]
        self.there(from_client(family, kind, payload, port=port, **there), arrives)  # type: ignore[arg-type]
        answer = from_backend(family, kind, payload, snat=source, port=port, **back)  # type: ignore[arg-type]
        self.there(answer, to_client(family, kind, payload, port=port, **back))  # type: ignore[arg-type]

    def opened(self, family: Family, kind: type[Packet] = TCP, port: int = CLIENT_PORT) -> None:
        """An established flow."""
        source = self.source(family)
        self.there(from_client(family, kind, flags="S", seq=1000, port=port), None, Reason.FLOW_CREATED)
        self.there(from_backend(family, kind, flags="SA", seq=5, ack=1001, snat=source, port=port), None, Reason.TO_CLIENT)
        self.there(from_client(family, kind, flags="A", seq=1001, ack=6, port=port), None, Reason.TO_BACKEND)

    def dropped(self, frame: Packet | bytes, reason: Reason) -> None:
        """The frame is dropped, and no flow is the wiser."""
        errors.refused(self.lb, bytes(frame), reason)


@pytest.fixture(params=["nat", "keep"])
def road(request: pytest.FixtureRequest, lb: Balancer) -> Road:
    if request.param == "keep":
        keep.keep(lb)
    return Road(lb, request.param == "keep")


def changed(frame: Packet, change: Callable[[Packet], None]) -> Packet:
    """The frame with a change, its checksums as they were unless the change deletes them."""
    copy = frame.copy()
    change(copy)
    return built(copy)


# --- TCP


@each_family
@pytest.mark.parametrize("urgent", [1, 0xFFFF])
@pytest.mark.parametrize("flags", ["PAU", "A"])
def test_urgent_pointers_go_along_whatever_they_say(road: Road, family: Family, urgent: int, flags: str) -> None:
    road.opened(family)
    road.both(family, payload=b"abc", flags=flags, urgptr=urgent)


@each_family
@pytest.mark.parametrize("flags", ["AE", "AC", "AEC", "PAEC", "FAE"])
@pytest.mark.parametrize("reserved", [0, 7])
def test_congestion_bits_and_reserved_ones_go_along(road: Road, family: Family, flags: str, reserved: int) -> None:
    """Among them AE of accurate ECN (RFC 9768), which was once reserved."""
    road.opened(family)
    road.both(family, payload=b"abc", flags=flags, reserved=reserved)


@each_family
def test_a_syn_that_negotiates_congestion_notification_begins_a_flow(road: Road, family: Family) -> None:
    source = road.source(family)
    for reserved, flags in ((0, "SEC"), (1, "SEC")):
        syn = {"flags": flags, "reserved": reserved, "seq": 1000}
        road.there(from_client(family, **syn), to_backend(family, snat=source, **syn))  # type: ignore[arg-type]
    answer = {"flags": "SAE", "seq": 5, "ack": 1001}
    road.there(from_backend(family, snat=source, **answer), to_client(family, **answer))  # type: ignore[arg-type]


@each_family
@pytest.mark.parametrize("tos", [0, 1, 2, 3, 0xFF])
def test_a_congestion_mark_of_a_router_goes_on(road: Road, family: Family, tos: int) -> None:
    road.opened(family)
    road.both(family, payload=b"x" * 33, flags="PA", tos=tos)
    road.opened(family, UDP)
    road.both(family, UDP, b"x" * 33, tos=tos)


@each_family
def test_data_on_a_syn_goes_along(road: Road, family: Family) -> None:
    """TCP fast open (RFC 7413), with and without its cookie."""
    source = road.source(family)
    for options in ([], [("TFO", (0x12345678, 0x9ABCDEF0))]):
        fields = {"flags": "S", "seq": 1000, "options": options}
        road.there(from_client(family, payload=b"GET", **fields), to_backend(family, payload=b"GET", snat=source, **fields))  # type: ignore[arg-type]
    answer = {"flags": "SA", "seq": 5, "ack": 1004}
    road.there(from_backend(family, payload=b"200", snat=source, **answer), to_client(family, payload=b"200", **answer))  # type: ignore[arg-type]
    road.there(from_client(family, flags="A", seq=1004, ack=9), None, Reason.TO_BACKEND)
    assert road.lb.states() == {(layout.FLOW_ESTABLISHED, 0)}


@each_family
def test_both_ends_may_open_at_once(road: Road, family: Family) -> None:
    """RFC 9293 3.5, figure 7: two SYNs cross, each is answered by SYN+ACK."""
    source = road.source(family)
    road.there(from_client(family, flags="S", seq=1000), None, Reason.FLOW_CREATED)
    road.there(from_backend(family, flags="S", seq=5, snat=source), to_client(family, flags="S", seq=5))
    road.there(from_client(family, flags="SA", seq=1000, ack=6), to_backend(family, flags="SA", seq=1000, ack=6, snat=source))
    road.there(from_backend(family, flags="SA", seq=5, ack=1001, snat=source), to_client(family, flags="SA", seq=5, ack=1001))
    road.there(from_client(family, payload=b"x", flags="PA", seq=1001, ack=6), None, Reason.TO_BACKEND)
    road.there(from_backend(family, payload=b"y", flags="PA", seq=6, ack=1002, snat=source), None, Reason.TO_CLIENT)
    assert road.lb.states() == {(layout.FLOW_ESTABLISHED, 0)}
    assert len(road.lb.records()) == 1


@each_family
@pytest.mark.parametrize("side", ["client", "backend"])
def test_a_half_closed_connection_lives_for_hours_while_the_other_half_speaks(road: Road, family: Family, side: str) -> None:
    road.opened(family)
    source, closing = road.source(family), road.lb.config.timeout[layout.FLOW_CLOSING]
    if side == "client":
        road.there(from_client(family, flags="FA", seq=1001, ack=6), None)
    else:
        road.there(from_backend(family, flags="FA", seq=6, ack=1001, snat=source), None)
    for hour in range(4):
        road.lb.age(closing - 1)
        if side == "client":
            road.there(from_backend(family, payload=b"data", flags="PA", seq=6 + 4 * hour, ack=1002, snat=source), None, Reason.TO_CLIENT)
        else:
            road.there(from_client(family, payload=b"data", flags="PA", seq=1001 + 4 * hour, ack=7), None, Reason.TO_BACKEND)
        assert {state for state, _ in road.lb.states()} == {layout.FLOW_CLOSING}


@each_family
@pytest.mark.parametrize("flags", ["R", "RA"])
@pytest.mark.parametrize("sequence", [0, 1000, 0x80000000])
def test_a_reset_with_any_sequence_cuts_nobody_who_goes_on(road: Road, family: Family, flags: str, sequence: int) -> None:
    """Neither side believed it, so neither has changed: the next packet of either finds the flow."""
    road.opened(family)
    source = road.source(family)
    for forged in (from_client(family, flags=flags, seq=sequence), from_backend(family, flags=flags, seq=sequence, snat=source)):
        road.there(forged, None)
        road.lb.age(road.lb.config.quarantine_short - 1)
        road.both(family, payload=b"on", flags="PA")
        assert road.lb.states() == {(layout.FLOW_ESTABLISHED, 0)}


@each_family
def test_a_reset_ends_a_flow_of_which_nothing_is_heard_for_its_quarantine(road: Road, family: Family) -> None:
    """Whether the receiver took it shows only by what comes after."""
    road.opened(family)
    road.there(from_client(family, flags="R", seq=0), None)
    road.lb.age(road.lb.config.quarantine_short + 1)
    assert road.lb.send(from_client(family, flags="A", seq=1001, ack=6)).reason is Reason.RST_LIMITED
    answer = road.lb.send(from_backend(family, flags="A", seq=6, ack=1001, snat=road.source(family)))
    assert answer.reason is (Reason.NOT_A_REPLY if road.kept else Reason.NO_FLOW)


@each_family
def test_a_window_of_zero_and_a_keepalive_of_an_old_byte_go_along(road: Road, family: Family) -> None:
    road.opened(family)
    road.both(family, flags="A", window=0)
    source = road.source(family)
    for data in (b"", b"\0"):
        probe = from_client(family, payload=data, flags="A", seq=1000, ack=6)
        road.there(probe, to_backend(family, payload=data, flags="A", seq=1000, ack=6, snat=source))
    assert road.lb.states() == {(layout.FLOW_ESTABLISHED, 0)}


@each_family
@pytest.mark.parametrize("length", [0, 1, 3, 39, 40])
def test_options_of_any_kind_and_length_go_along_as_they_came(road: Road, family: Family, length: int) -> None:
    """Also those that end beyond themselves: only the receiver reads them."""
    road.opened(family)
    raw = bytes([253, 200] + [7] * 40)[: (length + 3) // 4 * 4]

    def spoil(frame: Packet) -> None:
        frame[TCP].dataofs = 5 + len(raw) // 4
        frame[TCP].payload = Raw(raw + b"data")
        del frame[TCP].chksum
        layer = frame[IP] if IP in frame else frame[IPv6]
        for name in ("len", "chksum", "plen"):
            if name in layer.fields:
                delattr(layer, name)

    fields = {"flags": "PA", "seq": 1001, "ack": 6}
    arrives = changed(to_backend(family, snat=road.source(family), **fields), spoil)  # type: ignore[arg-type]
    road.there(changed(from_client(family, **fields), spoil), arrives)  # type: ignore[arg-type]


# --- ports


@each_family
@each_protocol
def test_port_zero_is_a_port(road: Road, family: Family, kind: type[Packet]) -> None:
    """As a source it is legal in UDP (RFC 768), and whoever sends it over TCP is answered as he asked."""
    there = road.lb.send(from_client(family, kind, flags="S", port=0))
    assert there.reason is Reason.FLOW_CREATED
    port = Ether(there.data)[kind].sport
    assert port == 0 if road.kept else port >= 1024
    back = from_backend(family, kind, flags="SA", port=port, snat=road.source(family))
    road.there(back, to_client(family, kind, flags="SA", port=0), Reason.TO_CLIENT)


@each_family
@each_protocol
def test_nobody_listens_at_port_zero(road: Road, family: Family, kind: type[Packet]) -> None:
    road.dropped(from_client(family, kind, flags="S", vip_port=0), Reason.NO_SERVICE)


@each_family
@each_protocol
def test_a_client_at_the_servers_own_port_is_a_client(road: Road, family: Family, kind: type[Packet]) -> None:
    for port in (VIP_PORT, BACKEND_PORT):
        there = road.lb.send(from_client(family, kind, flags="S", port=port))
        assert there.reason is Reason.FLOW_CREATED
        seen = Ether(there.data)[kind].sport
        back = from_backend(family, kind, flags="SA", port=seen, snat=road.source(family))
        road.there(back, to_client(family, kind, flags="SA", port=port), Reason.TO_CLIENT)


# --- UDP


@each_family
@pytest.mark.parametrize("surplus", [1, 2, 7, 8, 100])
def test_what_an_ip_packet_holds_behind_its_datagram_goes_along(road: Road, family: Family, surplus: int) -> None:
    """UDP options (RFC 9868): the datagram's length is less than IP's, and its checksum covers the datagram alone."""
    road.opened(family, UDP)
    area = bytes(range(1, surplus + 1))

    def extend(frame: Packet) -> bytes:
        layer = frame[IP] if IP in frame else frame[IPv6]
        if IP in frame:
            layer.len += surplus
            del layer.chksum
        else:
            layer.plen += surplus
        return bytes(frame) + area

    arrives = extend(to_backend(family, UDP, b"datagram", snat=road.source(family)))
    road.there(extend(from_client(family, UDP, b"datagram")), arrives, Reason.TO_BACKEND)
    road.there(extend(from_backend(family, UDP, b"answer", snat=road.source(family))), extend(to_client(family, UDP, b"answer")))


@each_family
@pytest.mark.parametrize("length", [0, 1, 2, 1471, 1472])
def test_empty_and_full_datagrams(road: Road, family: Family, length: int) -> None:
    road.opened(family, UDP)
    road.both(family, UDP, bytes(length))


def test_a_datagram_without_checksum_stays_without_in_both_directions_and_in_errors(road: Road) -> None:
    road.opened(V4, UDP)
    road.both(V4, UDP, b"datagram", chksum=0)
    source = road.source(V4)
    quoted = inside(to_client(V4, UDP, b"datagram", chksum=0))
    expected = inside(from_backend(V4, UDP, b"datagram", chksum=0, ttl=63, snat=source))
    road.there(about_client(V4, unreachable(V4), quoted), at_backend(V4, unreachable(V4), expected, snat=source), Reason.ICMP_TO_BACKEND)


# --- lengths


def test_a_jumbo_payload_is_refused(road: Road) -> None:
    """RFC 2675: a payload length of zero, and the real one in an option."""
    road.opened(V6)
    frame = from_client(V6, flags="A", payload=bytes(100))
    jumbo = Ether(src=CLIENT_MAC, dst=LB_MAC) / IPv6(src=V6.client, dst=V6.vip, plen=0, nh=0)
    header = IPv6ExtHdrHopByHop(options=[Jumbo(jumboplen=128)], nh=6)
    raw = bytes(jumbo / header / Raw(inside(frame)[40:]))
    raw = raw[:18] + b"\0\0" + raw[20:]
    road.dropped(raw, Reason.LENGTH_WRONG)


@each_family
def test_what_lies_behind_the_packet_in_the_frame_is_not_looked_at(road: Road, family: Family) -> None:
    road.opened(family)
    arrives = bytes(to_backend(family, payload=b"x", flags="PA", seq=1001, ack=6, snat=road.source(family)))
    trailer = bytes(range(200))
    road.there(bytes(from_client(family, payload=b"x", flags="PA", seq=1001, ack=6)) + trailer, None, Reason.TO_BACKEND)
    result = road.lb.send(bytes(from_client(family, payload=b"x", flags="PA", seq=1001, ack=6)) + trailer)
    assert result.data == arrives + trailer


# --- the last hop


@each_family
@each_protocol
@pytest.mark.parametrize("ttl", [0, 1])
def test_the_last_hop_ends_here_in_both_directions_and_refreshes_nothing(road: Road, family: Family, kind: type[Packet], ttl: int) -> None:
    road.opened(family, kind)
    road.dropped(from_client(family, kind, flags="A", ttl=ttl), Reason.TTL_EXCEEDED)
    road.dropped(from_backend(family, kind, flags="A", ttl=ttl, snat=road.source(family)), Reason.TTL_EXCEEDED)
    road.dropped(from_client(family, kind, flags="S", ttl=ttl, port=CLIENT_PORT + 1), Reason.TTL_EXCEEDED)


# --- sources and destinations


@each_family
@each_protocol
def test_a_group_begins_no_flow(road: Road, family: Family, kind: type[Packet]) -> None:
    for source in MULTICAST[family.version]:
        road.dropped(from_client(family, kind, flags="S", client=source), Reason.SOURCE_MARTIAN)


@each_family
def test_the_vip_itself_and_a_snat_address_are_no_clients(road: Road, family: Family) -> None:
    for source in (family.vip, family.snat):
        road.dropped(from_client(family, flags="S", client=source), Reason.SOURCE_OWNED)


@each_family
@pytest.mark.parametrize("destination", ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01"])
def test_a_frame_to_a_group_makes_no_flow_and_follows_none(road: Road, family: Family, destination: str) -> None:
    road.opened(family)
    for flags, port in (("A", CLIENT_PORT), ("S", CLIENT_PORT + 1)):
        frame = from_client(family, flags=flags, port=port)
        frame.dst = destination
        road.dropped(frame, Reason.FRAME_FOREIGN)


# --- ICMP errors


@each_family
@each_protocol
def test_an_error_with_eight_bytes_of_the_transport_is_translated(road: Road, family: Family, kind: type[Packet]) -> None:
    road.opened(family, kind)
    source, end = road.source(family), IP_BYTES[family.version] + 8
    fields = {"flags": "PA", "seq": 6, "ack": 1001}
    quoted = inside(to_backend(family, kind, b"data", snat=source, **fields))[:end]  # type: ignore[arg-type]
    expected = inside(from_client(family, kind, b"data", ttl=63, **fields))[:end]  # type: ignore[arg-type]
    arrives = at_client(family, unreachable(family), expected)
    road.there(about_backend(family, unreachable(family), quoted, snat=source), arrives, Reason.ICMP_TO_CLIENT)


@each_family
@each_protocol
@pytest.mark.parametrize("quoted_bytes", [8, 20, 60])
def test_extensions_behind_a_padded_quote_go_along(road: Road, family: Family, kind: type[Packet], quoted_bytes: int) -> None:
    """RFC 4884: the quote is filled up to 128 bytes, its length is in the error's header, and an extension with a checksum of its own
    follows, which says nothing of addresses."""
    road.opened(family, kind)
    source, end = road.source(family), IP_BYTES[family.version] + quoted_bytes
    header = ICMP(type=11, code=0) if family is V4 else ICMPv6DestUnreach(code=3)
    extension = bytes.fromhex("2000") + bytes.fromhex("95db") + bytes.fromhex("0008010100186001")

    def whole(packet: bytes) -> bytes:
        return packet[:end].ljust(128, b"\0") + extension

    def long(frame: bytes) -> bytes:
        """The same error with the length of its quote, its checksum set right."""
        at = 14 + IP_BYTES[family.version]
        raw = bytearray(frame)
        raw[at + (5 if family is V4 else 4)] = 128 // (4 if family is V4 else 8)
        raw[at + 2 : at + 4] = b"\0\0"
        body = bytes(raw[at:])
        pseudo = b"" if family is V4 else bytes(raw[22:54]) + len(body).to_bytes(4, "big") + bytes([0, 0, 0, 58])
        total = sum(int.from_bytes((pseudo + body)[i : i + 2].ljust(2, b"\0"), "big") for i in range(0, len(pseudo + body), 2))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        raw[at + 2 : at + 4] = (total ^ 0xFFFF).to_bytes(2, "big")
        return bytes(raw)

    quoted = whole(inside(to_client(family, kind, b"d" * 60, flags="PA", seq=6, ack=1001)))
    result = road.lb.send(long(about_client(family, header, quoted)))
    assert (result.reason, result.verdict) == (Reason.ICMP_TO_BACKEND, Verdict.TX)
    at = 14 + IP_BYTES[family.version]
    got = bytearray(result.data)
    assert got[-len(extension) :] == extension
    expected = inside(from_backend(family, kind, b"d" * 60, flags="PA", seq=6, ack=1001, ttl=63, snat=source))[:end]
    assert bytes(got[at + 8 : at + 8 + end]) == expected
    assert long(bytes(got)) == bytes(got), "the checksum is right"


@each_family
def test_an_error_about_a_fragment_follows_the_flow_only_by_the_first(road: Road, family: Family) -> None:
    road.opened(family, UDP)
    source = road.source(family)
    first, *later = odd.cut(to_client(family, UDP, bytes(3000)), 1480)
    there = road.lb.send(about_client(family, too_big(family), inside(first)[:64]))
    assert there.reason is Reason.ICMP_TO_BACKEND
    road.dropped(about_client(family, too_big(family), inside(later[0])[:64]), Reason.ICMP_NO_FLOW)
    first, *later = odd.cut(to_backend(family, UDP, bytes(3000), snat=source), 1480)
    there = road.lb.send(about_backend(family, too_big(family), inside(first)[:64], snat=source))
    assert there.reason is Reason.ICMP_TO_CLIENT


@each_family
def test_an_error_that_quotes_ping_or_another_error_reaches_nobody(road: Road, family: Family) -> None:
    road.opened(family)
    echo = ICMP() if family is V4 else ICMPv6EchoRequest()
    ping = inside(built(Ether() / family.ip(family.vip, family.client) / echo / Raw(bytes(20))))
    road.dropped(about_client(family, unreachable(family), ping), Reason.ICMP_NO_FLOW)
    nested = about_client(family, unreachable(family), inside(to_client(family, flags="A")))
    road.dropped(about_client(family, unreachable(family), inside(Ether(nested))), Reason.ICMP_MALFORMED)
