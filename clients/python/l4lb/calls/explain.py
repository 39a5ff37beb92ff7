"""The call that explains a packet."""

from collections.abc import Sequence

from l4lb import names
from l4lb.calls.call import Call
from l4lb.v1 import explain_pb2, service_pb2


def explain(
    kind: str, source: str, destination: str, *, source_port: int = 0, destination_port: int = 0, flags: Sequence[str] = (),
    sequence: int = 0, acknowledgement: int = 0, payload_bytes: int = 0, hops: int = 0, may_fragment: bool = False,
    fragment_offset: int = 0, more_fragments: bool = False, identification: int = 0, vlan: int = 0, interface: str = "",
) -> Call[explain_pb2.Explanation]:  # fmt: skip
    """Says what would become of a packet that an interface received now, and why. `kind` is tcp, udp or echo_request; `flags` are some of
    fin, syn, rst, psh, ack, urg; none is syn. Without `interface` it comes by the one towards `source`."""
    packet = explain_pb2.AskedPacket(
        kind=names.number(explain_pb2.PacketKind, "PACKET_KIND", kind), source=source, source_port=source_port, destination=destination,
        destination_port=destination_port, tcp_flags=[names.number(explain_pb2.TcpFlag, "TCP_FLAG", flag) for flag in flags],
        sequence=sequence, acknowledgement=acknowledgement, payload_bytes=payload_bytes, hops=hops, may_fragment=may_fragment,
        fragment_offset=fragment_offset, more_fragments=more_fragments, identification=identification, vlan=vlan, interface=interface,
    )  # fmt: skip
    return Call("Explain", service_pb2.ExplainRequest(packet=packet), lambda response: response.explanation)
