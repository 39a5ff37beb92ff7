"""What goes wrong, as one exception with the details that the agent sends (google.rpc.ErrorInfo and BadRequest, AIP-193)."""

from collections.abc import Mapping
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

_DETAILS = "grpc-status-details-bin"


class Error(Exception):
    """A call that failed. `code` is the gRPC status (`NOT_FOUND`), `reason` the agent's own word for programs ("" when the agent did not
    answer), `field` the path of the field to blame or "", `metadata` the variable parts of the message."""

    def __init__(self, code: str, message: str, *, reason: str = "", field: str = "", metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.reason, self.field = code, message, reason, field
        self.metadata = dict(metadata or {})

    @property
    def unreachable(self) -> bool:
        """Whether no agent answered."""
        return self.code == "UNAVAILABLE" and not self.reason

    @classmethod
    def from_rpc(cls, error: grpc.RpcError) -> "Error":
        """The error of a failed call, of the blocking or the asyncio kind."""
        call: Any = error
        code, message = call.code().name, call.details() or ""
        reason = field = ""
        metadata: dict[str, str] = {}
        for detail in _details(call.trailing_metadata()):
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if detail.Unpack(info):
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad) and bad.field_violations:
                field = bad.field_violations[0].field
        return cls(code, message, reason=reason, field=field, metadata=metadata)


def _details(trailers: Any) -> list[Any]:
    for key, value in trailers or ():
        if key == _DETAILS:
            return list(status_pb2.Status.FromString(value).details)
    return []
