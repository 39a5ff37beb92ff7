"""Around every call: is the caller allowed, is everything in the request known, and what becomes of an error."""

import asyncio
import contextlib
import inspect
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from l4lb_agent.api import audit, fields, roles, status
from l4lb_agent.api.audit import Audit, Entry
from l4lb_agent.api.caller import Caller, Context, Identify
from l4lb_agent.model.errors import InvalidArgument, Refused

_log = logging.getLogger(__name__)
_SHAPES = {(False, False): "unary_unary", (False, True): "unary_stream", (True, False): "stream_unary", (True, True): "stream_stream"}


class Denied(Refused):
    """The caller's role does not allow the call."""

    code = "PERMISSION_DENIED"


class Guard(grpc.aio.ServerInterceptor):
    """Lets each caller do what the table allows to their role. Refusals become statuses with details; what nobody foresaw becomes INTERNAL
    with an id that the log has too, and no word of the cause goes to the caller. Changes, and those refused, are audited."""

    def __init__(self, identify: Identify, audit: Audit) -> None:
        self._identify, self._audit = identify, audit
        self._mutations: set[asyncio.Task[Any]] = set()

    async def finish(self, seconds: float) -> None:
        """Waits for changes whose callers have gone."""
        if self._mutations:
            await asyncio.wait(self._mutations, timeout=seconds)

    async def intercept_service(  # type: ignore[override]
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any]"]],
        details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        """The handler of a method with the guard around it; None, as gRPC wants it, for a method that does not exist. Bytes are read here
        and not by gRPC, which would log a traceback for those that cannot be."""
        handler: Any = await continuation(details)
        if handler is None:
            return None  # type: ignore[return-value]
        shape = _SHAPES[handler.request_streaming, handler.response_streaming]
        behaviour = getattr(handler, shape)
        wrap = self._generator if inspect.isasyncgenfunction(behaviour) else self._call
        guarded = wrap(behaviour, handler.request_deserializer, details.method)
        replaced: grpc.RpcMethodHandler[Any, Any] = handler._replace(request_deserializer=None, **{shape: guarded})
        return replaced

    def _generator(self, behaviour: Any, deserialize: Any, method: str) -> Any:
        """For reflection, which takes a stream and answers by a generator."""

        async def read(data: AsyncIterator[bytes]) -> AsyncIterator[Any]:
            async for one in data:
                yield _read(deserialize, one)

        async def guarded(data: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            async with _refusals(method, context):
                _admit(self._identify(context), method)
                async for answer in behaviour(read(data), context):
                    yield answer

        return guarded

    def _call(self, behaviour: Any, deserialize: Any, method: str) -> Any:
        async def guarded(data: bytes, context: Context) -> Any:
            async with _refusals(method, context):
                caller = self._identify(context)
                if method in roles.MUTATIONS:
                    return await self._mutation(
                        caller, method, partial(_read, deserialize, data), lambda request: behaviour(request, context)
                    )
                _admit(caller, method)
                request = _read(deserialize, data)
                fields.known(request)
                return await behaviour(request, context)

        return guarded

    async def _mutation(self, caller: Caller, method: str, read: Callable[[], Any], change: Callable[[Any], Awaitable[Any]]) -> Any:
        """Goes on when the caller goes: what is journaled is audited."""

        async def mutate() -> Any:
            entry = Entry(caller, _short(method))
            with audit.noting() as outcomes:
                try:
                    _admit(caller, method)
                    request = read()
                    fields.known(request)
                    return await change(request)
                except Refused as error:
                    entry.status, entry.reason, entry.message = error.code, error.reason, error.message
                    raise
                except BaseException:
                    entry.status = "INTERNAL"
                    raise
                finally:
                    entry.outcome = outcomes[-1] if outcomes else None
                    await self._write(entry, read)

        task = asyncio.create_task(mutate(), name=_short(method))
        self._mutations.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._mutations.discard(task)
        if not task.cancelled():
            task.exception()  # is asked for, or asyncio would tell of an error that nobody waits for any more

    async def _write(self, entry: Entry, read: Callable[[], Any]) -> None:
        with contextlib.suppress(Refused):
            request = read()
            if request.validate_only and entry.status != Denied.code:
                return
            entry.resource, entry.request_id = fields.target(request), request.request_id
        await self._audit.write(entry)


def _admit(caller: Caller, method: str) -> None:
    """Raises Denied."""
    if caller.role is not None and roles.allowed(caller.role, method):
        return
    role, needed = caller.role_name.upper(), roles.ALLOWED[method].name if method in roles.ALLOWED else "a role that there is not"
    raise Denied(
        f"{method} is not allowed to the role {role}; it needs {needed}" + (f" ({caller.why})" if caller.why else ""),
        reason="ROLE_NOT_ALLOWED", metadata={"method": method, "role": role, "needed": needed},
    )  # fmt: skip


def _read(deserialize: Callable[[bytes], Any], data: bytes) -> Any:
    """The message in `data`. Raises InvalidArgument."""
    try:
        return deserialize(data)
    except DecodeError as error:
        raise InvalidArgument(f"the request cannot be read: {error}", reason="UNREADABLE_REQUEST") from None


@contextlib.asynccontextmanager
async def _refusals(method: str, context: Context) -> AsyncIterator[None]:
    """Errors inside become statuses."""
    try:
        yield
    except Refused as error:
        if method not in roles.MUTATIONS:  # of which the audit's line tells
            _log.info("event=refused rpc=%s code=%s reason=%s message=%r", method, error.code, error.reason, error.message)
        await context.abort_with_status(status.of(error))
    except grpc.aio.AbortError:
        raise
    except grpc.aio.InternalError:  # what a write raises when the caller has gone
        _log.debug("event=caller_gone rpc=%s", method)
        await context.abort(grpc.StatusCode.CANCELLED, "the caller has gone")
    except Exception:
        correlation_id = uuid.uuid4().hex
        _log.exception("event=failed rpc=%s correlation_id=%s", method, correlation_id)
        await context.abort_with_status(status.internal(correlation_id))


def _short(method: str) -> str:
    return method.rpartition("/")[2]
