"""Small doors: the service manager, the clock, who this machine is."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from l4lb_agent.system import identity
from l4lb_agent.system.clock import SystemClock
from l4lb_agent.system.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """A service manager's socket, and the environment that names it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@l4lb-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind("\0" + name[1:] if name.startswith("@") else name)
        door.settimeout(5)
        yield door, {"NOTIFY_SOCKET": name}


def test_the_manager_is_told(manager: tuple[socket.socket, dict[str, str]]) -> None:
    door, environment = manager
    notifier = Notifier(environment)
    notifier.ready()
    notifier.status("3 services,\n  2 interfaces")
    notifier.extend(1.5)
    notifier.watchdog()
    notifier.stopping()
    told = [b"READY=1", b"STATUS=3 services, 2 interfaces", b"EXTEND_TIMEOUT_USEC=1500000", b"WATCHDOG=1", b"STOPPING=1"]
    assert [door.recv(1000) for _ in told] == told
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    first, second = door.recv(1000).split(b"\n")
    assert first == b"RELOADING=1"
    assert before <= int(second.removeprefix(b"MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "/nonexistent/notify"}, {"NOTIFY_SOCKET": "@l4lb-nobody-listens"}])
def test_without_a_manager_nothing_happens(environment: dict[str, str]) -> None:
    Notifier(environment).ready()


def test_the_watchdog_counts_only_for_the_process_it_is_meant_for() -> None:
    assert Notifier({"WATCHDOG_USEC": "5000000"}).watchdog_seconds == 5.0
    assert Notifier({"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_seconds == 5.0
    assert Notifier({"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}).watchdog_seconds == 0.0
    assert Notifier({}).watchdog_seconds == 0.0


def test_the_clock_is_the_host_s() -> None:
    clock = SystemClock()
    assert abs(clock.time() - time.time()) < 5
    first = clock.monotonic()
    assert clock.monotonic() >= first


def test_the_boot_is_named_and_a_hidden_one_is_an_error(tmp_path: Path) -> None:
    assert identity.boot_id() == identity.boot_id()
    assert len(identity.boot_id()) == 36
    with pytest.raises(OSError, match="missing"):
        identity.boot_id(tmp_path / "missing")
    (tmp_path / "odd").write_text("not a uuid")
    with pytest.raises(ValueError, match="badly formed"):
        identity.boot_id(tmp_path / "odd")
    assert identity.kernel_release() == os.uname().release


def test_where_the_boot_is_hidden_the_unit_names_it(tmp_path: Path) -> None:
    said = {"L4LB_BOOT_ID": "0123456789abcdef0123456789abcdef"}
    assert identity.boot_id(tmp_path / "missing", said) == "01234567-89ab-cdef-0123-456789abcdef"
    assert identity.boot_id(environment=said) == identity.boot_id(), "what the kernel says counts"
