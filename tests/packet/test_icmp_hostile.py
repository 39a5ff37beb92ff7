"""ICMP that lies, is cut short or damaged: dropped for a reason of its own, and nothing is written or remembered that should not be."""

import random
from collections import Counter

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6Unknown,
    IPv6,
    IPv6ExtHdrFragment,
)  # fmt: skip
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import Balancer
from tests.packet.errors import (
    ALL,
    IP_BYTES,
    PAYLOAD,
    about_backend,
    about_client,
    extended,
    quotes_for_backend,
    quotes_for_client,
    refused,
    too_big,
    unreachable,
    untouched,
    with_options,
)
from tests.packet.wire import CLIENT_MAC, LB_MAC, V4, V6, Family, each_family, to_client

SEED, MUTATIONS = 20240607, 4000
L2 = Ether(src=CLIENT_MAC, dst=LB_MAC)
OTHERS = {
    "echo_reply": L2 / IP(src=V4.client, dst=V4.vip) / ICMP(type=0),
    "echo_reply6": L2 / IPv6(src=V6.client, dst=V6.vip) / ICMPv6EchoReply(),
    "echo_code": L2 / IP(src=V4.client, dst=V4.vip) / ICMP(type=8, code=1),
    "echo_code6": L2 / IPv6(src=V6.client, dst=V6.vip) / ICMPv6EchoRequest(code=1),
    "source_quench": L2 / IP(src=V4.client, dst=V4.vip) / ICMP(type=4) / IP(src=V4.vip, dst=V4.client) / TCP(sport=80, dport=40000),
    "redirect": L2 / IP(src=V4.client, dst=V4.vip) / ICMP(type=5, gw="192.0.2.77") / IP(src=V4.vip, dst=V4.client) / TCP(),
    "timestamp": L2 / IP(src=V4.client, dst=V4.vip) / ICMP(type=13),
    "redirect6": L2 / IPv6(src="fe80::1", dst=V6.vip, hlim=255) / ICMPv6ND_Redirect(tgt="fe80::2", dst=V6.client),
    "router6": L2 / IPv6(src="fe80::1", dst=V6.vip, hlim=255) / ICMPv6ND_RA(),
    "neighbour6": L2 / IPv6(src="fe80::1", dst=V6.vip, hlim=255) / ICMPv6ND_NA(tgt=V6.client),
    "error_unknown6": L2 / IPv6(src=V6.client, dst=V6.vip) / ICMPv6Unknown(type=100) / Raw(bytes(60)),
    "zero6": L2 / IPv6(src=V6.client, dst=V6.vip) / ICMPv6Unknown(type=0) / Raw(bytes(60)),
}
FRAGMENTS = {
    "first4": L2 / IP(src=V4.client, dst=V4.vip, flags="MF") / ICMP() / Raw(bytes(64)),
    "later4": L2 / IP(src=V4.client, dst=V4.vip, frag=8, proto=1) / Raw(bytes(64)),
    "snat4": L2 / IP(src=V4.client, dst=V4.snat, frag=8, proto=1) / Raw(bytes(64)),
    "first6": L2 / IPv6(src=V6.client, dst=V6.vip) / IPv6ExtHdrFragment(m=1) / ICMPv6EchoRequest(data=bytes(64)),
    "later6": L2 / IPv6(src=V6.client, dst=V6.vip) / IPv6ExtHdrFragment(offset=9, nh=58) / Raw(bytes(64)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_icmp_is_dropped(flowing: Balancer, name: str) -> None:
    refused(flowing, bytes(OTHERS[name]), Reason.ICMP_UNSUPPORTED)


@pytest.mark.parametrize("name", FRAGMENTS)
def test_a_fragment_of_icmp_is_dropped(flowing: Balancer, name: str) -> None:
    refused(flowing, bytes(FRAGMENTS[name]), Reason.ICMP_FRAGMENT)


def with_length(frame: bytes, version: int, length: int) -> bytes:
    """The frame with another length in its IP header, whose checksum stays right."""
    ip = Ether(frame)
    if version == 4:
        ip[IP].len, ip[IP].chksum = length, None
    else:
        ip[IPv6].plen = length - 40
    return bytes(ip)


@each_family
@pytest.mark.parametrize("direction", ["to_backend", "to_client"])
@pytest.mark.parametrize("padded", [False, True])
def test_an_error_cut_anywhere_before_the_quoted_ports_end_is_malformed(
    flowing: Balancer, family: Family, direction: str, padded: bool
) -> None:
    """In truth, or only by its IP header while the frame goes on."""
    if direction == "to_backend":
        frame, reason = about_client(family, unreachable(family), quotes_for_backend(family, TCP, b"", ALL)[0]), Reason.ICMP_TO_BACKEND
    else:
        frame, reason = about_backend(family, unreachable(family), quotes_for_client(family, TCP, b"", ALL)[0]), Reason.ICMP_TO_CLIENT
    least = IP_BYTES[family.version] * 2 + 8 + 8
    for length in range(IP_BYTES[family.version], least + 3):
        cut = with_length(frame, family.version, length)
        result = flowing.send(cut if padded else cut[: 14 + length])
        assert result.reason is (Reason.ICMP_MALFORMED if length < least else reason), length
    for length in range(14, 14 + least):
        assert flowing.send(frame[:length]).verdict is not Verdict.TX, "the IP header says more than there is"


@pytest.mark.parametrize("name", ["nop", "forty"])
def test_quoted_options_that_leave_no_room_for_ports_are_malformed(flowing: Balancer, name: str) -> None:
    quoted = with_options(to_client(V4, TCP), name)
    header = (quoted[0] & 15) * 4
    for end in range(header, header + 8):
        refused(flowing, about_client(V4, unreachable(V4), quoted[:end]), Reason.ICMP_MALFORMED)


def test_quoted_extension_headers_that_end_before_the_ports_are_malformed(flowing: Balancer) -> None:
    quoted = extended(to_client(V6, TCP), IPv6ExtHdrFragment(m=1))
    for end in range(40, 40 + 8 + 8):
        refused(flowing, about_client(V6, unreachable(V6), quoted[:end]), Reason.ICMP_MALFORMED)


@pytest.mark.parametrize("length", [0, 1, 4, 15])
def test_a_quoted_header_length_that_lies_is_malformed(flowing: Balancer, length: int) -> None:
    quoted = bytearray(quotes_for_backend(V4, TCP, b"", ALL)[0])
    quoted[0] = 0x40 | length
    refused(flowing, about_client(V4, unreachable(V4), bytes(quoted)), Reason.ICMP_MALFORMED)


@each_family
def test_a_quote_of_another_version_is_malformed(flowing: Balancer, family: Family) -> None:
    for first in (0x05, 0x15, 0x55, 0xF5, 0x60 if family is V4 else 0x45):
        quoted = bytearray(quotes_for_backend(family, TCP, PAYLOAD, ALL)[0])
        quoted[0] = first
        refused(flowing, about_client(family, unreachable(family), bytes(quoted)), Reason.ICMP_MALFORMED)


@each_family
@pytest.mark.parametrize("length", [0, 1, 19, 28, 40, 1500, 65535])
def test_no_quoted_total_length_is_believed(flowing: Balancer, family: Family, length: int) -> None:
    """Some routers write what was left of it; the error itself says how long it is."""
    quoted = bytearray(quotes_for_backend(family, TCP, PAYLOAD, ALL)[0])
    place = 2 if family is V4 else 4
    quoted[place : place + 2] = length.to_bytes(2, "big")
    sent = flowing.send(about_client(family, too_big(family), bytes(quoted)))
    assert sent.reason is Reason.ICMP_TO_BACKEND
    quote = 14 + IP_BYTES[family.version] + 8
    assert sent.data[quote + place : quote + place + 2] == length.to_bytes(2, "big")
    assert whole(family, sent.data)


def test_an_extension_header_that_reaches_beyond_the_error_is_malformed(flowing: Balancer) -> None:
    for kind in (0, 43, 51, 60, 135, 139, 140):
        for length in (1, 20, 255):
            quoted = bytearray(quotes_for_backend(V6, UDP, b"", ALL)[0])
            quoted[6] = kind
            quoted[40:48] = bytes([17, length, 0, 0, 0, 0, 0, 0])
            refused(flowing, about_client(V6, unreachable(V6), bytes(quoted)), Reason.ICMP_MALFORMED)


def ones_sum(data: bytes) -> int:
    """RFC 1071, folded."""
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def icmp_sum(family: Family, frame: bytes) -> int:
    """What the receiver of an ICMP message sums up to."""
    start, length = 14 + IP_BYTES[family.version], int.from_bytes(frame[16:18], "big") - 20
    if family is V4:
        return ones_sum(frame[start : start + length])
    length = int.from_bytes(frame[18:20], "big")
    return ones_sum(frame[22:54] + length.to_bytes(4, "big") + bytes([0, 0, 0, 58]) + frame[start : start + length])


def whole(family: Family, frame: bytes) -> bool:
    """Whether IP header and ICMP message have right checksums."""
    return icmp_sum(family, frame) == 0xFFFF and (family is V6 or ones_sum(frame[14:34]) == 0xFFFF)


def corpus(family: Family) -> list[bytes]:
    """Errors of every shape, in both directions."""
    frames = []
    for kind in (TCP, UDP):
        for cut in (8, 18, ALL):
            frames.append(about_client(family, too_big(family), quotes_for_backend(family, kind, b"odd", cut)[0]))
            frames.append(about_backend(family, unreachable(family), quotes_for_client(family, kind, b"odd", cut)[0]))
        if family is V4:
            frames.append(about_client(V4, too_big(V4), with_options(to_client(V4, kind), "record_route")))
        else:
            frames.append(about_client(V6, too_big(V6), extended(to_client(V6, kind), IPv6ExtHdrFragment(m=1) / Raw(b""))))
    return frames


def mutated(rng: random.Random, frame: bytes) -> bytes:
    """A few bytes changed, a piece doubled or taken out, or the end cut; Ethernet header and destination address stay."""
    data, first = bytearray(frame), 14
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(first, len(data))
        match rng.randrange(4):
            case 0:
                data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 1:
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                data[at:at] = data[at : at + rng.randrange(1, 16)]
            case 3 if len(data) > 60:
                del data[at : at + rng.randrange(1, 16)]
    return bytes(data)


@each_family
def test_mutated_errors_end_in_a_reason_and_change_nothing(flowing: Balancer, family: Family) -> None:
    """Whatever is forwarded keeps its length and its checksum's rightness, and no flow is made, kept alive or changed."""
    rng, frames = random.Random(SEED), corpus(family)  # noqa: S311 (not for secrets)
    before, seen = untouched(flowing), Counter[Reason]()
    for number in range(MUTATIONS):
        frame = mutated(rng, rng.choice(frames))
        result = flowing.send(frame)
        seen[result.reason] += 1
        assert result.verdict in (Verdict.PASS, Verdict.DROP, Verdict.TX), number
        if result.verdict is Verdict.PASS:
            assert result.data == frame, number
        if result.verdict is Verdict.TX:
            assert result.reason in (Reason.ICMP_TO_BACKEND, Reason.ICMP_TO_CLIENT), number
            assert len(result.data) == len(frame), number
            assert (icmp_sum(family, result.data) == 0xFFFF) == (icmp_sum(family, frame) == 0xFFFF), number
        if result.reason in (Reason.ECHO_ANSWERED, Reason.UNSPECIFIED):
            raise AssertionError(f"{number}: {result}")
    assert untouched(flowing) == before
    assert {Reason.ICMP_MALFORMED, Reason.ICMP_NO_FLOW, Reason.ICMP_TO_BACKEND, Reason.ICMP_TO_CLIENT} <= set(seen), seen


@each_family
def test_a_flood_of_errors_about_random_flows_makes_none(flowing: Balancer, family: Family) -> None:
    rng, before = random.Random(SEED), untouched(flowing)  # noqa: S311
    for _ in range(500):
        port = rng.randrange(1, 65536)
        if port == 40000:
            continue
        quoted, _ = quotes_for_backend(family, TCP, b"", 8, port=port)
        assert flowing.send(about_client(family, unreachable(family), quoted)).reason is Reason.ICMP_NO_FLOW
    assert untouched(flowing) == before
