"""Options about health checks."""

import re
from collections.abc import Callable
from typing import Any

import click

from l4lb.cli.base import DURATION


class Bytes(click.ParamType[bytes]):
    """Text, or hex: and two digits for each byte."""

    name = "text|hex:bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """The bytes."""
        if isinstance(value, bytes):
            return value
        if not str(value).startswith("hex:"):
            return str(value).encode()
        try:
            return bytes.fromhex(str(value)[4:])
        except ValueError:
            self.fail(f"{value!r} is not text, nor hex: with two digits for each byte", param, ctx)


class Statuses(click.ParamType[tuple[int, int]]):
    """200 or 200-399."""

    name = "status[-status]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """First and last."""
        match = re.fullmatch(r"(\d{3})(?:-(\d{3}))?", str(value), re.ASCII)
        if match is None:
            self.fail(f"{value!r} is not a status or two with a hyphen, like 200 or 200-399", param, ctx)
        return int(match[1]), int(match[2] or match[1])


_KINDS = ("tcp", "http", "grpc", "udp")
_OF_ALL = {  # by option: the field of HealthCheck
    "health_interval": "interval", "health_timeout": "timeout", "health_rise": "rise", "health_fall": "fall", "health_port": "port",
    "health_target": "target", "on_all_down": "on_all_down", "min_up": "min_up_percent",
}  # fmt: skip
_OF_KINDS = {  # by option: the field, and which kinds have it
    "health_path": ("path", ("http",)),
    "health_host": ("host", ("http",)),
    "health_method": ("method", ("http",)),
    "health_status": ("statuses", ("http",)),
    "health_contains": ("body_contains", ("http",)),
    "health_service": ("service", ("grpc",)),
    "health_send": ("send", ("tcp", "udp")),
    "health_expect": ("expect", ("tcp", "udp")),
    "health_tls": ("tls", ("http", "grpc")),
    "health_server_name": ("server_name", ("http", "grpc")),
    "health_verify": ("verify", ("http", "grpc")),
}


def health_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that together are the API's HealthCheck; take_health() makes it of them."""
    number = click.IntRange(1, 100)
    for option in (
        click.option("--on-all-down", type=click.Choice(("keep-last", "reject")), help="What becomes of new flows when no backend is UP."),
        click.option(
            "--min-up", type=click.IntRange(0, 100), help="When less than so many percent of the weight are UP, those that go DOWN go on."
        ),
        click.option("--health-verify", is_flag=True, help="The certificate must be trusted by the load balancer's host."),
        click.option("--health-server-name", help="Name for TLS; the host by default."),
        click.option("--health-tls", is_flag=True, help="With TLS."),
        click.option("--health-expect", type=Bytes(), help="How the answer begins, of tcp and udp."),
        click.option("--health-send", type=Bytes(), help="What tcp and udp send."),
        click.option("--health-service", help="Service that grpc asks for; the whole server by default."),
        click.option("--health-contains", type=Bytes(), help="What the body that http gets must contain."),
        click.option(
            "--health-status", type=Statuses(), multiple=True, help="Statuses that are well; 200-399 by default; may be repeated."
        ),
        click.option("--health-method", type=click.Choice(("get", "head")), help="Of http; get by default."),
        click.option("--health-host", help="Host header of http; the VIP by default."),
        click.option("--health-path", help="Path of http; / by default."),
        click.option("--health-port", type=click.IntRange(1, 65535), help="Port that is probed; the backend's by default."),
        click.option(
            "--health-target",
            type=click.Choice(("backend", "vip")),
            help="What is probed: the backend's own address, or, of DSR and ENCAP, the VIP as clients reach it; backend by default.",
        ),
        click.option("--health-fall", type=number, help="Failures in a row that make DOWN; 3 by default."),
        click.option("--health-rise", type=number, help="Successes in a row that make UP; 2 by default."),
        click.option("--health-timeout", type=DURATION, help="How long a probe may take; 2s by default."),
        click.option("--health-interval", type=DURATION, help="From one probe to the next; 5s by default."),
        click.option("--health", type=click.Choice(_KINDS), help="Probe backends so; only those that are UP take new flows."),
    ):
        command = option(command)
    return command


def take_health(options: dict[str, Any]) -> dict[str, Any] | None:
    """What the options ask for, taken out of `options`; None when none is given. Raises UsageError for those that do not go together."""
    kind = options.pop("health")
    asked = {field: value for option, field in _OF_ALL.items() if (value := options.pop(option)) is not None}
    of_kind: dict[str, Any] = {}
    for option, (field, kinds) in _OF_KINDS.items():
        value = options.pop(option)
        if value in (None, False, ()):
            continue
        if kind is not None and kind not in kinds:
            raise click.UsageError(f"--{option.replace('_', '-')} goes with --health {' or '.join(kinds)}, not with {kind}")
        of_kind[field] = value
    if kind is None:
        if asked or of_kind:
            raise click.UsageError(f"options of a health check need --health, one of {', '.join(_KINDS)}: a check is replaced as a whole")
        return None
    tls = {"server_name": of_kind.pop("server_name", ""), "verify": "system" if of_kind.pop("verify", False) else ""}
    if of_kind.pop("tls", False):
        of_kind["tls"] = tls
    elif any(tls.values()):
        raise click.UsageError("--health-server-name and --health-verify go with --health-tls")
    return {kind: of_kind, **asked}
