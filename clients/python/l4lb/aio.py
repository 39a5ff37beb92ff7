"""`AsyncClient`: the calls of calls/ on an asyncio channel. client.py is the same for blocking code."""

import functools
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing
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


def _awaited(build: Callable[P, Call[T]]) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, T]]:
    @functools.wraps(build)
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(build(*args, **kwargs))

    return method


def _awaited_list(build: Callable[P, Listing[T]]) -> Callable[Concatenate["AsyncClient", P], AsyncIterator[T]]:
    @functools.wraps(build)
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        listing, token = build(*args, **kwargs), ""
        while True:
            items, token = await self._run(listing.page(token))
            for item in items:
                yield item
            if not token:
                return

    return method


class AsyncClient:
    """Client for asyncio, made inside a running loop. Everything as in Client, but awaited; lists, watch and stats are asynchronous
    iterators."""

    create_service = _awaited(services.create_service)
    get_service = _awaited(services.get_service)
    list_services = _awaited_list(services.list_services)
    update_service = _awaited(services.update_service)
    delete_service = _awaited(services.delete_service)
    add_backend = _awaited(backends.add_backend)
    get_backend = _awaited(backends.get_backend)
    list_backends = _awaited_list(backends.list_backends)
    update_backend = _awaited(backends.update_backend)
    remove_backend = _awaited(backends.remove_backend)
    create_list = _awaited(lists.create_list)
    get_list = _awaited(lists.get_list)
    list_lists = _awaited_list(lists.list_lists)
    update_list = _awaited(lists.update_list)
    delete_list = _awaited(lists.delete_list)
    drain = _awaited(backends.drain)
    undrain = _awaited(backends.undrain)
    ring = _awaited(services.ring)
    explain = _awaited(explain.explain)
    list_dumps = _awaited_list(dumps.list_dumps)
    agent = _awaited(state.agent)
    config = _awaited(state.config)
    diagnose = _awaited(state.diagnose)

    def __init__(
        self, target: str = DEFAULT_TARGET, *, ca: File | None = None, cert: File | None = None, key: File | None = None,
        server_name: str = "", timeout: float = channel.CALL_SECONDS, resume: float = channel.RESUME_SECONDS,
    ) -> None:  # fmt: skip
        tls = Tls(ca, cert, key, server_name)
        credentials = tls.credentials(target)
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options=tls.options)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials, options=tls.options)
        self._stub = service_pb2_grpc.LoadBalancerServiceStub(self._channel)
        self._timeout, self._resume = timeout, resume

    def watch(self, service: str = "-", *, resume_revision: int = 0, timeout: float | None = None) -> AsyncIterator[Event]:
        """As Client.watch."""
        return self._stream(WatchStream(service, resume_revision), timeout)

    def stats(
        self, *, interval: float = 1.0, services: Sequence[str] = (), backends: bool = True, samples: int = 0
    ) -> AsyncIterator[Stats]:
        """As Client.stats."""
        return self._stream(StatsStream(interval, services, backends, samples), None)

    def flows(
        self, parent: str = "-", *, client: str = "", limit: int = 0, flows: bool = True, top: int = 0, timeout: float | None = None
    ) -> AsyncIterator[ListFlowsResponse]:
        """As Client.flows."""
        return self._stream(FlowsStream(parent, client, limit, flows, top), timeout)

    def capture(self, *, timeout: float | None = None, **wanted: Any) -> AsyncIterator[CapturePacketsResponse]:
        """As Client.capture."""
        return self._stream(CaptureStream(**wanted), timeout)

    def dump_record(self, *, timeout: float | None = channel.CALL_SECONDS) -> AsyncIterator[bytes]:
        """As Client.dump_record."""
        return self._stream(RecordStream(), timeout)

    def read_dump(self, name: str, *, timeout: float | None = channel.CALL_SECONDS) -> AsyncIterator[bytes]:
        """As Client.read_dump."""
        return self._stream(DumpStream(name), timeout)

    async def wait_drained(
        self, name: str, *, timeout: float | None = None, on_progress: Callable[[DrainProgress], object] | None = None
    ) -> Backend:
        """As Client.wait_drained."""
        wait = DrainWait(name)
        async with aclosing(self._stream(WatchStream(wait.service), timeout)) as events:
            async for event in events:
                backend = wait.feed(event)
                if backend is not None and channel.reported(backend, on_progress):
                    return backend
        raise channel.ended(wait.name)

    async def _run(self, call: Call[T]) -> T:
        end = time.monotonic() + self._timeout
        answer: Any = await tenacity.AsyncRetrying(**channel.repetition(self._timeout))(self._once, call, end)
        return call.answer(answer)

    async def _once(self, call: Call[T], end: float) -> Any:
        try:
            return await getattr(self._stub, call.rpc)(call.request, timeout=channel.left(end))
        except grpc.RpcError as error:
            raise Error.from_rpc(error) from None

    async def _stream(self, stream: Stream[T], timeout: float | None) -> AsyncGenerator[T, None]:
        end = None if timeout is None else time.monotonic() + timeout
        retrying = tenacity.AsyncRetrying(**channel.repetition(math.inf if timeout is None else timeout))
        while True:
            connection: tuple[Any, Any] = await retrying(self._connect, stream, end)
            call, message = connection
            retrying = tenacity.AsyncRetrying(**channel.resumption(stream, self._resume))
            try:
                while message is not grpc.aio.EOF:
                    for told in stream.feed(message):
                        yield told
                    message = await call.read()
                return
            except grpc.RpcError as error:
                if not stream.again(failure := Error.from_rpc(error)):
                    raise failure from None
            finally:
                call.cancel()

    async def _connect(self, stream: Stream[T], end: float | None) -> tuple[Any, Any]:
        """A connection and its first message."""
        call = getattr(self._stub, stream.rpc)(stream.request(), timeout=channel.left(end))
        try:
            return call, await call.read()
        except grpc.RpcError as error:
            raise Error.from_rpc(error) from None

    async def close(self) -> None:
        """Ends every call that runs and the connection."""
        await self._channel.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.close()
