"""Flows that packets have made, read back one by one: whose they are, what they are doing, and which are over."""

from scapy.layers.inet import UDP

from l4lb_agent.dataplane.flows.reader import FlowReader
from l4lb_agent.dataplane.maps import Maps, cpus
from l4lb_agent.dataplane.ticks import Ticks
from l4lb_agent.model import layout
from l4lb_agent.model.address import Address
from l4lb_agent.model.flows import record as flow_record
from l4lb_agent.model.flows.record import FlowFilter, FlowRecord, FlowState
from tests.packet.balancer import Balancer
from tests.packet.wire import CLIENT_PORT, V4, V6, VIP_PORT, from_backend, from_client


def read(lb: Balancer, wanted: FlowFilter = FlowFilter()) -> list[FlowRecord]:  # noqa: B008 (it never changes)
    """Everything, as an agent over these maps would read it."""
    maps = Maps.__new__(Maps)
    maps.specs, maps.fds, maps._cpus = lb.specs, lb.maps, cpus()
    ticks = Ticks()
    try:
        return sorted(record for chunk in FlowReader(maps, ticks.second).read(wanted) for record in chunk)
    finally:
        ticks.close()


def client(text: str) -> FlowFilter:
    """Flows of this client."""
    return FlowFilter(None, *flow_record.prefix(text, "client"))


def test_flows_of_both_families_and_protocols_have_their_addresses_and_states(flowing: Balancer) -> None:
    found = read(flowing)
    assert [(one.backend, one.state) for one in found] == [
        (1, FlowState.ESTABLISHED), (1, FlowState.UDP_ANSWERED), (4, FlowState.ESTABLISHED), (4, FlowState.UDP_ANSWERED)
    ]  # fmt: skip
    for one, family in zip(found, (V4, V4, V6, V6), strict=True):
        assert (str(Address(one.client)), one.client_port, one.vip_port) == (family.client, CLIENT_PORT, VIP_PORT)
        assert (str(Address(one.source)), one.source_port) == (family.snat, CLIENT_PORT)
        assert one.idle in (0, 1)


def test_a_flow_is_told_as_far_as_it_has_come(lb: Balancer) -> None:
    lb.send(from_client(V4, flags="S", seq=1))
    assert [one.state for one in read(lb)] == [FlowState.SYN]
    lb.send(from_backend(V4, flags="SA", seq=5, ack=2))
    assert [one.state for one in read(lb)] == [FlowState.ANSWERED]
    lb.send(from_client(V4, flags="A", seq=2, ack=6))
    lb.send(from_client(V4, flags="FA", seq=2, ack=6))
    assert [one.state for one in read(lb)] == [FlowState.CLOSING]
    lb.send(from_client(V4, flags="R", seq=3))
    assert [one.state for one in read(lb)] == [FlowState.CLOSED]
    lb.send(from_client(V4, UDP, b"q"))
    assert FlowState.UDP in [one.state for one in read(lb)]


def test_idle_time_is_that_of_the_last_packet_in_either_direction_and_what_is_over_is_not_told(flowing: Balancer) -> None:
    flowing.age(100)
    assert {one.idle for one in read(flowing)} <= {100, 101}
    flowing.send(from_backend(V4, flags="A", seq=6, ack=1001))
    found = {(one.backend, one.state): one.idle for one in read(flowing)}
    assert found[1, FlowState.ESTABLISHED] in (0, 1)
    assert found[4, FlowState.ESTABLISHED] in (100, 101)
    flowing.age(850)
    assert [(one.backend, one.state) for one in read(flowing)] == [(1, FlowState.ESTABLISHED)]


def test_only_what_is_wanted_is_told(flowing: Balancer) -> None:
    assert {one.backend for one in read(flowing, FlowFilter(frozenset({4, 9})))} == {4}
    assert read(flowing, FlowFilter(frozenset())) == []
    assert {one.backend for one in read(flowing, client(V4.client))} == {1}
    assert {one.backend for one in read(flowing, client("198.51.100.0/24"))} == {1}
    assert {one.backend for one in read(flowing, client("2001:db8:1::/48"))} == {4}
    assert read(flowing, client("198.51.100.6")) == []
    assert len(read(flowing, client("::/0"))) == 4, "IPv4 addresses are mapped ones"


def test_entries_of_the_flow_table_are_told_without_a_client(lb: Balancer) -> None:
    lb.service(1, V4.vip, VIP_PORT, 6, now=1, mode=layout.MODE_IPIP, idle=900)
    lb.set_backend(1, service=1, flags=layout.BACKEND_KEEP | layout.BACKEND_ELIGIBLE)
    lb.set_backend(2, service=1, flags=0)
    ticks = Ticks()
    now = ticks.second()
    ticks.close()
    states = (layout.TRACKED_SYN, layout.TRACKED_LIVE, layout.TRACKED_FIN, layout.TRACKED_PINNED)
    for bucket, (backend, age) in enumerate(((1, 8), (1, 950), (2, 1))):
        entries = [layout.FlowEntry(77 << 16 | backend, 1, (now - age) & 0xFFFF, state, 0xFF) for state in states]
        lb.write("flow_table", 3 + bucket, bytes(layout.FlowBucket((layout.FlowEntry * 4)(*entries))))
    found = read(lb)
    assert [(one.backend, one.state) for one in found] == [
        (1, FlowState.SYN), (1, FlowState.ESTABLISHED), (1, FlowState.CLOSING), (1, FlowState.PINNED)
    ]  # fmt: skip
    assert {(one.client, one.client_port, one.source) for one in found} == {(b"", 0, b"")}
    assert {one.idle for one in found} <= {8, 9}
    assert read(lb, client("0.0.0.0/0")) == []
    assert read(lb, FlowFilter(frozenset({2}))) == []
