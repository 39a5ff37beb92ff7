"""What is explained of a packet is what the loaded program does with it, and what its twin says, in thousands of random states: verdict,
reason, backend, bytes."""

import random
from collections import Counter

import hypothesis
import pytest
from hypothesis import strategies as st

from l4lb_agent.dataplane.program import Objects
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.conftest import Make
from tests.packet.explaining import Explainer, compare
from tests.packet.test_ways import Link, link
from tests.packet.worlds import WORLD, World

__all__ = ["link"]
pytestmark = pytest.mark.timeout(900)  # in an emulated machine

WORLDS, STEPS = 20, 400
NEVER = {Reason.UNSPECIFIED, Reason.MALFORMED, Reason.TAIL_CALL_FAILED, Reason.NO_HEADROOM}  # cannot be, in a test
SELDOM = {Reason.FLOW_TABLE_FULL, Reason.NO_SOURCE_PORT, Reason.PROTOCOL_UNSUPPORTED, Reason.TCP_OFFSET_WRONG, Reason.VERSION_WRONG}


def test_the_program_and_its_twin_do_what_is_explained(make: Make, objects: Objects, link: Link) -> None:
    seen: Counter[Reason] = Counter()

    @hypothesis.settings(
        max_examples=WORLDS, deadline=None, derandomize=True, database=None, phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate]
    )  # fmt: skip
    @hypothesis.given(st.integers(0, 1 << 30))
    def explore(seed: int) -> None:
        random.seed(seed)
        lb = make(sizes=WORLD)
        world, explainer = World(lb), Explainer(lb, objects)
        try:
            for _ in range(STEPS):
                if random.random() < world.unrest:
                    world.happen()
                meant = compare(lb, explainer, world.frames.any())
                seen[meant.reason] += 1
                if meant.verdict in (Verdict.TX, Verdict.REDIRECT):
                    world.frames.sent.append(meant.frame)
        finally:
            explainer.close()

    explore()
    missed = sorted(reason.name for reason in set(Reason) - NEVER - SELDOM - set(seen))
    assert not missed, "the states do not lead to every end"
