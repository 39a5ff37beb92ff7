"""Every refusal, one tree; api/ maps `code` to a gRPC status and the rest to google.rpc details.

Refused                        data: field, message, reason
|- InvalidArgument             a field cannot be as it is
|- NotImplementedYet           a field or value the agent knows and does not do yet
|- NotFound, AlreadyExists     of a resource name
|- FailedPrecondition          the state does not allow it
|- Aborted                     etag mismatch
|- ResourceExhausted           a configured size is reached
|- OutOfRange                  resume revision too old
`- Unavailable                 journaled and not yet in the kernel (APPLY_PENDING), or the agent cannot write now
"""

from typing import ClassVar

LONGEST = 600  # characters: what a caller sent comes back in errors and in the log, and megabytes of it would not fit there


def _shortened(text: str) -> str:
    """Without the middle of a text that is too long: the end says what is wrong."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}...{text[-LONGEST // 2 :]}"


class Refused(Exception):
    """A request that changes nothing. `field` is the request's path (`backend.weight`), "" when no field is to blame; `reason` is
    UPPER_SNAKE_CASE for programs; `message` says what is wrong and what to do; `metadata` holds the message's variable parts."""

    code: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, reason: str, field: str = "", metadata: dict[str, str] | None = None) -> None:
        self.message, self.reason, self.field = _shortened(message), reason, field
        self.metadata = {name: _shortened(value) for name, value in (metadata or {}).items()}
        super().__init__(self.message)


class InvalidArgument(Refused):
    """A field cannot be as it is, whatever the state."""

    code = "INVALID_ARGUMENT"


class NotImplementedYet(Refused):
    """A field or value that the API knows and this agent does not do yet."""

    code = "UNIMPLEMENTED"


class NotFound(Refused):
    """No resource has this name."""

    code = "NOT_FOUND"


class AlreadyExists(Refused):
    """A resource has this name, or the same VIP, port and protocol; metadata names it."""

    code = "ALREADY_EXISTS"


class FailedPrecondition(Refused):
    """The state does not allow it; the message says which state would."""

    code = "FAILED_PRECONDITION"


class Aborted(Refused):
    """The etag does not match: the resource was changed meanwhile."""

    code = "ABORTED"


class ResourceExhausted(Refused):
    """A configured size is reached; the message names it."""

    code = "RESOURCE_EXHAUSTED"


class OutOfRange(Refused):
    """The revision to resume from is no longer remembered."""

    code = "OUT_OF_RANGE"


class Unavailable(Refused):
    """Try again: with reason APPLY_PENDING the change is journaled and the agent goes on applying it."""

    code = "UNAVAILABLE"
