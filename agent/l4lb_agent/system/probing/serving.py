"""The messages of grpc.health.v1, framed as gRPC does: a byte that says whether what follows is compressed, four of its length."""

from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

SERVING = "SERVING"
_PREFIX = 5


def question(service: str) -> bytes:
    """What is sent to ask about `service`, "" for the server as a whole."""
    message: bytes = HealthCheckRequest(service=service).SerializeToString()
    return b"\0" + len(message).to_bytes(_PREFIX - 1, "big") + message


def answered(body: bytes) -> str:
    """The name of the status that a server said, its number where it has none; "" when that was no message."""
    if len(body) < _PREFIX or body[0] or int.from_bytes(body[1:_PREFIX], "big") != len(body) - _PREFIX:
        return ""
    try:
        said = HealthCheckResponse.FromString(body[_PREFIX:]).status
    except DecodeError:
        return ""
    names = HealthCheckResponse.ServingStatus
    return str(names.Name(said)) if said in names.values() else str(said)
