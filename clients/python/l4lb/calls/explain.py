"""The call that explains a packet."""

from collections.abc import Mapping, Sequence
from typing import Any

from l4lb import names
from l4lb.calls.call import Call
from l4lb.v1 import explain_pb2, service_pb2


def explain(
    kind: str, source: str = "", destination: str = "", *, source_port: int = 0, destination_port: int = 0, flags: Sequence[str] = (),
    sequence: int = 0, acknowledgement: int = 0, payload_bytes: int = 0, hops: int = 0, may_fragment: bool = False,
    fragment_offset: int = 0, more_fragments: bool = False, identification: int = 0, vlan: int = 0, interface: str = "",
    icmp: explain_pb2.AskedIcmp | Mapping[str, Any] | None = None, ip_protocol: int = 0, ether_type: int = 0, ipv4_options: bytes = b"",
    extension_headers: Sequence[tuple[int, bytes]] = (), vlan_priority: int = 0, service_vlan: int = 0, frame_bytes: int = 0,
    source_mac: str = "", destination_mac: str = "", ip_checksum_wrong: bool = False, checksum: str = "", mss: int | None = None,
    tcp_options: bytes = b"", service_vlan_type: int = 0,
) -> Call[explain_pb2.Explanation]:  # fmt: skip
    """Says what would become of a packet that an interface received now, and why. `kind` is tcp, udp, echo_request, icmp (with `icmp`, an
    AskedIcmp or its fields), ip (with `ip_protocol`), neighbour_request or ethernet (with `ether_type`); `flags` are some of fin, syn, rst,
    psh, ack, urg, ece, cwr, or none alone; without any it is syn; `extension_headers` are their kinds with what they hold; `checksum` is
    wrong or none. Without `interface` it comes by the one towards `source`."""
    message = explain_pb2.AskedIcmp(**icmp) if isinstance(icmp, Mapping) else icmp
    packet = explain_pb2.AskedPacket(
        kind=names.number(explain_pb2.PacketKind, "PACKET_KIND", kind), source=source, source_port=source_port, destination=destination,
        destination_port=destination_port, tcp_flags=[names.number(explain_pb2.TcpFlag, "TCP_FLAG", flag) for flag in flags],
        sequence=sequence, acknowledgement=acknowledgement, payload_bytes=payload_bytes, hops=hops, may_fragment=may_fragment,
        fragment_offset=fragment_offset, more_fragments=more_fragments, identification=identification, vlan=vlan, interface=interface,
        icmp=message, ip_protocol=ip_protocol, ether_type=ether_type, ipv4_options=ipv4_options,
        extension_headers=[explain_pb2.AskedExtensionHeader(kind=number, data=data) for number, data in extension_headers],
        vlan_priority=vlan_priority, service_vlan=service_vlan, frame_bytes=frame_bytes, source_mac=source_mac,
        destination_mac=destination_mac, ip_checksum_wrong=ip_checksum_wrong, mss=mss, tcp_options=tcp_options,
        checksum=names.number(explain_pb2.AskedChecksum, "ASKED_CHECKSUM", checksum) if checksum else None,
        service_vlan_type=service_vlan_type,
    )  # fmt: skip
    return Call("Explain", service_pb2.ExplainRequest(packet=packet), lambda response: response.explanation)
