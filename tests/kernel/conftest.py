"""What the tests against the real kernel share: a bpffs of their own, network namespaces of their own, a small XDP program."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd


def run(*command: str) -> str:
    """Standard output of a command; fails the test with its standard error."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
    return done.stdout


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[Path]:
    """A bpffs mounted for this test only."""
    where = tmp_path / "bpf"
    where.mkdir()
    run("mount", "-t", "bpf", "-o", "mode=755", "bpf", str(where))
    try:
        yield where
    finally:
        run("umount", "-l", str(where))


@dataclass(frozen=True)
class Pair:
    """Two network namespaces joined by a veth: `lb` holds `eth0`, `peer` holds `eth0`."""

    lb: str
    peer: str

    def ip(self, namespace: str, *arguments: str) -> str:
        """Run `ip` for one of the two."""
        return run("ip", "-n", namespace, *arguments)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two joined namespaces, with 192.0.2.1 and 192.0.2.2, 2001:db8::1 and 2001:db8::2."""
    mark = uuid.uuid4().hex[:6]
    made = Pair(f"l4lb-k-{mark}-a", f"l4lb-k-{mark}-b")
    try:
        for namespace in (made.lb, made.peer):
            run("ip", "netns", "add", namespace)
            made.ip(namespace, "link", "set", "lo", "up")
        made.ip(made.lb, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", made.peer)
        for number, namespace in enumerate((made.lb, made.peer), start=1):
            made.ip(namespace, "address", "add", f"192.0.2.{number}/24", "dev", "eth0")
            made.ip(namespace, "address", "add", f"2001:db8::{number}/64", "dev", "eth0", "nodad")
            made.ip(namespace, "link", "set", "eth0", "up")
        yield made
    finally:
        for namespace in (made.lb, made.peer):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, timeout=30, check=False)


@pytest.fixture
def inside(pair: Pair) -> Iterator[Pair]:
    """The test's thread is in the namespace `pair.lb` while it runs."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    target = os.open(f"/run/netns/{pair.lb}", os.O_RDONLY)
    try:
        enter(target)
        yield pair
    finally:
        enter(home)
        os.close(home)
        os.close(target)


def enter(namespace: int) -> None:
    """setns(2) of this thread into a network namespace."""
    assert syscall._LIBC.setns(namespace, 0x40000000) == 0


def verdict(action: int) -> bytes:
    """Instructions of a program that returns `action`: r0 = action; exit."""
    return bytes([0xB7, 0, 0, 0, action, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])


@pytest.fixture
def passing() -> Iterator[Fd]:
    """A loaded program that passes everything."""
    with Fd(syscall.prog_load(verdict(2), "pass")) as program:
        yield program
