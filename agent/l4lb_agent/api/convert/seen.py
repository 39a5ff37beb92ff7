"""What is seen of the whole: configuration, agent, statistics."""

from collections.abc import Container, Iterable
from typing import cast

from l4lb.v1 import agent_pb2, reason_pb2, stats_pb2
from l4lb_agent.api.convert.backends import backend
from l4lb_agent.api.convert.lists import prefix_list
from l4lb_agent.api.convert.parts import moment
from l4lb_agent.api.convert.services import service
from l4lb_agent.control.facade import AgentView, Snapshot, StatsSample
from l4lb_agent.model.observed import TrafficCount

_MODES = {"": agent_pb2.XDP_MODE_UNSPECIFIED, "native": agent_pb2.XDP_MODE_NATIVE, "generic": agent_pb2.XDP_MODE_GENERIC}


def config(snapshot: Snapshot) -> agent_pb2.Config:
    """All desired state."""
    return agent_pb2.Config(
        revision=snapshot.revision, services=map(service, snapshot.services), backends=map(backend, snapshot.backends),
        lists=map(prefix_list, snapshot.lists),
    )  # fmt: skip


def agent(view: AgentView, version: str) -> agent_pb2.Agent:
    """The agent as the API shows it."""
    interfaces = (
        agent_pb2.Interface(
            name=i.name, ifindex=i.ifindex, mode=_MODES[i.mode], mode_reason=i.reason, link_id=i.link_id, program_id=i.program_id,
            program_tag=i.program_tag,
        ) for i in view.interfaces
    )  # fmt: skip
    maps = [
        agent_pb2.MapInfo(
            stats=stats_pb2.MapStats(map=m.name, entries=entries, max_entries=m.max_entries, bytes=m.bytes), map_id=m.map_id
        ) for m, entries in view.maps
    ]  # fmt: skip
    return agent_pb2.Agent(
        version=version, ready=view.ready, not_ready_reason=view.not_ready_reason, revision=view.revision,
        applied_revision=view.applied_revision, interfaces=interfaces, capabilities=view.capabilities, maps=maps,
        map_bytes=sum(m.bytes for m, _ in view.maps), start_time=moment(view.started), map_writes=view.map_writes,
        warnings=(agent_pb2.Warning(reason=reason, message=message) for reason, message in view.warnings),
        snat_addresses=view.snat_addresses, layout_version=view.layout_version, kernel=view.kernel,
        reconcile_retries=view.reconcile_retries,
    )  # fmt: skip


def stats(sample: StatsSample, wanted: Container[str], omit_backends: bool) -> stats_pb2.Stats:
    """One sample of the `wanted` services, or of all when there are none."""
    live = sample.counts.live
    active: dict[str, int] = {}
    ids = sorted((name, i) for name, i in sample.backend_ids.items() if not wanted or name.split("/backends/")[0] in wanted)
    for name, i in ids:
        owner = name.split("/backends/")[0]
        active[owner] = active.get(owner, 0) + live.get(i, 0)
    counts = sample.counters
    return stats_pb2.Stats(
        sample_time=moment(counts.at),
        services=(
            stats_pb2.ServiceStats(service=name, traffic=_traffic(counts.services.get(i), active.get(name, 0)))
            for name, i in sorted(sample.service_ids.items()) if not wanted or name in wanted
        ),
        backends=(
            stats_pb2.BackendStats(backend=name, traffic=_traffic(counts.backends.get(i), live.get(i, 0)))
            for name, i in ids if not omit_backends
        ),
        reasons=(
            stats_pb2.ReasonStats(reason=cast("reason_pb2.Reason", r), verdict=cast("reason_pb2.Verdict", v), packets=packets, bytes=size)
            for (r, v), (packets, size) in sorted(counts.reasons.items())
        ),
        maps=_fill(sample),
    )  # fmt: skip


def _traffic(count: TrafficCount | None, active: int) -> stats_pb2.Traffic:
    return stats_pb2.Traffic(**vars(count or TrafficCount()), active_flows=active)


def _fill(sample: StatsSample) -> Iterable[stats_pb2.MapStats]:
    """The maps whose fill traffic decides, counted by the sweep."""
    entries = {"flows": sample.counts.flows}
    for m in sample.maps:
        if m.name in entries:
            yield stats_pb2.MapStats(map=m.name, entries=entries[m.name], max_entries=m.max_entries, bytes=m.bytes)
