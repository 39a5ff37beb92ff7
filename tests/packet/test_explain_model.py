"""What is explained of a packet is what the loaded program does with it, and what its twin says, in thousands of random states: verdict,
reason, backend, bytes, and what is in the tables then."""

import contextlib
import random
from collections import Counter

import hypothesis
import pytest
from hypothesis import strategies as st

from l4lb_agent.dataplane.program import Objects
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import Balancer
from tests.packet.bed import Beds
from tests.packet.borders import Borders
from tests.packet.explaining import Explainer, compare
from tests.packet.mutants import MISTAKES, Mutants
from tests.packet.rare import rare
from tests.packet.test_ways import Link, link
from tests.packet.worlds import WORLD, World

__all__ = ["link"]
pytestmark = pytest.mark.timeout(1500)  # in an emulated machine

WORLDS, STEPS = 25, 400
EMULATED_WORLDS = 5
MORE_WORLDS = 75  # at most
AT_BORDERS = 0.35  # of all packets
NEVER = {Reason.UNSPECIFIED, Reason.MALFORMED, Reason.TAIL_CALL_FAILED, Reason.NO_HEADROOM}  # cannot be, in a test


def test_the_program_and_its_twin_do_what_is_explained(beds: Beds, objects: Objects, link: Link, emulated: bool) -> None:
    """Nor is there a mistake in it that these packets would not find: mutants.py has some. Which they find does not depend on the kernel,
    and takes most of the time: an emulated machine leaves that out, and visits fewer worlds."""
    seen: Counter[Reason] = Counter()
    mutants = Mutants(() if emulated else MISTAKES)

    @hypothesis.settings(
        max_examples=EMULATED_WORLDS if emulated else WORLDS, deadline=None, derandomize=True, database=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )  # fmt: skip
    @hypothesis.given(st.integers(0, 1 << 30))
    def explore(seed: int) -> None:
        live(seed)

    def live(seed: int) -> None:
        random.seed(seed)
        assert bed.renew()
        lb = explainer.lb = Balancer(bed)
        world = World(lb)
        borders = Borders(world, explainer.now)
        for _ in range(STEPS):
            if random.random() < world.unrest:
                world.happen()
            if random.random() < AT_BORDERS:
                frame = borders.frame()
                mutants.judge(explainer.again(frame))
            else:
                frame = world.frames.any()
            meant = compare(lb, explainer, frame)
            seen[meant.reason] += 1
            if meant.verdict in (Verdict.TX, Verdict.REDIRECT):
                world.frames.sent.append(meant.frame)
        for frame in rare(world, explainer.now().second) if lacking() else ():
            mutants.judge(explainer.again(frame))
            seen[compare(lb, explainer, frame).reason] += 1

    def lacking() -> bool:
        """Whether there is an end, or a mistake, that no packet has come to."""
        return bool(mutants.left or set(Reason) - NEVER - set(seen))

    with beds.lent(sizes=WORLD) as bed, contextlib.closing(Explainer(Balancer(bed), objects)) as explainer:
        explore()
        for more in range(MORE_WORLDS):
            if lacking():
                live((1 << 31) + more)
    missed = sorted(reason.name for reason in set(Reason) - NEVER - set(seen))
    assert not missed, "the states do not lead to every end"
    assert not [mutant.name for mutant in mutants.left], "no packet shows these mistakes"
