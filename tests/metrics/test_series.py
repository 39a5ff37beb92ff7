"""Every series: its name, kind, unit and labels, where its value comes from, and that Prometheus takes it."""

import subprocess

import pytest
from prometheus_client.openmetrics.exposition import generate_latest

from l4lb_agent.control.agent import Agent
from l4lb_agent.metrics import families
from l4lb_agent.model import errors
from l4lb_agent.model.backend import DeadlineAction
from l4lb_agent.model.changes import commands
from l4lb_agent.model.health.check import HealthCheck, Kind
from l4lb_agent.model.health.state import State
from l4lb_agent.model.mapspec import specs
from l4lb_agent.model.service import Mode, Tracking
from lab.install import cache_folder
from tests.fakes.node import Node, until
from tests.fakes.values import backend, config, service
from tests.metrics.conftest import OPENMETRICS, parsed, samples, text

PLAIN = "text/plain; version=0.0.4"
PROMTOOL = cache_folder() / "promtool/promtool"
A, B = "services/web/backends/a", "services/web/backends/b"
CHECK = HealthCheck(Kind.TCP, interval_seconds=0.1, timeout_seconds=0.05)


async def fill(node: Node, agent: Agent) -> None:
    """One service of NAT with two backends, one of them draining with flows, and one of IPIP without any."""
    await agent.change(commands.CreateService(service("web")))
    await agent.change(commands.AddBackend(backend("web", "a", "10.0.0.1", 80, weight=3)))
    await agent.change(commands.AddBackend(backend("web", "b", "10.0.0.2", 80)))
    await agent.change(commands.CreateService(service("far", vip="192.0.2.2", mode=Mode.IPIP, tracking=Tracking.CHANGES)))
    node.datapath.live = {2: 5}
    node.count(1000)
    await agent.change(commands.DrainBackend(B, 600.0, DeadlineAction.CUT, allow_empty=True))


async def fill_all(node: Node, agent: Agent) -> None:
    """The same, and one whose backends are probed: one of them is well."""
    await fill(node, agent)
    node.prober.fail("10.0.0.4")
    await agent.change(commands.CreateService(service("sound", vip="192.0.2.3", health_check=CHECK)))
    for name, at in (("c", "10.0.0.3"), ("d", "10.0.0.4")):
        await agent.change(commands.AddBackend(backend("sound", name, at, 80)))
    await until(lambda: samples_of(agent) == {State.UP, State.DOWN})


def samples_of(agent: Agent) -> set[State]:
    return {one.health.health.state for one in agent.snapshot().backends if one.health}


async def test_all_families_are_exported_as_declared_and_in_that_order(node: Node) -> None:
    async with node.running() as agent:
        await fill_all(node, agent)
        found = parsed(await text(agent))
    assert list(found) == [family.name for family in families.EVERY]
    for family in families.EVERY:
        made = found[family.name]
        assert (made.type, made.unit, made.documentation) == (family.kind, family.unit, family.help)
        for sample in made.samples:
            assert tuple(label for label in sample.labels if label != "le") == family.labels, sample


async def test_the_text_is_what_the_library_itself_writes(node: Node) -> None:
    """But for the order of labels and the form of numbers, which its parser has read."""
    async with node.running() as agent:
        await fill_all(node, agent)
        ours = await text(agent)

    class Collected:
        def collect(self) -> object:
            return parsed(ours).values()

    theirs = generate_latest(Collected()).decode()  # type: ignore[arg-type]
    assert parsed(theirs) == parsed(ours)
    assert [line for line in ours.splitlines() if line[0] == "#"] == [line for line in theirs.splitlines() if line[0] == "#"]
    assert len(ours.splitlines()) == len(theirs.splitlines())


def check(exported: str) -> str:
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=exported, capture_output=True, text=True, timeout=60, check=False)
    return f"{done.returncode} {done.stdout}{done.stderr}"


async def test_promtool_accepts_all_of_it(node: Node) -> None:
    async with node.running() as agent:
        await fill_all(node, agent)
        exported = await text(agent, PLAIN)
    assert exported.count("\n# TYPE ") == len(families.EVERY)
    assert check(exported) == "0 "
    assert "counter metrics should have" in check(exported.replace("l4lb_service_flows_total", "l4lb_service_flows"))
    assert "error while linting" in check(exported.replace("} ", "} x"))


async def test_counters_are_the_kernels_by_name(node: Node) -> None:
    async with node.running() as agent:
        await fill(node, agent)
        exported = await text(agent)
    packets = samples(exported, "l4lb_datapath_packets_total")
    assert {key: count for key, count in packets.items() if count} == {
        ("TO_BACKEND", "TX"): 1000, ("NO_SERVICE", "DROP"): 9, ("99", "6"): 1
    }  # fmt: skip
    assert packets["TAIL_CALL_FAILED", "DROP"] == packets["UNSPECIFIED", "DROP"] == 0, "a first drop is an increase of something"
    assert samples(exported, "l4lb_datapath_bytes_total")["NO_SERVICE", "DROP"] == 900
    assert samples(exported, "l4lb_service_packets_total") == {("web", "in"): 1000, ("web", "out"): 3, ("far", "in"): 0}
    assert samples(exported, "l4lb_service_bytes_total")["web", "in"] == 100_000
    assert samples(exported, "l4lb_backend_packets_total")["web", "b", "out"] == 3
    assert samples(exported, "l4lb_service_flows_total") == {("web",): 4, ("far",): 0}
    assert samples(exported, "l4lb_service_flow_evictions_total") == {("far",): 0}


async def test_gauges_tell_of_rings_states_and_drains(node: Node) -> None:
    async with node.running() as agent:
        await fill(node, agent)
        await agent.change(commands.UndrainBackend(B))
        whole = await text(agent)
        await agent.change(commands.DrainBackend(B, None, DeadlineAction.KEEP))
        exported = await text(agent)
        digest = list(agent.snapshot().services)[1].ring_digest
    assert samples(whole, "l4lb_backend_wanted_share_ratio") == {("web", "a"): 0.75, ("web", "b"): 0.25}
    assert abs(samples(whole, "l4lb_backend_slot_share_ratio")["web", "a"] - 0.75) < 0.01
    assert samples(exported, "l4lb_backend_slot_share_ratio") == {("web", "a"): 1.0, ("web", "b"): 0.0}
    assert samples(exported, "l4lb_service_backends")["web", "draining"] == 1
    assert samples(exported, "l4lb_service_backends")["web", "enabled"] == 1
    assert samples(exported, "l4lb_service_eligible_backends") == {("web",): 1, ("far",): 0}
    assert samples(exported, "l4lb_service_ring_digest") == {("web",): int(digest[:12], 16)}
    assert samples(exported, "l4lb_drain_initial_flows") == {("web", "b"): 5}
    assert samples(exported, "l4lb_drain_remaining_flows") == {("web", "b"): 5}
    assert "l4lb_drain_deadline_timestamp_seconds" not in exported
    assert samples(whole, "l4lb_drain_initial_flows") == {}
    assert samples(exported, "l4lb_interface_attached")['odd"\\name', "native"] == 0
    assert samples(exported, "l4lb_interface_attached")["eth0", "native"] == 1
    assert samples(exported, "l4lb_build_info") == {("1.2.3", "tag", str(agent.agent().layout_version), "6.1.0"): 1}
    assert samples(exported, "l4lb_rpcs_total") == {("AddBackend", "OK"): 3, ("AddBackend", "ABORTED"): 1}
    assert samples(exported, "l4lb_agent_warnings")[("AUDIT_FAILED",)] == 1


async def test_a_backend_without_next_hop_is_not_reachable(node: Node) -> None:
    node.network.missing.add(backend("web", "a", "10.0.0.1").address)
    async with node.running() as agent:
        await fill(node, agent)
        exported = await text(agent)
    assert samples(exported, "l4lb_backend_reachable") == {("web", "a"): 0, ("web", "b"): 1}
    assert samples(exported, "l4lb_service_unreachable_backends")[("web",)] == 1


async def test_series_of_backends_can_be_left_out_and_drains_stay(node: Node) -> None:
    async with node.running() as agent:
        await fill_all(node, agent)
        exported = await text(agent, backends=False)
    assert set(parsed(exported)) == {family.name for family in (*families.AGENT, *families.DATAPATH, *families.SERVICES, *families.DRAINS)}
    assert samples(exported, "l4lb_drain_remaining_flows") == {("web", "b"): 5}
    assert samples(exported, "l4lb_service_health_backends")["sound", "down"] == 1


async def test_health_is_told_by_service_and_by_backend_of_those_that_are_probed_alone(node: Node) -> None:
    async with node.running() as agent:
        await fill_all(node, agent)
        exported = await text(agent)
        node.prober.fail("10.0.0.3", "10.0.0.4")
        await until(lambda: samples_of(agent) == {State.DOWN})
        down = await text(agent)
        await agent.change(commands.UpdateService("services/sound", without_health_check=True))
        without = await text(agent)
    assert samples(exported, "l4lb_backend_health") == {
        ("sound", "c", "unknown"): 0, ("sound", "c", "up"): 1, ("sound", "c", "down"): 0,
        ("sound", "d", "unknown"): 0, ("sound", "d", "up"): 0, ("sound", "d", "down"): 1,
    }  # fmt: skip
    states = {("sound", "unknown"): 0, ("sound", "up"): 1, ("sound", "down"): 1}
    assert samples(exported, "l4lb_service_health_backends") == states
    assert samples(exported, "l4lb_backend_probe_duration_seconds") == {("sound", "c"): 0.001, ("sound", "d"): 0.001}
    assert samples(exported, "l4lb_service_health_target") == {("sound", "backend"): 1, ("sound", "vip"): 0}
    assert samples(exported, "l4lb_service_all_down") == {("sound",): 0}
    assert samples(exported, "l4lb_service_kept_backends") == {("sound",): 0}
    assert samples(exported, "l4lb_service_eligible_backends")[("sound",)] == 1
    probes = samples(exported, "l4lb_service_probes_total")
    assert probes["sound", "ok"] >= 1 <= probes["sound", "refused"]
    assert probes["sound", "own_fault"] == 0
    assert samples(down, "l4lb_service_all_down") == samples(down, "l4lb_service_kept_backends") == {("sound",): 1}
    assert samples(down, "l4lb_service_health_transitions_total") == {("sound",): 1}
    assert samples(down, "l4lb_service_flapping_backends") == {("sound",): 0}
    assert "l4lb_backend_health{" not in without
    assert "l4lb_service_probes_total{" not in without


async def test_the_kernels_counters_go_on_after_a_restart_and_the_agents_begin_anew(node: Node) -> None:
    async with node.running() as agent:
        await fill(node, agent)
        before = await text(agent)
    node.restarted()
    node.count(1001)
    async with node.running() as agent:
        after = await text(agent)
    assert samples(before, "l4lb_service_packets_total")["web", "in"] == 1000
    assert samples(after, "l4lb_service_packets_total")["web", "in"] == 1001
    assert samples(after, "l4lb_datapath_packets_total")["TO_BACKEND", "TX"] == 1001
    assert samples(before, "l4lb_apply_duration_seconds_count") == {(): 5}
    assert samples(after, "l4lb_apply_duration_seconds_count") == {(): 0}
    assert samples(after, "l4lb_agent_map_writes_total") == {(): 0}
    assert samples(before, "l4lb_agent_revision") == samples(after, "l4lb_agent_revision")


async def test_each_change_is_timed_once_and_only_when_the_kernel_has_it(node: Node) -> None:
    async def timed(agent: Agent) -> float:
        return samples(await text(agent), "l4lb_apply_duration_seconds_count")[()]

    async with node.running() as agent:
        create = commands.CreateService(service("web"))
        await agent.change(create, validate_only=True)
        assert await timed(agent) == 0
        request = {"request_id": "6f0d7a5e-0000-4000-8000-000000000000", "request_hash": "h"}
        await agent.change(create, **request)
        await agent.change(create, **request)
        assert await timed(agent) == 1
        node.datapath.refuse_writes = 3
        with pytest.raises(errors.Unavailable, match="in the journal and not yet in the kernel"):
            await agent.change(commands.AddBackend(backend("web", "a", "10.0.0.1", 80)))
        assert await timed(agent) == 1
        await until(lambda: agent.ready or not node.datapath.refuse_writes and agent.agent().applied_revision == 2)
        exported = await text(agent)
    assert samples(exported, "l4lb_apply_duration_seconds_count") == {(): 2}
    buckets = samples(exported, "l4lb_apply_duration_seconds_bucket")
    assert buckets[("+Inf",)] == 2
    assert list(buckets.values()) == sorted(buckets.values())
    assert samples(exported, "l4lb_agent_reconcile_retries_total")[()] >= 3


async def test_heartbeats_go_on_without_any_change(node: Node) -> None:
    async with node.running() as agent:
        first = samples(await text(agent), "l4lb_agent_heartbeats_total")[()]
        await until(lambda: agent.turns > first)
        assert samples(await text(agent, OPENMETRICS), "l4lb_agent_heartbeats_total")[()] > first


async def test_elements_that_somebody_else_changed_are_counted_by_map_from_zero_on(node: Node) -> None:
    async with node.running() as agent:
        await fill(node, agent)
        before = samples(await text(agent), "l4lb_map_drift_elements_total")
        for name in ("services", "backends"):
            elements = node.datapath.maps_in_kernel[name]
            for key in sorted(elements)[:2]:
                elements[key] = bytes(len(elements[key]) - 1) + b"\7"
            await agent.diagnose()
        after = samples(await text(agent), "l4lb_map_drift_elements_total")
    assert set(before) == {(spec.name,) for spec in specs(config().sizes) if spec.control}
    assert set(before.values()) == {0}
    assert after == before | {("services",): 2, ("backends",): 2}
