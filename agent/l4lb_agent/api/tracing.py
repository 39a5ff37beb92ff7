"""A span for each call of the API, for OpenTelemetry: off unless agent.toml names a collector, and its packages are there (`l4lb-agent
[tracing]`, which no installation brings along). The only file that imports them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from l4lb_agent.api import around
from l4lb_agent.api.around import Around
from l4lb_agent.api.caller import Context

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

STOP_SECONDS = 2.0  # that the last spans get


@dataclass(frozen=True)
class TracingConfig:
    """[tracing] of agent.toml. `endpoint` is an OTLP collector's, over gRPC: http://HOST:PORT or https://HOST:PORT; "" for none."""

    endpoint: str = ""
    ratio: float = 1.0  # of the traces that begin here; those that a caller has begun are as the caller says


class Tracing(Around):
    """Makes the spans."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import propagate, trace

        self._provider, self._trace, self._propagate = provider, trace, propagate
        self._tracer = provider.get_tracer("l4lb_agent")

    @classmethod
    def to_collector(cls, config: TracingConfig, version: str) -> "Tracing":
        """Sends to a collector. Raises ImportError without the packages."""
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

        resource = Resource.create({"service.name": "l4lb-agent", "service.version": version})
        provider = TracerProvider(ParentBasedTraceIdRatio(config.ratio), resource)
        exporter = OTLPSpanExporter(config.endpoint, insecure=config.endpoint.startswith("http://"))
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider)

    async def stop(self) -> None:
        """Sends what is left, for a while."""
        await asyncio.wait({asyncio.create_task(asyncio.to_thread(self._provider.shutdown))}, timeout=STOP_SECONDS)

    @contextmanager
    def call(self, details: grpc.HandlerCallDetails, context: Context) -> Iterator[None]:
        """See Around."""
        service, _, method = details.method.removeprefix("/").partition("/")
        carrier = {name: value for name, value in details.invocation_metadata or () if isinstance(value, str)}
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method, "network.peer.address": context.peer()}
        with self._tracer.start_as_current_span(
            f"{service}/{method}", self._propagate.extract(carrier), self._trace.SpanKind.SERVER, attributes,
            record_exception=False, set_status_on_exception=False,
        ) as span:  # fmt: skip
            try:
                yield
            except BaseException as error:
                self._failed(span, around.number(error, context), context.details() or "")
                raise
            span.set_attribute("rpc.grpc.status_code", 0)

    def _failed(self, span: "Span", number: int, details: str) -> None:
        """What the caller is told: the guard has made a status of every error."""
        span.set_attribute("rpc.grpc.status_code", number)
        if number != grpc.StatusCode.CANCELLED.value[0]:
            span.set_status(self._trace.StatusCode.ERROR, details)
