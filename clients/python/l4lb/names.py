"""Resource names: `web`, `web/a` for people, `services/web`, `services/web/backends/a`, `lists/web` for the API. Full ones pass."""

from typing import Any

ALL = "services/-"


def service(text: str) -> str:
    """Full name of a virtual service; `-` is all of them. Raises ValueError for what cannot be one."""
    parts = text.split("/")
    if len(parts) == 1 and text:
        return f"services/{text}"
    if len(parts) == 2 and parts[0] == "services" and parts[1]:
        return text
    raise ValueError(f"{text!r} is not the name of a virtual service: write it like web")


def backend(text: str) -> str:
    """Full name of a backend. Raises ValueError for what cannot be one."""
    parts = text.split("/")
    if len(parts) == 2 and all(parts) and parts[0] != "services":
        return f"services/{parts[0]}/backends/{parts[1]}"
    if len(parts) == 4 and parts[0] == "services" and parts[2] == "backends" and parts[1] and parts[3]:
        return text
    raise ValueError(f"{text!r} is not the name of a backend: write it like web/a")


def prefix_list(text: str) -> str:
    """Full name of a list of prefixes. Raises ValueError for what cannot be one."""
    parts = text.split("/")
    if len(parts) == 1 and text:
        return f"lists/{text}"
    if len(parts) == 2 and parts[0] == "lists" and parts[1]:
        return text
    raise ValueError(f"{text!r} is not the name of a list: write it like offices")


def dump(text: str) -> str:
    """Full name of a dump of the flight recorder. Raises ValueError for what cannot be one."""
    found = text.removeprefix("dumps/")
    if found and "/" not in found:
        return f"dumps/{found}"
    raise ValueError(f"{text!r} is not the name of a dump: write it as `record list` does")


def short(name: str) -> str:
    """`web` or `web/a` of a full name; anything else is left as it is."""
    match name.split("/"):
        case ["services" | "lists" | "dumps", one]:
            return one
        case ["services", service_id, "backends", backend_id]:
            return f"{service_id}/{backend_id}"
    return name


def split(name: str) -> tuple[str, str]:
    """The parent and the last part of a full name: `services/web` and `a`."""
    parent, _, last = name.rpartition("/")
    return parent.removesuffix("/backends"), last


def number(kind: Any, prefix: str, text: str) -> Any:
    """Number of `PREFIX_TEXT`. Raises ValueError naming what there is."""
    choices = {key.removeprefix(f"{prefix}_").lower(): value for key, value in kind.items() if value}
    found = choices.get(text.lower().replace("-", "_").removeprefix(f"{prefix}_".lower()))
    if found is None:
        raise ValueError(f"{text!r} is not one of {', '.join(choices)}")
    return found
