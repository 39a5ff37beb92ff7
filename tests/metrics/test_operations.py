"""docs/operations.md says of every series what families.py says."""

import re

from l4lb_agent.metrics import families
from tests.law.python_rules import ROOT

TEXT = (ROOT / "docs/operations.md").read_text()


def test_the_page_lists_every_series_with_kind_labels_and_meaning() -> None:
    rows = re.findall(r"(?m)^\| `(l4lb_\w+)` \| (\w+) \| ([\w, ]*) \| (.*) \|$", TEXT)
    assert rows == [(one.sample, one.kind, ", ".join(one.labels), one.help) for one in families.EVERY]


def test_the_number_of_series_of_a_backend_is_as_the_page_says() -> None:
    directed = [family for family in families.BACKENDS if "direction" in family.labels]
    assert (len(families.BACKENDS) - len(directed), 2 * len(directed)) == (6, 4)
    assert "Each backend has six series, and four more of" in TEXT
