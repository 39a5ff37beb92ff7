"""The system's journal, by its native protocol (systemd.journal-fields(7), https://systemd.io/JOURNAL_NATIVE_PROTOCOL/): fields beside the
text, so that `journalctl L4LB_SERVICE=web` finds what it means."""

import errno
import os
import socket
import sys
import uuid
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"
LONGEST = 4096  # bytes of a field when the whole is too long for one datagram
_IDS = uuid.UUID("5d2f1b36-0e0c-5c8f-9d4e-6c346c620001")  # message ids are made from names of events below this one


def is_stderr(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the service manager has connected standard error to the journal (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def message_id(event: str) -> str:
    """MESSAGE_ID of an event: always the same for the same name."""
    return uuid.uuid5(_IDS, event).hex


def encoded(fields: Mapping[str, str]) -> bytes:
    """One entry. Values may hold anything."""
    parts = []
    for name, value in fields.items():
        data = value.encode(errors="surrogateescape")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


class Journal:
    """Sends entries. Blocks while the journal does not read."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def send(self, fields: Mapping[str, str]) -> None:
        """One entry; what is too long for a datagram loses the ends of its longest fields. Raises OSError."""
        try:
            self._socket.sendto(encoded(fields), self._path)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            self._socket.sendto(encoded({name: value[:LONGEST] for name, value in fields.items()}), self._path)

    def close(self) -> None:
        """Gives the descriptor back."""
        self._socket.close()
