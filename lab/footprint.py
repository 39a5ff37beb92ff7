"""What a run has put into this machine, and what is left of it: namespaces, processes, mounts, folders, settings of the host."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from lab import netns, state


class Footprint:
    """Of one run; made while the run lives. Keeps its namespaces (nameless in the end) until `close`: the kernel gives the number of one
    that is gone to somebody else's."""

    def __init__(self, run_id: str) -> None:
        self._id = run_id
        names = netns.existing(f"l4lb-{run_id}-")
        self._kept = [os.open(netns.FOLDER / name, os.O_RDONLY | os.O_CLOEXEC) for name in names]
        self._links = {netns.link_of(name) for name in names}

    def left(self) -> list[str]:
        """Everything there is of the run now, in words; this process does not count."""
        found = [f"namespace {name}" for name in netns.existing(f"l4lb-{self._id}")]
        found += [f"mount {line.split()[1]}" for line in Path("/proc/self/mounts").read_text().splitlines() if self._id in line]
        found += [f"folder {path}" for path in (state.BASE / self._id,) if path.exists()]
        return found + [f"process {pid}" for pid in netns.processes(self._links)]

    def close(self) -> None:
        """Let go of the namespaces."""
        while self._kept:
            os.close(self._kept.pop())

    def __enter__(self) -> "Footprint":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Host:
    """Interfaces and network settings of a namespace that a laboratory must not touch."""

    interfaces: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls) -> "Host":
        """Of the calling process's namespace."""
        folders = [Path("/proc/sys/net", family, "conf", which) for family in ("ipv4", "ipv6") for which in ("all", "default")]
        files = [Path("/proc/sys/net/ipv4/ip_forward"), *(path for folder in folders for path in sorted(folder.iterdir()))]
        readable = [path for path in files if os.access(path, os.R_OK) and path.name != "stable_secret"]
        interfaces = tuple(sorted(name for _, name in socket.if_nameindex()))
        return cls(interfaces, tuple((str(path), path.read_text()) for path in readable))

    def changed(self, after: "Host") -> list[str]:
        """What is different now, in words."""
        found = [f"interface {name}" for name in set(self.interfaces) ^ set(after.interfaces)]
        return found + [path for path, _ in set(self.settings) ^ set(after.settings)]
