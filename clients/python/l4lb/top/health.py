"""What probes say of backends, in the words of `top`."""

from collections.abc import Iterable

from l4lb.v1 import health_pb2
from l4lb.v1.backend_pb2 import Backend

_WORDS = {
    health_pb2.HEALTH_STATE_UNKNOWN: "?",
    health_pb2.HEALTH_STATE_UP: "up",
    health_pb2.HEALTH_STATE_DOWN: "DOWN",
}
_OUT = {
    health_pb2.EFFECTIVE_STATE_UNHEALTHY: "unhealthy",
    health_pb2.EFFECTIVE_STATE_HEALTH_UNKNOWN: "not probed",
}


def of_backend(backend: Backend) -> str:
    """In one word, "" without a check: kept is DOWN and takes new flows, flaps is held DOWN."""
    if not backend.HasField("health"):
        return ""
    if backend.health.kept_by_on_all_down:
        return "kept"
    return "flaps" if backend.health.HasField("flapping_until") else _WORDS.get(backend.health.state, "")


def of_service(backends: Iterable[Backend]) -> str:
    """How many of those that are probed are up, as 2/3; "" when none is."""
    states = [backend.health.state for backend in backends if backend.HasField("health")]
    return f"{states.count(health_pb2.HEALTH_STATE_UP)}/{len(states)}" if states else ""


def why_out(backend: Backend) -> str:
    """What keeps new flows from it when that is its health, "" otherwise."""
    return _OUT.get(backend.effective_state, "")


def told(backend: Backend) -> str:
    """Its health and the probes that it is known by, the newest first, a line each."""
    health = backend.health
    state = health_pb2.HealthState.Name(health.state).removeprefix("HEALTH_STATE_")
    lines = [
        f"health {state} since {health.change_time.ToJsonString()}, {health.consecutive} probes in a row, {health.transitions} transitions"
    ]
    if health.kept_by_on_all_down:
        lines.append("takes new flows all the same: too few backends of its service are UP")
    if health.HasField("flapping_until"):
        lines.append(f"changes too often: DOWN until {health.flapping_until.ToJsonString()}")
    probes = list(health.history) or ([health.last_probe] if health.HasField("last_probe") else [])
    for probe in reversed(probes):
        how = health_pb2.ProbeOutcome.Name(probe.outcome).removeprefix("PROBE_OUTCOME_")
        lines.append(f"{probe.time.ToJsonString():<27} {how:<11} {probe.latency.ToMicroseconds() / 1000:>8.1f} ms  {probe.detail}")
    return "\n".join(lines)
