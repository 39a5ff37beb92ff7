"""Pages of lists (AIP-158). A token says after which name to go on and for which arguments it was given."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from l4lb_agent.model.errors import InvalidArgument

DEFAULT_SIZE, MAX_SIZE = 100, 1000
T = TypeVar("T")


def page(items: Sequence[T], name: Callable[[T], str], size: int, token: str, arguments: str) -> tuple[list[T], str]:
    """At most `size` of `items`, which are sorted by `name`, and the token of the next page, "" on the last one. What is added or removed
    between two pages shifts nothing: a page goes on after a name, not after a count. Raises InvalidArgument (INVALID_PAGE_TOKEN)."""
    after = _open(token, arguments)
    rest = [item for item in items if name(item) > after]
    chosen = rest[: min(size or DEFAULT_SIZE, MAX_SIZE)]
    return chosen, _seal(name(chosen[-1]), arguments) if len(chosen) < len(rest) else ""


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
