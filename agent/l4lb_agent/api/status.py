"""Refusals as gRPC statuses with google.rpc details (AIP-193)."""

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from l4lb_agent.model.errors import Refused

DOMAIN = "l4lb"


def of(error: Refused) -> grpc.Status:
    """The status of a refusal: ErrorInfo with its reason and metadata, BadRequest when a field is to blame."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    details = [_packed(info)]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message, reason=error.reason)
        details.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
    return _status(getattr(grpc.StatusCode, error.code), error.message, details)


def internal(correlation_id: str) -> grpc.Status:
    """The status of an error that the agent did not foresee; the log has the rest under the same id."""
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"correlation_id": correlation_id})
    message = f"the agent failed in a way it did not foresee: look for {correlation_id} in its log"
    return _status(grpc.StatusCode.INTERNAL, message, [_packed(info)])


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed


def _status(code: grpc.StatusCode, message: str, details: list[Any]) -> grpc.Status:
    number: int = code.value[0]
    status: grpc.Status = rpc_status.to_status(status_pb2.Status(code=number, message=message, details=details))
    return status
