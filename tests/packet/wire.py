"""Packets of both families and an independent idea of what NAT makes of them: scapy builds each expected frame from nothing."""

import struct
from dataclasses import dataclass

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

CLIENT_MAC, LB_MAC, BACKEND_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
VIP_PORT, BACKEND_PORT, CLIENT_PORT = 80, 8080, 40000


_FRAME = bytes.fromhex((LB_MAC + CLIENT_MAC).replace(":", "") + "0800")


@dataclass(frozen=True)
class Family:
    """The addresses that the tests of one family use."""

    version: int
    client: str
    vip: str
    snat: str
    backends: tuple[str, ...]

    def ip(self, source: str, destination: str, ttl: int = 64, tos: int = 0) -> Packet:
        """An IP header."""
        if self.version == 4:
            return IP(src=source, dst=destination, ttl=ttl, tos=tos, id=4711, flags="DF")
        return IPv6(src=source, dst=destination, hlim=ttl, tc=tos, fl=0x12345)


V4 = Family(4, "198.51.100.7", "192.0.2.10", "192.0.2.20", ("203.0.113.5", "203.0.113.6", "203.0.113.7"))
V6 = Family(6, "2001:db8:1::7", "2001:db8::10", "2001:db8::20", ("2001:db8:2::5", "2001:db8:2::6", "2001:db8:2::7"))
FAMILIES = (V4, V6)
PROTOCOLS = (TCP, UDP)
NUMBER = {TCP: 6, UDP: 17}


def transport(kind: type[Packet], source: int, destination: int, payload: bytes, **fields: object) -> Packet:
    """TCP or UDP with a payload; `flags`, `seq` and `ack` are TCP's."""
    if kind is UDP:
        fields = {name: value for name, value in fields.items() if name not in ("flags", "seq", "ack", "options", "window")}
    return kind(sport=source, dport=destination, **fields) / Raw(payload)


def from_client(
    family: Family, kind: type[Packet] = TCP, payload: bytes = b"", *, client: str = "", port: int = CLIENT_PORT, vip: str = "",
    vip_port: int = VIP_PORT, ttl: int = 64, tos: int = 0, **fields: object,
) -> Packet:  # fmt: skip
    """A client's frame for the VIP."""
    ip = family.ip(client or family.client, vip or family.vip, ttl, tos)
    return built(Ether(src=CLIENT_MAC, dst=LB_MAC) / ip / transport(kind, port, vip_port, payload, **fields))


def to_backend(
    family: Family, kind: type[Packet] = TCP, payload: bytes = b"", *, snat: str = "", port: int = CLIENT_PORT, backend: str = "",
    ttl: int = 63, tos: int = 0, **fields: object,
) -> Packet:  # fmt: skip
    """The same as it must reach the backend."""
    ip = family.ip(snat or family.snat, backend or family.backends[0], ttl, tos)
    return built(Ether(src=LB_MAC, dst=BACKEND_MAC) / ip / transport(kind, port, BACKEND_PORT, payload, **fields))


def from_backend(
    family: Family, kind: type[Packet] = TCP, payload: bytes = b"", *, snat: str = "", port: int = CLIENT_PORT, backend: str = "",
    ttl: int = 64, tos: int = 0, **fields: object,
) -> Packet:  # fmt: skip
    """The backend's answer to the SNAT address."""
    ip = family.ip(backend or family.backends[0], snat or family.snat, ttl, tos)
    return built(Ether(src=BACKEND_MAC, dst=LB_MAC) / ip / transport(kind, BACKEND_PORT, port, payload, **fields))


def to_client(
    family: Family, kind: type[Packet] = TCP, payload: bytes = b"", *, port: int = CLIENT_PORT, ttl: int = 63, tos: int = 0,
    **fields: object,
) -> Packet:  # fmt: skip
    """The same as it must reach the client."""
    ip = family.ip(family.vip, family.client, ttl, tos)
    return built(Ether(src=LB_MAC, dst=CLIENT_MAC) / ip / transport(kind, VIP_PORT, port, payload, **fields))


def quick_ipv4(
    protocol: int, source: bytes, destination: bytes, ports: tuple[int, int], payload: bytes = b"", *, flags: str = "A", seq: int = 0
) -> bytes:  # fmt: skip
    """A client's frame without scapy, for tests of a hundred thousand; its transport checksum is zero."""
    sport, dport = ports
    if protocol == 17:
        transport = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0)
    else:
        bits = sum(1 << "FSRPAUEC".index(flag) for flag in flags)
        transport = struct.pack("!HHIIBBHHH", sport, dport, seq, 0, 0x50, bits, 8192, 0, 0)
    length = 20 + len(transport) + len(payload)
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, length, 4711, 0x4000, 64, protocol, 0, source, destination)
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack("!H", total ^ 0xFFFF) + header[12:]
    return _FRAME + header + transport + payload


def built(packet: Packet) -> Packet:
    """With every length and checksum computed, as it is on the wire."""
    return Ether(bytes(packet))


def same(actual: bytes, expected: Packet) -> None:
    """Byte for byte; both dissected in the failure."""
    if actual != bytes(expected):
        raise AssertionError(f"got\n{Ether(actual).show(dump=True)}\nexpected\n{expected.show(dump=True)}")


each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f"v{f.version}")
each_protocol = pytest.mark.parametrize("kind", PROTOCOLS, ids=lambda k: k.__name__)
