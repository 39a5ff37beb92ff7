"""What a dump of the recorder holds, as values and as the JSON of its timeline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from l4lb_agent.control.captures import CapturedPacket
from l4lb_agent.control.recorder.timeline import Event
from l4lb_agent.model.reasons import Reason, Verdict

FORMAT: Final = 1  # of timeline.json; grows when a reader of the one before would misunderstand it


@dataclass(frozen=True)
class Look:
    """How the agent was seen last. `reasons` are packets and bytes since the maps exist, `limited` dropped ones beyond the recorder's rate,
    `lost` those for which there was no room on the way to it. `agent` is what JSON can hold of GetAgent's answer."""

    time: float  # Unix seconds
    agent: Mapping[str, Any] = field(default_factory=dict)
    reasons: Mapping[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    limited: Mapping[int, int] = field(default_factory=dict)  # by reason
    lost: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Dump:
    """Everything that is remembered. `why` is "asked", "stopped", or the event that tripped a guard."""

    why: str
    time: float  # Unix seconds
    version: str
    packets: Sequence[CapturedPacket]  # dropped ones, the oldest first
    events: Sequence[Event]  # the oldest first
    forgotten: int = 0  # events that had to go
    look: Look | None = None
    stacks: Sequence[str] = ()  # what each thread was doing, when the agent stalled


def timeline(dump: Dump) -> dict[str, Any]:
    """timeline.json."""
    events = [
        {"time": one.time, "level": one.level, "part": one.part, "event": one.name, "fields": dict(one.fields)} for one in dump.events
    ]
    return {
        "format": FORMAT, "why": dump.why, "time": dump.time, "version": dump.version,
        "agent": {"seen": dump.look.time, **dump.look.agent} if dump.look else None,
        "drops": _drops(dump), "stacks": list(dump.stacks), "events_forgotten": dump.forgotten, "events": events,
    }  # fmt: skip


def _drops(dump: Dump) -> list[dict[str, Any]]:
    """One for each reason for which packets were dropped since the maps exist, or are in the file."""
    look = dump.look
    counted = {reason: counts for (reason, verdict), counts in look.reasons.items() if verdict == Verdict.DROP} if look else {}
    kept: dict[int, int] = {}
    for one in dump.packets:
        kept[one.packet.reason] = kept.get(one.packet.reason, 0) + 1
    return [
        {
            "reason": Reason(reason).name, "packets": counted.get(reason, (0, 0))[0], "bytes": counted.get(reason, (0, 0))[1],
            "in_file": kept.get(reason, 0), "beyond_rate": look.limited.get(reason, 0) if look else 0,
            "lost": look.lost.get(reason, 0) if look else 0,
        }
        for reason in sorted(counted.keys() | kept.keys())
    ]  # fmt: skip
