"""Where scrapers come in, as a value."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricsDoor:
    """[metrics] of agent.toml. `listen` is a loopback address with a port, the path of a Unix socket, or "" for neither."""

    listen: str = ""
    backends: bool = True  # whether single backends have series
