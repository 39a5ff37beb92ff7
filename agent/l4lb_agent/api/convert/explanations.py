"""Packets that are asked about, and what becomes of them as the API shows it."""

import ipaddress
from typing import Any, Final

from l4lb.v1 import explain_pb2, service_pb2
from l4lb_agent.api import fields
from l4lb_agent.control.facade import Explained
from l4lb_agent.model.address import Address
from l4lb_agent.model.errors import InvalidArgument
from l4lb_agent.model.explain import packet as p
from l4lb_agent.model.explain.meanings import MEANINGS
from l4lb_agent.model.explain.packet import Tuple
from l4lb_agent.model.explain.summary import summary
from l4lb_agent.model.explain.synthesis import FLAGS, MOST_PAYLOAD, TTL, Wanted
from l4lb_agent.model.reasons import Verdict

_ECHO: Final = {4: p.PROTOCOL_ICMP, 6: p.PROTOCOL_ICMPV6}
_MOST: Final = {
    "source_port": 65535, "destination_port": 65535, "payload_bytes": MOST_PAYLOAD, "hops": 255, "fragment_offset": 65528, "vlan": 4094,
}  # fmt: skip
_OF_TCP: Final = ("tcp_flags", "sequence", "acknowledgement")


def asked(request: service_pb2.ExplainRequest) -> tuple[Wanted, str]:
    """The packet, and the interface that receives it ("" for any). Raises InvalidArgument."""
    of = request.packet
    if not of.kind:
        raise fields.required("packet.kind")
    source, destination = _address(of.source, "packet.source"), _address(of.destination, "packet.destination")
    family = Address(destination).family
    if Address(source).family != family:
        raise fields.contradiction("packet.source", "must be of the same family as packet.destination")
    _check(of, 65535 if family == 4 else 0xFFFFFFFF)
    protocol = {explain_pb2.PACKET_KIND_TCP: p.PROTOCOL_TCP, explain_pb2.PACKET_KIND_UDP: p.PROTOCOL_UDP}.get(of.kind, _ECHO[family])
    flags = sum({FLAGS[explain_pb2.TcpFlag.Name(flag).removeprefix("TCP_FLAG_").lower()] for flag in of.tcp_flags}) or p.SYN
    return Wanted(
        protocol, source, destination, of.source_port, of.destination_port, flags, of.sequence, of.acknowledgement, of.payload_bytes,
        of.hops or TTL, of.may_fragment, of.identification, of.fragment_offset, of.more_fragments, of.vlan,
    ), of.interface  # fmt: skip


def explanation(of: Explained) -> explain_pb2.Explanation:
    """As a message."""
    made = of.explanation
    meaning, advice = MEANINGS[made.reason]
    reason, verdict = (f"{kind}_{one.name}" for kind, one in (("REASON", made.reason), ("VERDICT", made.verdict)))
    numbers: Any = {"reason": reason, "verdict": verdict}  # protobuf takes names
    compared: Any = int(of.compared.comparison)  # the numbers are the same
    return explain_pb2.Explanation(
        received=_frame(of.frame, of.interface, 0),
        steps=[explain_pb2.ExplainStep(name=one.name, finding=one.finding, evidence=one.evidence) for one in made.steps],
        meaning=meaning, advice=advice, service=of.service, backend=of.backend,
        sent=None if made.verdict is Verdict.DROP else _frame(made.frame, of.out, made.overhead),
        program=_program(of), comparison=compared, differences=of.compared.differences, **numbers,
    )  # fmt: skip


def _program(of: Explained) -> explain_pb2.ProgramAnswer | None:
    answer = of.compared.answer
    if answer is None:
        return None
    reason, verdict = (f"{kind}_{one.name}" for kind, one in (("REASON", answer.reason), ("VERDICT", answer.verdict)))
    numbers: Any = {"reason": reason, "verdict": verdict}
    frame = b"" if answer.verdict is Verdict.DROP else answer.frame
    return explain_pb2.ProgramAnswer(frame=frame, interface=of.program_out, **numbers)


def _frame(raw: bytes, interface: str, overhead: int) -> explain_pb2.FrameSummary:
    seen = summary(raw, overhead)
    outer, inner = seen.outer or Tuple(), seen.inner
    outside = [str(Address(one)) if seen.outer else "" for one in (outer.source, outer.destination)]
    return explain_pb2.FrameSummary(
        frame=raw, interface=interface, vlan=seen.vlan, source_mac=seen.source_mac.hex(":"), destination_mac=seen.destination_mac.hex(":"),
        outer_source=outside[0], outer_destination=outside[1], outer_source_port=outer.source_port,
        outer_destination_port=outer.destination_port, source=str(Address(inner.source)), destination=str(Address(inner.destination)),
        protocol=inner.protocol, source_port=inner.source_port, destination_port=inner.destination_port,
    )  # fmt: skip


def _check(of: explain_pb2.AskedPacket, identifications: int) -> None:
    """Raises InvalidArgument for numbers beyond what a packet has, and for fields of packets of another kind."""
    for name, most in {**_MOST, "identification": identifications}.items():
        if getattr(of, name) > most:
            raise InvalidArgument(
                f"packet.{name}: {getattr(of, name)} is more than {most}", reason="OUT_OF_BOUNDS", field=f"packet.{name}",
                metadata={"value": str(getattr(of, name)), "minimum": "0", "maximum": str(most)},
            )  # fmt: skip
    if of.fragment_offset % 8:
        raise InvalidArgument("packet.fragment_offset must be a multiple of 8", reason="OUT_OF_BOUNDS", field="packet.fragment_offset")
    if explain_pb2.TCP_FLAG_UNSPECIFIED in of.tcp_flags:
        raise fields.required("packet.tcp_flags")
    if of.kind != explain_pb2.PACKET_KIND_TCP:
        for name in _OF_TCP:
            if getattr(of, name):
                raise fields.contradiction(f"packet.{name}", "is TCP's")
    if of.kind == explain_pb2.PACKET_KIND_ECHO_REQUEST and (of.source_port or of.destination_port):
        raise fields.contradiction("packet.source_port" if of.source_port else "packet.destination_port", "is not of an echo request")


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
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed
