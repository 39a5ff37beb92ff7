"""Random frames for a balancer: clients, replies, ARP, ICMP and what it quotes, fragments, options, mutations. Each is drawn from `random`,
which the test seeds."""

import ipaddress
import random
from collections.abc import Callable
from dataclasses import replace

from l4lb_agent.model import checksums, layout
from l4lb_agent.model.explain.synthesis import Wanted, frame
from tests.packet import records, vlans
from tests.packet.balancer import LB_MAC, Balancer

CLIENT_MAC = bytes.fromhex("020000000001")
OTHER_MAC = bytes.fromhex("020000000099")
CLIENTS = {4: [f"198.51.100.{n}" for n in (7, 8, 9, 200)], 6: [f"2001:db8:1::{n}" for n in ("7", "8", "9", "ffff:1")]}
STRANGE = {4: ["127.0.0.1", "224.0.0.1", "0.0.0.1", "169.254.1.1", "192.0.2.20"], 6: ["ff02::1", "::1", "fe80::1", "2001:db8::20"]}
VIPS = {4: ["192.0.2.10", "192.0.2.11"], 6: ["2001:db8::10", "2001:db8::11"]}
SNAT = {4: ["192.0.2.20", "192.0.2.21"], 6: ["2001:db8::20", "2001:db8::21"]}
KEPT = {4: [f"203.0.113.{n}" for n in (200, 201, 202)], 6: [f"2001:db8:2::c{n}" for n in (1, 2, 3)]}  # backends that answer to clients
ROUTER = {4: "198.18.0.254", 6: "2001:db8:ff::1"}
PORTS = (40000, 40001, 40002, 40003, 500, 65535)
RANGE, INNER = (1000, 1999), (1500, 1599)
VIP_PORTS = (80, 80, 443, 1000, 1550, 1999, 2000)
FLAGS = ("S", "S", "S", "A", "A", "PA", "FA", "R", "RA", "SA", "AU", "FAU", "SU", "SF", "")
NEAR = (0, 0, 0, -1, 1, 5, -1000, 1 << 20, -(1 << 20), 3 << 20, 5 << 20)
LATELY = 12  # clients that are remembered
FEW_FLAGS = ("S", "S", "S", "A", "A", "A", "A", "PA", "FA", "RA", "SU")
BITS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32}
OPTIONS = (b"\1\1\1\1", b"\7\7\4\0\0\0\0\0", b"\x44\10\5\0\0\0\0\0", b"\x83\7\4\0\0\0\0\0", b"\x94\4\0\0", b"\2\1\0\0")
ERRORS = {4: [(3, 3), (3, 4), (11, 0), (12, 0), (5, 0)], 6: [(1, 4), (2, 0), (3, 0), (4, 0), (137, 0)]}


def address(text: str) -> bytes:
    """The 16 bytes of any address, also of one that nobody has."""
    packed = ipaddress.ip_address(text).packed
    return packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed


class Frames:
    """Frames for what the balancer holds now; `sent` are those that it has sent, about which ICMP errors may be. With a `family` all are
    about a handful of flows of it, which so get into every state."""

    def __init__(self, lb: Balancer, family: int = 0) -> None:
        self._lb, self._family = lb, family
        self.sent = [b""]
        self._lately: list[Wanted] = []

    def any(self) -> bytes:
        """A frame of any kind."""
        if self._family:
            return random.choice([self._few] * 12 + [self._reply] * 3 + [self._fragment])()
        kinds: list[Callable[[], bytes]] = [self._client] * 8 + [self._reply] * 5 + [self._fragment] * 3 + [self._error] * 2
        kinds += [self._asked, self._echo, self._echo, self._options, self._mutated, self._beside, self._beside]
        raw = random.choice(kinds)()
        for _ in range(random.choice([0] * 18 + [1, 2, 3]) if len(raw) > 14 else 0):
            raw = vlans.tagged(raw, random.choice([0, 7, 8, 9]), random.choice([0, 5]), random.choice([0x8100] * 5 + [0x88A8]))
        return raw

    def replies(self, flags: str) -> list[bytes]:
        """What the backends of all flows send with these flags, and what their clients answer."""
        found = records.used(self._lb.elements("flows"), self._lb.elements("flows_v6"))
        bits = sum(BITS[one] for one in flags)
        ends = [(one.protocol, one.backend_address, one.snat, one.backend_port, one.snat_port) for one in found]
        ends += [(one.protocol, one.client, one.vip, one.client_port, one.vip_port) for one in found]
        answers = (bits, 0x10)
        return [frame(Wanted(*end, answers[i // len(found)], 1001, 1002), CLIENT_MAC, LB_MAC) for i, end in enumerate(ends)]

    def _client(self, **fields: object) -> bytes:
        """A client's packet, mostly for a service."""
        family, protocol = random.choice([4, 6]), random.choice([6, 6, 17])
        source = random.choice(CLIENTS[family] * 5 + STRANGE[family] + KEPT[family][:1])
        destination = random.choice(VIPS[family][:1] * 8 + VIPS[family][1:] + SNAT[family])
        payload, ttl = random.choice([0, 0, 4, 700, 1395, 1440, 3000]), random.choice([64] * 9 + [1, 2])
        wanted = Wanted(
            protocol, address(source), address(destination), random.choice(PORTS), random.choice(VIP_PORTS), self._flags(),
            self._sequence(), random.getrandbits(32), payload, ttl, random.random() < 0.3, random.getrandbits(16),
        )  # fmt: skip
        if self._lately and random.random() < 0.6:  # one of those who spoke before
            before = random.choice(self._lately)
            ends = {name: getattr(before, name) for name in ("protocol", "source", "destination", "source_port", "destination_port")}
            wanted = replace(wanted, **ends)
        wanted = replace(wanted, **fields)  # type: ignore[arg-type]
        self._lately = [wanted, *self._lately][:LATELY]
        return frame(wanted, CLIENT_MAC, random.choice([LB_MAC] * 20 + [b"\xff" * 6, OTHER_MAC]))

    def _few(self) -> bytes:
        """A client's packet of one of a few flows, with a sequence number near one that is known of them."""
        family = self._family
        known = [record.element.sequence for record in records.used(self._lb.elements("flows"), self._lb.elements("flows_v6"))]
        known += [entry.sequence for bucket in self._lb.buckets().values() for entry in bucket.entry if entry.word]
        sequence = (random.choice(known or [1000]) + random.choice(NEAR)) % (1 << 32)
        flags = sum(BITS[one] for one in random.choice(FEW_FLAGS))
        wanted = Wanted(
            random.choice([6, 6, 6, 6, 17]), address(CLIENTS[family][0]), address(VIPS[family][0]), random.choice(PORTS[:2]),
            random.choice([80, 80, 80, 443]), flags, sequence, 7, random.choice([0, 0, 4, 700]),
        )  # fmt: skip
        return frame(wanted, CLIENT_MAC, LB_MAC)

    def _reply(self) -> bytes:
        """What some flow's client or backend sends."""
        found = records.used(self._lb.elements("flows"), self._lb.elements("flows_v6"))
        if not found:
            return self._client()
        one = random.choice(found)
        sequence = random.choice([one.element.sequence] * 2 + [one.element.last_sequence + 1, random.getrandbits(32)]) % (1 << 32)
        ends = one.backend_address, one.snat, one.backend_port, one.snat_port
        if random.random() < 0.5:
            ends = one.client, one.vip, one.client_port, one.vip_port
        flags, payload = self._flags(), random.choice([0, 10, 1450])
        acknowledged = random.choice([5] + [one.element.last_sequence + 1] * 4 + [one.element.sequence + 1]) % (1 << 32)
        if one.state in (layout.FLOW_ESTABLISHED, layout.FLOW_CLOSING) and random.random() < 0.5:
            flags = BITS["F"] | BITS["A"]
        if one.state == layout.FLOW_CLOSED and random.random() < 0.3:  # a late duplicate
            flags, sequence, ends = BITS["S"], one.element.sequence, (one.client, one.vip, one.client_port, one.vip_port)
        return frame(Wanted(one.protocol, *ends, flags, sequence, acknowledged, payload), CLIENT_MAC, LB_MAC)

    def _beside(self) -> bytes:
        """The client of some flow whose address is kept, else of any, begins another from the same port."""
        found = records.used(self._lb.elements("flows"), self._lb.elements("flows_v6"))
        found = [one for one in found if one.snat == one.client] or found
        if not found:
            return self._client()
        one, at = random.choice(found), random.choice(VIP_PORTS)
        return frame(Wanted(one.protocol, one.client, one.vip, one.client_port, at, BITS["S"], self._sequence()), CLIENT_MAC, LB_MAC)

    def _asked(self) -> bytes:
        """An ARP request or a neighbour solicitation."""
        family, to = random.choice([4, 6]), random.choice([LB_MAC, b"\xff" * 6, b"\x33\x33\0\0\0\1", OTHER_MAC])
        target = address(random.choice(VIPS[family] + SNAT[family] + CLIENTS[family]))
        asker = random.choice([CLIENT_MAC] * 5 + [b"\1" + CLIENT_MAC[1:]])
        if family == 4:
            sender = random.choice([address(CLIENTS[4][0]), target])[12:]
            body = b"\0\1\x08\0\6\4\0" + random.choice([b"\1", b"\1", b"\2"]) + CLIENT_MAC + sender + bytes(6) + target[12:]
            return to + asker + b"\x08\x06" + body
        body = b"\x87\0\0\0\0\0\0\0" + target + random.choice([b"", b"\1\1" + CLIENT_MAC])
        ends = random.choice([address(CLIENTS[6][0]), address("fe80::1"), bytes(16)]) + address("ff02::1:ff00:10")
        ip = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes([58, random.choice([255, 255, 64])]) + ends
        return to + asker + b"\x86\xdd" + ip + body

    def _echo(self) -> bytes:
        """An echo request."""
        family = random.choice([4, 6])
        return self._client(
            protocol=1 if family == 4 else 58, source=address(random.choice(CLIENTS[family])), offset=0,
            destination=address(random.choice(VIPS[family] + SNAT[family])), payload=random.choice([0, 1, 56, 1400]),
            more=random.random() < 0.1,
        )  # fmt: skip

    def _fragment(self) -> bytes:
        """A fragment; few datagrams, so that they belong together."""
        offset = random.choice([0, 0, 8, 8, 704, 1400])
        fields = {
            "identification": random.choice([1, 2]), "offset": offset, "more": offset == 0 or random.random() < 0.5, "may_fragment": True,
            "payload": random.choice([696, 692, 16, 4, 0]), "source_port": random.choice(PORTS[:2]), "destination_port": 80,
        }  # fmt: skip
        raw = self._client(**fields)
        cut = random.choice([0] * 9 + [1])  # a first fragment that ends within its transport header, by 8 bytes and a length that is right
        return _shorter(raw, len(raw) - (42 if raw[12:14] == b"\x08\x00" else 70)) if cut and not offset else raw

    def _error(self) -> bytes:
        """An ICMP error about something that was sent."""
        about = random.choice([random.choice(self.sent), self._said()])
        kind = int.from_bytes(about[12:14], "big")
        if kind not in (0x0800, 0x86DD):
            return self._client()
        family, quoted = 4 if kind == 0x0800 else 6, about[14:]
        quoted = quoted[: random.choice([28, 48, 60, 500])]
        to = bytes(10) + b"\xff\xff" + quoted[12:16] if family == 4 else quoted[8:24]
        head = bytes(random.choice(ERRORS[family])) + b"\0\0" + random.choice([b"\0\0\5\x14", b"\0\0\0\x20", bytes(4)])
        source = address(random.choice([ROUTER[family], ROUTER[family], *STRANGE[family], CLIENTS[family][1]]))
        raw = bytearray(frame(Wanted(1 if family == 4 else 58, source, to, payload=len(quoted)), CLIENT_MAC, LB_MAC))
        at = 34 if family == 4 else 54
        raw[at : at + 8 + len(quoted)] = head + quoted
        return bytes(raw)

    def _said(self) -> bytes:
        """What a backend that has the VIP itself sends to a client."""
        family, protocol = random.choice([4, 6]), random.choice([6, 6, 17])
        ends = address(VIPS[family][0]), address(random.choice(CLIENTS[family])), random.choice(VIP_PORTS), random.choice(PORTS)
        return frame(Wanted(protocol, *ends, BITS["A"], random.getrandbits(32), self._sequence(), 40), LB_MAC, CLIENT_MAC)

    def _options(self) -> bytes:
        """A packet with IPv4 options or IPv6 extension headers."""
        raw = self._client(payload=random.choice([0, 100]))
        if raw[12:14] == b"\x08\x00":
            extra = random.choice(OPTIONS)
            header = bytearray(raw[14:34] + extra)
            header[0] = 0x45 + len(extra) // 4
            header[2:4] = (int.from_bytes(header[2:4], "big") + len(extra)).to_bytes(2, "big")
            return raw[:14] + _summed(header) + raw[34:]
        kinds = [random.choice([0, 60, 60, 43, 44, 51, 135]) for _ in range(random.choice([1, 2, 3]))]
        kinds = random.choice([kinds, kinds, kinds, [60] * 7, [0] + [60] * 2 + [44] * 5])
        chain, following = b"", raw[20]
        for kind in reversed(kinds):
            body = random.choice([b"\1\4\0\0\0\0", bytes(6), b"\xc9\4\0\0\0\0"])
            if kind not in (0, 60):
                body = bytes([random.choice([0, 2]), 0]) + bytes(4)
            chain, following = bytes([following, 0]) + body + chain, kind
        if random.random() < 0.1:  # a header of 272 bytes: more than are walked
            chain, following = bytes([following, 33]) + b"\1\0" * 135 + chain, 60
        length = int.from_bytes(raw[18:20], "big") + len(chain)
        return raw[:18] + length.to_bytes(2, "big") + bytes([following]) + raw[21:54] + chain + raw[54:]

    def _mutated(self) -> bytes:
        """A packet with some bytes changed, cut or added."""
        raw = bytearray(random.choice([self._client, self._echo, self._fragment, self._error])())
        for _ in range(random.choice([0, 1, 1, 2])):
            raw[random.randrange(min(len(raw), 60))] = random.getrandbits(8)
        length = random.choice([len(raw), len(raw), random.randrange(14, len(raw) + 1)])
        return bytes(raw[:length]) + bytes(random.choice([0, 0, 6]))

    def _flags(self) -> int:
        return sum(BITS[one] for one in random.choice(FLAGS))

    def _sequence(self) -> int:
        return (1000 + random.choice([0, 0, 1, 2, 1 << 20, 5 << 20])) % (1 << 32)


def _shorter(raw: bytes, by: int) -> bytes:
    """A frame whose IP packet ends so many bytes earlier."""
    raw = raw[: len(raw) - by] if by > 0 else raw
    if raw[12:14] != b"\x08\x00":
        return raw[:18] + (len(raw) - 54).to_bytes(2, "big") + raw[20:]
    header = bytearray(raw[14:34])
    header[2:4] = (len(raw) - 14).to_bytes(2, "big")
    return raw[:14] + _summed(header) + raw[34:]


def _summed(header: bytearray) -> bytes:
    """An IPv4 header with its checksum."""
    header[10:12] = bytes(2)
    return bytes(header[:10]) + checksums.complete(checksums.words(header)).to_bytes(2, "big") + bytes(header[12:])
