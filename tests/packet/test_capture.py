"""What who captures is handed: packets as they came and as they left, why, for whom; and what is left out."""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from l4lb_agent.dataplane.ringbuf import RingBuffer
from l4lb_agent.dataplane.ticks import Ticks
from l4lb_agent.model import layout, mapspec
from l4lb_agent.model.capture import layout as capture_layout
from l4lb_agent.model.reasons import REASONS, VERDICTS, Reason, Verdict
from tests.packet import direct
from tests.packet.balancer import LOOPBACK, Balancer, address, port
from tests.packet.conftest import Make, furnish
from tests.packet.wire import CLIENT_MAC, CLIENT_PORT, LB_MAC, V4, V6, VIP_PORT, Family, each_family, from_backend, from_client

ANY_VERDICT = (1 << VERDICTS) - 1


@dataclass(frozen=True)
class Record:
    """One packet that was handed over."""

    reason: Reason
    verdict: Verdict
    service: int
    backend: int
    came: bytes
    left: bytes
    takers: int
    header: capture_layout.Captured


class Capture:
    """The captures of a balancer, and the reader of what they take."""

    def __init__(self, lb: Balancer) -> None:
        self._lb = lb
        self._ring = RingBuffer(lb.maps["captured"].fileno(), mapspec.CAPTURED_BYTES)
        self._ticks = Ticks()

    def begin(
        self, slot: int = 0, *, flags: int = capture_layout.CAPTURE_ALL, reasons: tuple[Reason, ...] = (), rate: int = 1000,
        **fields: object,
    ) -> None:  # fmt: skip
        """Take packets from now on; without a `reasons` all."""
        bits = sum(1 << reason for reason in reasons) or (1 << REASONS) - 1
        filter_ = capture_layout.Capture(reasons=(layout.U64 * 2)(bits & (1 << 64) - 1, bits >> 64), verdicts=ANY_VERDICT, rate=rate)
        filter_.until = self.second() + 10
        for name, value in fields.items():
            setattr(filter_, name, value)
        self._lb.write("captures", slot, bytes(filter_))
        self._lb.write("capture_switch", 0, bytes(capture_layout.CaptureSwitch(flags=flags)))

    def taken(self) -> list[Record]:
        """What has been handed over since the last call."""
        found = []
        for raw in self._ring.records(1 << 20):
            header = capture_layout.Captured.from_buffer_copy(raw.ljust(ctypes.sizeof(capture_layout.Captured), b"\0"))
            data = raw[capture_layout.Captured.data.offset :]
            assert len(data) == header.came_bytes + header.left_bytes
            reason, verdict = divmod(header.outcome, VERDICTS)
            came, left = data[: header.came_bytes], data[header.came_bytes :]
            found.append(Record(Reason(reason), Verdict(verdict), header.service, header.backend, came, left, header.takers, header))
        return found

    def counts(self, slot: int) -> tuple[int, int]:
        """Packets beyond the rate, and packets there was no room for."""
        sums = [words for i, words in self._lb.sums("capture_budgets", 4) if i // REASONS == slot]
        return sum(words[2] for words in sums), sum(words[3] for words in sums)

    def second(self) -> int:
        """The datapath's clock."""
        return self._ticks.second()

    def close(self) -> None:
        """Give everything back."""
        self._ring.close()
        self._ticks.close()


@pytest.fixture
def capture(lb: Balancer) -> Iterator[Capture]:
    made = Capture(lb)
    yield made
    made.close()


@each_family
def test_packets_of_a_flow_are_seen_as_they_came_and_as_they_left(lb: Balancer, capture: Capture, family: Family) -> None:
    capture.begin()
    service, backend = (1, 1) if family is V4 else (3, 4)
    for packet, reason in (
        (from_client(family, flags="S"), Reason.FLOW_CREATED),
        (from_backend(family, flags="SA"), Reason.TO_CLIENT),
        (from_client(family, flags="A", payload=b"x" * 700), Reason.TO_BACKEND),
    ):
        result = lb.send(packet)
        [record] = capture.taken()
        assert (record.reason, record.verdict) == (reason, Verdict.TX)
        assert (record.came, record.left) == (bytes(packet), result.data)
        assert (record.service, record.backend, record.takers) == (service, backend, 1)
        header = record.header
        assert (header.ifindex, header.frame_bytes, header.left_frame_bytes) == (LOOPBACK, len(bytes(packet)), len(result.data))


def test_an_encapsulated_packet_is_seen_whole_on_both_sides(make: Make) -> None:
    lb = direct.furnish(make, layout.MODE_IPIP)
    capture = Capture(lb)
    capture.begin()
    packet = from_client(V4, flags="S", payload=b"y" * 50)
    result = lb.send(packet)
    [record] = capture.taken()
    assert (record.came, record.left) == (bytes(packet), result.data)
    assert len(record.left) == len(record.came) + 20
    assert record.backend
    capture.close()


@pytest.mark.parametrize("flags", [capture_layout.CAPTURE_DROPS, capture_layout.CAPTURE_ALL], ids=["drops", "all"])
def test_a_dropped_packet_is_seen_as_it_came_and_never_left(lb: Balancer, capture: Capture, flags: int) -> None:
    capture.begin(flags=flags)
    packet = from_client(V4, vip_port=81, flags="S")
    lb.send(packet)
    [record] = capture.taken()
    assert (record.reason, record.verdict, record.came, record.left) == (Reason.NO_SERVICE, Verdict.DROP, bytes(packet), b"")
    assert (record.service, record.backend) == (0, 0)


def test_who_asks_for_drops_sees_nothing_else(lb: Balancer, capture: Capture) -> None:
    capture.begin(flags=capture_layout.CAPTURE_DROPS)
    lb.send(from_client(V4, flags="S"))
    assert capture.taken() == []


def test_answers_and_packets_of_others_are_seen_too(lb: Balancer, capture: Capture) -> None:
    capture.begin()
    lb.configure(rst_rate=10, rst_burst=10)
    asked = from_client(V4, flags="A", seq=5, ack=7)
    answered = lb.send(asked)
    foreign = from_client(V4, vip="203.0.113.200", flags="S")
    lb.send(foreign)
    arp = Ether(src=CLIENT_MAC, dst=LB_MAC) / ARP(op=1, psrc=V4.client, pdst="203.0.113.200")
    lb.send(arp)
    records = capture.taken()
    assert [record.reason for record in records] == [Reason.RST_ANSWERED, Reason.FOREIGN, Reason.NOT_IP]
    assert records[0].left == answered.data != records[0].came == bytes(asked)
    assert [record.left for record in records[1:]] == [bytes(foreign), bytes(arp)]


def test_nothing_is_known_of_a_packet_from_the_one_before(lb: Balancer, capture: Capture) -> None:
    capture.begin()
    lb.send(from_client(V4, flags="S"))
    lb.send(from_client(V4, vip="203.0.113.200", flags="S"))
    capture.begin(port=port(CLIENT_PORT))
    lb.send(Ether(src=CLIENT_MAC, dst=LB_MAC, type=0x88CC) / (b"z" * 60))
    assert [(record.service, record.backend) for record in capture.taken()] == [(1, 1), (0, 0)]


@pytest.mark.parametrize("flags", [capture_layout.CAPTURE_ALL, capture_layout.CAPTURE_DROPS])
def test_a_packet_without_ports_is_not_taken_for_the_one_before(lb: Balancer, capture: Capture, flags: int) -> None:
    """Somebody else's, a message of ICMP, one whose lengths are wrong."""
    capture.begin(0, flags=flags, port=port(CLIENT_PORT))
    capture.begin(1, flags=flags, protocol=6)
    ping = Ether(src=CLIENT_MAC, dst=LB_MAC) / IP(src=V4.client, dst=V4.vip) / ICMP()
    cut = Ether(src=CLIENT_MAC, dst=LB_MAC) / IP(src=V4.client, dst=V4.vip, len=2000, proto=17) / (b"z" * 40)
    reasons = []
    for packet in (from_client(V4, vip="203.0.113.200", flags="S"), ping, cut):
        lb.send(from_client(V4, flags="S"))
        reasons.append(lb.send(packet).reason)
    assert reasons == [Reason.FOREIGN, Reason.ECHO_REFUSED, Reason.LENGTH_WRONG]
    seen = [record.reason for record in capture.taken()]
    assert seen == ([Reason.FLOW_CREATED, *[Reason.TO_BACKEND] * 2] if flags == capture_layout.CAPTURE_ALL else [])


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ({"service": 1}, {"tcp4", "reply4"}),
        ({"service": 3}, {"tcp6"}),
        ({"protocol": 17}, {"udp4"}),
        ({"port": port(CLIENT_PORT + 1)}, {"udp4"}),
        ({"port": port(VIP_PORT)}, {"tcp4", "udp4", "tcp6"}),
        ({"filters_address": 1, "address": address(V4.client), "mask": b"\xff" * 16}, {"tcp4", "udp4"}),
        ({"filters_address": 1, "address": address(V4.snat), "mask": b"\xff" * 16}, {"reply4"}),
        ({"filters_address": 1, "address": address("198.51.100.0"), "mask": b"\xff" * 15 + b"\0"}, {"tcp4", "udp4"}),
        ({"filters_address": 1, "address": address("2001:db8:1::"), "mask": b"\xff" * 6 + bytes(10)}, {"tcp6"}),
        ({"ifindex": LOOPBACK}, {"tcp4", "udp4", "tcp6", "reply4"}),
        ({"ifindex": LOOPBACK + 1}, set()),
        ({"verdicts": 1 << Verdict.DROP}, set()),
        ({"reasons": (Reason.TO_CLIENT,)}, {"reply4"}),
        ({"reasons": (Reason.FLOW_CREATED, Reason.NO_SERVICE)}, {"tcp4", "udp4", "tcp6"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_filter_takes_what_it_names(lb: Balancer, capture: Capture, wanted: dict[str, object], taken: set[str]) -> None:
    fields = {name: (layout.U8 * 16)(*value) if isinstance(value, bytes) else value for name, value in wanted.items()}
    capture.begin(**fields)  # type: ignore[arg-type]
    packets = {
        "tcp4": from_client(V4, flags="S"),
        "udp4": from_client(V4, UDP, b"query", port=CLIENT_PORT + 1),
        "tcp6": from_client(V6, TCP, flags="S"),
        "reply4": from_backend(V4, flags="SA"),
    }
    for packet in packets.values():
        lb.send(packet)
    by_bytes = {bytes(packet): name for name, packet in packets.items()}
    assert {by_bytes[record.came] for record in capture.taken()} == taken


def test_several_captures_share_one_record(lb: Balancer, capture: Capture) -> None:
    capture.begin(0, service=1)
    capture.begin(2, protocol=6)
    capture.begin(3, protocol=17)
    lb.send(from_client(V4, flags="S"))
    assert [record.takers for record in capture.taken()] == [0b101]


def test_the_rate_holds_for_each_reason_and_what_is_beyond_is_counted(lb: Balancer, capture: Capture) -> None:
    capture.begin(rate=3)
    for _ in range(10):
        lb.send(from_client(V4, vip_port=81, flags="S"))
    lb.send(from_client(V4, flags="S"))
    reasons = [record.reason for record in capture.taken()]
    assert reasons == [Reason.NO_SERVICE] * 3 + [Reason.FLOW_CREATED]
    assert capture.counts(0) == (7, 0)


def test_what_finds_no_room_is_lost_counted_and_forwarded_all_the_same(lb: Balancer, capture: Capture) -> None:
    capture.begin(rate=100_000)
    packet = from_client(V4, flags="S", payload=b"x" * 1400)
    room = mapspec.CAPTURED_BYTES // (capture_layout.Captured.data.offset + 2 * len(bytes(packet)) + 8)
    results = [lb.send(packet) for _ in range(room + 20)]
    assert {result.verdict for result in results} == {Verdict.TX}
    taken, (limited, lost) = len(capture.taken()), capture.counts(0)
    assert room - 2 <= taken <= room
    assert (limited, lost) == (0, room + 20 - taken)
    lb.send(packet)
    assert len(capture.taken()) == 1, "there is room again"


def test_longer_frames_are_cut_and_their_length_is_told(lb: Balancer, capture: Capture) -> None:
    capture.begin()
    packet = from_client(V4, flags="S", payload=b"x" * 3000)
    result = lb.send(packet)
    [record] = capture.taken()
    assert (record.came, record.left) == (bytes(packet)[: capture_layout.CAPTURE_BYTES], result.data[: capture_layout.CAPTURE_BYTES])
    assert record.header.frame_bytes == len(bytes(packet))


def test_captures_whose_asker_has_gone_end_by_themselves(lb: Balancer, capture: Capture) -> None:
    capture.begin(until=capture.second())
    lb.send(from_client(V4, flags="S"))
    assert capture.taken() == []
    assert lb.read("capture_switch", 0) == bytes(8)


def test_without_the_program_that_captures_packets_go_their_way(make: Make) -> None:
    lb = make(missing=frozenset({"capture"}))
    furnish(lb)
    capture = Capture(lb)
    capture.begin()
    assert lb.send(from_client(V4, flags="S")).reason is Reason.FLOW_CREATED
    assert capture.taken() == []
    capture.close()
