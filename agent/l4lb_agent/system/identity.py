"""Which boot of which kernel this is."""

import os
import uuid
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id(path: Path = _BOOT_ID) -> str:
    """UUID of this boot (random(4)): flows, maps and pins do not outlive it. Raises OSError when /proc/sys is hidden (systemd's
    ProcSubset=pid does that), ValueError when the file holds something else."""
    return str(uuid.UUID(path.read_text().strip()))


def kernel_release() -> str:
    """As uname -r says it, such as 6.1.0-40-amd64."""
    return os.uname().release
