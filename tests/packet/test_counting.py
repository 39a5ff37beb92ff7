"""Every packet is counted once, with its bytes, for what it was."""

import random

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import Balancer
from tests.packet.wire import CLIENT_MAC, LB_MAC, V4, V6, Family, each_family, from_backend, from_client


@each_family
def test_services_and_backends_count_packets_bytes_and_flows(lb: Balancer, family: Family) -> None:
    service, backend = (1, 1) if family is V4 else (3, 4)
    into = [from_client(family, flags="S"), from_client(family, flags="A"), from_client(family, payload=b"x" * 100, flags="PA")]
    out = [from_backend(family, flags="SA"), from_backend(family, payload=b"y" * 999, flags="PA")]
    for packet in (*into, *out):
        lb.send(packet)
    expected = (len(into), sum(map(len, map(bytes, into))), len(out), sum(map(len, map(bytes, out))), 1)
    assert lb.traffic("service_counters", service) == expected
    assert lb.traffic("backend_counters", backend) == expected


def test_what_is_dropped_counts_for_no_service(lb: Balancer) -> None:
    lb.send(from_client(V4, flags="S", ttl=1))
    lb.send(from_client(V4, flags="A"))
    assert lb.traffic("service_counters", 1) == (0,) * 5


def test_the_sum_of_all_reasons_is_the_number_of_packets(lb: Balancer) -> None:
    """`send` asserts one reason for each packet; here the totals, over good, bad and random frames."""
    random.seed(4711)
    good = [
        from_client(V4, flags="S"), from_backend(V4, flags="SA"), from_client(V4, flags="A"), from_client(V6, UDP, b"query"),
        from_backend(V6, UDP, b"answer"), Ether(src=CLIENT_MAC, dst=LB_MAC) / ARP(op=1, psrc=V4.client, pdst=V4.vip),
        Ether(src=CLIENT_MAC, dst=LB_MAC) / IP(src=V4.client, dst="192.0.2.77") / TCP(),
    ]  # fmt: skip
    total = 0
    for packet in good:
        lb.send(packet)
        total += len(bytes(packet))
    for _ in range(1500):
        raw = bytearray(bytes(random.choice(good)))
        for _ in range(random.randint(1, 4)):
            raw[random.randrange(12, len(raw))] = random.randrange(256)
        raw = raw[: random.randint(14, len(raw))] if random.random() < 0.3 else raw
        result = lb.send(bytes(raw))
        assert result.reason is not Reason.UNSPECIFIED
        if result.verdict is Verdict.PASS:
            assert result.data == bytes(raw), "what is passed is untouched"
        total += len(raw)
    counts = lb.reasons().values()
    assert sum(packets for packets, _ in counts) == lb.packets == len(good) + 1500
    assert sum(size for _, size in counts) == total
