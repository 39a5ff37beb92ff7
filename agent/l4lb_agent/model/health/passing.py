"""How a probe of a VIP passes through the datapath's own program, and what it means when it did not."""

from dataclasses import dataclass

from l4lb_agent.model.health.outcome import Why
from l4lb_agent.model.reasons import VERDICTS, Reason, Verdict


@dataclass(frozen=True)
class Place:
    """Ids of a service and of one of its backends."""

    service: int
    backend: int


@dataclass(frozen=True)
class Fate:
    """Packets of a probe that the program saw, and how the last one ended."""

    packets: int = 0
    outcome: int = 0


def stopped(fate: Fate) -> tuple[Why, str] | None:
    """Why a probe does not show what its socket saw: its last packet did not leave for the backend. None when it did, and without any."""
    reason, verdict = divmod(fate.outcome, VERDICTS)
    if not fate.packets or verdict == Verdict.REDIRECT:
        return None
    why = Why.UNREACHABLE if reason == Reason.BACKEND_UNRESOLVED else Why.OWN_FAULT
    return why, f"the datapath did not send it: {Reason(reason).name}"
