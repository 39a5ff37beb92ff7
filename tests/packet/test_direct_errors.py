"""ICMP errors about packets that a DSR or ENCAP backend has sent reach that backend as they came: byte for byte in every mode, and along
the ways of a flow that a change put at risk."""

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import Balancer
from tests.packet.conftest import Make
from tests.packet.direct import MODES, SERVICE, Pair, encapsulated, furnish, point, rewritten
from tests.packet.errors import about_client, inside, too_big, unreachable
from tests.packet.test_direct import each_mode, each_pair, hash32
from tests.packet.test_tracking import MACS, NEW, OLD, THIRD, changing, goes, settle, states
from tests.packet.wire import NUMBER, V4, VIP_PORT, Family, built, each_family, each_protocol, from_client, same, to_client

PORTS_ONLY = 8  # bytes of the quoted transport header, the least that an error brings (RFC 792)
PLAIN = Pair(V4, V4)


def error(family: Family, kind: type[Packet] = TCP, cut: int | None = None, *, ttl: int = 60, length: int = 0, **fields: object) -> Packet:
    """A router's `packet too big` about what the VIP has sent to the client; it quotes `cut` bytes behind the IP header."""
    quoted = inside(to_client(family, kind, bytes(length), **fields))  # type: ignore[arg-type]
    end = None if cut is None else (20 if family is V4 else 40) + cut
    packet = Ether(about_client(family, too_big(family), quoted[:end], ttl=ttl))
    if family is V4:
        packet[IP].flags = "DF"
        del packet[IP].chksum
    return built(packet)


def drop(lb: Balancer, packet: Packet) -> Reason:
    """Why it is dropped."""
    result = lb.send(packet)
    assert result.verdict is Verdict.DROP
    return result.reason


@each_family
@each_protocol
@pytest.mark.parametrize("cut", [PORTS_ONLY, None])
def test_dsr_changes_macs_and_hop_alone(make: Make, family: Family, kind: type[Packet], cut: int | None) -> None:
    packet = error(family, kind, cut, length=64)
    result = furnish(make, layout.MODE_DSR).send(packet)
    assert (result.reason, result.verdict) == (Reason.ICMP_TO_BACKEND, Verdict.TX)
    same(result.data, rewritten(packet))


@each_pair
@each_protocol
@pytest.mark.parametrize("mode", ["ipip", "gue", "fou"])
@pytest.mark.parametrize("checksum", [False, True])
def test_encap_puts_the_error_behind_an_outer_header(make: Make, pair: Pair, kind: type[Packet], mode: str, checksum: bool) -> None:
    lb = furnish(make, MODES[mode], layout.SERVICE_OUTER_CHECKSUM if checksum else 0)
    point(lb, pair)
    packet = error(pair.vip, kind, length=33)
    result = lb.send(packet)
    assert (result.reason, result.verdict) == (Reason.ICMP_TO_BACKEND, Verdict.TX)
    same(result.data, encapsulated(pair, packet, mode, hash32(pair.vip, kind), checksum=checksum and mode != "ipip"))


@each_family
def test_an_error_that_is_no_packet_too_big_goes_the_same_way(make: Make, family: Family) -> None:
    packet = built(Ether(about_client(family, unreachable(family), inside(to_client(family, flags="A")))))
    result = furnish(make, layout.MODE_DSR).send(packet)
    assert result.reason is Reason.ICMP_TO_BACKEND
    same(result.data, rewritten(packet))


@each_mode
def test_an_error_counts_as_traffic_and_makes_no_flow(make: Make, mode: str) -> None:
    lb = furnish(make, MODES[mode], layout.SERVICE_TRACK_ALL)
    before = lb.tracking(1)
    assert lb.send(error(V4)).reason is Reason.ICMP_TO_BACKEND
    assert lb.tracking(1) == before
    assert not lb.buckets()


@each_family
def test_a_backend_on_this_host_gets_it_passed_up(make: Make, family: Family) -> None:
    lb = furnish(make, layout.MODE_DSR)
    lb.set_backend(1 if family is V4 else 4, flags=layout.BACKEND_KEEP | layout.BACKEND_ELIGIBLE | layout.BACKEND_HERE)
    packet = error(family)
    result = lb.send(packet)
    assert (result.reason, result.verdict) == (Reason.ICMP_TO_BACKEND, Verdict.PASS)
    same(result.data, packet)


@each_family
@each_mode
def test_an_error_that_cannot_reach_its_backend_is_dropped_and_not_answered(make: Make, mode: str, family: Family) -> None:
    lb = furnish(make, MODES[mode])
    backend = 1 if family is V4 else 4
    assert drop(lb, error(family, ttl=1)) is Reason.TTL_EXCEEDED
    lb.set_backend(backend, mtu=400)
    assert drop(lb, error(family, length=400)) is Reason.MTU_EXCEEDED
    lb.set_backend(backend, mtu=0, ifindex=0)
    assert drop(lb, error(family)) is Reason.BACKEND_UNRESOLVED
    lb.set_backend(backend, flags=0)
    assert drop(lb, error(family)) is Reason.ICMP_NO_FLOW


@each_family
def test_an_error_about_another_port_quotes_no_flow(make: Make, family: Family) -> None:
    quoted = to_client(family)
    quoted[TCP].sport = VIP_PORT + 1
    packet = Ether(about_client(family, too_big(family), inside(quoted)))
    assert drop(furnish(make, layout.MODE_DSR), packet) is Reason.ICMP_NO_FLOW


# --- at risk


def hears(lb: Balancer, cut: int | None = None, acknowledged: int = 0) -> int:
    """The backend that an error goes to about a packet with this acknowledgement; it changes no entry."""
    there = [bytes(bucket) for bucket in lb.buckets().values()]
    result = lb.send(error(V4, TCP, cut, flags="A", seq=77, ack=acknowledged))
    assert result.reason is Reason.ICMP_TO_BACKEND
    assert [bytes(bucket) for bucket in lb.buckets().values()] == there
    return next(number for number, mac in MACS.items() if result.data[:6] == mac)


@pytest.fixture
def lb(make: Make) -> Balancer:
    return changing(make)


@pytest.mark.parametrize("cut", [PORTS_ONLY, None])
def test_a_flow_without_entry_hears_at_its_backend_from_before(lb: Balancer, cut: int | None) -> None:
    assert hears(lb, cut, 1000) == OLD
    settle(lb)
    assert hears(lb, cut, 1000) == NEW


@pytest.mark.parametrize("cut", [PORTS_ONLY, None])
def test_a_flow_with_an_entry_hears_at_its_backend(lb: Balancer, cut: int | None) -> None:
    assert goes(lb, seq=1000) == OLD
    settle(lb)
    assert hears(lb, cut, 1000) == OLD


def test_of_two_ways_that_one_hears_whose_client_sent_what_is_acknowledged(lb: Balancer) -> None:
    assert goes(lb, seq=1000) == OLD
    assert goes(lb, "S", 1 << 30) == NEW
    assert hears(lb, None, 1000) == OLD
    assert hears(lb, None, (1 << 30) + 1) == NEW
    assert hears(lb, None, 1 << 31) == OLD, "near none: a flow without an entry"
    settle(lb)
    assert hears(lb, None, 1 << 31) == NEW


def test_a_short_quote_is_for_the_way_that_has_spoken_more(lb: Balancer) -> None:
    assert goes(lb, seq=1000) == OLD
    assert goes(lb, seq=1000) == OLD
    settle(lb)
    assert goes(lb, "S", 1 << 30) == NEW, "forged, perhaps"
    assert (OLD, layout.TRACKED_LIVE) in states(lb)
    assert hears(lb, PORTS_ONLY) == OLD
    lb.set_backend(OLD, flags=0)
    assert hears(lb, PORTS_ONLY) == NEW, "the other one has no flows any more"


def test_tracked_udp_hears_at_its_entrys_backend(make: Make) -> None:
    lb = furnish(make, layout.MODE_DSR, layout.SERVICE_TRACK_ALL)
    for number, mac in MACS.items():
        lb.backend(number, V4.backends[number - 1], VIP_PORT, destination=mac, service=SERVICE[4, NUMBER[UDP]])
    packet, client = error(V4, UDP), from_client(V4, UDP)
    assert lb.send(client).data[:6] == MACS[1]
    lb.ring(1, [THIRD])
    assert lb.send(packet).data[:6] == MACS[1]
    lb.set_backend(1, flags=0)
    assert lb.send(packet).data[:6] == MACS[THIRD], "by the ring, as the flow's next packet"
