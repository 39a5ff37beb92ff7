"""Pages of lists (AIP-158). A token says after which name to go on and for which arguments it was given."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from l4lb_agent.model.errors import InvalidArgument

DEFAULT_SIZE, MAX_SIZE = 100, 1000
MAX_BYTES = 3 * 1024 * 1024  # of a page; with one more resource it still fits into a message


class Sized(Protocol):
    """A protobuf message, as far as pages care."""

    def ByteSize(self) -> int:
        """Bytes on the wire."""


T = TypeVar("T")
M = TypeVar("M", bound=Sized)


def page(items: Sequence[tuple[str, T]], render: Callable[[T], M], size: int, token: str, arguments: str) -> tuple[list[M], str]:
    """At most `size` of `items`, which are sorted by their names, as messages; and the token of the next page, "" on the last one. A page
    that would be too long for a message is shorter. What is added or removed between two pages shifts nothing: a page goes on after a
    name, not after a count. Raises InvalidArgument (INVALID_PAGE_TOKEN)."""
    after = _open(token, arguments)
    rest = [item for item in items if item[0] > after]
    messages: list[M] = []
    total = 0
    for _, item in rest[: min(size or DEFAULT_SIZE, MAX_SIZE)]:
        if total >= MAX_BYTES:
            break
        messages.append(render(item))
        total += messages[-1].ByteSize()
    more = len(messages) < len(rest)
    return messages, _seal(rest[len(messages) - 1][0], arguments) if more else ""


def _digest(arguments: str) -> str:
    return hashlib.sha256(arguments.encode()).hexdigest()[:16]


def _seal(after: str, arguments: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([_digest(arguments), after]).encode()).decode()


def _open(token: str, arguments: str) -> str:
    if not token:
        return ""
    try:
        digest, after = json.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, TypeError):
        digest, after = "", ""
    if digest != _digest(arguments) or not isinstance(after, str):
        raise InvalidArgument(
            "page_token is not one that this list gave for the same arguments: begin again without a token",
            reason="INVALID_PAGE_TOKEN", field="page_token",
        )  # fmt: skip
    return after
