"""Around every call: is the caller allowed, is everything in the request known, and what becomes of an error."""

import asyncio
import inspect
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import Message

from l4lb_agent.api import audit, fields, roles, status
from l4lb_agent.api.audit import Audit, Entry
from l4lb_agent.api.caller import Caller, Context, Identify
from l4lb_agent.model.errors import Refused

_log = logging.getLogger(__name__)


class Guard(grpc.aio.ServerInterceptor):
    """Lets each caller do what the table allows to their role. Refusals become statuses with details; what nobody foresaw becomes INTERNAL
    with an id that the log has too, and no word of the cause goes to the caller."""

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
        """The handler of a method with the guard around it; None, as gRPC wants it, for a method that does not exist."""
        handler: Any = await continuation(details)
        if handler is None:
            return None  # type: ignore[return-value]
        shape = _SHAPES[handler.request_streaming, handler.response_streaming]
        behaviour = getattr(handler, shape)
        wrap = self._generator if inspect.isasyncgenfunction(behaviour) else self._call
        guarded: grpc.RpcMethodHandler[Any, Any] = handler._replace(**{shape: wrap(behaviour, details.method)})
        return guarded

    def _generator(self, behaviour: Any, method: str) -> Any:
        """For reflection, which answers by a generator."""

        async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:
            await self._admit(method, context)
            async for answer in behaviour(request, context):
                yield answer

        return guarded

    def _call(self, behaviour: Any, method: str) -> Any:
        async def guarded(request: Any, context: Context) -> Any:
            caller = await self._admit(method, context, request)
            try:
                if isinstance(request, Message):
                    fields.known(request)
                if method in roles.MUTATIONS:
                    return await self._mutation(behaviour, Entry(caller, _short(method)), request, context)
                return await behaviour(request, context)
            except Refused as error:
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

        return guarded

    async def _mutation(self, behaviour: Any, entry: Entry, request: Any, context: Context) -> Any:
        """Goes on when the caller goes: what is journaled is audited."""

        async def mutate() -> Any:
            with audit.noting() as outcomes:
                try:
                    return await behaviour(request, context)
                except Refused as error:
                    entry.status, entry.reason = error.code, error.reason
                    raise
                except BaseException:
                    entry.status = "INTERNAL"
                    raise
                finally:
                    entry.outcome = outcomes[-1] if outcomes else None
                    await self._write(entry, request)

        task = asyncio.create_task(mutate(), name=entry.rpc)
        self._mutations.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._mutations.discard(task)
        if not task.cancelled():
            task.exception()  # is asked for, or asyncio would tell of an error that nobody waits for any more

    async def _write(self, entry: Entry, request: Any) -> None:
        if not request.validate_only:
            entry.resource, entry.request_id = fields.target(request), request.request_id
            await self._audit.write(entry)

    async def _admit(self, method: str, context: Context, request: Any = None) -> Caller:
        """Who calls. Aborts the call when their role does not allow it."""
        caller = self._identify(context)
        if caller.role is None or not roles.allowed(caller.role, method):
            if method in roles.MUTATIONS:
                await self._write(Entry(caller, _short(method), status="PERMISSION_DENIED", reason="ROLE_NOT_ALLOWED"), request)
            else:
                _log.info("event=denied rpc=%s who=%r role=%s peer=%r", _short(method), caller.who, caller.role_name, caller.peer)
            needed = roles.ALLOWED[method].name if method in roles.ALLOWED else "a role that there is not"
            await context.abort_with_status(status.denied(method, caller.role_name.upper(), needed, caller.why))
        return caller


def _short(method: str) -> str:
    return method.rpartition("/")[2]


_SHAPES = {(False, False): "unary_unary", (False, True): "unary_stream", (True, False): "stream_unary", (True, True): "stream_stream"}
