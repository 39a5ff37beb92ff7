"""MSS clamping: which SYNs ask for less than they did, byte for byte, and what no option makes of it."""

import random

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP, in4_chksum
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, in6_chksum
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from l4lb_agent.model import layout
from l4lb_agent.model.address import Address
from l4lb_agent.model.reasons import Reason
from l4lb_agent.model.service import Mode
from l4lb_agent.model.ways.mtu import outer_bytes
from tests.packet import direct, odd
from tests.packet.balancer import Balancer
from tests.packet.conftest import Make
from tests.packet.direct import MODES, PAIRS, Pair, encapsulated, rewritten
from tests.packet.modes import EVERY_MODE, furnish
from tests.packet.test_direct import hash32
from tests.packet.wire import NUMBER, V4, VIP_PORT, Family, each_family, from_backend, from_client, same, to_backend, to_client

MOST = 1200
CROSSING = [(pair, mode) for pair in PAIRS for mode in MODES if mode != "dsr" or pair.vip is pair.backend]


def clamping(lb: Balancer, mode: str = "nat", mss: int = MOST, flags: int = 0) -> Balancer:
    """The balancer with clamping TCP services; NAT's have backends on the VIP's port."""
    for number, family, ring in ((1, V4, 1), (3, direct.V6, 2)):
        lb.service(number, family.vip, VIP_PORT, 6, now=ring, mode=EVERY_MODE[mode], mss=mss, flags=flags)
    return lb


def raw_options(packet: Packet, options: bytes) -> Packet:
    """The frame with these bytes as its TCP options, every length and checksum right; scapy does not see them as options."""
    assert len(options) % 4 == 0
    header = bytearray(bytes(packet[TCP])[:20])
    header[12], header[16:18] = (5 + len(options) // 4) << 4, b"\0\0"
    before = packet.payload
    if isinstance(before, IP):
        ip: Packet = IP(src=before.src, dst=before.dst, ttl=before.ttl, tos=before.tos, id=before.id, flags=before.flags, proto=6)
        checksum = in4_chksum(6, ip, bytes(header + options))
    else:
        ip = IPv6(src=before.src, dst=before.dst, hlim=before.hlim, tc=before.tc, fl=before.fl, nh=6)
        checksum = in6_chksum(6, ip, bytes(header + options))
    header[16:18] = checksum.to_bytes(2, "big")
    return Ether(bytes(Ether(src=packet.src, dst=packet.dst) / ip / Raw(bytes(header + options))))


def lowered(options: bytes, most: int) -> bytes:
    """What clamping makes of options: the rules once more, in plain Python."""
    at = 0
    while at + 4 <= len(options) and options[at] != 0:
        kind, length = options[at], options[at + 1]
        if kind == 1:
            at += 1
        elif kind == 2 and length == 4:
            asked = min(most, int.from_bytes(options[at + 2 : at + 4], "big"))
            return options[: at + 2] + asked.to_bytes(2, "big") + options[at + 4 :]
        elif length < 2:
            break
        else:
            at += length
    return options


def there(family: Family, options: bytes, flags: str = "S", most: int = MOST) -> tuple[Packet, Packet]:
    """A client's frame with these options, and what its backend must see by NAT."""
    after = to_backend(family, TCP, flags=flags, seq=7)
    after[TCP].dport = VIP_PORT
    after = raw_options(after, lowered(options, most) if "S" in flags else options)
    return raw_options(from_client(family, TCP, flags=flags, seq=7), options), after


def asking(mss: int) -> bytes:
    """The option alone."""
    return bytes([2, 4]) + mss.to_bytes(2, "big")


@each_family
@pytest.mark.parametrize("asked", [1, 535, MOST - 1, MOST, MOST + 1, 1460, 0x7FFF, 0x8000, 65535, 0])
@pytest.mark.parametrize("before", [b"", b"\1", b"\1\1", b"\1\1\1", bytes([3, 3, 7]), bytes([8, 10]) + bytes(range(8))], ids=bytes.hex)
def test_what_a_syn_asks_for_is_lowered_wherever_it_stands_and_never_raised(make: Make, family: Family, asked: int, before: bytes) -> None:
    lb = clamping(furnish(make, "nat"))
    options = before + asking(asked)
    packet, expected = there(family, options + bytes(-len(options) % 4))
    result = lb.send(packet)
    assert result.reason is Reason.FLOW_CREATED
    same(result.data, expected)


@each_family
@pytest.mark.parametrize("before", [b"", b"\1", b"\1\1\1"], ids=bytes.hex)
def test_the_backends_answer_is_lowered_too(make: Make, family: Family, before: bytes) -> None:
    lb = clamping(furnish(make, "nat"))
    lb.send(from_client(family, TCP, flags="S", seq=7))
    options = before + asking(1460)
    options += bytes(-len(options) % 4)
    answer = from_backend(family, TCP, flags="SA", seq=9, ack=8)
    answer[TCP].sport = VIP_PORT
    result = lb.send(raw_options(answer, options))
    assert result.reason is Reason.TO_CLIENT
    same(result.data, raw_options(to_client(family, TCP, flags="SA", seq=9, ack=8), lowered(options, MOST)))
    packet, expected = there(family, options, flags="A")
    same(lb.send(packet).data, expected)


HOSTILE = {
    "none": b"",
    "nops": b"\1" * 40,
    "nops_and_mss": b"\1" * 36 + asking(1460),
    "mss_cut_off": b"\1" * 37 + b"\2\4\5",
    "mss_kind_last": b"\1" * 39 + b"\2",
    "end_first": b"\0\1\1\1" + asking(1460),
    "length_0": b"\5\0\1\1" + asking(1460),
    "length_1": b"\5\1\1\1" + asking(1460),
    "length_255": b"\5\xff\1\1" + asking(1460),
    "length_to_the_end": b"\5\x08\1\1" + asking(1460),
    "length_beyond": b"\5\x09\1\1" + asking(1460),
    "mss_of_length_0": b"\2\0\5\xb4" + asking(1460),
    "mss_of_length_3": b"\2\3\5\1" + asking(1460),
    "mss_of_length_6": b"\2\6\5\xb4\1\1\1\1" + asking(1460),
    "two": asking(1460) + asking(1461),
    "into_the_next": b"\3\5\2\4\5\xb4\2\4\5\xb4\1\1",
}


@each_family
@pytest.mark.parametrize("name", HOSTILE)
def test_no_option_leads_astray(make: Make, family: Family, name: str) -> None:
    lb = clamping(furnish(make, "nat"))
    packet, expected = there(family, HOSTILE[name])
    same(lb.send(packet).data, expected)


def test_random_options_are_read_as_plain_python_reads_them(make: Make) -> None:
    lb, dice, changed = clamping(furnish(make, "nat")), random.Random(4), 0
    for _ in range(400):
        made = b""
        while len(made) < dice.choice((4, 12, 40)):
            made += dice.choice((b"\1", asking(dice.randrange(65536)), bytes([dice.randrange(9), dice.randrange(12)]), dice.randbytes(2)))
        made = made[: min(40, len(made)) // 4 * 4]
        packet, expected = there(V4, made)
        same(lb.send(packet).data, expected)
        changed += lowered(made, MOST) != made
        lb.erase()
    assert changed > 50


@each_family
@pytest.mark.parametrize("mss", [0, layout.MSS_AUTO])
def test_without_a_clamp_or_an_mtu_to_go_by_nothing_is_lowered(make: Make, family: Family, mss: int) -> None:
    lb = clamping(furnish(make, "nat"), mss=mss)
    packet, expected = there(family, asking(65535), most=65535)
    same(lb.send(packet).data, expected)


@each_family
def test_by_nat_auto_is_what_fits_into_the_backends_mtu(make: Make, family: Family) -> None:
    lb = clamping(furnish(make, "nat"), mss=layout.MSS_AUTO)
    lb.set_backend(1 if family is V4 else 4, mtu=1400)
    packet, expected = there(family, asking(1460), most=1400 - (40 if family is V4 else 60))
    same(lb.send(packet).data, expected)


def expected_by(pair: Pair, mode: str, packet: Packet, checksum: bool = False) -> Packet:
    """What a client's frame becomes by DSR or ENCAP."""
    return rewritten(packet) if mode == "dsr" else encapsulated(pair, packet, mode, hash32(pair.vip, TCP), checksum=checksum)


@pytest.mark.parametrize(("pair", "mode"), CROSSING, ids=str)
def test_a_syn_that_passes_by_dsr_or_encap_is_clamped_to_what_fits_inside(make: Make, pair: Pair, mode: str) -> None:
    flags = layout.SERVICE_OUTER_CHECKSUM if mode in ("gue", "fou") else 0
    lb = clamping(furnish(make, mode), mode, layout.MSS_AUTO, flags)
    direct.point(lb, pair)
    lb.set_backend(1 if pair.backend is V4 else 4, mtu=1400)
    backend = Address.parse(pair.backend.backends[0], "backend")
    most = 1400 - outer_bytes(Mode(MODES[mode]), backend) - (40 if pair.vip is V4 else 60)
    for options in (asking(1460), b"\1" + asking(1460) + b"\1\1\1", asking(100)):
        syn = from_client(pair.vip, TCP, flags="S", seq=7)
        result = lb.send(raw_options(syn, options))
        assert result.reason is Reason.FLOW_CREATED
        same(result.data, expected_by(pair, mode, raw_options(syn, lowered(options, most)), bool(flags)))
    later = raw_options(from_client(pair.vip, TCP, flags="A", seq=8), asking(1460))
    same(lb.send(later).data, expected_by(pair, mode, later, bool(flags)))


@each_family
@pytest.mark.parametrize("mode", ["nat", "dsr"])
def test_the_syn_is_found_behind_ip_options_and_extension_headers(make: Make, mode: str, family: Family) -> None:
    lb = clamping(furnish(make, mode), mode)
    syn = raw_options(from_client(family, TCP, flags="S", seq=7), b"\1" + asking(1460) + b"\1\1\1")
    packet = odd.with_options(syn, [IPOption_NOP()] * 4) if family is V4 else odd.with_headers(syn, IPv6ExtHdrDestOpt())
    result = lb.send(packet)
    assert result.reason is Reason.FLOW_CREATED
    frame = Ether(result.data)
    assert dict(frame[TCP].options)["MSS"] == MOST
    checksum = frame[TCP].chksum
    del frame[TCP].chksum
    assert Ether(bytes(frame))[TCP].chksum == checksum


@each_family
def test_udp_after_a_syn_is_left_alone(make: Make, family: Family) -> None:
    lb = clamping(furnish(make, "nat"))
    number = 2 if family is V4 else 4
    lb.service(number, family.vip, VIP_PORT, NUMBER[UDP], now=1 if family is V4 else 2, mode=EVERY_MODE["nat"], mss=MOST)
    lb.send(raw_options(from_client(family, TCP, flags="S", seq=7), asking(1460)))
    payload = bytes([0] * 4 + [0xA0, 2] + [0] * 6) + asking(1460) * 10
    expected = to_backend(family, UDP, payload)
    expected[UDP].dport = VIP_PORT
    del expected[UDP].chksum
    same(lb.send(from_client(family, UDP, payload)).data, Ether(bytes(expected)))
