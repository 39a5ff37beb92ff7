"""The reasons are the same in C, in Python, in the API and in the documentation."""

import re

import pytest

from l4lb_agent.model import reasons
from l4lb_agent.model.reasons import Reason, Verdict
from tests.law.python_rules import ROOT

PYTHON = {reason.name: int(reason) for reason in Reason}
HEADER = (ROOT / "bpf/reasons.h").read_text()
PROTO = (ROOT / "proto/l4lb/v1/reason.proto").read_text()
ROWS = re.findall(r"^\| (\d+) \| ([A-Z_]+) \| (.+?) \| (.+?) \|$", (ROOT / "docs/reasons.md").read_text(), re.M)
SOURCES = "\n".join(path.read_text() for path in (ROOT / "bpf").glob("*.[ch]") if path.name != "reasons.h")


def test_c_has_the_reasons_of_python() -> None:
    assert {name: int(number) for name, number in re.findall(r"^\tREASON_(\w+) = (\d+),", HEADER, re.M)} == PYTHON
    assert f"REASONS = {reasons.REASONS}," in HEADER
    assert f"#define VERDICTS {reasons.VERDICTS}\n" in (ROOT / "bpf/counters.h").read_text()
    assert max(Reason) < reasons.REASONS


def test_the_api_has_the_reasons_of_python() -> None:
    assert {name: int(number) for name, number in re.findall(r"^  REASON_(\w+) = (\d+);", PROTO, re.M)} == PYTHON


def test_the_api_has_the_verdicts_of_python() -> None:
    found = {name: int(number) for name, number in re.findall(r"^  VERDICT_(\w+) = (\d+);", PROTO, re.M)}
    assert found == {"UNSPECIFIED" if verdict is Verdict.ABORTED else verdict.name: int(verdict) for verdict in Verdict}


def test_the_documentation_has_the_reasons_of_python_in_order() -> None:
    assert [(name, int(number)) for number, name, _, _ in ROWS] == list(PYTHON.items())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_the_documentation_says_what_happened_and_what_to_do(row: tuple[str, str, str, str]) -> None:
    assert row[2].rstrip(" *").endswith((".", "Normal*", "traceroute", "scans"))
    assert len(row[2].split()) >= 5
    assert row[3].endswith((".", "?"))


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.UNSPECIFIED], ids=lambda r: r.name)
def test_the_datapath_uses_every_reason(reason: Reason) -> None:
    assert re.search(rf"\bREASON_{reason.name}\b", SOURCES)
