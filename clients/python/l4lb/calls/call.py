"""What all calls have in common: Client and AsyncClient only differ in how they run them.

Names are short (`web`, `web/a`) or full. Times are in seconds. Every change gets a `request_id` of its own unless one is given, so that a
repetition after a lost answer is safe. `etag` makes a change fail with ABORTED when the resource is not what was read;
`validate_only` only checks.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """`rpc` with `request`; `answer` takes from the response what the caller wants."""

    rpc: str
    request: Message
    answer: Callable[[Any], T]


@dataclass(frozen=True)
class Listing(Generic[T]):
    """A list that comes in pages; `page` is the call for the page of a token."""

    page: Callable[[str], Call[tuple[Sequence[T], str]]]


def own_id(request_id: str) -> str:
    """The id of a change: the one given, else one of its own."""
    return request_id or str(uuid.uuid4())


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are given: neither None nor ""."""
    return {key: value for key, value in values.items() if value is not None and value != ""}


def mask(values: Mapping[str, Any]) -> FieldMask:
    """The fields that an update changes: those that are not None; an empty value empties."""
    return FieldMask(paths=sorted(key for key, value in values.items() if value is not None))


def duration(seconds: float | None) -> Duration | None:
    """Seconds as the API has them."""
    if seconds is None:
        return None
    whole, nanos = divmod(round(seconds * 1e9), 1_000_000_000)
    return Duration(seconds=whole, nanos=nanos)
