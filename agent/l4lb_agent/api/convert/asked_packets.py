"""Packets that are asked about: which fields each kind has, and what may stand in them."""

import ipaddress
import re
from dataclasses import replace
from typing import Final

from l4lb.v1 import explain_pb2, service_pb2
from l4lb_agent.api import fields
from l4lb_agent.model.address import MAPPED, Address
from l4lb_agent.model.errors import InvalidArgument
from l4lb_agent.model.explain import packet as p
from l4lb_agent.model.explain import synthesis
from l4lb_agent.model.explain.reading import EXTENSIONS
from l4lb_agent.model.explain.synthesis import FLAGS, FRAGMENT, TTL, Checksum, Message, Wanted

Kind = explain_pb2.PacketKind
_ICMP: Final = {4: p.PROTOCOL_ICMP, 6: p.PROTOCOL_ICMPV6}
_FRAME: Final = frozenset(
    {"vlan", "interface", "vlan_priority", "service_vlan", "service_vlan_type", "frame_bytes", "source_mac", "destination_mac"}
)
_ENDS: Final = frozenset({"source", "destination"})
_PORTS: Final = frozenset({"source_port", "destination_port"})
_IP: Final = _ENDS | {
    "payload_bytes", "hops", "may_fragment", "fragment_offset", "more_fragments", "identification", "ipv4_options", "extension_headers",
    "ip_checksum_wrong",
}  # fmt: skip
_FIELDS: Final = {
    Kind.PACKET_KIND_TCP: _IP | _PORTS | {"tcp_flags", "sequence", "acknowledgement", "checksum", "mss", "tcp_options"},
    Kind.PACKET_KIND_UDP: _IP | _PORTS | {"checksum"},
    Kind.PACKET_KIND_ECHO_REQUEST: _IP | {"checksum"},
    Kind.PACKET_KIND_ICMP: _IP | {"icmp", "checksum"},
    Kind.PACKET_KIND_IP: _IP | {"ip_protocol"},
    Kind.PACKET_KIND_NEIGHBOUR_REQUEST: _ENDS,
    Kind.PACKET_KIND_ETHERNET: frozenset({"ether_type", "payload_bytes"}),
}
_QUOTED: Final = (Kind.PACKET_KIND_TCP, Kind.PACKET_KIND_UDP, Kind.PACKET_KIND_ECHO_REQUEST, Kind.PACKET_KIND_IP)
_OF_FAMILY: Final = {"ipv4_options": 4, "may_fragment": 4, "ip_checksum_wrong": 4, "extension_headers": 6}
_MOST: Final = {
    "source_port": 65535, "destination_port": 65535, "payload_bytes": synthesis.MOST_PAYLOAD, "hops": 255, "fragment_offset": 65528,
    "vlan": 4094, "vlan_priority": 7, "service_vlan": 4094, "ip_protocol": 255, "ether_type": 65535,
    "frame_bytes": synthesis.MOST_FRAME, "mss": 65535,
}  # fmt: skip
_CHECKSUMS: Final = {
    explain_pb2.ASKED_CHECKSUM_UNSPECIFIED: Checksum.RIGHT, explain_pb2.ASKED_CHECKSUM_WRONG: Checksum.WRONG,
    explain_pb2.ASKED_CHECKSUM_NONE: Checksum.NONE,
}  # fmt: skip
_KNOWN_PROTOCOLS: Final = {
    p.PROTOCOL_TCP: "TCP", p.PROTOCOL_UDP: "UDP", p.PROTOCOL_ICMP: "ICMP", p.PROTOCOL_ICMPV6: "ICMP",
    **dict.fromkeys(EXTENSIONS, "one that can carry it, with extension_headers"),
}  # fmt: skip
_KNOWN_TYPES: Final = {
    p.TYPE_IPV4: "of an IP kind", p.TYPE_IPV6: "of an IP kind", p.TYPE_VLAN: "with vlan", p.TYPE_SERVICE_VLAN: "with service_vlan",
}  # fmt: skip
_MOST_DATA: Final = {0: 2046, 51: 1018}  # of an extension header: what its length can tell, that of an authentication header in fours
_MOST_HEADERS: Final = 16
_MAC: Final = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


def asked(request: service_pb2.ExplainRequest) -> tuple[Wanted, str]:
    """The packet, and the interface that receives it ("" for any). Raises InvalidArgument."""
    of = request.packet
    wanted = _packet(of, "packet", frozenset(_FIELDS), _FRAME)
    size = len(synthesis.frame(wanted, bytes(6), bytes(6)))
    if size > synthesis.MOST_FRAME:
        what = next(name for name in ("payload_bytes", "extension_headers", "icmp") if getattr(of, name))
        raise InvalidArgument(
            f"packet.{what}: the frame would have {size} bytes, and of more than {synthesis.MOST_FRAME} nothing can be asked: make it less",
            reason="OUT_OF_BOUNDS", field=f"packet.{what}", metadata={"value": str(size), "maximum": str(synthesis.MOST_FRAME)},
        )  # fmt: skip
    return wanted, of.interface


def _packet(of: explain_pb2.AskedPacket, path: str, kinds: frozenset[int], more: frozenset[str]) -> Wanted:
    """A packet of one of these kinds, which may also have the fields `more`."""
    if not of.kind:
        raise fields.required(f"{path}.kind")
    if of.kind not in kinds:
        names = ", ".join(Kind.Name(kind).removeprefix("PACKET_KIND_") for kind in sorted(kinds))
        raise fields.contradiction(f"{path}.kind", f"is one of {names}: no router quotes others, or an error about them is none of a flow")
    for descriptor, _ in of.ListFields():
        if descriptor.name not in _FIELDS[of.kind] | more | {"kind"}:
            raise fields.contradiction(f"{path}.{descriptor.name}", f"is not of a packet of kind {Kind.Name(of.kind)}: leave it out")
    for name, most in _MOST.items():
        if getattr(of, name) > most:
            raise _beyond(f"{path}.{name}", getattr(of, name), 0, most)
    wanted = replace(
        _ethernet(of, path) if of.kind == Kind.PACKET_KIND_ETHERNET else _between_ends(of, path),
        payload=of.payload_bytes, vlan=of.vlan, priority=of.vlan_priority, service_vlan=of.service_vlan, size=of.frame_bytes,
        service_type=of.service_vlan_type or p.TYPE_SERVICE_VLAN,
        source_mac=_mac(of.source_mac, f"{path}.source_mac"), destination_mac=_mac(of.destination_mac, f"{path}.destination_mac"),
    )  # fmt: skip
    if 0 < of.frame_bytes < synthesis.LEAST_FRAME:
        raise _beyond(f"{path}.frame_bytes", of.frame_bytes, synthesis.LEAST_FRAME, synthesis.MOST_FRAME)
    if of.service_vlan_type and (of.service_vlan_type not in p.TAGS or not of.service_vlan):
        raise fields.contradiction(f"{path}.service_vlan_type", "is 33024 (0x8100) or 34984 (0x88a8), and with service_vlan only")
    return wanted


def _ethernet(of: explain_pb2.AskedPacket, path: str) -> Wanted:
    if not of.ether_type:
        raise fields.required(f"{path}.ether_type")
    if of.ether_type in _KNOWN_TYPES:
        raise fields.contradiction(f"{path}.ether_type", f"{of.ether_type:#06x} is asked about {_KNOWN_TYPES[of.ether_type]}")
    return Wanted(0, bytes(16), bytes(16), ether_type=of.ether_type)


def _between_ends(of: explain_pb2.AskedPacket, path: str) -> Wanted:
    """All that has addresses."""
    source, destination = _address(of.source, f"{path}.source"), _address(of.destination, f"{path}.destination")
    family = Address(destination).family
    if Address(source).family != family:
        raise fields.contradiction(f"{path}.source", f"must be of the same family as {path}.destination")
    for name, only in _OF_FAMILY.items():
        if getattr(of, name) and family != only:
            raise fields.contradiction(f"{path}.{name}", f"is IPv{only}'s, and the addresses are IPv{family}'s: leave it out")
    _check_fragment(of, path, family)
    for name in ("ipv4_options", "tcp_options"):
        if (size := len(getattr(of, name))) > synthesis.MOST_OPTIONS:
            raise InvalidArgument(
                f"{path}.{name}: {size} bytes are more than {synthesis.MOST_OPTIONS}, which a header has room for",
                reason="OUT_OF_BOUNDS", field=f"{path}.{name}",
            )  # fmt: skip
    if of.HasField("mss") and of.tcp_options:
        raise fields.contradiction(f"{path}.mss", "stands in tcp_options when those are set: leave one of them out")
    return Wanted(
        _protocol(of, path, family), source, destination, of.source_port, of.destination_port, _flags(of, path), of.sequence,
        of.acknowledgement, ip_checksum=Checksum.WRONG if of.ip_checksum_wrong else Checksum.RIGHT, checksum=_checksum(of, path),
        mss=of.mss if of.HasField("mss") else None, tcp_options=of.tcp_options,
        ttl=of.hops or TTL, may_fragment=of.may_fragment, identification=of.identification, offset=of.fragment_offset,
        more=of.more_fragments, message=_message(of, path, family), ipv4_options=of.ipv4_options, headers=_headers(of, path),
        asks_mac=of.kind == Kind.PACKET_KIND_NEIGHBOUR_REQUEST,
    )  # fmt: skip


def _flags(of: explain_pb2.AskedPacket, path: str) -> int:
    if explain_pb2.TCP_FLAG_UNSPECIFIED in of.tcp_flags:
        raise fields.required(f"{path}.tcp_flags")
    if explain_pb2.TCP_FLAG_NONE in of.tcp_flags:
        if len(of.tcp_flags) > 1:
            raise fields.contradiction(f"{path}.tcp_flags", "NONE says that there is no flag: leave it or the others out")
        return 0
    return sum({FLAGS[explain_pb2.TcpFlag.Name(flag).removeprefix("TCP_FLAG_").lower()] for flag in of.tcp_flags}) or p.SYN


def _checksum(of: explain_pb2.AskedPacket, path: str) -> Checksum:
    if of.checksum not in _CHECKSUMS:
        raise fields.required(f"{path}.checksum")
    if of.checksum and of.fragment_offset:
        raise fields.contradiction(f"{path}.checksum", "stands in the first fragment alone: leave it or fragment_offset out")
    if of.checksum == explain_pb2.ASKED_CHECKSUM_NONE and of.kind != Kind.PACKET_KIND_UDP:
        raise fields.contradiction(f"{path}.checksum", "NONE is of UDP only: nothing else goes without one")
    return _CHECKSUMS[of.checksum]


def _protocol(of: explain_pb2.AskedPacket, path: str, family: int) -> int:
    if of.kind != Kind.PACKET_KIND_IP:
        return {Kind.PACKET_KIND_TCP: p.PROTOCOL_TCP, Kind.PACKET_KIND_UDP: p.PROTOCOL_UDP}.get(of.kind, _ICMP[family])
    if not of.ip_protocol:
        raise fields.required(f"{path}.ip_protocol")
    if of.ip_protocol in _KNOWN_PROTOCOLS and not (family == 4 and of.ip_protocol in EXTENSIONS):
        other = _KNOWN_PROTOCOLS[of.ip_protocol]
        raise fields.contradiction(f"{path}.ip_protocol", f"{of.ip_protocol} is asked about by a packet of another kind: {other}")
    return of.ip_protocol


def _check_fragment(of: explain_pb2.AskedPacket, path: str, family: int) -> None:
    if of.fragment_offset % 8:
        raise InvalidArgument(
            f"{path}.fragment_offset: {of.fragment_offset} is no multiple of 8, as each is", reason="OUT_OF_BOUNDS",
            field=f"{path}.fragment_offset", metadata={"value": str(of.fragment_offset)},
        )  # fmt: skip
    most = 65535 if family == 4 else 0xFFFFFFFF
    if of.identification > most:
        raise _beyond(f"{path}.identification", of.identification, 0, most)
    fragment = of.fragment_offset or of.more_fragments or any(one.kind == FRAGMENT for one in of.extension_headers)
    if family == 6 and of.identification and not fragment:
        raise fields.contradiction(f"{path}.identification", "is a fragment's in IPv6: set fragment_offset or more_fragments, too")


def _headers(of: explain_pb2.AskedPacket, path: str) -> tuple[tuple[int, bytes], ...]:
    for place, one in enumerate(of.extension_headers):
        field = f"{path}.extension_headers[{place}]"
        if one.kind not in EXTENSIONS:
            known = ", ".join(str(kind) for kind in sorted(EXTENSIONS))
            raise InvalidArgument(
                f"{field}.kind: {one.kind} is no extension header of IPv6: it is one of {known}", reason="OUT_OF_BOUNDS",
                field=f"{field}.kind", metadata={"value": str(one.kind)},
            )  # fmt: skip
        if one.kind == FRAGMENT and one.data:
            raise fields.contradiction(
                f"{field}.data", "is not of the fragment header: set fragment_offset, more_fragments, identification"
            )
        most = _MOST_DATA.get(one.kind, _MOST_DATA[0])
        if len(one.data) > most:
            raise _beyond(f"{field}.data", len(one.data), 0, most)
    if len(of.extension_headers) > _MOST_HEADERS:
        raise _beyond(f"{path}.extension_headers", len(of.extension_headers), 0, _MOST_HEADERS)
    return tuple((one.kind, one.data) for one in of.extension_headers)


def _message(of: explain_pb2.AskedPacket, path: str, family: int) -> Message | None:
    if of.kind != Kind.PACKET_KIND_ICMP:
        return None
    if not of.HasField("icmp"):
        raise fields.required(f"{path}.icmp")
    one = of.icmp
    for name, most in {"type": 255, "code": 255, "quoted_bytes": synthesis.MOST_PAYLOAD}.items():
        if getattr(one, name) > most:
            raise _beyond(f"{path}.icmp.{name}", getattr(one, name), 0, most)
    if not one.HasField("quoted"):
        if one.quoted_bytes:
            raise fields.contradiction(f"{path}.icmp.quoted_bytes", "is of a message that quotes a packet: set quoted, or leave it out")
        return Message(one.type, one.code, one.mtu)
    if of.payload_bytes:
        raise fields.contradiction(
            f"{path}.payload_bytes", f"is not of a message that quotes a packet: set {path}.icmp.quoted.payload_bytes"
        )
    inner = _packet(one.quoted, f"{path}.icmp.quoted", frozenset(_QUOTED), frozenset())
    if inner.family != family:
        raise fields.contradiction(f"{path}.icmp.quoted.source", f"must be of the same family as {path}.source")
    return Message(one.type, one.code, one.mtu, inner, one.quoted_bytes or None)


def _mac(text: str, field: str) -> bytes:
    if text and not _MAC.fullmatch(text):
        raise InvalidArgument(
            f"{field}: {text!r} is no MAC: write it like 02:00:00:00:00:01", reason="INVALID_ADDRESS", field=field,
            metadata={"address": text},
        )  # fmt: skip
    return bytes.fromhex(text.replace(":", ""))


def _beyond(field: str, value: int, least: int, most: int) -> InvalidArgument:
    than = f"more than {most}" if value > most else f"less than {least}"
    return InvalidArgument(
        f"{field}: {value} is {than}", reason="OUT_OF_BOUNDS", field=field,
        metadata={"value": str(value), "minimum": str(least), "maximum": str(most)},
    )  # fmt: skip


def _address(text: str, field: str) -> bytes:
    """The 16 bytes of an address, also of one that no host may have: what the datapath makes of such is asked about, too."""
    if not text:
        raise fields.required(field)
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        parsed = None
    if parsed is None or (parsed.version == 6 and (parsed.scope_id or parsed.ipv4_mapped)):
        raise InvalidArgument(
            f"{field}: {text!r} is not an IPv4 or IPv6 address", reason="INVALID_ADDRESS", field=field, metadata={"address": text}
        )  # fmt: skip
    return parsed.packed if parsed.version == 6 else MAPPED + parsed.packed
