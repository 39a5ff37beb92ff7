# SPDX-License-Identifier: Apache-2.0
"""Man pages: `man_pages.py SYSTEMD_FOLDER OUTPUT_FOLDER` copies those written by hand, and makes l4lbctl.1 from the command line itself
and agent.toml.5 from the example that documents every setting, so that neither can say what is not so."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from l4lb.cli.main import cli

AGENT_TOML = """\
The configuration of l4lb-agent(8), in TOML. Below is every setting with its default or, where there is none, an example. Unknown settings
and bad values are refused by name. `systemctl reload l4lb-agent` takes over log_level, [datapath.timeouts], rst_rate, rst_burst, echo,
icmp_rate and icmp_burst; the rest needs `systemctl restart l4lb-agent`, which does not interrupt forwarding."""


def escaped(text: str) -> str:
    """`text` as roff prints it unchanged."""
    text = text.translate(str.maketrans({"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}))
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in text.splitlines())


def page(name: str, section: int, summary: str) -> list[str]:
    """How every page begins."""
    head = f'.TH {name.upper()} {section} "" "l4lb" "l4lb"'
    return ['.\\" SPDX-License-Identifier: Apache-2.0', head, ".SH NAME", f"{escaped(name)} \\- {escaped(summary)}"]


def verbatim(text: str) -> list[str]:
    """Lines as they are, indented."""
    return [".RS 2", ".nf", escaped(text), ".fi", ".RE"]


def commands(command: click.Command, ctx: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """`command` and everything below it."""
    yield command, ctx
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            child = command.get_command(ctx, name)
            if child is not None and not child.hidden:
                yield from commands(child, click.Context(child, info_name=name, parent=ctx))


def l4lbctl() -> str:
    """l4lbctl(1)."""
    lines = page("l4lbctl", 1, "drive an l4lb load balancer")
    for command, ctx in commands(cli, click.Context(cli, info_name="l4lbctl", max_content_width=78, terminal_width=78)):
        usage, _, rest = command.get_help(ctx).partition("\n\n")
        if command is cli:
            lines += [".SH SYNOPSIS", escaped(usage.removeprefix("Usage: ")), ".SH DESCRIPTION", *verbatim(rest), ".SH COMMANDS"]
        else:
            lines += [f".SS {escaped(' '.join(usage.removeprefix('Usage: ').split()))}", *verbatim(rest)]
    lines += [".SH SEE ALSO", ".BR l4lb\\-agent (8)"]
    return "\n".join(lines) + "\n"


def agent_toml(example: str) -> str:
    """agent.toml(5)."""
    lines = page("agent.toml", 5, "configuration of l4lb-agent")
    lines += [".SH DESCRIPTION", escaped(AGENT_TOML), ".SH SETTINGS", *verbatim(example)]
    lines += [".SH FILES", ".I /etc/l4lb/agent.toml", ".SH SEE ALSO", ".BR l4lb\\-agent (8)"]
    return "\n".join(lines) + "\n"


def main(source: Path, output: Path) -> None:
    """Writes every page into `output`."""
    for by_hand in (source / "man").iterdir():
        shutil.copy(by_hand, output)
    (output / "l4lbctl.1").write_text(l4lbctl())
    (output / "agent.toml.5").write_text(agent_toml((source / "agent.toml.example").read_text()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
