"""The service manager's notification protocol, sd_notify(3): datagrams to the socket that $NOTIFY_SOCKET names."""

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Tells the service manager how it stands. Does nothing where there is none, and never raises: a manager that does not listen is no
    reason to stop."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name  # a leading @ means the abstract namespace, unix(7)
        watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environment.get("WATCHDOG_USEC", "")
        self._watchdog = int(microseconds) / 1e6 if watched and microseconds.isdecimal() else 0.0

    @property
    def watchdog_seconds(self) -> float:
        """The manager expects `watchdog` at least this often (call it twice as often); 0.0: it does not."""
        return self._watchdog

    def ready(self) -> None:
        """Start-up, or a reload, is complete."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Shutdown has begun."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for people."""
        self._send("STATUS=" + " ".join(text.split()))

    def extend(self, seconds: float) -> None:
        """Starting goes on: the manager must not give up within so many seconds from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def watchdog(self) -> None:
        """Still alive."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
                door.settimeout(1)
                door.connect(self._address)
                door.send(message.encode())
        except OSError:
            return
