"""What the recorder is handed: the headers of dropped packets, within its rate for each reason, and what that costs nobody else."""

from collections.abc import Iterator

import pytest
from scapy.packet import Packet

from l4lb_agent.model import mapspec
from l4lb_agent.model.capture import layout as capture_layout
from l4lb_agent.model.capture.layout import (
    CAPTURE_ALL,
    CAPTURE_DROPS,
    CAPTURE_RECORD,
    RECORDER,
    RECORDER_BURST,
    RECORDER_BYTES,
    RECORDER_RATE,
)
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import Balancer
from tests.packet.conftest import Make, furnish
from tests.packet.test_capture import Capture
from tests.packet.wire import V4, V6, from_client

TAKEN = 1 << RECORDER


class Recorder(Capture):
    """The recorder of a balancer, and the reader of what it takes."""

    def __init__(self, lb: Balancer) -> None:
        super().__init__(lb)
        self._balancer = lb

    def switch(self, flags: int = CAPTURE_RECORD, seconds: int = 10) -> None:
        """On, for so many seconds."""
        self._balancer.write("capture_switch", 0, bytes(capture_layout.CaptureSwitch(flags=flags, recorder_until=self.second() + seconds)))

    def flags(self) -> int:
        """As the datapath left them."""
        return int(capture_layout.CaptureSwitch.from_buffer_copy(self._balancer.read("capture_switch", 0)).flags)

    def counted(self, reason: Reason) -> tuple[int, int]:
        """Packets beyond the rate, and packets there was no room for."""
        words = dict(self._balancer.sums("recorder_budgets", 4)).get(reason, (0, 0, 0, 0))
        return words[2], words[3]


@pytest.fixture
def recorder(lb: Balancer) -> Iterator[Recorder]:
    made = Recorder(lb)
    yield made
    made.close()


def dropped(number: int = 0, payload: bytes = b"") -> Packet:
    """For a port without a service."""
    return from_client(V4, vip_port=81, flags="S", seq=number, payload=payload)


def test_a_dropped_packet_is_recorded_with_its_headers_alone(lb: Balancer, recorder: Recorder) -> None:
    recorder.switch()
    packet = dropped(payload=b"secret" * 200)
    lb.send(packet)
    [record] = recorder.taken()
    assert (record.reason, record.verdict, record.takers) == (Reason.NO_SERVICE, Verdict.DROP, TAKEN)
    assert (record.came, record.left) == (bytes(packet)[:RECORDER_BYTES], b"")
    assert record.header.frame_bytes == len(bytes(packet))


def test_what_is_not_dropped_is_not_recorded(lb: Balancer, recorder: Recorder) -> None:
    recorder.switch()
    assert lb.send(from_client(V4, flags="S")).verdict is Verdict.TX
    assert lb.send(from_client(V4, vip="203.0.113.200", flags="S")).verdict is Verdict.PASS
    assert recorder.taken() == []


def test_a_flood_of_one_reason_is_recorded_within_the_rate_and_leaves_the_others_theirs(lb: Balancer, recorder: Recorder) -> None:
    recorder.switch(seconds=100)
    began = recorder.second()
    for number in range(200):
        lb.send(dropped(number))
    seconds = recorder.second() - began + 1
    lb.send(from_client(V6, flags="A", ack=1))
    records = recorder.taken()
    flood = [record for record in records if record.reason is Reason.NO_SERVICE]
    assert RECORDER_BURST <= len(flood) <= RECORDER_BURST + seconds * RECORDER_RATE
    assert [record.came for record in flood[:RECORDER_BURST]] == [bytes(dropped(number)) for number in range(RECORDER_BURST)]
    assert [record.reason for record in records if record not in flood] == [Reason.RST_LIMITED]
    assert recorder.counted(Reason.NO_SERVICE) == (200 - len(flood), 0)
    assert recorder.counted(Reason.RST_LIMITED) == (0, 0)


@pytest.mark.parametrize("flags", [CAPTURE_DROPS, CAPTURE_ALL], ids=["drops", "all"])
def test_a_capture_beside_it_has_its_own_rate_and_length(lb: Balancer, recorder: Recorder, flags: int) -> None:
    recorder.begin(flags=flags, rate=1000)
    recorder.switch(flags | CAPTURE_RECORD, seconds=100)
    packet, began = dropped(payload=b"x" * 900), recorder.second()
    for _ in range(2 * RECORDER_BURST + 10):
        lb.send(packet)
    seconds = recorder.second() - began + 1
    records = recorder.taken()
    assert {record.came for record in records} == {bytes(packet)}, "the capture's length"
    both = [record for record in records if record.takers == TAKEN | 1]
    assert len(records) == 2 * RECORDER_BURST + 10
    assert RECORDER_BURST <= len(both) <= RECORDER_BURST + seconds * RECORDER_RATE
    assert {record.takers for record in records} == {TAKEN | 1, 1}
    lb.send(from_client(V4, flags="S"))
    assert [record.takers for record in recorder.taken()] == ([1] if flags == CAPTURE_ALL else []), "of a packet before nothing is left"


def test_a_recorder_whose_agent_has_gone_ends_by_itself(lb: Balancer, recorder: Recorder) -> None:
    recorder.switch(seconds=0)
    lb.send(dropped())
    assert recorder.taken() == []
    assert recorder.flags() == 0


def test_a_recorder_keeps_captures_that_are_over_from_nothing(lb: Balancer, recorder: Recorder) -> None:
    """What has expired of two does not end the other, in both directions."""
    recorder.begin(until=recorder.second())
    recorder.switch(CAPTURE_DROPS | CAPTURE_RECORD)
    lb.send(dropped())
    assert [record.takers for record in recorder.taken()] == [TAKEN]
    assert recorder.flags() == CAPTURE_DROPS | CAPTURE_RECORD
    recorder.begin()
    recorder.switch(CAPTURE_ALL | CAPTURE_RECORD, seconds=0)
    lb.send(dropped())
    assert [record.takers for record in recorder.taken()] == [1]
    assert recorder.flags() == CAPTURE_ALL | CAPTURE_RECORD


def test_what_finds_no_room_is_counted(lb: Balancer, recorder: Recorder) -> None:
    recorder.begin(rate=100_000, verdicts=1 << Verdict.TX)
    recorder.switch(CAPTURE_ALL | CAPTURE_RECORD)
    large, small = from_client(V4, flags="S", payload=b"x" * 1400), from_client(V4, flags="S")
    for packet in [large] * (mapspec.CAPTURED_BYTES // (2 * len(bytes(large)))) + [small] * 30:
        lb.send(packet)
    lb.send(dropped(payload=b"x" * 1000))
    assert recorder.counted(Reason.NO_SERVICE) == (0, 1)
    assert recorder.counts(0)[1] > 0
    recorder.taken()
    lb.send(dropped())
    assert [record.takers for record in recorder.taken()] == [TAKEN], "there is room again"


def test_without_the_program_that_captures_drops_are_drops(make: Make) -> None:
    lb = make(missing=frozenset({"capture"}))
    furnish(lb)
    recorder = Recorder(lb)
    recorder.switch()
    assert lb.send(dropped()).reason is Reason.NO_SERVICE
    assert recorder.taken() == []
    recorder.close()
