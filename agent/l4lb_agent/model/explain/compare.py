"""Whether the datapath's own program says of a frame what was explained."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from l4lb_agent.model.explain.road import Explanation
from l4lb_agent.model.observed import Answer
from l4lb_agent.model.reasons import Verdict


class Comparison(enum.IntEnum):
    """What came of asking both; the numbers are the API's."""

    NOT_ASKED = 1  # the program could not be asked
    AGREED = 2
    DISAGREED = 3
    UNSTEADY = 4  # they differ, and what they look at changed again and again while they were asked


@dataclass(frozen=True)
class Compared:
    """Both answers together. `differences` are in words; of NOT_ASKED why."""

    comparison: Comparison
    differences: tuple[str, ...] = ()
    answer: Answer | None = None


def differences(explained: Explanation, answer: Answer) -> tuple[str, ...]:
    """In which the program does something else. A budget that is used up on the CPU that was asked is no difference."""
    if answer.verdict is Verdict.DROP and answer.reason is explained.limited:
        return ()
    return tuple(_differences(explained, answer))


def _differences(explained: Explanation, answer: Answer) -> Iterator[str]:
    if explained.verdict is not answer.verdict:
        yield f"verdict: explained {explained.verdict.name}, the program says {answer.verdict.name}"
    if explained.reason is not answer.reason:
        yield f"reason: explained {explained.reason.name}, the program says {answer.reason.name}"
    if answer.verdict is Verdict.DROP or explained.verdict is Verdict.DROP:
        return
    if answer.verdict is Verdict.REDIRECT and answer.ifindex != explained.interface:
        yield f"interface: explained number {explained.interface}, the program says {answer.ifindex}"
    if explained.frame != answer.frame:
        both = zip(explained.frame, answer.frame)
        where = [at for at, (one, other) in enumerate(both) if one != other] or [min(len(explained.frame), len(answer.frame))]
        yield f"frame: the first of {len(where)} bytes that differ is number {where[0]}"
