"""Streams that outlive their connection, without any I/O: what to ask for again, what the caller is told, and when it is over."""

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from l4lb import names
from l4lb.errors import Error
from l4lb.v1 import backend_pb2, capture_pb2, reason_pb2, service_pb2, virtual_service_pb2
from l4lb.v1.backend_pb2 import Backend
from l4lb.v1.stats_pb2 import Stats

T = TypeVar("T", covariant=True)


class Stream(Protocol, Generic[T]):
    """One logical stream over any number of connections."""

    rpc: str

    def request(self) -> Message:
        """What to send on the next connection."""

    def feed(self, message: Any) -> Iterable[T]:
        """What the caller is told because of `message`."""

    def again(self, error: BaseException) -> bool:
        """Whether to connect again after `error`."""


class EventKind(enum.StrEnum):
    """What happened to a backend; SYNCED: everything that existed has been told, BOOKMARK: nothing happened for a while."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    SYNCED = "SYNCED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True)
class Event:
    """One event of a watch. `backend` is None for SYNCED and BOOKMARK."""

    kind: EventKind
    revision: int
    backend: Backend | None = None


class WatchStream:
    """WatchBackends. After a lost connection it goes on after the last revision; when the agent no longer remembers that, it takes
    everything anew and tells the difference, so that the caller sees each backend added once and deleted once."""

    rpc = "WatchBackends"

    def __init__(self, service: str = "-", resume_revision: int = 0) -> None:
        self._parent = names.service(service)
        self._revision = resume_revision
        self._connected = False
        self._known: dict[str, Backend] = {}
        self._missing: set[str] = set()  # known before the connection was lost and not seen again yet
        self._told_synced = False

    def request(self) -> service_pb2.WatchBackendsRequest:
        """From the last revision that is whole."""
        self._missing = set() if self._revision else set(self._known)
        return service_pb2.WatchBackendsRequest(parent=self._parent, resume_revision=self._revision)

    def feed(self, message: service_pb2.WatchBackendsResponse) -> Iterator[Event]:
        """The events because of `message`."""
        self._connected = True
        kind = EventKind(service_pb2.WatchBackendsResponse.Event.Name(message.event).removeprefix("EVENT_"))
        if kind is EventKind.SYNCED:
            yield from self._synced(message.revision)
        elif kind is EventKind.BOOKMARK:
            self._revision = message.revision
            yield Event(kind, message.revision)
        else:
            yield from self._changed(kind, message)

    def _synced(self, revision: int) -> Iterator[Event]:
        for name in sorted(self._missing):
            yield Event(EventKind.DELETED, revision, self._known.pop(name))
        self._missing = set()
        self._revision = revision
        if not self._told_synced:
            self._told_synced = True
            yield Event(EventKind.SYNCED, revision)

    def _changed(self, kind: EventKind, message: service_pb2.WatchBackendsResponse) -> Iterator[Event]:
        name = message.backend.name
        if self._revision:  # else it belongs to the beginning, which is whole only with SYNCED
            self._revision = message.revision
        self._missing.discard(name)
        before = self._known.pop(name, None)
        if kind is not EventKind.DELETED:
            self._known[name] = message.backend
            kind = EventKind.ADDED if before is None and kind is EventKind.ADDED else EventKind.MODIFIED
        if message.backend != before or kind is EventKind.DELETED:
            yield Event(kind, message.revision, message.backend)

    def again(self, error: BaseException) -> bool:
        """After a lost connection, and from the beginning when the revision is forgotten."""
        if not isinstance(error, Error) or not self._connected:
            return False
        if error.code == "OUT_OF_RANGE":
            self._revision = 0
            return True
        return error.code == "UNAVAILABLE"


class StatsStream:
    """StreamStats. After a lost connection it goes on with the samples that are left."""

    rpc = "StreamStats"

    def __init__(self, interval: float = 1.0, services: Sequence[str] = (), backends: bool = True, samples: int = 0) -> None:
        whole, nanos = divmod(round(interval * 1e9), 1_000_000_000)
        self._interval = Duration(seconds=whole, nanos=nanos)
        self._services = [names.service(name) for name in services]
        self._omit_backends = not backends
        self._left = samples
        self._connected = False

    def request(self) -> service_pb2.StreamStatsRequest:
        """For the samples that are left."""
        return service_pb2.StreamStatsRequest(
            interval=self._interval, services=self._services, omit_backends=self._omit_backends, samples=self._left
        )  # fmt: skip

    def feed(self, message: service_pb2.StreamStatsResponse) -> Iterator[Stats]:
        """The sample."""
        self._connected = True
        self._left = max(0, self._left - 1)
        yield message.stats

    def again(self, error: BaseException) -> bool:
        """After a lost connection."""
        return isinstance(error, Error) and error.code == "UNAVAILABLE" and self._connected


class FlowsStream:
    """ListFlows. It is not begun again by itself: half of it would come twice."""

    rpc = "ListFlows"

    def __init__(self, parent: str = "-", client: str = "", limit: int = 0, flows: bool = True, top: int = 0) -> None:
        parent = names.backend(parent) if "/" in parent.removeprefix("services/") else names.service(parent)
        self._request = service_pb2.ListFlowsRequest(parent=parent, client=client, limit=limit, omit_flows=not flows, top=top)

    def request(self) -> service_pb2.ListFlowsRequest:
        """Always the same."""
        return self._request

    def feed(self, message: service_pb2.ListFlowsResponse) -> Iterator[service_pb2.ListFlowsResponse]:
        """The page."""
        yield message

    def again(self, _error: BaseException) -> bool:
        """Never."""
        return False


class CaptureStream:
    """CapturePackets. The first message, without packets, says that the capture runs. After a lost connection it begins anew: the totals
    of packets that were not captured then count from there."""

    rpc = "CapturePackets"

    def __init__(
        self, *, reasons: Sequence[str] = (), verdicts: Sequence[str] = (), service: str = "", prefix: str = "", port: int = 0,
        protocol: str = "", interface: str = "", snap_bytes: int = 0, rate: int = 0, packets: int = 0,
    ) -> None:  # fmt: skip
        wanted = capture_pb2.CaptureFilter(
            reasons=[names.number(reason_pb2.Reason, "REASON", text) for text in reasons],
            verdicts=[names.number(reason_pb2.Verdict, "VERDICT", text) for text in verdicts],
            service=names.service(service) if service else "", prefix=prefix, port=port, interface=interface,
            protocol=names.number(virtual_service_pb2.Protocol, "PROTOCOL", protocol) if protocol else None,
        )  # fmt: skip
        self._request = service_pb2.CapturePacketsRequest(filter=wanted, snap_bytes=snap_bytes, rate=rate, packets=packets)
        self._connected = False

    def request(self) -> service_pb2.CapturePacketsRequest:
        """For the packets that are left."""
        return self._request

    def feed(self, message: service_pb2.CapturePacketsResponse) -> Iterator[service_pb2.CapturePacketsResponse]:
        """The message."""
        self._connected = True
        if self._request.packets:
            self._request.packets = max(1, self._request.packets - len(message.packets))
        yield message

    def again(self, error: BaseException) -> bool:
        """After a lost connection."""
        return isinstance(error, Error) and error.code == "UNAVAILABLE" and self._connected


class RecordStream:
    """DumpRecord: the bytes of the file. It is not begun again by itself: half of it would come twice."""

    rpc = "DumpRecord"

    def request(self) -> service_pb2.DumpRecordRequest:
        """Always the same."""
        return service_pb2.DumpRecordRequest()

    def feed(self, message: service_pb2.DumpRecordResponse) -> Iterator[bytes]:
        """The next bytes."""
        yield message.chunk

    def again(self, _error: BaseException) -> bool:
        """Never."""
        return False


class DumpStream:
    """ReadDump: the bytes of the file. As RecordStream."""

    rpc = "ReadDump"

    def __init__(self, name: str) -> None:
        self._name = names.dump(name)

    def request(self) -> service_pb2.ReadDumpRequest:
        """Always the same."""
        return service_pb2.ReadDumpRequest(name=self._name)

    def feed(self, message: service_pb2.ReadDumpResponse) -> Iterator[bytes]:
        """The next bytes."""
        yield message.chunk

    def again(self, _error: BaseException) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class DrainProgress:
    """How far a drain is."""

    name: str
    remaining: int
    initial: int
    deadline: datetime | None  # UTC
    done: bool

    def __str__(self) -> str:
        state = "drained" if self.done else "draining"
        return f"{names.short(self.name)}: {state}, {self.remaining} of {self.initial} flows left"

    @classmethod
    def of(cls, backend: Backend) -> "DrainProgress":
        """The progress that a backend shows."""
        drain = backend.drain
        deadline = drain.deadline.ToDatetime(UTC) if drain.HasField("deadline") else None
        done = backend.admin_state == backend_pb2.ADMIN_STATE_DRAINED
        return cls(backend.name, drain.remaining_flows, max(drain.initial_flows, drain.remaining_flows), deadline, done)


class DrainWait:
    """Waits in the events of a watch for the end of one drain."""

    def __init__(self, name: str) -> None:
        self.name = names.backend(name)
        self.service = names.split(self.name)[0]
        self._seen = False

    def feed(self, event: Event) -> Backend | None:
        """The backend when `event` is about it. Raises Error when it is gone (NOT_FOUND) or is not being drained (FAILED_PRECONDITION)."""
        if event.kind is EventKind.SYNCED and not self._seen:
            raise Error("NOT_FOUND", f"{self.name} does not exist", reason="NOT_FOUND", metadata={"name": self.name})
        if event.backend is None or event.backend.name != self.name:
            return None
        if event.kind is EventKind.DELETED:
            raise Error("NOT_FOUND", f"{self.name} was removed", reason="NOT_FOUND", metadata={"name": self.name})
        self._seen = True
        if event.backend.admin_state not in (backend_pb2.ADMIN_STATE_DRAINING, backend_pb2.ADMIN_STATE_DRAINED):
            raise Error("FAILED_PRECONDITION", f"{self.name} is not being drained", reason="NOT_DRAINING", metadata={"name": self.name})
        return event.backend
