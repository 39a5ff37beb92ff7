"""DSR and ENCAP, byte for byte: every pair of families, every outer header, sources, checksums, hops, traffic classes, lengths."""

import ipaddress

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from l4lb_agent.model import hashing, layout
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import LOOPBACK, SLOT_SECRET, address, mac
from tests.packet.conftest import Make
from tests.packet.direct import MODES, PAIRS, SERVICE, Pair, encapsulated, furnish, point, rewritten
from tests.packet.wire import (
    CLIENT_MAC,
    CLIENT_PORT,
    LB_MAC,
    NUMBER,
    V4,
    V6,
    VIP_PORT,
    Family,
    each_family,
    each_protocol,
    from_client,
    same,
)  # fmt: skip

each_pair = pytest.mark.parametrize("pair", PAIRS, ids=str)
each_encapsulation = pytest.mark.parametrize("mode", ["ipip", "gue", "fou"])
each_mode = pytest.mark.parametrize("mode", MODES)


def hash32(family: Family, kind: type[Packet], port: int = CLIENT_PORT) -> int:
    """The lower half of the flow's hash."""
    whole = hashing.tuple_hash(address(family.client), address(family.vip), port, VIP_PORT, NUMBER[kind], SLOT_SECRET)
    return whole & 0xFFFFFFFF


@each_family
@each_protocol
@pytest.mark.parametrize("payload", [b"", b"x", bytes(1400)], ids=len)
def test_dsr_changes_macs_and_hop_alone(make: Make, family: Family, kind: type[Packet], payload: bytes) -> None:
    lb = furnish(make, layout.MODE_DSR)
    packet = from_client(family, kind, payload, flags="A", tos=0x2D)
    result = lb.send(packet)
    assert (result.reason, result.verdict) == (Reason.TO_BACKEND, Verdict.TX)
    same(result.data, rewritten(packet))


@each_pair
@each_protocol
@each_encapsulation
@pytest.mark.parametrize("payload", [b"", b"x", bytes(1301)], ids=len)
def test_encap_puts_the_packet_behind_an_outer_header(make: Make, pair: Pair, kind: type[Packet], mode: str, payload: bytes) -> None:
    lb = furnish(make, MODES[mode])
    point(lb, pair)
    packet = from_client(pair.vip, kind, payload, flags="PA", tos=0xB9)
    result = lb.send(packet)
    assert (result.reason, result.verdict) == (Reason.TO_BACKEND, Verdict.TX)
    same(result.data, encapsulated(pair, packet, mode, hash32(pair.vip, kind)))


@each_pair
@each_protocol
@pytest.mark.parametrize("mode", ["gue", "fou"])
@pytest.mark.parametrize("payload", [b"", b"x", b"odd", bytes(range(256)) * 5], ids=len)
def test_an_outer_checksum_is_that_of_the_whole_packet(make: Make, pair: Pair, kind: type[Packet], mode: str, payload: bytes) -> None:
    lb = furnish(make, MODES[mode], layout.SERVICE_OUTER_CHECKSUM)
    point(lb, pair)
    packet = from_client(pair.vip, kind, payload, flags="PA")
    same(lb.send(packet).data, encapsulated(pair, packet, mode, hash32(pair.vip, kind), checksum=True))


@pytest.mark.parametrize("mode", ["gue", "fou"])
@pytest.mark.parametrize("backend", [V4, V6], ids=["v4", "v6"])
def test_a_packet_without_a_checksum_of_its_own_gets_no_outer_one(make: Make, mode: str, backend: Family) -> None:
    lb = furnish(make, MODES[mode], layout.SERVICE_OUTER_CHECKSUM)
    point(lb, Pair(V4, backend))
    packet = from_client(V4, UDP, b"data", chksum=0)
    same(lb.send(packet).data, encapsulated(Pair(V4, backend), packet, mode, hash32(V4, UDP)))


@each_pair
@each_encapsulation
def test_spread_sources_come_from_the_flow(make: Make, pair: Pair, mode: str) -> None:
    lb = furnish(make, MODES[mode], layout.SERVICE_SPREAD)
    point(lb, pair)
    for port in range(1024, 1064):
        packet = from_client(pair.vip, TCP, b"x", flags="A", port=port)
        lower = hash32(pair.vip, TCP, port)
        if pair.backend is V4:
            lowest = int.from_bytes(lower.to_bytes(4, "little")[2:], "big")
            source = str(ipaddress.IPv4Address(int(ipaddress.IPv4Address("172.16.0.0")) | lowest))
        else:
            source = str(ipaddress.IPv6Address(bytes.fromhex("fd000077") + bytes(8) + lower.to_bytes(4, "little")))
        same(lb.send(packet).data, encapsulated(pair, packet, mode, lower, source=source))


def test_the_udp_port_of_gue_is_the_services(make: Make) -> None:
    lb = furnish(make, layout.MODE_GUE, encap_port=5555)
    packet = from_client(V4, TCP, b"x", flags="A")
    same(lb.send(packet).data, encapsulated(Pair(V4, V4), packet, "gue", hash32(V4, TCP), port=5555))


@each_encapsulation
def test_what_may_be_fragmented_may_be_so_outside_with_identifications_of_its_own(make: Make, mode: str) -> None:
    lb = furnish(make, MODES[mode])
    seen = set()
    for number in range(20):
        packet = from_client(V4, TCP, b"x", flags="A")
        packet[IP].flags, packet[IP].id = 0, 1000 + number
        del packet[IP].chksum
        data = lb.send(Ether(bytes(packet))).data
        outer = Ether(data)[IP]
        assert int(outer.flags) == 0
        seen.add(outer.id)
        expected = encapsulated(Pair(V4, V4), Ether(bytes(packet)), mode, hash32(V4, TCP))
        expected[IP].id = outer.id
        del expected[IP].chksum
        same(data, Ether(bytes(expected)))
    assert len(seen) == 20


@each_family
@each_mode
def test_the_last_hop_is_not_taken(make: Make, family: Family, mode: str) -> None:
    lb = furnish(make, MODES[mode])
    packet = from_client(family, TCP, b"x", flags="A", ttl=1)
    result = lb.send(packet)
    assert (result.reason, result.verdict, result.data) == (Reason.TTL_EXCEEDED, Verdict.DROP, bytes(packet))


@pytest.mark.parametrize(("pair", "mode"), [(p, m) for p in PAIRS for m in MODES if m != "dsr" or p.vip is p.backend], ids=lambda v: str(v))
def test_a_packet_as_long_as_the_way_allows_goes_and_one_byte_more_does_not(make: Make, pair: Pair, mode: str) -> None:
    lb = furnish(make, MODES[mode])
    point(lb, pair)
    over = {"dsr": 0, "ipip": 0, "gue": 12, "fou": 8}[mode] + (0 if mode == "dsr" else 20 if pair.backend is V4 else 40)
    lb.set_backend(1 if pair.backend is V4 else 4, mtu=1400)
    header = 40 if pair.vip is V4 else 60
    fits = lb.send(from_client(pair.vip, TCP, bytes(1400 - over - header), flags="A"))
    assert fits.reason is Reason.TO_BACKEND
    assert lb.send(from_client(pair.vip, TCP, bytes(1401 - over - header), flags="A")).reason is Reason.TOO_BIG_LIMITED


@each_mode
def test_a_frame_for_another_station_is_not_forwarded(make: Make, mode: str) -> None:
    lb = furnish(make, MODES[mode])
    lb.write("interfaces", LOOPBACK, bytes(layout.Interface(ifindex=LOOPBACK, mac=mac(bytes.fromhex(LB_MAC.replace(":", ""))))))
    packet = from_client(V4, TCP, b"x", flags="A")
    assert lb.send(packet).reason is Reason.TO_BACKEND
    packet[Ether].dst = "02:00:00:00:00:99"
    result = lb.send(packet)
    assert (result.reason, result.verdict, result.data) == (Reason.FRAME_FOREIGN, Verdict.DROP, bytes(packet))


@each_family
@each_mode
def test_counts_are_those_of_packets_in(make: Make, family: Family, mode: str) -> None:
    lb = furnish(make, MODES[mode])
    first, second = from_client(family, TCP, flags="S"), from_client(family, TCP, bytes(100), flags="A")
    assert lb.send(first).reason is Reason.FLOW_CREATED
    assert lb.send(second).reason is Reason.TO_BACKEND
    expected = (2, len(first) + len(second), 0, 0, 1)
    assert lb.traffic("service_counters", SERVICE[family.version, 6]) == expected
    assert lb.traffic("backend_counters", 1 if family is V4 else 4) == expected


@each_family
@each_mode
def test_a_settled_service_reads_no_table(make: Make, family: Family, mode: str) -> None:
    lb = furnish(make, MODES[mode])
    for port in range(2000, 2100):
        for flags in ("S", "A", "FA", "R"):
            lb.send(from_client(family, TCP, port=port, flags=flags))
        lb.send(from_client(family, UDP, b"x", port=port))
    assert lb.tracking(SERVICE[family.version, 6]) == lb.tracking(SERVICE[family.version, 17]) == (0, 0, 0)


@each_mode
def test_an_unresolved_backend_gets_nothing(make: Make, mode: str) -> None:
    lb = furnish(make, MODES[mode])
    lb.set_backend(1, ifindex=0)
    assert lb.send(from_client(V4, TCP, flags="S")).reason is Reason.BACKEND_UNRESOLVED


@each_mode
def test_a_service_without_backend_drops(make: Make, mode: str) -> None:
    lb = furnish(make, MODES[mode])
    lb.service(1, V4.vip, VIP_PORT, 6, now=0, mode=MODES[mode])
    assert lb.send(from_client(V4, TCP, flags="S")).reason is Reason.NO_BACKEND


@pytest.mark.parametrize("flags", [0, layout.SERVICE_TRACK_ALL], ids=["changes", "all"])
@each_family
def test_a_packet_that_the_ring_sends_to_a_resetting_backend_gets_a_rst_whatever_was_answered_before(
    make: Make, family: Family, flags: int
) -> None:
    lb = furnish(make, layout.MODE_IPIP, flags)
    lb.configure(rst_rate=10, rst_burst=10)
    lb.set_backend(1 if family is V4 else 4, flags=layout.BACKEND_RESET)
    asked = Ether(src=CLIENT_MAC, dst=LB_MAC) / ARP(op=1, hwsrc=CLIENT_MAC, psrc=V4.client, pdst=V4.vip)
    assert lb.send(asked).reason is Reason.ARP_ANSWERED
    result = lb.send(from_client(family, TCP, b"x", flags="A", ack=77))
    assert result.reason is Reason.RST_ANSWERED
    answer = Ether(result.data)[TCP]
    assert (answer.flags, answer.seq, answer.dport) == ("R", 77, CLIENT_PORT)


def test_a_backend_on_this_host_is_given_the_packet_as_it_came(make: Make) -> None:
    lb = furnish(make, layout.MODE_DSR)
    lb.set_backend(1, flags=layout.BACKEND_KEEP | layout.BACKEND_ELIGIBLE | layout.BACKEND_HERE, ifindex=0)
    packet = from_client(V4, TCP, b"x", flags="A", ttl=1)
    result = lb.send(packet)
    assert (result.reason, result.verdict, result.data) == (Reason.TO_BACKEND, Verdict.PASS, bytes(packet))
    assert lb.traffic("backend_counters", 1)[0] == 1


@each_family
@each_mode
def test_an_interface_other_than_that_of_the_client_is_redirected_to(make: Make, family: Family, mode: str) -> None:
    lb = furnish(make, MODES[mode])
    lb.set_backend(1 if family is V4 else 4, ifindex=LOOPBACK + 1)
    assert lb.send(from_client(family, TCP, flags="S")).verdict is Verdict.REDIRECT


def test_a_padded_frame_is_encapsulated_without_its_padding_in_the_lengths(make: Make) -> None:
    lb = furnish(make, layout.MODE_GUE)
    packet = from_client(V4, TCP, b"", flags="A")
    padded = bytes(packet) + bytes(6)
    expected = bytes(encapsulated(Pair(V4, V4), packet, "gue", hash32(V4, TCP))) + bytes(6)
    assert lb.send(Ether(padded)).data == expected
