"""Which boot of which kernel this is."""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
BOOT_ID_VARIABLE = "L4LB_BOOT_ID"


def boot_id(path: Path = _BOOT_ID, environment: Mapping[str, str] = os.environ) -> str:
    """UUID of this boot (random(4)): flows, maps and pins do not outlive it. Where /proc/sys is hidden, as systemd's ProcSubset=pid does,
    the unit says it in $L4LB_BOOT_ID (systemd.unit(5), %b). Raises OSError when neither is there, ValueError for anything but a UUID."""
    try:
        text = path.read_text()
    except OSError:
        if BOOT_ID_VARIABLE not in environment:
            raise
        text = environment[BOOT_ID_VARIABLE]
    return str(uuid.UUID(text.strip()))


def kernel_release() -> str:
    """As uname -r says it, such as 6.1.0-40-amd64."""
    return os.uname().release
