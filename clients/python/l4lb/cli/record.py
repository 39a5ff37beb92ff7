"""l4lbctl record: what the agent's flight recorder remembers, as a file or as a folder of files."""

import io
import json
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import click

from l4lb import names
from l4lb.cli.base import DUMP, Commands, Session, output_option

FILES = ("drops.pcapng", "timeline.json")


@click.group(cls=Commands)
def record() -> None:
    """What the agent's flight recorder remembers: packets that were dropped, and what happened."""


_write_option = click.option(
    "-w", "--write", "path", type=click.Path(allow_dash=True),
    help="A folder, to unpack into (it is there, or the name ends with /), a file, or - for standard output.  [default: a file here]",
)  # fmt: skip


@record.command()
@_write_option
@click.pass_obj
def dump(session: Session, /, path: str | None) -> None:
    """Write the headers of the last packets that were dropped for each reason (drops.pcapng) and what happened (timeline.json), as one
    gzipped tar or into a folder."""
    name = time.strftime("l4lb-record-%Y%m%dT%H%M%SZ.tar.gz", time.gmtime())
    _put(b"".join(session.client.dump_record()), path, name)


@record.command("list")
@output_option
@click.pass_obj
def list_(session: Session, /) -> None:
    """List the files that the recorder wrote by itself, when something went wrong or the agent stopped: when, why, how large."""
    from l4lb.cli import render

    dumps = list(session.client.list_dumps())
    if render.structured(session, {"dumps": [render.as_dict(one) for one in dumps]}):
        return
    if not dumps:
        click.echo("no dumps", err=True)
        return
    rows = [[names.short(one.name), one.create_time.ToJsonString(), one.cause, str(one.bytes)] for one in dumps]
    render.table(rows, headers=["NAME", "WRITTEN", "CAUSE", "BYTES"])


@record.command()
@click.argument("name", type=DUMP)
@_write_option
@click.pass_obj
def get(session: Session, /, name: str, path: str | None) -> None:
    """Write one of the files that the recorder wrote by itself: NAME as `list` shows it."""
    _put(b"".join(session.client.read_dump(name)), path, f"l4lb-record-{names.short(name)}.tar.gz")


def _put(data: bytes, path: str | None, name: str) -> None:
    """Writes a dump to where `path` says, or into a file `name`, and tells what is in it."""
    found = _unpacked(data)
    if path == "-":
        sys.stdout.buffer.write(data)
        where = "standard output"
    elif path is not None and (path.endswith("/") or Path(path).is_dir()):
        where = path
        _write({Path(path) / member: content for member, content in found.items()})
    else:
        where = path or name
        _write({Path(where): data})
    told: dict[str, Any] = json.loads(found["timeline.json"])
    packets = [drops["in_file"] for drops in told["drops"] if drops["in_file"]]
    click.echo(f"{where}: {sum(packets)} dropped packets of {len(packets)} reasons, {len(told['events'])} events", err=True)


def _unpacked(data: bytes) -> dict[str, bytes]:
    """Contents by name, of the files that are known."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = {name: archive.extractfile(name) for name in FILES}
        return {name: member.read() for name, member in members.items() if member is not None}


def _write(files: dict[Path, bytes]) -> None:
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise click.FileError(str(error.filename or path), hint=str(error.strerror)) from None
