"""Streams and readers that do not read: memory is bounded and what is read is fresh."""

import resource
import time
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

import l4lb
from l4lb.v1 import service_pb2 as pb
from l4lb.v1 import service_pb2_grpc
from l4lb_agent.api import service as api
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.changes import commands
from l4lb_agent.model.service import Protocol, VirtualService
from tests.api.conftest import Agent

STREAMS = 200


def fill(agent: Agent, backends: int) -> None:
    async def fill() -> None:
        await agent.control.change(
            commands.CreateService(VirtualService("services/web", Address.parse("10.0.0.1", "vip"), 80, Protocol.TCP))
        )
        for i in range(backends):
            address = Address.parse(f"10.1.{i // 250}.{i % 250 + 1}", "address")
            await agent.control.change(commands.AddBackend(Backend(f"services/web/backends/b{i}", address, 80)))

    agent.run(fill())


def memory() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def test_200_streams_that_never_read_hold_one_message_each_and_calls_are_answered(agent: Agent) -> None:
    fill(agent, 500)
    fixed_window = (("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0))  # 64 KiB: two samples of 500 backends
    channels = [grpc.insecure_channel(agent.target, options=fixed_window) for _ in range(10)]
    stubs = [service_pb2_grpc.LoadBalancerServiceStub(channel) for channel in channels]
    before = memory()
    interval = Duration(nanos=100_000_000)
    streams = [stubs[i % 10].StreamStats(pb.StreamStatsRequest(interval=interval)) for i in range(STREAMS)]
    end = time.monotonic() + 30
    while not agent.control.samples or _grows(agent):
        assert time.monotonic() < end, "samples are read although nobody takes them"
    assert agent.control.samples <= 8 * STREAMS
    assert memory() - before < 64 * 2**20
    assert stubs[0].GetAgent(pb.GetAgentRequest(), timeout=10).agent.version == "1.2.3"
    for stream in streams:
        stream.cancel()
    for channel in channels:
        channel.close()


def _grows(agent: Agent) -> bool:
    before = agent.control.samples
    time.sleep(1)
    return agent.control.samples > before


def test_a_slow_reader_gets_the_newest_sample_and_the_number_of_those_it_missed(agent: Agent, client: l4lb.Client) -> None:
    fill(agent, 300)
    stats = client.stats(interval=0.1)
    next(stats)
    time.sleep(2)
    samples = [next(stats) for _ in range(4)]
    missed = [sample.skipped_samples for sample in samples]
    assert max(missed) >= 10, missed
    assert samples[-1].services[0].traffic.packets_in >= agent.control.samples - 1, "what comes then is what is read now"


def test_streams_that_want_the_same_share_a_sample(agent: Agent, stub: Any) -> None:
    """Twenty pages of statistics over a thousand backends must not be the agent's whole work."""
    fill(agent, 50)
    streams = [stub.StreamStats(pb.StreamStatsRequest(interval=Duration(nanos=200_000_000), samples=5)) for _ in range(20)]
    others = [stub.StreamStats(pb.StreamStatsRequest(omit_backends=True, samples=1)) for _ in range(2)]
    messages = [list(stream) for stream in streams]
    assert [len(of_one) for of_one in messages] == [5] * 20
    assert all(len(message.stats.backends) == 50 for of_one in messages for message in of_one)
    assert not any(message.stats.backends for other in others for message in other)
    assert agent.control.samples < 60, "100 messages were sent"


def test_an_interval_outside_100_ms_to_1_hour_is_refused(stub: Any) -> None:
    for interval in (Duration(nanos=99_000_000), Duration(seconds=3601), Duration(seconds=-1)):
        with pytest.raises(grpc.RpcError) as failure:
            next(stub.StreamStats(pb.StreamStatsRequest(interval=interval)))
        assert l4lb.Error.from_rpc(failure.value).field == "interval"


def test_statistics_end_after_the_samples_asked_for_and_are_filtered(agent: Agent, client: l4lb.Client) -> None:
    fill(agent, 2)
    client.create_service("other", vip="10.0.0.2", port=80)
    agent.control.live["services/web/backends/b0"] = 5
    samples = list(client.stats(interval=0.1, services=["web"], samples=2))
    assert [[s.service for s in sample.services] for sample in samples] == [["services/web"]] * 2
    assert [b.traffic.active_flows for b in samples[0].backends] == [5, 0]
    assert samples[0].services[0].traffic.active_flows == 5
    assert [(m.map, m.entries, m.max_entries) for m in samples[0].maps] == [("flows", 5, 1000)]
    only_services = next(client.stats(backends=False, samples=1))
    assert [s.service for s in only_services.services] == ["services/other", "services/web"]
    assert not only_services.backends


def test_streams_are_limited_so_that_calls_keep_their_share(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MAX_STREAMS", 2)
    with l4lb.Client(agent.target) as lb:
        watches = [lb.watch() for _ in range(3)]
        assert [next(watch).kind for watch in watches[:2]] == ["SYNCED", "SYNCED"]
        with pytest.raises(l4lb.Error) as failure:
            next(watches[2])
        assert (failure.value.code, failure.value.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS")
        watches[0].close()  # type: ignore[attr-defined]
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                assert next(lb.watch()).kind == "SYNCED"
                return
            except l4lb.Error:
                time.sleep(0.05)
        raise AssertionError("a stream that ended still counts")


def test_a_watch_from_a_forgotten_revision_is_out_of_range(agent: Agent, stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        next(stub.WatchBackends(pb.WatchBackendsRequest(parent="services/-", resume_revision=99)))
    assert failure.value.code() is grpc.StatusCode.OUT_OF_RANGE


def test_a_client_whose_revision_is_forgotten_is_told_only_the_difference(agent: Agent, client: l4lb.Client) -> None:
    fill(agent, 2)
    watch = client.watch("web", timeout=60)
    assert [next(watch).kind for _ in range(3)] == ["ADDED", "ADDED", "SYNCED"]
    agent.stop()
    agent.run(agent.control.change(commands.RemoveBackend("services/web/backends/b0")))
    agent.run(agent.control.change(commands.UpdateBackend("services/web/backends/b1", weight=9)))
    agent.control.events.clear()
    agent.control.revision += 1000
    agent.start()
    told = [next(watch) for _ in range(2)]
    assert [(e.kind, e.backend and e.backend.name[-2:]) for e in told] == [("MODIFIED", "b1"), ("DELETED", "b0")]
