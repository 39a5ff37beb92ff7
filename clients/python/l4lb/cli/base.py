"""What every command shares: the connection, the output format, the types of its arguments, exit codes."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from l4lb import DEFAULT_TARGET, names

if TYPE_CHECKING:
    from l4lb.aio import AsyncClient
    from l4lb.client import Client
    from l4lb.errors import Error

FORMATS = ("table", "wide", "json", "yaml")
EXIT_REFUSED, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_TIMEOUT, EXIT_WARNINGS, EXIT_ERRORS, EXIT_DISAGREED = range(1, 8)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_COMPLETION_SECONDS = 1.0


class Session:
    """What the options before the command said. The client is made when it is first used."""

    def __init__(self, target: str, output: str, timeout: float, tls: Mapping[str, Any]) -> None:
        self.target, self.output, self.timeout, self._tls = target, output, timeout, tls
        self._client: Client | None = None

    @property
    def client(self) -> "Client":
        """The connection to the agent."""
        if self._client is None:
            from l4lb.client import Client

            try:
                self._client = Client(self.target, timeout=self.timeout, **self._tls)
            except (ValueError, OSError) as error:
                raise click.UsageError(str(error)) from None
        return self._client

    def connect(self) -> "AsyncClient":
        """Another connection, for asyncio, inside a running loop."""
        from l4lb.aio import AsyncClient

        try:
            return AsyncClient(self.target, timeout=self.timeout, **self._tls)
        except (ValueError, OSError) as error:
            raise click.UsageError(str(error)) from None

    def close(self) -> None:
        """Ends the connection."""
        if self._client is not None:
            self._client.close()


class Duration(click.ParamType[float]):
    """Seconds, or a number with ms, s, m, h or d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?", str(value))
        if match is None:
            self.fail(f"{value!r} is not a duration: write it like 30s, 5m or 1h", param, ctx)
        return float(match[1]) * _UNITS[match[2] or "s"]


class _Name(click.ParamType[str]):
    def __init__(self, name: str, full: Callable[[str], str]) -> None:
        self.name, self._full = name, full

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The full resource name."""
        try:
            return self._full(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names that the agent has; none when it does not answer."""
        from l4lb.client import Client

        given = ctx.find_root().params
        tls: dict[str, Any] = {name: given.get(name) or "" for name in ("ca", "cert", "key", "server_name")}
        try:
            with Client(given.get("server") or DEFAULT_TARGET, timeout=_COMPLETION_SECONDS, **tls) as lb:
                lists: dict[str, Callable[[], Iterable[Any]]] = {
                    "service": lb.list_services, "backend": lb.list_backends, "list": lb.list_lists, "dump": lb.list_dumps,
                }  # fmt: skip
                found = lists[self.name]()
                return [CompletionItem(s) for s in (names.short(item.name) for item in found) if s.startswith(incomplete)]
        except Exception:  # a completion that fails says nothing, or it would spoil the line being typed
            return []


class Pairs(click.ParamType[tuple[str, str]]):
    """KEY=VALUE."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Key and value."""
        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        return key, text


SERVICE = _Name("service", names.service)
BACKEND = _Name("backend", names.backend)
LIST = _Name("list", names.prefix_list)
DUMP = _Name("dump", names.dump)
DURATION = Duration()


class Commands(click.Group):
    """A group that lists its commands in the order of the code and shows errors of the agent instead of tracebacks."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of their definition."""
        return list(self.commands)


class Root(Commands):
    """The outermost group: where errors become messages and exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from l4lb.errors import Error

            if not isinstance(error, Error):
                raise
            click.echo(explain(error, ctx.obj.target), err=True)
            ctx.exit(exit_code(error))


def exit_code(error: "Error") -> int:
    """3 when no agent answered, 4 for a deadline, else 1."""
    if error.unreachable:
        return EXIT_UNREACHABLE
    return EXIT_TIMEOUT if error.code == "DEADLINE_EXCEEDED" else EXIT_REFUSED


def explain(error: "Error", target: str) -> str:
    """What to tell about a failed call: what is wrong, where, and what to do."""
    if error.unreachable:
        what = f"no agent answers at {target}: {error.message}"
        here = "may you open its socket (groups l4lb-viewer, l4lb-operator, l4lb-admin)"
        there = "does it take your certificate, and you its (--ca, --cert, --key, --server-name)"
        local = target.startswith("unix")
        question = here if local else there
        elsewhere = "" if local else "\n`l4lbctl doctor` says what is wrong: run it on the agent's host, where it needs no certificate."
        return f"error: {what}\nIs l4lb-agent running, and {question}? Choose another with -s or L4LB_TARGET.{elsewhere}"
    lines = [f"error: {error.message}"]
    if error.field:
        lines.append(f"field: {error.field}")
    if error.reason:
        lines.append(f"reason: {error.reason} ({error.code})")
    if hint := _HINTS.get(error.reason) or _HINTS.get(error.code):
        lines.append(hint)
    return "\n".join(lines)


_HINTS = {
    "APPLY_PENDING": "The change is kept and the agent goes on applying it: look again with show, do not repeat it.",
    "DEADLINE_EXCEEDED": "The time was up first. A change or a drain that had begun goes on.",
    "ABORTED": "It was changed meanwhile: read it again and repeat with the new etag.",
    "PERMISSION_DENIED": "The socket or the certificate that you use gives another role: see -s and --cert.",
}


def output_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Lets -o also stand after the command."""

    def choose(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
        if value:
            ctx.obj.output = value

    return click.option("-o", "--output", type=click.Choice(FORMATS), expose_value=False, callback=choose, help="Output format.")(command)


def change_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every change."""
    for option in (
        click.option("--dry-run", "validate_only", is_flag=True, help="Only check; change nothing."),
        click.option("--request-id", default="", metavar="UUID", help="Makes a repetition of this very command safe."),
    ):
        command = option(command)
    return output_option(command)


etag_option = click.option("--etag", default="", help="Only if the resource is still this version, e.g. '\"42\"'.")
annotate_option = click.option("--annotate", "annotations", type=Pairs(), multiple=True, help="Annotation; may be repeated.")
