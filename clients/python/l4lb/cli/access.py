"""Options about who may use a virtual service, and how many new flows it takes."""

from collections.abc import Callable
from typing import Any

import click

from l4lb.cli.base import LIST


class FlowRate(click.ParamType[dict[str, int]]):
    """RATE or RATE:BURST, new flows a second and at once."""

    name = "rate[:burst]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int]:
        """The fields of the API's FlowRate."""
        rate, colon, burst = str(value).partition(":")
        if not rate.isdecimal() or (colon and not burst.isdecimal()):
            self.fail(f"{value!r} is not RATE or RATE:BURST, like 100 or 100:500", param, ctx)
        return {"flows_per_second": int(rate)} | ({"burst": int(burst)} if colon else {})


_LIMITS = {  # by option: the field of the API's NewFlowLimit
    "new_flow_limit": "per_service", "source_flow_limit": "per_source", "source_prefix_v4": "prefix_v4", "source_prefix_v6": "prefix_v6",
}  # fmt: skip


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that together are the API's NewFlowLimit; take_limit() makes it of them."""
    for option in (
        click.option("--source-prefix-v6", type=click.IntRange(1, 128), help="Bits of an IPv6 prefix of sources; 64 by default."),
        click.option("--source-prefix-v4", type=click.IntRange(1, 32), help="Bits of an IPv4 prefix of sources; 32 by default."),
        click.option("--source-flow-limit", type=FlowRate(), help="New flows a second of each prefix of sources, and at once."),
        click.option("--new-flow-limit", type=FlowRate(), help="New flows a second, and at once."),
    ):
        command = option(command)
    return command


def take_limit(options: dict[str, Any]) -> dict[str, Any] | None:
    """What the limit options ask for, taken out of `options`; None when none is given."""
    asked = {field: options.pop(option) for option, field in _LIMITS.items()}
    given = {field: value for field, value in asked.items() if value is not None}
    return given or None


def list_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that name lists."""
    for option in (
        click.option("--deny-list", type=LIST, help="List of those who are not let in."),
        click.option("--allow-list", type=LIST, help="List of those who are let in, and nobody else."),
    ):
        command = option(command)
    return command


def no_list_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that take lists away; take_lists() reads them."""
    for option in (
        click.option("--no-deny-list", is_flag=True, help="Nobody is kept out by a list any more."),
        click.option("--no-allow-list", is_flag=True, help="All are let in, but those on the deny list."),
    ):
        command = option(command)
    return command


def take_lists(options: dict[str, Any]) -> None:
    """Makes "" of a list that is taken away. Raises UsageError when it is named as well."""
    for field in ("allow_list", "deny_list"):
        if options.pop(f"no_{field}"):
            if options[field]:
                flag = field.replace("_", "-")
                raise click.UsageError(f"--no-{flag} takes away what --{flag} asks for")
            options[field] = ""
