"""What `l4lbctl explain` says of a reason is what docs/reasons.md says."""

import re
from pathlib import Path

from l4lb_agent.model.explain.meanings import MEANINGS
from l4lb_agent.model.reasons import Reason

ROW = re.compile(r"\| \d+ \| (\w+) \| (.*) \| (.*) \|")


def test_meanings_are_those_of_the_table() -> None:
    rows = map(ROW.fullmatch, Path("docs/reasons.md").read_text().splitlines())
    table = {Reason[row[1]]: (row[2].replace("*", ""), row[3].replace("*", "")) for row in rows if row}
    assert set(table) == set(Reason)
    assert dict(MEANINGS) == table


def test_every_step_is_in_the_table_of_the_operators_and_no_other() -> None:
    """Their names are for programs, too."""
    sources = "".join(path.read_text() for path in Path("agent/l4lb_agent/model/explain").glob("*.py"))
    steps = {*re.findall(r'\.note\(\s*"(\w+)"', sources), "backend_state"}
    table = Path("docs/operations.md").read_text().split("| step | says |")[1].split("\n\n")[0]
    named = [name for row in re.findall(r"^\| ([a-z_, ]+) \|", table, re.M) for name in row.split(", ")]
    assert sorted(named) == sorted(steps)
