"""What a packet is said to change: its flow's record, the entry of the flow table, the client's affinity, its datagram. That the tables
hold just that afterwards is compared each time."""

from collections.abc import Iterator

import pytest

from l4lb_agent.dataplane.program import Objects
from l4lb_agent.model import layout
from l4lb_agent.model.choice.affinity import Affinity
from l4lb_agent.model.explain.packet import ACK, FIN, RST, SYN
from l4lb_agent.model.explain.synthesis import Wanted, frame
from tests.packet import records
from tests.packet.balancer import LB_MAC, Balancer, address
from tests.packet.conftest import furnish
from tests.packet.explaining import Explainer, compare
from tests.packet.frames import CLIENT_MAC
from tests.packet.wire import BACKEND_PORT, CLIENT_PORT, V4, VIP_PORT

TCP, UDP = 6, 17
CLIENT = Wanted(TCP, address(V4.client), address(V4.vip), CLIENT_PORT, VIP_PORT)
BACKEND = Wanted(TCP, address(V4.backends[0]), address(V4.snat), BACKEND_PORT, CLIENT_PORT)
TAKES = layout.BACKEND_KEEP | layout.BACKEND_ELIGIBLE


class Told:
    """Asks and sends, and compares both."""

    def __init__(self, lb: Balancer, objects: Objects) -> None:
        self.lb, self.explainer = lb, Explainer(lb, objects)

    def changes(self, of: Wanted, **fields: int) -> list[str]:
        """What a packet is said to change."""
        wanted = Wanted(of.protocol, of.source, of.destination, of.source_port, of.destination_port, **fields)  # type: ignore[arg-type]
        meant = compare(self.lb, self.explainer, frame(wanted, CLIENT_MAC, LB_MAC))
        return [step.finding for step in meant.steps if step.name == "change"]


@pytest.fixture
def told(lb: Balancer, objects: Objects) -> Iterator[Told]:
    """With a clock that almost stands still."""
    furnish(lb, second_multiplier=1)
    told = Told(lb, objects)
    yield told
    told.explainer.close()


def test_a_connection_from_its_record_to_its_quarantine(told: Told) -> None:
    asked = told.changes
    assert asked(CLIENT, flags=SYN, sequence=1000) == ["record 1 is free, and begins one in state SYN"]
    assert asked(BACKEND, flags=SYN | ACK, sequence=7, acknowledgement=1001) == ["record 1 goes from SYN to ANSWERED"]
    assert asked(CLIENT, flags=ACK, sequence=1001, acknowledgement=8) == ["record 1 goes from ANSWERED to ESTABLISHED"]
    assert asked(CLIENT, flags=ACK, sequence=1001, acknowledgement=8) == [], "a packet of the same second changes nothing"
    told.lb.age(5)
    assert asked(CLIENT, flags=ACK, sequence=1001, acknowledgement=8) == ["record 1 stays ESTABLISHED"]
    assert asked(BACKEND, flags=FIN | ACK, sequence=8, acknowledgement=1001) == ["record 1 goes from ESTABLISHED to CLOSING"]
    assert asked(CLIENT, flags=FIN | ACK, sequence=1001, acknowledgement=9) == ["record 1 goes from CLOSING to CLOSED"]
    assert asked(CLIENT, flags=SYN, sequence=900000) == ["record 1 goes from CLOSED to SYN"]
    assert asked(BACKEND, flags=RST | ACK, acknowledgement=900001) == ["record 1 goes from SYN to CLOSED"]
    [one] = records.used(told.lb.elements("flows"), {})
    assert (one.state, one.flags) == (layout.FLOW_CLOSED, layout.FLOW_RESET)


def test_a_flow_that_a_drain_ends_and_another_that_takes_its_record(told: Told) -> None:
    told.changes(CLIENT, flags=SYN)
    [one] = records.used(told.lb.elements("flows"), {})
    told.lb.set_backend(one.backend, flags=layout.BACKEND_RESET)
    assert told.changes(CLIENT, flags=ACK) == ["record 1 goes from SYN to CLOSED"]
    told.lb.set_backend(one.backend, flags=TAKES)
    ids = told.lb.config.flow_ids
    told.lb.write("pool", 0, bytes(records.record_layout.Pool(taken=ids)))  # no record is free
    assert told.changes(CLIENT, flags=SYN, sequence=7) == ["record 1 ends its flow, which was CLOSED, and begins one in state SYN"]


def test_an_entry_of_the_flow_table_from_its_syn_to_its_reset(told: Told) -> None:
    asked = told.changes
    told.lb.service(1, V4.vip, VIP_PORT, TCP, now=1, mode=layout.MODE_DSR, flags=layout.SERVICE_TRACK_ALL)
    told.lb.set_backend(1, service=1)
    assert asked(CLIENT, flags=SYN, sequence=1000) == ["an entry is written, in state SYN"]
    assert asked(CLIENT, flags=ACK, sequence=1001) == ["its entry goes from SYN to LIVE"]
    told.lb.age_tracked(5)
    assert asked(CLIENT, flags=ACK, sequence=1001, payload=10) == ["its entry goes from LIVE to LASTING"]
    assert asked(CLIENT, flags=FIN | ACK, sequence=1011) == ["its entry goes from LASTING to FIN"]
    assert asked(CLIENT, flags=RST, sequence=1012) == ["its entry goes from FIN to RST"]
    assert asked(CLIENT, flags=ACK, sequence=1 << 30) == ["an entry is written, in state PINNED"]


def test_where_a_client_s_next_new_flows_go(told: Told) -> None:
    affinity = Affinity(600, 32)
    told.lb.service(1, V4.vip, VIP_PORT, TCP, now=1, affinity=affinity)
    expected = ["record 1 is free, and begins one in state SYN", "where the client's next new flows go"]
    assert sorted(told.changes(CLIENT, flags=SYN)) == expected
    assert told.changes(CLIENT, flags=ACK) == []


def test_a_datagram_whose_later_fragments_are_to_follow(told: Told) -> None:
    datagram = Wanted(UDP, *(CLIENT.source, CLIENT.destination, CLIENT_PORT, VIP_PORT))
    expected = ["later fragments of this datagram follow it for five seconds", "record 1 is free, and begins one in state UDP"]
    assert sorted(told.changes(datagram, more=1, payload=40, may_fragment=1, identification=3)) == expected
    assert told.changes(datagram, offset=48, payload=8, may_fragment=1, identification=3) == []
