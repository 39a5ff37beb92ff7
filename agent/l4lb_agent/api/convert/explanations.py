"""What becomes of a packet that was asked about, as the API shows it."""

from typing import Any

from l4lb.v1 import explain_pb2
from l4lb_agent.control.facade import Explained
from l4lb_agent.model.address import Address
from l4lb_agent.model.explain.meanings import MEANINGS
from l4lb_agent.model.explain.packet import Tuple
from l4lb_agent.model.explain.summary import summary
from l4lb_agent.model.reasons import Verdict


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
    outer, inner = _shown(seen.outer), _shown(seen.inner)
    return explain_pb2.FrameSummary(
        frame=raw, interface=interface, vlan=seen.vlan, service_vlan=seen.service_vlan, ether_type=seen.ether_type,
        service_vlan_type=seen.service_type, source_mac=seen.source_mac.hex(":"), destination_mac=seen.destination_mac.hex(":"),
        outer_source=outer["source"], outer_destination=outer["destination"], outer_source_port=outer["source_port"],
        outer_destination_port=outer["destination_port"], **inner,
    )  # fmt: skip


def _shown(of: Tuple | None) -> dict[str, Any]:
    """The fields of a packet's ends."""
    of, there = of or Tuple(), of is not None
    return {
        "source": str(Address(of.source)) if there else "", "destination": str(Address(of.destination)) if there else "",
        "source_port": of.source_port, "destination_port": of.destination_port, "protocol": of.protocol,
    }  # fmt: skip
