"""docs/operations.md says of every series what families.py says."""

import re

from l4lb_agent.metrics import families
from l4lb_agent.model.health.state import State
from tests.law.python_rules import ROOT

TEXT = (ROOT / "docs/operations.md").read_text()


def test_the_page_lists_every_series_with_kind_labels_and_meaning() -> None:
    rows = re.findall(r"(?m)^\| `(l4lb_\w+)` \| (\w+) \| ([\w, ]*) \| (.*) \|$", TEXT)
    assert rows == [(one.sample, one.kind, ", ".join(one.labels), one.help) for one in families.EVERY]


def test_the_number_of_series_of_a_backend_is_as_the_page_says() -> None:
    directed = [family for family in families.BACKENDS if "direction" in family.labels]
    of_health = [families.BACKEND_HEALTH, families.BACKEND_PROBE]
    assert (len(families.BACKENDS) - len(directed) - len(of_health), 2 * len(directed)) == (6, 4)
    assert len(State) + 1 == 4, "one for each state, and how long a probe took"
    assert "Each backend has six series, and four more of" in TEXT
    assert "with a health check it has four more" in " ".join(TEXT.split())
