"""A dump of the recorder as one file, a gzipped tar of drops.pcapng and timeline.json, and those that are kept as the API lists them."""

import io
import json
import re
import tarfile
from typing import Final

from l4lb.v1 import dump_pb2
from l4lb_agent.api import fields
from l4lb_agent.api.convert.captures import packet
from l4lb_agent.api.convert.parts import moment
from l4lb_agent.control.recorder.dump import Dump, timeline
from l4lb_agent.model.capture.kept import ID, PREFIX, KeptDump
from l4lb_agent.model.capture.layout import RECORDER_BYTES

DROPS: Final = "drops.pcapng"
TIMELINE: Final = "timeline.json"
_NAME: Final = re.compile(PREFIX + ID.pattern, ID.flags)


def record(dump: Dump) -> bytes:
    """The file. Takes some hundred milliseconds of a full recorder: for a thread."""
    from l4lb.pcapng import Writer  # what most agents never need costs a start nothing

    drops, whole = io.BytesIO(), io.BytesIO()
    writer = Writer(drops)
    for one in dump.packets:
        writer.write(packet(one, RECORDER_BYTES))
    writer.end()
    told = json.dumps(timeline(dump), indent=1).encode() + b"\n"
    with tarfile.open(fileobj=whole, mode="w:gz", compresslevel=6) as archive:
        for name, data in ((DROPS, drops.getvalue()), (TIMELINE, told)):
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(data), int(dump.time), 0o600
            archive.addfile(member, io.BytesIO(data))
    return whole.getvalue()


def kept_dump(of: KeptDump) -> dump_pb2.Dump:
    """One that is kept."""
    return dump_pb2.Dump(name=of.name, create_time=moment(of.time), cause=of.cause, bytes=of.bytes)


def dump_id(name: str) -> str:
    """The id in the name of one. Raises InvalidArgument (INVALID_NAME)."""
    return fields.name(name, _NAME, "name", f"{PREFIX}{{dump}}, as ListDumps gives it").removeprefix(PREFIX)
