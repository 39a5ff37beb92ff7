"""Flow entries as the datapath writes them, for tests of the sweeper."""

import ctypes
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.lifetimes import Lifetimes
from l4lb_agent.dataplane.sweeper import Sweeper
from l4lb_agent.model import layout
from l4lb_agent.model.observed import FlowCounts

NOW = 1_000_000
IDLE = {1: 900, 2: 120}
SYN, ANSWERED, ESTABLISHED, CLOSING, CLOSED, UDP, UDP_ANSWERED = range(1, 8)
CONFIG = layout.Config(timeout=(ctypes.c_uint16 * 12)(0, 5, 30, 0, 60, 0, 30), quarantine_long=60, quarantine_short=5)


def mapped(last: int, net: int = 0) -> ctypes.Array[ctypes.c_uint8]:
    """::ffff:10.NET.x.y as the datapath holds it."""
    return layout.Address(*bytes(10), 255, 255, 10, net, last >> 8, last & 255)


def backend(identity: int) -> layout.Backend:
    """The element of `backends` for an id."""
    return layout.Backend(address=mapped(identity, 3), port=socket.htons(80), service=1 + identity % 2)


@dataclass(frozen=True)
class Entry:
    """One flow. Ages are seconds since each half's last packet; None: that half is missing."""

    number: int
    state: int = ESTABLISHED
    age: int | None = 0
    reply_age: int | None = 0
    flags: int = 0
    backend: int = 1
    snat_port: int = 0

    def flow_key(self) -> layout.FlowKey:
        """Key in flows."""
        return layout.FlowKey(mapped(self.number, 1), mapped(1, 2), socket.htons(4000), socket.htons(80), 6)

    def flow(self, now: int = NOW) -> layout.Flow:
        """Value in flows."""
        return layout.Flow(
            snat=mapped(9, 4), snat_port=self._port(), backend=self.backend, service=1 + self.backend % 2, state=self.state,
            flags=self.flags, seen=now - (self.age or 0),
        )  # fmt: skip

    def reply_key(self) -> layout.ReplyKey:
        """Key in replies."""
        element = backend(self.backend)
        return layout.ReplyKey(element.address, mapped(9, 4), element.port, self._port(), 6)

    def reply(self, now: int = NOW) -> layout.Reply:
        """Value in replies."""
        key = self.flow_key()
        return layout.Reply(
            client=key.client, vip=key.vip, client_port=key.client_port, vip_port=key.vip_port, backend=self.backend,
            service=1 + self.backend % 2, state=self.state, flags=self.flags, seen=now - (self.reply_age or 0),
        )  # fmt: skip

    def _port(self) -> int:
        return self.snat_port or socket.htons(1024 + self.number % 60000)


@dataclass
class Table:
    """The two maps, unpinned."""

    flows: Fd
    replies: Fd
    now: int = field(default=NOW)

    def put(self, entry: Entry) -> None:
        """Write both halves, as far as they exist."""
        if entry.reply_age is not None:
            syscall.map_update(self.replies.fileno(), entry.reply_key(), entry.reply())
        if entry.age is not None:
            syscall.map_update(self.flows.fileno(), entry.flow_key(), entry.flow())

    def holds(self, entry: Entry) -> tuple[bool, bool]:
        """Which halves are there."""
        flow = syscall.map_lookup(self.flows.fileno(), entry.flow_key(), ctypes.sizeof(layout.Flow))
        reply = syscall.map_lookup(self.replies.fileno(), entry.reply_key(), ctypes.sizeof(layout.Reply))
        return flow is not None, reply is not None

    def sweep(self) -> FlowCounts:
        """One sweep at `now`."""
        return Sweeper(self.flows.fileno(), self.replies.fileno(), lambda: self.now).sweep(Lifetimes(CONFIG, IDLE), backend)


@contextmanager
def table(entries: int = 4096) -> Iterator[Table]:
    """Two empty maps."""
    sizes = [(ctypes.sizeof(k), ctypes.sizeof(v)) for k, v in ((layout.FlowKey, layout.Flow), (layout.ReplyKey, layout.Reply))]
    with Fd(syscall.map_create(1, *sizes[0], entries)) as flows, Fd(syscall.map_create(1, *sizes[1], entries)) as replies:
        yield Table(flows, replies)
