"""`Client`: the calls of calls/ on a blocking channel. aio.py is the same for asyncio; what both decide is in calls/ and streams.py."""

import functools
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import grpc
import tenacity

from l4lb import DEFAULT_TARGET, channel
from l4lb.calls import backends, dumps, explain, lists, services, state
from l4lb.calls.call import Call, Listing
from l4lb.channel import File, Tls
from l4lb.errors import Error
from l4lb.streams import (
    CaptureStream,
    DrainProgress,
    DrainWait,
    DumpStream,
    Event,
    FlowsStream,
    RecordStream,
    StatsStream,
    Stream,
    WatchStream,
)
from l4lb.v1 import service_pb2_grpc
from l4lb.v1.backend_pb2 import Backend
from l4lb.v1.service_pb2 import CapturePacketsResponse, ListFlowsResponse
from l4lb.v1.stats_pb2 import Stats

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(build: Callable[P, Call[T]]) -> Callable[Concatenate["Client", P], T]:
    @functools.wraps(build)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(build(*args, **kwargs))

    return method


def _blocking_list(build: Callable[P, Listing[T]]) -> Callable[Concatenate["Client", P], Iterator[T]]:
    @functools.wraps(build)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        listing, token = build(*args, **kwargs), ""
        while True:
            items, token = self._run(listing.page(token))
            yield from items
            if not token:
                return

    return method


class Client:
    """Blocking client of one agent; safe to share between threads. `target` is `unix:///path`, or `host:port` with the PEM files `ca`
    (who signs for agents), `cert` and `key` (this controller's), and `server_name` when the agent's certificate has another name than the
    target. `timeout` is the deadline of each call, `resume` for how long a stream tries to come back after it lost the agent, both in
    seconds. Raises ValueError for a TCP target without files, OSError for files that cannot be read; methods raise l4lb.Error."""

    create_service = _blocking(services.create_service)
    get_service = _blocking(services.get_service)
    list_services = _blocking_list(services.list_services)
    update_service = _blocking(services.update_service)
    delete_service = _blocking(services.delete_service)
    add_backend = _blocking(backends.add_backend)
    get_backend = _blocking(backends.get_backend)
    list_backends = _blocking_list(backends.list_backends)
    update_backend = _blocking(backends.update_backend)
    remove_backend = _blocking(backends.remove_backend)
    create_list = _blocking(lists.create_list)
    get_list = _blocking(lists.get_list)
    list_lists = _blocking_list(lists.list_lists)
    update_list = _blocking(lists.update_list)
    delete_list = _blocking(lists.delete_list)
    drain = _blocking(backends.drain)
    undrain = _blocking(backends.undrain)
    ring = _blocking(services.ring)
    explain = _blocking(explain.explain)
    list_dumps = _blocking_list(dumps.list_dumps)
    agent = _blocking(state.agent)
    config = _blocking(state.config)
    diagnose = _blocking(state.diagnose)

    def __init__(
        self, target: str = DEFAULT_TARGET, *, ca: File | None = None, cert: File | None = None, key: File | None = None,
        server_name: str = "", timeout: float = channel.CALL_SECONDS, resume: float = channel.RESUME_SECONDS,
    ) -> None:  # fmt: skip
        tls = Tls(ca, cert, key, server_name)
        credentials = tls.credentials(target)
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options=tls.options)
        else:
            self._channel = grpc.secure_channel(target, credentials, options=tls.options)
        self._stub = service_pb2_grpc.LoadBalancerServiceStub(self._channel)
        self._timeout, self._resume = timeout, resume

    def watch(self, service: str = "-", *, resume_revision: int = 0, timeout: float | None = None) -> Iterator[Event]:
        """Backends as they are, SYNCED, then every change; goes on over restarts of the agent. DEADLINE_EXCEEDED after `timeout`."""
        return self._stream(WatchStream(service, resume_revision), timeout)

    def stats(self, *, interval: float = 1.0, services: Sequence[str] = (), backends: bool = True, samples: int = 0) -> Iterator[Stats]:
        """A sample now and each `interval` (0.1 s to 1 h), `samples` of them or for ever; goes on over restarts of the agent."""
        return self._stream(StatsStream(interval, services, backends, samples), None)

    def flows(
        self, parent: str = "-", *, client: str = "", limit: int = 0, flows: bool = True, top: int = 0, timeout: float | None = None
    ) -> Iterator[ListFlowsResponse]:
        """Pages of the flows of a service, of a backend, or of all, and in the last one `summary`. `client` is an address or a prefix;
        without `flows`, or beyond `limit`, they are only counted; `top` is how many clients and silent flows the summary has."""
        return self._stream(FlowsStream(parent, client, limit, flows, top), timeout)

    def capture(self, *, timeout: float | None = None, **wanted: Any) -> Iterator[CapturePacketsResponse]:
        """Packets as they came and as they left; `wanted` as of streams.CaptureStream. The first message comes when the capture
        runs; DEADLINE_EXCEEDED after `timeout`."""
        return self._stream(CaptureStream(**wanted), timeout)

    def dump_record(self, *, timeout: float | None = channel.CALL_SECONDS) -> Iterator[bytes]:
        """What the flight recorder remembers, as the bytes of one file: a gzipped tar. DEADLINE_EXCEEDED after `timeout`."""
        return self._stream(RecordStream(), timeout)

    def read_dump(self, name: str, *, timeout: float | None = channel.CALL_SECONDS) -> Iterator[bytes]:
        """One of the files that the flight recorder wrote by itself; `name` is that of list_dumps, without dumps/ as well."""
        return self._stream(DumpStream(name), timeout)

    def wait_drained(
        self, name: str, *, timeout: float | None = None, on_progress: Callable[[DrainProgress], object] | None = None
    ) -> Backend:
        """Waits for the end of the drain of `name` and gives the backend: `drain.result` says how. DEADLINE_EXCEEDED after `timeout`."""
        wait = DrainWait(name)
        with closing(self._stream(WatchStream(wait.service), timeout)) as events:
            for event in events:
                backend = wait.feed(event)
                if backend is not None and channel.reported(backend, on_progress):
                    return backend
        raise channel.ended(wait.name)

    def _run(self, call: Call[T]) -> T:
        end = time.monotonic() + self._timeout
        return call.answer(tenacity.Retrying(**channel.repetition(self._timeout))(self._once, call, end))

    def _once(self, call: Call[T], end: float) -> Any:
        try:
            return getattr(self._stub, call.rpc)(call.request, timeout=channel.left(end))
        except grpc.RpcError as error:
            raise Error.from_rpc(error) from None

    def _stream(self, stream: Stream[T], timeout: float | None) -> Generator[T, None, None]:
        end = None if timeout is None else time.monotonic() + timeout
        retrying = tenacity.Retrying(**channel.repetition(math.inf if timeout is None else timeout))
        while True:
            call, message = retrying(self._connect, stream, end)
            retrying = tenacity.Retrying(**channel.resumption(stream, self._resume))
            try:
                while message is not None:
                    yield from stream.feed(message)
                    message = next(call, None)
                return
            except grpc.RpcError as error:
                if not stream.again(failure := Error.from_rpc(error)):
                    raise failure from None
            finally:
                call.cancel()

    def _connect(self, stream: Stream[T], end: float | None) -> tuple[Any, Any]:
        """A connection and its first message, None when it ended without any."""
        call = getattr(self._stub, stream.rpc)(stream.request(), timeout=channel.left(end))
        try:
            return call, next(call, None)
        except grpc.RpcError as error:
            raise Error.from_rpc(error) from None

    def close(self) -> None:
        """Ends every call that runs and the connection."""
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
