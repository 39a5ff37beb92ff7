"""The world that is fuzzed: services of every mode with flows in every state, as maps and frames. What the packet tests have as cases are
the frames to begin with, those that come later too."""

import importlib
import ipaddress
import pkgutil
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from scapy.layers.inet import ICMP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, IPv6, IPv6ExtHdrDestOpt, PadN
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

import tests.packet
from l4lb_agent.dataplane.program import Objects
from l4lb_agent.dataplane.ticks import Ticks, hertz
from l4lb_agent.model import layout, mapspec
from l4lb_agent.model.access.lists import Members
from l4lb_agent.model.access.prefixes import parse_all
from l4lb_agent.model.capture import layout as capture_layout
from l4lb_agent.model.mapspec import MapType
from l4lb_agent.model.tables import array_key
from l4lb_agent.model.ways.vlan import Vlan
from tests.packet import errors, keep, odd, test_icmp_hostile
from tests.packet.balancer import LB_MAC, LOOPBACK, Balancer, mac
from tests.packet.bed import SIZES, Bed
from tests.packet.direct import OUTER
from tests.packet.limits import Bucket, limit
from tests.packet.modes import EVERY_MODE
from tests.packet.vlans import DEVICE, STACKED, stack
from tests.packet.wire import BACKEND_PORT, CLIENT_MAC, FAMILIES, NUMBER, PROTOCOLS, V4, V6, VIP_PORT, Family, from_backend, from_client

PORTS: Final = {mode: VIP_PORT + place for place, mode in enumerate(EVERY_MODE)}
_KEPT: Final = 40000 + list(EVERY_MODE).index("keep")  # the client's port of a flow whose address is kept
_SIZES: Final = replace(SIZES, services=64, rings_1021=8)
_MAGIC: Final = 0x646C7277
VLAN: Final = 7  # packet.h's
_MOST_BYTES: Final = 2000  # of a seed
_RISK: Final = layout.SLOT_AT_RISK
_EVERY_FLAG: Final = layout.SERVICE_TRACK_ALL | layout.SERVICE_SPREAD | layout.SERVICE_OUTER_CHECKSUM
_READY: Final = layout.BACKEND_KEEP | layout.BACKEND_ELIGIBLE


@dataclass(frozen=True)
class World:
    """How one differs from a quiet one. `flags` are of every service's word, `owned` of every address, `leaving` of the second backends."""

    name: str
    flags: int = 0
    owned: int = 0
    stations: bool = False  # the agent has written our own MAC
    leaving: int = _READY
    vlans: bool = False  # this host is in VLAN, in that inside it, and in VLAN of 802.1ad; the third backends are in another, the second
    # ones in another inside VLAN
    empty: bool = False  # every third slot names nobody
    guarded: bool = False  # every service has lists and limits, some in each way
    sizes: mapspec.Sizes = _SIZES
    captured: bool = False  # every packet, and drops recorded
    keeps: bool = False  # services of the mode get the answers of their backends
    config: dict[str, int] = field(default_factory=dict)


_ANSWERS: Final = {"rst_rate": 1 << 20, "rst_burst": 1 << 20, "icmp_rate": 1 << 20, "icmp_burst": 1 << 20}
WORLDS: Final = (
    World("quiet", owned=layout.ADDRESS_ECHO, config=_ANSWERS),
    World("tracked", flags=_EVERY_FLAG, stations=True, vlans=True, config={**_ANSWERS, "flags": layout.CONFIG_TRANSMIT_REDIRECT}),
    World("hosts", owned=layout.ADDRESS_LOCAL, leaving=_READY | layout.BACKEND_HERE),
    World("reset", leaving=layout.BACKEND_RESET, captured=True, config=_ANSWERS),
    World("cut", leaving=0, flags=layout.SERVICE_OUTER_CHECKSUM, owned=layout.ADDRESS_ECHO),
    World("empty", empty=True, flags=layout.EMPTY_RESET << layout.SERVICE_ON_EMPTY_SHIFT, config={**_ANSWERS, "icmp_rate": 50}),
    World("guarded", guarded=True, flags=layout.SERVICE_TRACK_ALL, config=_ANSWERS),
    World("crowded", sizes=replace(_SIZES, flows=16, tracked_flows=256), config={**_ANSWERS, "port_low": 40000, "port_high": 40003}),
    World("keeping", keeps=True, leaving=0, stations=True, config=_ANSWERS),
)  # fmt: skip


def furnish(objects: Objects, world: World) -> Balancer:
    """A balancer, in a bed of its own, with services of every mode, family and protocol on ports of their own, and flows."""
    lb = Balancer(Bed(objects, world.sizes))
    lb.start(spread_v4=int.from_bytes(b"\xac\x10\0\0", "little"), spread_v4_mask=int.from_bytes(b"\0\0\xff\xff", "little"))
    lb.config.spread_v6[:] = list(bytes.fromhex("fd000077") + bytes(12))
    lb.snat(V4.snat, V6.snat)
    lb.configure(**world.config)
    for family in FAMILIES:
        lb.own(family.snat, layout.ADDRESS_SNAT | world.owned & layout.ADDRESS_LOCAL)
        lb.own(family.vip, layout.ADDRESS_VIP | world.owned)
    if world.stations:
        lb.write("interfaces", array_key(LOOPBACK), bytes(layout.Interface(ifindex=LOOPBACK, mac=mac(LB_MAC))))
    for base, family in ((1, V4), (4, V6)):
        for place, text in enumerate(family.backends):
            lb.backend(base + place, text, BACKEND_PORT, outer_source=OUTER[family.version], service=1, mtu=1500 * (place != 2))
    if world.keeps:
        keep.name(lb, *range(1, 7))
    if world.vlans:
        join(lb)
    for element, slots in enumerate(([1, 2 | _RISK, 3], [1, 1, 3], [4, 5 | _RISK, 6], [4, 4, 6], [1, 5 | _RISK, 6], [1, 4, 6]), 1):
        lb.ring(element, [0, *slots[1:]] if world.empty else slots)
    number = 0
    for mode, port in PORTS.items():
        for family in FAMILIES:
            now = 5 if mode not in ("nat", "keep", "dsr") else 1 if family is V4 else 3
            for kind in PROTOCOLS:
                number += 1
                lb.service(
                    number, family.vip, port, NUMBER[kind], now=now, before=now + 1, mode=EVERY_MODE[mode], flags=world.flags
                )  # fmt: skip
    if world.captured:
        every = capture_layout.Capture(reasons=(layout.U64 * 2)(*[(1 << 64) - 1] * 2), verdicts=255, until=1 << 30, rate=1 << 20)
        lb.write("captures", 0, bytes(every))
        flags = capture_layout.CAPTURE_ALL | capture_layout.CAPTURE_RECORD
        lb.write("capture_switch", 0, bytes(capture_layout.CaptureSwitch(flags=flags, recorder_until=1 << 30)))
    for frame in prologue():
        lb.run(frame)
    for second in (2, 5):
        lb.set_backend(second, flags=world.leaving)
    if world.guarded:
        guard(lb, range(1, number + 1))
    return lb


def join(lb: Balancer) -> None:
    """VLANs of this host and of the backends: see World.vlans."""
    inside = Vlan(STACKED, DEVICE, VLAN), Vlan(STACKED + 1, DEVICE, VLAN + 1)
    stack(lb, [(Vlan(DEVICE, LOOPBACK, VLAN), *inside, Vlan(DEVICE + 1, LOOPBACK, VLAN, True))])
    for second, third in ((2, 3), (5, 6)):
        lb.set_backend(second, vlan=layout.OUT_DEVICE, ifindex=STACKED + 1)
        lb.set_backend(third, vlan=VLAN + 1)


def guard(lb: Balancer, services: Iterable[int]) -> None:
    """Lists that have most clients, and limits that some mutated frames come up against."""
    for number, prefixes in (
        (1, ("198.51.100.0/24", "198.0.0.0/8", "2001:db8:1::/48")),
        (2, ("198.51.0.0/16", "198.51.100.128/25", "::/3")),
    ):
        for key, value in Members(number, parse_all(prefixes, "prefixes")).elements.items():
            lb.write("lists", key, value)
    for service in services:
        whole, each = Bucket(3, 2**-4) if service % 3 else None, Bucket(2, 2**-2) if service % 3 < 2 else None
        limit(lb, service, service=whole, source=each, prefix_v4=30, prefix_v6=126)
        policy = layout.Policy.from_buffer_copy(lb.read("policies", service))
        policy.allow_list, policy.deny_list = (1, 2) if service % 2 else (0, 2)
        lb.write("policies", service, bytes(policy))
        element = layout.Service.from_buffer_copy(lb.read("services", service))
        element.word |= layout.SERVICE_LISTED
        lb.write("services", service, bytes(element))
    for backend in range(1, 7):
        flags = layout.Backend.from_buffer_copy(lb.read("backends", backend)).flags
        lb.set_backend(backend, flags=flags | layout.BACKEND_LISTED)


def prologue() -> list[bytes]:
    """What makes the flows: of each family, protocol and mode one that is established; of NAT some in other states too."""
    made: list[Packet] = []
    for family in FAMILIES:
        for kind in PROTOCOLS:
            for place, port in enumerate(PORTS.values()):
                client = 40000 + place
                made.append(from_client(family, kind, b"hello", port=client, vip_port=port, flags="S", seq=1000))
                for source in (family.snat, family.client):  # by the mode one or the other, or neither
                    answers = {"port": client, "snat": source, "flags": "SA", "seq": 5, "ack": 1001}
                    made.extend(from_backend(family, kind, backend=b, **answers) for b in family.backends)  # type: ignore[arg-type]
                made.append(from_client(family, kind, b"hello", port=client, vip_port=port, flags="A", seq=1001, ack=6))
        made.append(from_client(family, port=40100, flags="S", seq=7))
        made.append(from_client(family, port=40101, flags="S", seq=7))
        made.extend(from_backend(family, port=40101, backend=b, flags="SA", seq=9, ack=8) for b in family.backends)
        # Some at every backend, those that leave among them
        made.extend(from_client(family, port=port, flags=flags, seq=7, ack=9) for port in range(40102, 40110) for flags in ("S", "A"))
    return [bytes(packet) for packet in made]


def _of_flows() -> Iterator[Packet]:
    for family in FAMILIES:
        for port in PORTS.values():
            for flags in ("S", "A", "PA", "FA", "R", "RA"):
                yield from_client(family, TCP, b"x" * 20, port=40000 + port - VIP_PORT, vip_port=port, flags=flags, seq=1001, ack=6)
            yield from_client(family, UDP, b"question", vip_port=port)
        for flags in ("SA", "A", "FA", "R"):
            for backend in family.backends:
                yield from_backend(family, TCP, b"y" * 33, backend=backend, flags=flags, seq=6, ack=1001)
                yield keep.reply(family, TCP, b"y" * 33, port=_KEPT, backend=backend, flags=flags, seq=6, ack=1001)
        for backend in family.backends:
            yield from_backend(family, UDP, b"answer", backend=backend)
            yield keep.reply(family, UDP, b"answer", port=_KEPT, backend=backend)
        yield from_client(
            family, TCP, flags="S", port=40200, options=[("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("WScale", 7)]
        )


def _of_icmp(family: Family) -> Iterator[Packet | bytes]:
    yield from test_icmp_hostile.corpus(family)
    header = ICMP(id=7, seq=1) if family is V4 else ICMPv6EchoRequest(id=7, seq=1)
    yield Ether(src=CLIENT_MAC, dst="02:00:00:00:00:02") / family.ip(family.client, family.vip) / header / Raw(b"ping" * 14)
    for kind in errors.KINDS:
        if kind.version == family.version:
            yield errors.about_client(family, kind.header, errors.quotes_for_backend(family, TCP, b"", 8)[0])
            yield errors.about_backend(family, kind.header, errors.quotes_for_client(family, UDP, b"", 8)[0])
            quoted = errors.inside(keep.reached(family, UDP, port=_KEPT))
            yield errors.about_backend(family, kind.header, quoted, snat=family.client)


def _of_neighbours() -> Iterator[Packet]:
    for target in (V4.vip, V4.snat):
        yield Ether(src=CLIENT_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=CLIENT_MAC, psrc=V4.client, pdst=target)
    for target in (V6.vip, V6.snat):
        group = IPv6(src="fe80::1", dst="ff02::1:ff00:10", hlim=255)
        yield Ether(src=CLIENT_MAC, dst="33:33:ff:00:00:10") / group / ICMPv6ND_NS(tgt=target)


def _of_fragments() -> Iterator[Packet]:
    """Datagrams in parts, small ones so that mutations hit headers, and plain packets with options."""
    padded = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])
    for family in FAMILIES:
        for kind in PROTOCOLS:
            for place, port in enumerate(PORTS.values()):
                whole = from_client(family, kind, b"z" * 70, port=40000 + place, vip_port=port, flags="PA", seq=1001, ack=6)
                yield from odd.cut(whole, 32, place)
                yield odd.with_options(whole, [IPOption_NOP()] * 6) if family is V4 else odd.with_headers(whole, padded)
            yield from odd.cut(from_backend(family, kind, b"z" * 70, flags="PA", seq=6, ack=1001), 32)
            yield from odd.cut(keep.reply(family, kind, b"z" * 70, port=_KEPT, flags="PA", seq=6, ack=1001), 32)


def _of_nobody() -> Iterator[Packet]:
    """From sources that no host has."""
    for port in PORTS.values():
        for source in ("0.0.0.1", "127.0.0.1", "224.0.0.1"):
            yield from_client(V4, UDP, b"q", client=source, vip_port=port)
        for source in ("::1", "ff02::1"):
            yield from_client(V6, UDP, b"q", client=source, vip_port=port)


def _frames_in(value: Any) -> Iterator[bytes]:
    """Frames in a value of a test module: packets from Ethernet on, what may be their bytes, and containers of them."""
    if isinstance(value, (Ether, bytes)):
        yield bytes(value)
    elif isinstance(value, dict):
        yield from _frames_in(tuple(value.values()))
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _frames_in(one)


def cases() -> list[bytes]:
    """The frames that modules of tests/packet have as cases."""
    found: list[bytes] = []
    for module in sorted(info.name for info in pkgutil.iter_modules(tests.packet.__path__)):
        for name, value in vars(importlib.import_module(f"tests.packet.{module}")).items():
            if name.isupper():
                found += _frames_in(value)
    return found


def seeds() -> list[bytes]:
    """Every frame that mutations start from, each once."""
    plain: Iterable[Packet | bytes] = (*_of_flows(), *_of_icmp(V4), *_of_icmp(V6), *_of_neighbours())
    every: Iterable[Packet | bytes] = (*plain, *_of_fragments(), *_of_nobody(), *cases(), *prologue())
    return list(dict.fromkeys(raw for raw in map(bytes, every) if 14 <= len(raw) <= _MOST_BYTES))


def _addresses(packed: list[bytes]) -> bytes:
    return struct.pack("<I", len(packed)) + b"".join(packed)


def _packed(text: str) -> bytes:
    """Also of addresses that nothing may have."""
    parsed = ipaddress.ip_address(text)
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed


def _frames(frames: list[bytes]) -> bytes:
    return struct.pack("<I", len(frames)) + b"".join(struct.pack("<I", len(frame)) + frame for frame in frames)


def _pairs(lb: Balancer, spec: mapspec.MapSpec) -> list[bytes]:
    """Keys and values of the elements that are not all zero."""
    if spec.type in (MapType.ARRAY, MapType.PERCPU_ARRAY):
        if spec.type == MapType.PERCPU_ARRAY:
            return []
        found = ((array_key(number), lb.read(spec.name, number)) for number in range(spec.max_entries))
        return [key + value for key, value in found if any(value)]
    return [key + value for key, value in lb.keyed(spec.name).items()]


def _numbers(ports: list[int]) -> bytes:
    return struct.pack("<I", len(ports)) + struct.pack(f">{len(ports)}H", *ports)


def _map(lb: Balancer, spec: mapspec.MapSpec) -> bytes:
    pairs = _pairs(lb, spec)
    sizes = (spec.key_size, spec.value_size, spec.max_entries, spec.control, len(pairs))
    return struct.pack("<32s5I", spec.name.encode(), *sizes) + b"".join(pairs)


def _head() -> bytes:
    """With the clock that stamps in the maps go by."""
    ticks = Ticks()
    second, multiplier = ticks.second(), ticks.multiplier
    ticks.close()
    return struct.pack("<IQI", _MAGIC, -(-(second << 24) // multiplier), hertz())


def written(lb: Balancer) -> bytes:
    """The file that world.h reads: what `lb` has in its maps, and frames."""
    known = [*OUTER.values(), "0.0.0.0", "127.0.0.1", "255.255.255.255", "224.0.0.1", "::", "::1", "ff02::1", f"::ffff:{V4.vip}"]
    for family in FAMILIES:
        known += [family.vip, family.snat, family.client, *family.backends] * 2
    owned = [lb.read("addresses", number)[:16] for number in range(lb.specs["addresses"].max_entries)]
    ports = [*PORTS.values(), BACKEND_PORT, 40000, 40001, 40002, 6080, 0, 65535]
    maps = [spec for spec in lb.specs.values() if spec.type is not mapspec.MapType.RINGBUF]
    kept = [lb.read("backends", number)[:16] for number in range(1, 7)] if lb.config.flags & layout.CONFIG_KEEP else []
    parts = [
        _head(), _addresses([one for one in owned if any(one)]), _addresses(kept), _addresses([_packed(text) for text in known]),
        _numbers(ports), _frames(prologue()), _frames(seeds()),
        struct.pack("<I", len(maps)), *(_map(lb, spec) for spec in maps),
    ]  # fmt: skip
    return b"".join(parts)
