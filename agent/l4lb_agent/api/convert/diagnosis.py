"""Findings of the doctor as messages, and as the JSON that `l4lb-agent doctor` and `l4lbctl doctor` print alike."""

from collections.abc import Iterable
from typing import Any

from google.protobuf.json_format import MessageToDict

from l4lb.v1 import doctor_pb2, service_pb2
from l4lb_agent.model.doctor.examine import with_warnings
from l4lb_agent.model.doctor.finding import Finding


def findings(found: Iterable[Finding], warnings: Iterable[tuple[str, str]] = ()) -> service_pb2.DiagnoseResponse:
    """The answer to Diagnose, with what the agent warns of by itself, (reason, message)."""
    return service_pb2.DiagnoseResponse(findings=[_finding(one) for one in with_warnings(found, warnings)])


def findings_json(found: Iterable[Finding]) -> dict[str, Any]:
    """The same by the JSON mapping of protobuf, with the names of the .proto files."""
    return MessageToDict(findings(found), preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _finding(of: Finding) -> doctor_pb2.Finding:
    severity: Any = int(of.severity)  # the numbers are the same
    return doctor_pb2.Finding(
        id=of.id, severity=severity, subject=of.subject, evidence=of.evidence, commands=of.cure, safe_to_fix=of.safe
    )  # fmt: skip
