"""l4lbctl record: what the agent's flight recorder remembers, as a file or as a folder of files."""

import io
import json
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import click

from l4lb.cli.base import Commands, Session

FILES = ("drops.pcapng", "timeline.json")


@click.group(cls=Commands)
def record() -> None:
    """What the agent's flight recorder remembers: packets that were dropped, and what happened."""


@record.command()
@click.option(
    "-w", "--write", "path", type=click.Path(allow_dash=True),
    help="A folder, to unpack into (it is there, or the name ends with /), a file, or - for standard output.  [default: a file here]",
)  # fmt: skip
@click.pass_obj
def dump(session: Session, /, path: str | None) -> None:
    """Write the headers of the last packets that were dropped for each reason (drops.pcapng) and what happened (timeline.json), as one
    gzipped tar or into a folder."""
    data = b"".join(session.client.dump_record())
    found = _unpacked(data)
    if path == "-":
        sys.stdout.buffer.write(data)
        where = "standard output"
    elif path is not None and (path.endswith("/") or Path(path).is_dir()):
        where = path
        _write({Path(path) / name: content for name, content in found.items()})
    else:
        where = path or time.strftime("l4lb-record-%Y%m%dT%H%M%SZ.tar.gz", time.gmtime())
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
