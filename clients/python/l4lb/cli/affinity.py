"""Options about source affinity."""

from collections.abc import Callable
from typing import Any

import click

from l4lb.cli.base import DURATION


def affinity_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that together are the API's Affinity; take_affinity() makes it of them."""
    for option in (
        click.option("--affinity-prefix", type=click.IntRange(1, 128), help="Bits of an address that make a client; all by default."),
        click.option("--affinity", type=DURATION, help="A client's new flows go to one backend until it has had none for so long."),
    ):
        command = option(command)
    return command


def take_affinity(options: dict[str, Any]) -> dict[str, Any] | None:
    """What the options ask for, taken out of `options`; None when none is given."""
    asked = {"timeout": options.pop("affinity"), "prefix_length": options.pop("affinity_prefix")}
    return {field: value for field, value in asked.items() if value is not None} or None
