"""What a command makes of the desired state, before anything is applied."""

from dataclasses import dataclass

from l4lb_agent.model.access.lists import PrefixList
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.desired import Change
from l4lb_agent.model.service import VirtualService


@dataclass(frozen=True)
class Made:
    """No change when nothing is to be journaled. At most one resource is set: as it is then; all are None for deletions."""

    change: Change | None = None
    service: VirtualService | None = None
    backend: Backend | None = None
    prefix_list: PrefixList | None = None
