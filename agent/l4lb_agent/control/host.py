"""What the agent is started with."""

from dataclasses import dataclass

from l4lb_agent.control.monitor import Interface
from l4lb_agent.model.config import DatapathConfig


@dataclass(frozen=True)
class Host:
    """Where it runs, on which interfaces, and how the datapath is configured now."""

    boot_id: str
    kernel: str
    interfaces: tuple[Interface, ...]
    config: DatapathConfig
