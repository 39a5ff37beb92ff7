"""Tables of agent.toml: each value is taken by name and checked, and what nobody takes is an error."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from l4lb_agent.model.errors import InvalidArgument

Read = TypeVar("Read")


class Table:
    """A TOML table that knows its place, gathers errors, and in the end complains of keys that nobody took."""

    def __init__(self, place: str, values: Mapping[str, Any], errors: list[str]) -> None:
        self.errors = errors
        self._place, self._values = place, dict(values)

    def name(self, key: str) -> str:
        """Full name of a field."""
        return f"{self._place}.{key}" if self._place else key

    def take(self, key: str, read: Callable[[Any], Read], default: Read) -> Read:
        """The value of `key` as `read` takes it; `read` raises ValueError saying what it must be."""
        if key not in self._values:
            return default
        try:
            return read(self._values.pop(key))
        except (ValueError, InvalidArgument) as error:
            self.errors.append(f"{self.name(key)}: {error}")
            return default

    def has(self, key: str) -> bool:
        """Whether there is a value that nobody took yet."""
        return key in self._values

    def table(self, key: str) -> "Table":
        """The table under `key`, empty when there is none."""
        return Table(self.name(key), self.take(key, mapping, {}), self.errors)

    def tables(self, key: str) -> list["Table"]:
        """The array of tables under `key`."""
        nothing: list[Mapping[str, Any]] = []
        return [Table(f"{self.name(key)}[{n}]", item, self.errors) for n, item in enumerate(self.take(key, mappings, nothing))]

    def require(self, key: str) -> None:
        """Complains when `key` is missing."""
        if key not in self._values:
            self.errors.append(f"{self.name(key)}: is missing")

    def end(self) -> None:
        """Complains of what was not taken."""
        self.errors += [f"{self.name(key)}: no such setting" for key in self._values]


def mapping(value: Any) -> Mapping[str, Any]:
    """A table."""
    if not isinstance(value, dict):
        raise ValueError("must be a table")
    return value


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """An array of tables."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("must be an array of tables: [[...]]")
    return value


def one_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    """A reader of one of `words`."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return read


def number(low: int, high: int) -> Callable[[Any], int]:
    """A reader of a whole number within bounds."""

    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return read


def flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def address_and_port(value: Any) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    """Both parts of what sockets listen on."""
    address, _, port = str(value).rpartition(":")
    wrong = ValueError("must be an address and a port, such as 192.0.2.1:7443 or [2001:db8::1]:7443")
    try:
        parsed = ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise wrong from None
    bracketed = address.startswith("[") and address.endswith("]")
    if not isinstance(value, str) or bracketed != (parsed.version == 6) or not re.fullmatch("[1-9][0-9]{0,4}", port) or int(port) > 65535:
        raise wrong
    return parsed, int(port)
