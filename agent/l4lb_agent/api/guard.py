"""Around every call: is the caller allowed, is everything in the request known, and what becomes of an error."""

import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf.message import Message

from l4lb_agent.api import fields, roles, status
from l4lb_agent.api.roles import Role
from l4lb_agent.model.errors import Refused

_log = logging.getLogger(__name__)
Context = grpc.aio.ServicerContext[Any, Any]
Behaviour = Callable[[Any, Context], Awaitable[Any]]


class Guard(grpc.aio.ServerInterceptor):
    """Lets `role` do what the table allows. Refusals become statuses with details; what nobody foresaw becomes INTERNAL with an id that
    the log has too, and no word of the cause goes to the caller."""

    def __init__(self, role: Role) -> None:
        self._role = role

    async def intercept_service(  # type: ignore[override]
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any]"]],
        details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        """The handler of a method with the guard around it; None, as gRPC wants it, for a method that does not exist."""
        handler = await continuation(details)
        if handler is None:
            return handler
        if not roles.allowed(self._role, details.method):
            return _same_kind(handler, self._deny(details.method))
        if handler.unary_unary is not None:
            return _same_kind(handler, _guarded(handler.unary_unary, details.method))
        if handler.unary_stream is not None and not details.method.startswith("/grpc."):
            return _same_kind(handler, _guarded(handler.unary_stream, details.method))
        return handler  # health watch and reflection: their own, and they answer by generators

    def _deny(self, method: str) -> Behaviour:
        needed = roles.ALLOWED[method].name if method in roles.ALLOWED else "a role that there is not"

        async def deny(_request: object, context: Context) -> NoReturn:
            await context.abort_with_status(status.denied(method, self._role.name, needed))

        return deny


def _guarded(behaviour: Any, method: str) -> Behaviour:
    async def guarded(request: Message, context: Context) -> Any:
        try:
            fields.known(request)
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


def _same_kind(handler: Any, behaviour: Behaviour) -> "grpc.RpcMethodHandler[Any, Any]":
    """`handler` with `behaviour` in the place of its own: one of the four shapes of a method."""
    shape = {(False, False): "unary_unary", (False, True): "unary_stream", (True, False): "stream_unary", (True, True): "stream_stream"}
    replaced: grpc.RpcMethodHandler[Any, Any] = handler._replace(
        **{shape[handler.request_streaming, handler.response_streaming]: behaviour}
    )
    return replaced
