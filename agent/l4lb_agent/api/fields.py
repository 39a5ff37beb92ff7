"""What every request is checked for, whatever its meaning: unknown fields and enum numbers, masks, durations, names, request ids.

Knows protobuf and errors, not the model. Sources: AIP-134 (masks), AIP-155 (request_id), AIP-203 (field behaviour).
"""

import hashlib
import re
import uuid
from collections.abc import Iterator, Set

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from l4lb_agent.model.errors import InvalidArgument, NotImplementedYet

_ID = "[a-z][a-z0-9-]{0,62}"
_ID_WORDS = "1 to 63 of a-z, 0-9 and -, beginning with a letter"
SERVICE_NAME = re.compile(f"services/{_ID}")
BACKEND_NAME = re.compile(f"services/{_ID}/backends/{_ID}")
LIST_NAME = re.compile(f"lists/{_ID}")
_SHAPES = {
    SERVICE_NAME: f"services/{{service}}, each part {_ID_WORDS}",
    BACKEND_NAME: f"services/{{service}}/backends/{{backend}}, each part {_ID_WORDS}",
    LIST_NAME: f"lists/{{list}}, each part {_ID_WORDS}",
}


def known(message: Message, path: str = "") -> None:
    """Raises InvalidArgument (UNKNOWN_FIELD, UNKNOWN_ENUM_VALUE) naming what this agent does not know anywhere in `message`."""
    for unknown in UnknownFieldSet(message):  # type: ignore[attr-defined]
        field = f"{path}.{unknown.field_number}".lstrip(".")
        kind = message.DESCRIPTOR.full_name
        raise InvalidArgument(
            f"{kind} has no field number {unknown.field_number} in this agent's version of the API: leave it out or upgrade the agent",
            reason="UNKNOWN_FIELD", field=field, metadata={"message": kind, "number": str(unknown.field_number)},
        )  # fmt: skip
    for descriptor, value in message.ListFields():
        field = f"{path}.{descriptor.name}".lstrip(".")
        if descriptor.enum_type is not None:
            for number in [value] if isinstance(value, int) else value:
                _known_value(number, descriptor.enum_type, field)
        for part, place in _messages(descriptor, value, field):
            known(part, place)


def _known_value(number: int, kind: EnumDescriptor, field: str) -> None:
    if number not in kind.values_by_number:
        raise InvalidArgument(
            f"{field}: {number} is not a value of {kind.full_name} in this agent's version of the API",
            reason="UNKNOWN_ENUM_VALUE", field=field, metadata={"enum": kind.full_name, "number": str(number)},
        )  # fmt: skip


def _messages(descriptor: FieldDescriptor, value: object, path: str) -> Iterator[tuple[Message, str]]:
    """Messages directly inside a field, with their paths."""
    if isinstance(value, Message):
        yield value, path
    elif descriptor.message_type is not None and not descriptor.message_type.GetOptions().map_entry:
        yield from ((part, f"{path}[{i}]") for i, part in enumerate(value))  # type: ignore[arg-type,var-annotated]


def name(text: str, pattern: re.Pattern[str], field: str, shape: str = "") -> str:
    """`text`, a resource name of the pattern, whose `shape` is named where it is none of those here. Raises InvalidArgument
    (INVALID_NAME)."""
    if not text:
        raise required(field)
    if not pattern.fullmatch(text):
        raise InvalidArgument(
            f"{field}: {text!r} is not of the form {shape or _SHAPES[pattern]}",
            reason="INVALID_NAME", field=field, metadata={"name": text},
        )  # fmt: skip
    return text


def required(field: str) -> InvalidArgument:
    """The error for a field that must be set."""
    return InvalidArgument(f"{field} must be set", reason="FIELD_REQUIRED", field=field)


def seconds(duration: Duration, low: float, high: float, field: str) -> float:
    """Seconds of `duration`, from `low` to `high`. Raises InvalidArgument; also for nanoseconds that a Duration cannot have."""
    if abs(duration.nanos) > 999_999_999 or duration.seconds * duration.nanos < 0:
        raise InvalidArgument(f"{field}: nanos and seconds must agree in sign, nanos below 10^9", reason="INVALID_DURATION", field=field)
    value = duration.seconds + duration.nanos / 1e9
    if not low <= value <= high:
        raise InvalidArgument(
            f"{field}: {value:g} s is not within {low:g} s to {high:g} s",
            reason="OUT_OF_BOUNDS", field=field, metadata={"value": f"{value:g}", "minimum": f"{low:g}", "maximum": f"{high:g}"},
        )  # fmt: skip
    return value


def whole(value: float, field: str) -> int:
    """`value` as a number of whole seconds. Raises InvalidArgument (INVALID_DURATION)."""
    if value != int(value):
        raise InvalidArgument(f"{field} must be whole seconds", reason="INVALID_DURATION", field=field)
    return int(value)


def contradiction(field: str, why: str) -> InvalidArgument:
    """The error for a field that does not go with another one."""
    return InvalidArgument(f"{field} {why}", reason="FIELDS_CONTRADICT", field=field)


def not_yet(field: str, value: str) -> NotImplementedYet:
    """The error for a field or value of the API that this agent does not do yet."""
    return NotImplementedYet(
        f"{field}: this agent does not do {value} yet", reason="NOT_IMPLEMENTED", field=field, metadata={"value": value}
    )  # fmt: skip


def masked(message: Message, mask: FieldMask, changeable: Set[str], fixed: Set[str], field: str) -> set[str]:
    """Names of the fields that an update is about, of `changeable` and `fixed`. Without a mask those that are set; with `*` all that
    can be changed and those of `fixed` that are set. Output-only paths are left out. Raises InvalidArgument (INVALID_MASK)."""
    present = {descriptor.name for descriptor, _ in message.ListFields()}
    paths = list(mask.paths)
    if not paths:
        return present & (changeable | fixed)
    if paths == ["*"]:
        return set(changeable) | present & fixed
    for path in paths:
        if path not in message.DESCRIPTOR.fields_by_name:
            raise InvalidArgument(
                f"update_mask: {path!r} is not one of {', '.join(sorted(changeable))}, or * alone",
                reason="INVALID_MASK", field=field, metadata={"path": path},
            )  # fmt: skip
    return set(paths) & (changeable | fixed)


def request_id(text: str) -> str:
    """`text`, a UUID in its usual form (RFC 9562), in lower case, or "". Raises InvalidArgument (INVALID_REQUEST_ID)."""
    if not text:
        return ""
    try:
        parsed = uuid.UUID(text)
    except ValueError:
        parsed = uuid.UUID(int=0)
    if str(parsed) != text.lower() or not parsed.int:
        raise InvalidArgument(
            "request_id must be a UUID that is not zero, like 6fa459ea-ee8a-4ca4-894e-db77e160355e",
            reason="INVALID_REQUEST_ID", field="request_id", metadata={"request_id": text},
        )  # fmt: skip
    return str(parsed)


def target(request: Message) -> str:
    """Name of the resource that a change is about, as the caller wrote it."""
    if name := getattr(request, "name", ""):
        return str(name)
    for part in ("service", "backend", "list"):
        if name := getattr(getattr(request, part, None), "name", ""):
            return str(name)
    if hasattr(request, "backend_id"):
        return f"{getattr(request, 'parent', '')}/backends/{request.backend_id}"
    if hasattr(request, "list_id"):
        return f"lists/{request.list_id}"
    return f"services/{getattr(request, 'service_id', '')}"


def request_hash(request: Message) -> str:
    """Hex digest of everything in `request` but its request_id, and of what kind of request it is."""
    bare = type(request).FromString(request.SerializeToString(deterministic=True))
    bare.ClearField("request_id")
    body = bare.SerializeToString(deterministic=True)
    return hashlib.sha256(request.DESCRIPTOR.full_name.encode() + b"\0" + body).hexdigest()
