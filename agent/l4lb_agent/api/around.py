"""What stands before the guard of a door and sees each call of the API begin and end, with the status that its caller is told."""

import abc
import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import grpc

from l4lb_agent.api.caller import Context

OURS = "/l4lb.v1."  # not health checks and reflection
_SHAPES = {(False, False): "unary_unary", (False, True): "unary_stream"}
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class Around(grpc.aio.ServerInterceptor, abc.ABC):
    """One of them: `call` is entered before a call and left after it."""

    @abc.abstractmethod
    def call(self, details: grpc.HandlerCallDetails, context: Context) -> AbstractContextManager[None]:
        """Around one call."""

    async def intercept_service(  # type: ignore[override]
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any]"]],
        details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        """The handler with `call` around it."""
        handler: Any = await continuation(details)
        shape = _SHAPES.get((handler.request_streaming, handler.response_streaming)) if handler else None
        if not shape or not details.method.startswith(OURS) or inspect.isasyncgenfunction(getattr(handler, shape)):
            return handler  # type: ignore[no-any-return]
        behaviour = getattr(handler, shape)

        async def seen(request: Any, context: Context) -> Any:
            with self.call(details, context):
                return await behaviour(request, context)

        replaced: grpc.RpcMethodHandler[Any, Any] = handler._replace(**{shape: seen})
        return replaced


def number(error: BaseException, context: Context) -> int:
    """Of the status that the caller is told: the guard has made one of every error. gRPC gives it in two ways, depending on who set it."""
    code = grpc.StatusCode.CANCELLED if isinstance(error, asyncio.CancelledError) else context.code()
    found: int = code.value[0] if isinstance(code, grpc.StatusCode) else code or grpc.StatusCode.UNKNOWN.value[0]
    return found


class Calls(Around):
    """Counts calls that have ended, by method and name of the status."""

    def __init__(self) -> None:
        self.ended: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def call(self, details: grpc.HandlerCallDetails, context: Context) -> Iterator[None]:
        """See Around."""
        method = details.method.rpartition("/")[2]
        try:
            yield
        except BaseException as error:
            self.ended[method, _CODES.get(number(error, context), "UNKNOWN")] += 1
            raise
        self.ended[method, "OK"] += 1
