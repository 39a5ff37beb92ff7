"""What the kernel says of maps, programs, links and runs, as values."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MapInfo:
    """What the kernel says of a map; `name` is cut to 15 bytes."""

    type: int
    id: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    name: str


@dataclass(frozen=True)
class ProgramInfo:
    """What the kernel says of a program; `tag` is 16 hexadecimal digits and does not depend on the maps it is bound to."""

    type: int
    id: int
    tag: str
    name: str


@dataclass(frozen=True)
class LinkInfo:
    """What the kernel says of an XDP link; ifindex 0 means that the device is gone."""

    type: int
    id: int
    program_id: int
    ifindex: int


@dataclass(frozen=True)
class Run:
    """Result of one `prog_test_run`: the verdict, the packet after it, nanoseconds of one repetition (mean)."""

    retval: int
    data: bytes
    duration: int
