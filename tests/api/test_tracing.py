"""A span for each call, with what its caller was told, in the trace that the caller began."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from l4lb.v1 import service_pb2 as pb
from l4lb_agent import telemetry
from l4lb_agent.api.around import Calls
from l4lb_agent.api.tracing import Tracing, TracingConfig
from tests.api.conftest import Agent

METHOD = "l4lb.v1.LoadBalancerService"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Traced:
    """An agent whose spans stay in memory."""

    def __init__(self, agent: Agent) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        agent.stop()
        agent.before = (Tracing(provider),)
        agent.start()

    def spans(self, count: int) -> list[ReadableSpan]:
        """So many have ended, and no more."""
        end = time.monotonic() + 20
        while len(self._exporter.get_finished_spans()) < count:
            assert time.monotonic() < end, "they do not end"
            time.sleep(0.01)
        found = list(self._exporter.get_finished_spans())
        assert len(found) == count
        return found


@pytest.fixture
def traced(agent: Agent) -> Traced:
    return Traced(agent)


def test_a_call_is_a_span_of_the_trace_that_its_caller_began(traced: Traced, stub: Any) -> None:
    stub.GetAgent(pb.GetAgentRequest(), timeout=10, metadata=(("traceparent", f"00-{TRACE}-{PARENT}-01"),))
    [span] = traced.spans(1)
    assert (span.name, span.kind) == (f"{METHOD}/GetAgent", SpanKind.SERVER)
    assert span.attributes is not None
    wanted = {"rpc.system": "grpc", "rpc.service": METHOD, "rpc.method": "GetAgent", "rpc.grpc.status_code": 0}
    assert wanted.items() <= span.attributes.items()
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.status.status_code is StatusCode.UNSET


def test_a_refusal_is_told_as_its_caller_was_told(traced: Traced, stub: Any, agent: Agent) -> None:
    with pytest.raises(grpc.RpcError):
        stub.GetBackend(pb.GetBackendRequest(name="services/none/backends/a"), timeout=10)
    with pytest.raises(grpc.RpcError):
        stub.DeleteVirtualService(pb.DeleteVirtualServiceRequest(name="services/none"), timeout=10)
    agent.control.fail = RuntimeError("secret")
    with pytest.raises(grpc.RpcError):
        stub.GetAgent(pb.GetAgentRequest(), timeout=10)
    spans = traced.spans(3)
    assert [span.attributes["rpc.grpc.status_code"] for span in spans if span.attributes] == [5, 5, 13]
    assert {span.status.status_code for span in spans} == {StatusCode.ERROR}
    assert "services/none/backends/a does not exist" in (spans[0].status.description or "")
    assert "secret" not in str([span.to_json() for span in spans])


def test_a_stream_is_a_span_until_it_ends(traced: Traced, stub: Any) -> None:
    assert len(list(stub.StreamStats(pb.StreamStatsRequest(samples=1), timeout=10))) == 1
    stream = stub.StreamStats(pb.StreamStatsRequest(), timeout=60)
    next(stream)
    assert len(traced.spans(1)) == 1
    stream.cancel()
    _, cancelled = traced.spans(2)
    assert cancelled.attributes is not None
    assert cancelled.attributes["rpc.grpc.status_code"] == 1
    assert cancelled.status.status_code is StatusCode.UNSET, "whoever leaves makes no error"


def test_health_checks_and_reflection_are_not_traced(traced: Traced, agent: Agent, stub: Any) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(agent.target) as channel:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    stub.GetAgent(pb.GetAgentRequest(), timeout=10)
    assert [span.name for span in traced.spans(1)] == [f"{METHOD}/GetAgent"]


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[trace_service_pb2.ExportTraceServiceRequest] = []

    def Export(self, request: Any, _context: Any) -> Any:
        """As OTLP says."""
        self.got.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    """With its address."""
    server, made = grpc.server(ThreadPoolExecutor(2)), Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(made, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield made, f"http://127.0.0.1:{port}"
    server.stop(0).wait()


def test_a_real_collector_gets_them_when_the_agent_stops_at_the_latest(agent: Agent, stub: Any, collector: tuple[Collector, str]) -> None:
    tracing, warnings = telemetry.started(TracingConfig(collector[1]), "1.2.3")
    assert tracing
    assert warnings == []
    agent.stop()
    agent.before = (tracing,)
    agent.start()
    stub.GetAgent(pb.GetAgentRequest(), timeout=10, wait_for_ready=True)
    agent.run(tracing.stop())
    [request] = collector[0].got
    resource = {one.key: one.value.string_value for one in request.resource_spans[0].resource.attributes}
    assert (resource["service.name"], resource["service.version"]) == ("l4lb-agent", "1.2.3")
    assert request.resource_spans[0].scope_spans[0].spans[0].name == f"{METHOD}/GetAgent"


def test_without_the_packages_the_agent_warns_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry.sdk")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    tracing, [(reason, message)] = telemetry.started(TracingConfig("http://127.0.0.1:4317"), "1")
    assert tracing is None
    assert reason == "TRACING_UNAVAILABLE"
    assert "docs/operations.md" in message


def test_nothing_is_imported_while_it_is_off() -> None:
    import subprocess

    code = "import sys, l4lb_agent.__main__; print([name for name in sys.modules if name.startswith(('opentelemetry', 'prometheus'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_calls_are_counted_by_the_status_that_their_callers_are_told(agent: Agent, stub: Any) -> None:
    calls = Calls()
    agent.stop()
    agent.before = (calls,)
    agent.start()
    stub.GetAgent(pb.GetAgentRequest(), timeout=10, wait_for_ready=True)
    for _ in range(2):
        with pytest.raises(grpc.RpcError):
            stub.GetBackend(pb.GetBackendRequest(name="services/none/backends/a"), timeout=10)
    agent.control.fail = RuntimeError("secret")
    with pytest.raises(grpc.RpcError):
        stub.GetAgent(pb.GetAgentRequest(), timeout=10)
    list(stub.StreamStats(pb.StreamStatsRequest(samples=1), timeout=10))
    agent.wait(lambda: calls.ended.total() == 5)
    assert calls.ended == {
        ("GetAgent", "OK"): 1, ("GetBackend", "NOT_FOUND"): 2, ("GetAgent", "INTERNAL"): 1, ("StreamStats", "OK"): 1
    }  # fmt: skip
