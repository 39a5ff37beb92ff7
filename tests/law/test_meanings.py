"""`l4lbctl explain` has words for every reason and every step."""

import re
from pathlib import Path

from l4lb_agent.model.explain.meanings import MEANINGS
from l4lb_agent.model.reasons import Reason


def test_every_reason_has_a_meaning_that_fits_into_a_table() -> None:
    """scripts/generate makes that of docs/reasons.md of them."""
    assert set(MEANINGS) == set(Reason)
    assert [text for texts in MEANINGS.values() for text in texts if not text or re.search(r"[|\n*]", text)] == []


def test_every_step_is_in_the_table_of_the_operators_and_no_other() -> None:
    """Their names are for programs, too."""
    sources = "".join(path.read_text() for path in Path("agent/l4lb_agent/model/explain").glob("*.py"))
    steps = {*re.findall(r'\.note\(\s*"(\w+)"', sources), "backend_state", "backends_state"}
    table = Path("docs/operations.md").read_text().split("| step | says |")[1].split("\n\n")[0]
    named = [name for row in re.findall(r"^\| ([a-z_, ]+) \|", table, re.M) for name in row.split(", ")]
    assert sorted(named) == sorted(steps)
